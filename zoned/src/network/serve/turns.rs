//! How many questions are under way at once: in all, and for each who asks, so that a zone that asks without end
//! leaves room for the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

const OF_ONE: usize = 32;
const OF_ALL: usize = 512;

/// The questions under way.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    who: IpAddr,
}

impl Turns {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A turn for that one; `None` while there are too many.
    pub(super) fn take(self: &Arc<Self>, who: IpAddr) -> Option<Turn> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= OF_ALL || taken.get(&who).is_some_and(|own| *own >= OF_ONE) {
            return None;
        }
        *taken.entry(who).or_default() += 1;
        Some(Turn { turns: Arc::clone(self), who })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_does_not_take_all() {
        let turns = Turns::new();
        let who = |n: u8| IpAddr::from([10, 88, 0, n]);
        let mut own: Vec<Turn> = std::iter::from_fn(|| turns.take(who(1))).collect();
        assert_eq!(own.len(), OF_ONE);
        assert!(turns.take(who(2)).is_some());
        own.pop();
        assert!(turns.take(who(1)).is_some());
        let all: Vec<Turn> = (32_u16..).map_while(|n| turns.take(who((n / 16) as u8))).collect();
        assert_eq!(all.len() + own.len(), OF_ALL);
        drop((own, all));
        assert!(turns.taken.lock().unwrap().is_empty());
    }
}
