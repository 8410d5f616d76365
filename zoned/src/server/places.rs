//! How many connections there may be at once, so that nobody keeps others out and zoned keeps descriptors for its work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::peer::Peer;

/// Connections at once of a user who is no administrator.
const OF_A_GUEST: usize = 32;

/// Of all of them.
const OF_GUESTS: usize = 256;

/// Of those whose names and groups are not looked up yet.
const ARRIVING: usize = 256;

/// Looked up at once: the user database may be slow, and each takes a thread.
const LOOKUPS: usize = 16;

/// Told at once that there is no place for them.
const TURNED_AWAY: usize = 16;

/// Where there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Too many of one user.
    User(usize),
    /// Too many of users who are no administrators.
    Guests(usize),
    /// Too many of administrators.
    Administrators(usize),
    /// Too many of whom nothing is known yet.
    Arriving(usize),
}

impl Full {
    pub(super) fn why(self, uid: u32) -> String {
        match self {
            Self::User(most) => format!("user {uid} has {most} connections, the most that one may have"),
            Self::Guests(most) => format!("users have {most} connections, the most that all may have"),
            Self::Administrators(most) => {
                format!("administrators have {most} connections, the most that there may be")
            }
            Self::Arriving(most) => format!("{most} connections wait for their user to be looked up"),
        }
    }
}

/// The connections that there are.
#[derive(Debug)]
pub(super) struct Places {
    of_a_guest: usize,
    of_guests: usize,
    of_administrators: usize,
    arriving: (Arc<Semaphore>, usize),
    administrators: Arc<Semaphore>,
    lookups: Semaphore,
    turned_away: Semaphore,
    guests: Mutex<Guests>,
}

#[derive(Debug, Default)]
struct Guests {
    all: usize,
    /// By uid; the unknown to the user database, of which a user may have many (subuid(5)), together.
    by_user: HashMap<Option<u32>, usize>,
}

impl Places {
    /// As many as this process has descriptors for: half of them are for all that is no connection.
    pub(super) fn new() -> Arc<Self> {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::of(usize::try_from(descriptors.unwrap_or(u64::MAX)).unwrap_or(usize::MAX))
    }

    fn of(descriptors: usize) -> Arc<Self> {
        let of_administrators = (descriptors / 4).clamp(1, Semaphore::MAX_PERMITS);
        let of_guests = (descriptors / 8).clamp(1, OF_GUESTS);
        let arriving = (descriptors / 8).clamp(1, ARRIVING);
        Arc::new(Self {
            of_a_guest: (of_guests / 4).clamp(1, OF_A_GUEST),
            of_guests,
            of_administrators,
            arriving: (Arc::new(Semaphore::new(arriving)), arriving),
            administrators: Arc::new(Semaphore::new(of_administrators)),
            lookups: Semaphore::new(LOOKUPS),
            turned_away: Semaphore::new(TURNED_AWAY.min(arriving)),
            guests: Mutex::default(),
        })
    }

    /// For one whose rights are not known yet.
    pub(super) fn arrive(&self) -> Result<OwnedSemaphorePermit, Full> {
        let (places, most) = &self.arriving;
        Arc::clone(places).try_acquire_owned().map_err(|_| Full::Arriving(*most))
    }

    /// Waits for the turn to ask the user database.
    pub(super) async fn lookup(&self) -> Option<SemaphorePermit<'_>> {
        self.lookups.acquire().await.ok()
    }

    /// For one who is to hear that there is no place.
    pub(super) fn turn_away(&self) -> Option<SemaphorePermit<'_>> {
        self.turned_away.try_acquire().ok()
    }

    /// For one whose rights are known.
    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Result<Place, Full> {
        if peer.trusted {
            let permit = Arc::clone(&self.administrators).try_acquire_owned();
            let permit = permit.map_err(|_| Full::Administrators(self.of_administrators))?;
            return Ok(Place { _administrator: Some(permit), _guest: None });
        }
        let user = peer.named.then_some(peer.uid);
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if guests.by_user.get(&user).is_some_and(|count| *count >= self.of_a_guest) {
            return Err(Full::User(self.of_a_guest));
        }
        if guests.all >= self.of_guests {
            return Err(Full::Guests(self.of_guests));
        }
        guests.all += 1;
        *guests.by_user.entry(user).or_default() += 1;
        Ok(Place { _administrator: None, _guest: Some(Guest { places: Arc::clone(self), user }) })
    }
}

/// One of them; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _administrator: Option<OwnedSemaphorePermit>,
    _guest: Option<Guest>,
}

#[derive(Debug)]
struct Guest {
    places: Arc<Places>,
    user: Option<u32>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.places.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.all = guests.all.saturating_sub(1);
        if let Some(count) = guests.by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                guests.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Peer = Peer { uid: 0, trusted: true, named: true };

    fn user(uid: u32) -> Peer {
        Peer { uid, trusted: false, named: true }
    }

    fn nameless(uid: u32) -> Peer {
        Peer { uid, trusted: false, named: false }
    }

    #[test]
    fn a_user_has_his_share_all_have_theirs_and_administrators_what_is_left() {
        let places = Places::of(1 << 20);
        let mut held: Vec<Place> = (0..32).map(|_| places.take(user(1000)).unwrap()).collect();
        assert_eq!(places.take(user(1000)).unwrap_err(), Full::User(32));
        held.extend((0..32).map(|n| places.take(nameless(100_000 + n)).unwrap()));
        assert_eq!(places.take(nameless(1)).unwrap_err(), Full::User(32), "ids of no user are one user's");
        held.extend((0..192).map(|n| places.take(user(2000 + n)).unwrap()));
        assert_eq!(places.take(user(1)).unwrap_err(), Full::Guests(256));
        let roots: Vec<Place> = (0..2000).map(|_| places.take(ROOT).unwrap()).collect();
        drop((held, roots));
        let guests = places.guests.lock().unwrap();
        assert_eq!((guests.all, guests.by_user.len()), (0, 0));
    }

    #[test]
    fn few_descriptors_are_shared_and_half_of_them_are_kept() {
        let places = Places::of(64);
        let roots: Vec<Place> = std::iter::from_fn(|| places.take(ROOT).ok()).collect();
        assert_eq!(roots.len(), 16);
        assert_eq!(places.take(ROOT).unwrap_err(), Full::Administrators(16));
        assert_eq!(std::iter::from_fn(|| places.take(user(1)).ok()).take(99).count(), 99, "each is dropped");
        let users: Vec<Place> = std::iter::from_fn(|| places.take(user(1)).ok()).collect();
        assert_eq!(users.len(), 2);
        let arriving: Vec<_> = std::iter::from_fn(|| places.arrive().ok()).collect();
        assert_eq!(arriving.len(), 8);
        // However few there are, somebody can ask.
        assert!(Places::of(0).take(ROOT).is_ok() && Places::of(0).take(user(1)).is_ok());
    }
}
