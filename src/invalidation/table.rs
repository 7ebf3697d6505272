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

use super::bus::note_pending;
use super::memory::{Memory, Words};
use super::pattern_ring::{self, Pushed};
use super::slots::Slot;
use super::words::{CLOCK, FLOOR, NO_CLOCK};
use crate::sync::Ordering;
use smallvec::SmallVec;
use std::cell::RefCell;
#[cfg(not(any(loom, shuttle)))]
pub use {
    super::memory::Sharing,
    super::table_file::{SharedTable, TableError},
};

/// A reading of the invalidation clock, taken before a value is loaded.
pub type Stamp = u64;

/// What is invalidated by one operation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Covered<'a> {
    /// Whatever depends on one of these.
    pub slots: &'a [Slot],
    /// Every key that fits one of these.
    pub patterns: &'a [&'a [u8]],
    /// Everything.
    pub all: bool,
}

/// Says whether a value with a given stamp and given slots may still be believed.
#[derive(Debug)]
pub struct InvalidationTable {
    pub(super) memory: Memory,
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
        Self::private(false)
    }

    /// The same, and with what is needed to learn from other hosts.
    #[must_use]
    #[allow(clippy::expect_used, reason = "without memory nothing else goes on either")]
    pub fn private(has_bus: bool) -> Self {
        Self { memory: Memory::private(has_bus).expect("memory for a table of invalidations") }
    }

    /// The table that all processes of this host and user share which name the same one.
    ///
    /// Consistency: what one process invalidates is seen by all when it returns. Should somebody
    /// remove the file by hand, processes notice within a tenth of a second and share a new one;
    /// one that had it open hears of every invalidation meanwhile, but for those by processes
    /// that were started after it was removed.
    ///
    /// # Errors
    /// See [`TableError`]; nothing was made then.
    #[cfg(not(any(loom, shuttle)))]
    pub fn shared(which: &SharedTable) -> Result<Self, TableError> {
        Ok(Self { memory: Memory::shared(which)? })
    }

    /// In a forked child: if this is a table of one process alone, the child's is another one, and
    /// nothing that is in it is believed. Nobody tells the child what the parent invalidates.
    #[cfg(not(any(loom, shuttle)))]
    pub fn part_from_parent(&self) {
        if !self.is_shared() {
            self.memory.become_another();
            self.invalidate_all();
        }
    }

    /// Tells this table from every other.
    #[must_use]
    pub fn identity(&self) -> u64 {
        #[cfg(not(any(loom, shuttle)))]
        return self.memory.identity();
        #[cfg(any(loom, shuttle))]
        0
    }

    /// Who sees what is invalidated.
    #[cfg(not(any(loom, shuttle)))]
    #[must_use]
    pub fn sharing(&self) -> Sharing {
        self.memory.sharing()
    }

    /// Whether other processes may see what is invalidated.
    #[cfg(not(any(loom, shuttle)))]
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.memory.path().is_some()
    }

    /// The file it is shared through.
    #[cfg(not(any(loom, shuttle)))]
    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        self.memory.path()
    }

    /// The clock as it stands. Taken before a load begins, it is the stamp of what is loaded.
    #[inline(always)]
    pub fn now(&self) -> Stamp {
        // Acquire: pairs with the AcqRel advances in `raise`. Whoever sees the second advance of
        // an invalidation also sees its slots.
        #[cfg(not(any(loom, shuttle)))]
        return self.memory.head()[CLOCK].load(Ordering::Acquire);
        #[cfg(any(loom, shuttle))]
        self.memory.words().head(CLOCK).load(Ordering::Acquire)
    }

    /// Whether a value with this stamp is as new as the clock, which was read before: then
    /// nothing at all was invalidated since, and nothing need be looked at.
    #[inline]
    #[must_use]
    pub fn is_newest(stamp: Stamp, clock: Stamp) -> bool {
        stamp == clock && clock < NO_CLOCK
    }

    /// Whether a value with this stamp and these slots may still be believed, as far as those can
    /// tell: see [`Self::is_covered`] for wildcards.
    ///
    /// The answer holds as long as [`Self::now`] returns what it returned *before* this call.
    #[must_use]
    pub fn is_current(&self, stamp: Stamp, slots: &[Slot]) -> bool {
        let words = self.memory.words();
        // Acquire: pairs with the fetch_max of an invalidation.
        words.head(FLOOR).load(Ordering::Acquire) <= stamp
            && stamp < NO_CLOCK
            && slots
                .iter()
                .all(|&slot| words.slot(slot).is_some_and(|s| s.load(Ordering::Acquire) <= stamp))
    }

    /// Whether there is any wildcard that came after this stamp. Cheap.
    #[must_use]
    pub fn has_wildcards_after(&self, stamp: Stamp) -> bool {
        pattern_ring::has_newer(&self.memory.words(), stamp)
    }

    /// Whether a wildcard that came after this stamp covers one of these keys. Wildcards that were
    /// there when the clock was `checked_at` are not asked again; 0 asks them all. May say yes
    /// without cause where there were very many wildcards.
    ///
    /// The answer holds as long as that of [`Self::is_current`].
    #[must_use]
    pub fn is_covered(&self, keys: &[&[u8]], stamp: Stamp, checked_at: Stamp) -> bool {
        pattern_ring::covers(&self.memory.words(), keys, stamp, checked_at)
    }

    /// Whether a value may be stored at all: nothing that covers it came after its stamp.
    #[must_use]
    pub fn may_store(&self, keys: &[&[u8]], stamp: Stamp, slots: &[Slot]) -> bool {
        self.is_current(stamp, slots)
            && (Self::is_newest(stamp, self.now()) || !self.is_covered(keys, stamp, 0))
    }

    /// Invalidates everything that depends on one of these slots.
    pub fn invalidate_slots(&self, slots: &[Slot]) {
        self.invalidate(&Covered { slots, ..Covered::default() });
    }

    /// Invalidates everything.
    pub fn invalidate_all(&self) {
        self.invalidate(&Covered { all: true, ..Covered::default() });
    }

    /// Invalidates every key that fits a wildcard. One that is longer than a thousand bytes
    /// invalidates everything.
    pub fn invalidate_pattern(&self, pattern: &[u8]) {
        self.invalidate(&Covered { patterns: &[pattern], ..Covered::default() });
    }

    /// Invalidates several things at once. Where the table may be lost and others have to know, see
    /// [`Self::tell`].
    pub fn invalidate(&self, what: &Covered<'_>) {
        let _ = self.tell(what, false);
    }

    /// The same, of which others will hear through the log: until then it is noted as pending, in
    /// the very table that is told. Returns which one that is, see [`Self::identity`].
    #[must_use = "what is pending has to end, in that table"]
    pub fn revoke(&self, what: &Covered<'_>) -> u64 {
        self.tell(what, true).table
    }

    /// Invalidates several things at once, as [`Self::revoke`] does if it is pending. Says whether
    /// all who share the table see it: where its file was taken away and no other one is to be had,
    /// only this process does, and whoever has the same file still open.
    #[must_use = "others may not know"]
    pub fn tell(&self, what: &Covered<'_>, is_pending: bool) -> Told {
        // Once in each table, however often that is told: it ends once.
        let noted = RefCell::new(SmallVec::<[u64; 2]>::new());
        let mut attempts = 0;
        loop {
            let written = self.memory.write(|words| {
                let mut noted = noted.borrow_mut();
                if is_pending && !noted.contains(&words.identity()) {
                    noted.push(words.identity());
                    note_pending(words, what);
                }
                raise(words, what);
            });
            attempts += 1;
            let is_shown = self.memory.confirm(written);
            if is_shown || attempts == MOST_REPLACED {
                return Told { table: written.identity, is_shown };
            }
        }
    }
}

