//! How many connections there may be at once, so that nobody keeps others out and zoned keeps descriptors for its work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::peer::Peer;

/// Connections at once of a user who is no administrator.
const OF_A_GUEST: usize = 32;

/// Of all of them.
const GUESTS: usize = 256;

/// Of those whose names and groups are not looked up yet.
const ARRIVING: usize = 256;

/// Looked up at once: the user database may be slow, and each takes a thread.
const LOOKUPS: usize = 16;

/// Told at once that there is no place for them.
const TURNED_AWAY: usize = 32;

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
    arriving: Share,
    guests: Share,
    administrators: Share,
    lookups: Semaphore,
    turned_away: Semaphore,
}

impl Places {
    /// As many as this process has descriptors for: half of them are for all that is no connection.
    pub(super) fn new() -> Self {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::of(usize::try_from(descriptors.unwrap_or(u64::MAX)).unwrap_or(usize::MAX))
    }

    fn of(descriptors: usize) -> Self {
        let administrators = (descriptors / 4).max(1);
        let guests = (descriptors / 8).clamp(1, GUESTS);
        let arriving = (descriptors / 8).clamp(1, ARRIVING);
        Self {
            arriving: Share::new((arriving / 4).max(1), arriving),
            guests: Share::new((guests / 4).clamp(1, OF_A_GUEST), guests),
            administrators: Share::new(administrators, administrators),
            lookups: Semaphore::new(LOOKUPS),
            turned_away: Semaphore::new(TURNED_AWAY.min(arriving)),
        }
    }

    /// For one whose rights are not known yet.
    pub(super) fn arrive(&self, uid: u32) -> Result<Place, Full> {
        self.arriving.take(Some(uid)).map_err(|_| Full::Arriving(self.arriving.of_all))
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
    pub(super) fn take(&self, peer: Peer) -> Result<Place, Full> {
        if peer.trusted {
            return self
                .administrators
                .take(None)
                .map_err(|_| Full::Administrators(self.administrators.of_all));
        }
        // The unknown to the user database count as one: a user may have many such ids (subuid(5)).
        self.guests.take(peer.named.then_some(peer.uid)).map_err(|whose| match whose {
            Whose::One => Full::User(self.guests.of_one),
            Whose::All => Full::Guests(self.guests.of_all),
        })
    }
}

/// Places for some, of which none has more than his part.
#[derive(Debug)]
struct Share {
    of_one: usize,
    of_all: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Option<u32>, usize>,
}

enum Whose {
    One,
    All,
}

impl Share {
    fn new(of_one: usize, of_all: usize) -> Self {
        Self { of_one, of_all, taken: Arc::default() }
    }

    fn take(&self, who: Option<u32>) -> Result<Place, Whose> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.by.get(&who).is_some_and(|count| *count >= self.of_one) {
            return Err(Whose::One);
        }
        if taken.all >= self.of_all {
            return Err(Whose::All);
        }
        taken.all += 1;
        *taken.by.entry(who).or_default() += 1;
        Ok(Place { of: Arc::clone(&self.taken), who })
    }
}

/// One of them; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Mutex<Taken>>,
    who: Option<u32>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                taken.by.remove(&self.who);
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
        let taken = places.guests.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
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
        let arriving: Vec<_> = (1..20).filter_map(|uid| places.arrive(uid).ok()).collect();
        assert_eq!(arriving.len(), 8);
        // However few there are, somebody can ask.
        assert!(Places::of(0).take(ROOT).is_ok() && Places::of(0).take(user(1)).is_ok());
    }
}
