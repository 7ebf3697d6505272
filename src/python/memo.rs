//! Where the entries that were asked for before lie, so that they need not be searched again.
//!
//! Direct-mapped, and only a hint: a place counts if the row in it is found to have the key that
//! is asked for. For a text that the row keeps as its key, the address is proof enough: texts do
//! not change, and one that is kept cannot be at the address of another. A key made of a kind and
//! ids is compared part by part, and need not be put together.

use crate::engine::Place;
use pyo3::ffi;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Beyond this, places would no longer be in the processor's caches when they are needed.
const MOST_PLACES: usize = 1 << 17;

/// Any odd number with bits well spread; from the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Debug)]
pub(super) struct Memo {
    /// Made when first needed: not every service asks for the same text, or by kind and ids.
    places: OnceLock<Box<[AtomicU32]>>,
    len: usize,
}

/// What is remembered, as a number of which the lowest bits count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hint(usize);

impl Hint {
    /// Objects lie on multiples of 16. Texts that were made one after the other often lie one
    /// after the other, and so do then their places. The higher bits tell the heaps of threads
    /// apart, which lie at like distances from large round addresses.
    #[inline]
    pub(super) fn of_text(text: *mut ffi::PyObject) -> Self {
        let address = text as usize;
        Self((address >> 4) ^ (address >> 22))
    }

    /// For parts of which each has bits of its own.
    #[inline]
    pub(super) fn of_parts(parts: [u64; 2]) -> Self {
        let mixed = (parts[0].wrapping_mul(SPREAD) ^ parts[1]).wrapping_mul(SPREAD);
        Self((mixed >> 40) as usize)
    }
}

/// The beginning and the end of an id as one number.
#[inline]
pub(super) fn gist(id: &[u8]) -> u64 {
    match (id.first_chunk(), id.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29)
        }
        _ => id.iter().fold(0, |bits, &byte| (bits << 8) | u64::from(byte)),
    }
}

impl Memo {
    /// A memo for a store of so many entries.
    pub(super) fn new(max_entries: usize) -> Self {
        let len = max_entries.saturating_mul(2).min(MOST_PLACES).next_power_of_two();
        Self { places: OnceLock::new(), len }
    }

    /// Where the entry was.
    #[inline]
    pub(super) fn place_of(&self, hint: Hint) -> Place {
        let place = self.places.get().and_then(|places| places.get(hint.0 & (self.len - 1)));
        place.map_or(Place::NOWHERE, |place| Place::from_bits(place.load(Ordering::Relaxed)))
    }

    #[cold]
    pub(super) fn remember(&self, hint: Hint, place: Place) {
        let nowhere = || AtomicU32::new(Place::NOWHERE.to_bits());
        let places =
            self.places.get_or_init(|| std::iter::repeat_with(nowhere).take(self.len).collect());
        if let Some(slot) = places.get(hint.0 & (self.len - 1)) {
            slot.store(place.to_bits(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_found_again_and_others_are_not() {
        let memo = Memo::new(100);
        let hint = |address: usize| Hint::of_text(address as *mut ffi::PyObject);
        assert_eq!(memo.place_of(hint(0x1000)), Place::NOWHERE);
        memo.remember(hint(0x1000), Place::from_bits(7));
        assert_eq!(memo.place_of(hint(0x1000)), Place::from_bits(7));
        assert_eq!(memo.place_of(hint(0x1010)), Place::NOWHERE);
    }
}
