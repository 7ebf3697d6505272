//! What tags are called.
//!
//! Entries hold the slots of their tags and not their names. So that those asked for most can be
//! shown by name, some are remembered: one for each of 4,096 places, at most 256 bytes each. A place
//! that is taken is taken over once in a while, so that names in use come back.
//!
//! Cost: one read where the name is known, or its place is taken.

use super::top::kept;
use crate::invalidation::Slot;
// Not one of a model checker's: no decision depends on what it guards.
use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const PLACES: usize = 4_096;

/// One in this many tags without a name takes the place of another one.
const TAKEN_OVER: u32 = 8;

/// Names by slot. Takes no memory until there is one.
#[derive(Debug, Default)]
pub struct TagNames {
    places: OnceLock<Places>,
}

#[derive(Debug)]
struct Places {
    /// One more than the slot whose name lies there; 0 where none does. Written with `names` held.
    slots: Box<[AtomicU32]>,
    names: Mutex<Vec<Box<[u8]>>>,
    refused: AtomicU32,
}

impl TagNames {
    /// Takes note of the name of the tag with a slot, unless it is known.
    #[inline]
    pub fn learn(&self, slot: Slot, name: &[u8]) {
        if !self.is_known(slot) {
            self.learn_new(slot, name);
        }
    }

    /// Whether a name is known.
    #[inline]
    #[must_use]
    pub fn is_known(&self, slot: Slot) -> bool {
        let place = self.places.get().and_then(|places| places.slots.get(place_of(slot)));
        // Relaxed: a hint; the name is read with its lock held.
        place.is_some_and(|place| place.load(Ordering::Relaxed) == slot + 1)
    }

    /// The name of the tag with a slot, if it is known.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<Box<[u8]>> {
        let places = self.places.get()?;
        let names = places.names.lock();
        let is_its = places.slots.get(place_of(slot))?.load(Ordering::Relaxed) == slot + 1;
        names.get(place_of(slot)).filter(|_| is_its).cloned()
    }

    #[cold]
    fn learn_new(&self, slot: Slot, name: &[u8]) {
        let places = self.places.get_or_init(Places::new);
        let Some(place) = places.slots.get(place_of(slot)) else { return };
        if place.load(Ordering::Relaxed) != 0
            && !places.refused.fetch_add(1, Ordering::Relaxed).is_multiple_of(TAKEN_OVER)
        {
            return;
        }
        let kept = kept(name);
        let mut names = places.names.lock();
        if let Some(old) = names.get_mut(place_of(slot)) {
            *old = kept;
            place.store(slot + 1, Ordering::Relaxed);
        }
    }
}

impl Places {
    fn new() -> Self {
        Self {
            slots: std::iter::repeat_with(|| AtomicU32::new(0)).take(PLACES).collect(),
            names: Mutex::new(vec![Box::default(); PLACES]),
            refused: AtomicU32::new(0),
        }
    }
}

/// Slots are hashes, with those of a kind of tag in a row.
const fn place_of(slot: Slot) -> usize {
    slot as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_remembered_by_slot() {
        let names = TagNames::default();
        assert_eq!(names.get(7), None);
        names.learn(7, b"user:ada");
        names.learn(7, b"another spelling");
        assert!(names.is_known(7) && !names.is_known(8));
        assert_eq!(names.get(7).as_deref(), Some(&b"user:ada"[..]));
    }

    #[test]
    fn a_place_is_taken_over_once_in_a_while_and_never_mixed_up() {
        let (names, other) = (TagNames::default(), PLACES as Slot + 7);
        names.learn(7, b"first");
        let times = (1..=100).find(|_| {
            names.learn(other, b"second");
            names.is_known(other)
        });
        assert!(times.is_some_and(|times| times <= TAKEN_OVER as usize), "{times:?}");
        assert_eq!((names.get(7), names.get(other)), (None, Some(b"second"[..].into())));
    }
}
