//! Which ranges of host ids zones have.

use std::collections::BTreeMap;

/// Ranges of host ids that zones have, and the lowest that none has, so that to find it takes no look at each zone.
#[derive(Default)]
pub(super) struct Slots {
    /// How many zones have each; those whose record cannot be read count at 0.
    taken: BTreeMap<u32, usize>,
    /// None below this is free.
    full_below: u32,
}

impl Slots {
    /// The lowest that no zone has.
    pub(super) fn lowest_free(&self) -> u32 {
        self.full_below
    }

    /// Whether several zones have it.
    pub(super) fn is_shared(&self, slot: u32) -> bool {
        self.taken.get(&slot).is_some_and(|&zones| zones > 1)
    }

    pub(super) fn take(&mut self, slot: u32) {
        *self.taken.entry(slot).or_default() += 1;
        while self.taken.contains_key(&self.full_below) {
            self.full_below += 1;
        }
    }

    pub(super) fn free(&mut self, slot: u32) {
        match self.taken.get_mut(&slot) {
            Some(zones) if *zones > 1 => *zones -= 1,
            _ => {
                self.taken.remove(&slot);
                self.full_below = self.full_below.min(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_is_given_first_and_one_of_two_zones_is_not_free() {
        let mut slots = Slots::default();
        [1, 3, 0, 0, u32::MAX].into_iter().for_each(|slot| slots.take(slot));
        assert_eq!(slots.lowest_free(), 2);
        slots.take(2);
        assert_eq!(slots.lowest_free(), 4);
        assert!(slots.is_shared(0) && !slots.is_shared(1) && !slots.is_shared(4));
        slots.free(3);
        slots.free(1);
        assert_eq!(slots.lowest_free(), 1);
        slots.free(0);
        assert_eq!(slots.lowest_free(), 1, "another zone has it");
        slots.free(0);
        assert_eq!(slots.lowest_free(), 0);
    }
}
