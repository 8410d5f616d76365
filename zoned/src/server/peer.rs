//! Who asks, and what they may.

use std::ffi::CString;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};
use zone_api::{ApiError, ErrorKind};

use super::answer::{Answer, Failure, off};
use crate::lifecycle::Zones;

/// The process at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    /// Whether it may do everything: root, zoned's own user, or the group of zoned.toml.
    pub(super) trusted: bool,
    /// Whether the user database knows the uid.
    pub(super) named: bool,
}

/// A right on one zone, as `[[admin]]` gives it. None reaches the host: what could (create, edit,
/// install, run) is for those who manage all zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    /// Programs in it, and its console.
    Login,
    /// Boot it and end it.
    Manage,
    /// Make clones of it.
    CloneFrom,
    /// Look at it: whoever has one of them.
    Any,
}

impl Peer {
    /// Who needs no looking up.
    pub(super) fn known(uid: u32) -> Option<Self> {
        (uid == 0 || uid == geteuid().as_raw()).then_some(Self { uid, trusted: true, named: true })
    }

    /// By the credentials that the socket has; asks the user database, so it may block.
    pub(super) fn new(uid: u32, gid: u32, group: &str) -> Self {
        if let Some(known) = Self::known(uid) {
            return known;
        }
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        Self { uid, trusted: in_group(user.as_ref(), gid, group), named: user.is_some() }
    }

    /// Fails for all who do not manage every zone.
    pub(super) fn manages(self, what: impl Into<String>) -> Result<(), ApiError> {
        if self.trusted { Ok(()) } else { Err(refused(what)) }
    }

    /// Whether it may know that the zone is there.
    pub(super) fn sees(self, zones: &Zones, name: &str) -> bool {
        self.may(zones, name, Auth::Any, "show").is_ok()
    }

    /// [`Peer::may`] on a thread that may block: before a body is read, since what nobody may send takes no memory.
    pub(super) async fn ask(
        self,
        zones: &Arc<Zones>,
        name: &str,
        auth: Auth,
        what: &'static str,
    ) -> Answer<()> {
        let (zones, name) = (Arc::clone(zones), name.to_owned());
        off(move || self.may(&zones, &name, auth, what)).await
    }

    /// Fails for all who do not manage every zone and do not have the right by the zone's configuration.
    pub(super) fn may(self, zones: &Zones, name: &str, auth: Auth, what: &str) -> Result<(), ApiError> {
        let word = match auth {
            Auth::Login => Some("login"),
            Auth::Manage => Some("manage"),
            Auth::CloneFrom => Some("clonefrom"),
            Auth::Any => None,
        };
        let given = || {
            zones.admins(name).iter().any(|admin| {
                let right = word.is_none_or(|word| admin.auths.iter().any(|have| have == word));
                right && uid_of(&admin.user) == Some(self.uid)
            })
        };
        if self.trusted || given() { Ok(()) } else { Err(refused(format!("{what} {name}"))) }
    }
}

fn refused(what: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::NotPermitted, what, "you may not")
        .hint("root and the group zones may, and users that the zone's configuration names as admin")
}

fn uid_of(user: &str) -> Option<u32> {
    Some(User::from_name(user).ok()??.uid.as_raw())
}

fn in_group(user: Option<&User>, gid: u32, group: &str) -> bool {
    let Ok(Some(group)) = Group::from_name(group) else { return false };
    if group.gid.as_raw() == gid {
        return true;
    }
    let Some(Ok(name)) = user.map(|user| CString::new(user.name.as_str())) else { return false };
    getgrouplist(&name, Gid::from_raw(gid)).is_ok_and(|groups| groups.contains(&group.gid))
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        parts.extensions.get::<Self>().copied().ok_or_else(|| {
            Failure::request(StatusCode::FORBIDDEN, "know who asks", "the connection has no credentials")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_manage_others_do_not() {
        assert!(Peer::new(0, 0, "zones").trusted);
        assert!(Peer::new(geteuid().as_raw(), 65534, "no such group").trusted);
        let nobody = Peer::new(54_321, 54_321, "no such group");
        assert!(!nobody.trusted && !nobody.named);
        assert_eq!(nobody.manages("create a").unwrap_err().kind, ErrorKind::NotPermitted);
        // By the group that the process itself has.
        assert!(Peer::new(54_321, 0, "root").trusted);
    }
}