/// Who was told of an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Which table; see [`InvalidationTable::identity`].
    pub table: u64,
    /// Whether it is the one that others find.
    pub is_shown: bool,
}

/// So often may the file of a table be taken away during one invalidation. Then there is somebody
/// who does nothing else, and processes that look for it will not find the same one anyway.
const MOST_REPLACED: usize = 8;

/// An invalidation: an advance, what it is about, and another advance.
pub(super) fn raise(words: &impl Words, what: &Covered<'_>) {
    // AcqRel: later stamps happen after this; see the order of writes at the top.
    let at = words.head(CLOCK).fetch_add(1, Ordering::AcqRel) + 1;
    for &slot in what.slots {
        if let Some(slot) = words.slot(slot) {
            // AcqRel: after the caller's commit, before the second advance.
            slot.fetch_max(at, Ordering::AcqRel);
        }
    }
    let mut everything = what.all;
    let pushed: Vec<Pushed> = what
        .patterns
        .iter()
        .filter_map(|pattern| {
            let pushed = pattern_ring::push(words, at, pattern);
            everything |= pushed.is_none();
            pushed
        })
        .collect();
    if everything {
        words.head(FLOOR).fetch_max(at, Ordering::AcqRel);
    }
    let end = words.head(CLOCK).fetch_add(1, Ordering::AcqRel) + 1;
    pushed.iter().for_each(|pushed| pattern_ring::publish(words, pushed, end));
}

#[cfg(test)]
mod tests {
    use super::super::slots::{self, SLOT_COUNT};
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
        assert!(!table.may_store(&[b"abcz"], before, &[]));
        assert!(table.may_store(&[b"abc"], before, &[]));
        assert!(table.may_store(&[b"abcz"], table.now(), &[]));
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
