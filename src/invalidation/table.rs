//! The clock, the floor and the slots.
//!
//! # Order of writes and reads
//!
//! An invalidation advances the clock to `n`, raises its slots to `n`, and advances the clock
//! once more. The first advance makes loads that began before it too old; the second one tells
//! everybody who had already seen `n`, while the slots were still being written, to look again.
//! Therefore an entry that was found valid at clock `c` *stays* valid while the clock is `c`:
//! the usual hit costs one load and one comparison, whatever the number of slots.
//!
//! A stamp is the clock *before* the load begins. A load that begins after the first advance
//! gets a stamp of at least `n`; the change it must see was committed before the invalidation
//! was called, so it does see it.

use super::pattern_log::PatternLog;
use super::slots::{SLOT_COUNT, Slot};
use crate::sync::{self, AtomicU64, Mutex, Ordering, Slots};

/// A reading of the invalidation clock, taken before a value is loaded.
pub type Stamp = u64;

/// Says whether a value with a given stamp and given slots may still be believed.
#[derive(Debug)]
pub struct InvalidationTable {
    clock: AtomicU64,
    floor: AtomicU64,
    slots: Slots,
    patterns: Mutex<PatternLog>,
}

impl Default for InvalidationTable {
    fn default() -> Self {
        Self::new()
    }
}

impl InvalidationTable {
    /// A table of this process alone. Reserves 2 MiB, touched only as slots are used.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: AtomicU64::new(1),
            floor: AtomicU64::new(0),
            slots: sync::slots(SLOT_COUNT as usize),
            patterns: Mutex::new(PatternLog::new()),
        }
    }

    /// The clock as it stands. Taken before a load begins, it is the stamp of what is loaded.
    #[inline]
    pub fn now(&self) -> Stamp {
        // Acquire: pairs with the AcqRel advances in `raise`. Whoever sees the second advance of
        // an invalidation also sees its slots.
        self.clock.load(Ordering::Acquire)
    }

    /// Whether a value with this stamp and these slots may still be believed.
    ///
    /// The answer holds as long as [`Self::now`] returns what it returned *before* this call.
    #[must_use]
    pub fn is_current(&self, stamp: Stamp, slots: &[Slot]) -> bool {
        // Acquire: pairs with the fetch_max of an invalidation.
        self.floor.load(Ordering::Acquire) <= stamp
            && slots.iter().all(|&slot| {
                self.slots.get(slot as usize).is_some_and(|s| s.load(Ordering::Acquire) <= stamp)
            })
    }

    /// Whether a value may be stored at all: it is current and no wildcard invalidation that
    /// came after its stamp covers its key.
    ///
    /// Entries already stored need not ask about wildcards: whoever invalidates by one removes
    /// them. Call this under the lock that makes the entry visible to that removal.
    #[must_use]
    pub fn may_store(&self, key: &[u8], stamp: Stamp, slots: &[Slot]) -> bool {
        self.is_current(stamp, slots) && {
            // A stamp as new as the clock is newer than every wildcard: the usual case, no lock.
            stamp >= self.now() || !self.patterns.lock().covers(key, stamp)
        }
    }

    /// Invalidates everything that depends on one of these slots.
    pub fn invalidate_slots(&self, slots: &[Slot]) {
        self.raise(|at| {
            for &slot in slots {
                if let Some(slot) = self.slots.get(slot as usize) {
                    // AcqRel: after the caller's commit, before the second advance.
                    slot.fetch_max(at, Ordering::AcqRel);
                }
            }
        });
    }

    /// Invalidates everything.
    pub fn invalidate_all(&self) {
        self.raise(|at| {
            self.floor.fetch_max(at, Ordering::AcqRel);
        });
    }

    /// Keeps loads under way from storing what a wildcard covers. The caller must then remove
    /// the stored entries it covers.
    pub fn invalidate_pattern(&self, pattern: &[u8]) {
        self.raise(|at| self.patterns.lock().push(at, pattern));
    }

    fn raise(&self, write: impl FnOnce(Stamp)) {
        // AcqRel: later stamps happen after this; see the order of writes at the top.
        let at = self.clock.fetch_add(1, Ordering::AcqRel) + 1;
        write(at);
        self.clock.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots;
    use super::*;

    #[test]
    fn load_that_began_before_an_invalidation_is_too_old() {
        let table = InvalidationTable::new();
        let slot = slots::of_tag(b"user:1");
        let before = table.now();
        table.invalidate_slots(&[slot]);
        assert!(!table.is_current(before, &[slot]));
        assert!(table.is_current(table.now(), &[slot]));
    }

    #[test]
    fn other_slots_are_left_alone() {
        let table = InvalidationTable::new();
        let before = table.now();
        table.invalidate_slots(&[slots::of_tag(b"user:1")]);
        assert!(table.is_current(before, &[slots::of_tag(b"user:2")]));
    }

    #[test]
    fn floor_covers_everything_before_it() {
        let table = InvalidationTable::new();
        let before = table.now();
        table.invalidate_all();
        assert!(!table.is_current(before, &[]));
        assert!(table.is_current(table.now(), &[]));
    }

    #[test]
    fn wildcard_refuses_only_older_loads_of_keys_it_covers() {
        let table = InvalidationTable::new();
        let before = table.now();
        table.invalidate_pattern(b"a*z");
        assert!(!table.may_store(b"abcz", before, &[]));
        assert!(table.may_store(b"abc", before, &[]));
        assert!(table.may_store(b"abcz", table.now(), &[]));
    }

    #[test]
    fn clock_moves_after_the_slots_too() {
        // An entry checked between the first advance and the slot write must be checked again.
        let table = InvalidationTable::new();
        let start = table.now();
        table.invalidate_slots(&[0]);
        assert_eq!(table.now(), start + 2);
    }

    #[test]
    fn slot_out_of_range_is_never_current() {
        let table = InvalidationTable::new();
        assert!(!table.is_current(table.now(), &[SLOT_COUNT]));
    }
}
