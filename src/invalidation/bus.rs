//! What a table knows of the invalidations of other hosts, and until when.
//!
//! Hosts tell each other through a log, whose entries are numbered without a gap. Followers, one in
//! each process, read the log and apply it here; all of them may do so at once, and any of them
//! may die at any point.
//!
//! * The **position** is the last entry that was applied. It is written after what the entry is
//!   about, so an entry that a dying follower left half done is applied again by another.
//! * A **generation** is one life of the log; entries of two of them cannot be compared. Each one
//!   that is adopted gets a new **epoch** here, which is part of every position, and raises the
//!   floor. So does a gap.
//! * The **lease** is the time up to which this host knows of everything: that at which a question
//!   was *sent* whose answer was then applied to its end.
//!
//! # Values of other hosts
//!
//! A value that another host stored for all (L2) names the position that host was at before it
//! loaded the value. It is believed here if nothing that covers it was invalidated later than
//! that, which needs one more word for each slot: the newest position at which it was
//! invalidated. That word is written *before* the clock advances for the slot. Otherwise somebody
//! could take a stamp after the advance, still find the old word, and believe the value under a
//! stamp that is new enough to outlive the invalidation.
//!
//! For invalidations of this host that the log has not acknowledged yet there is no position.
//! They are counted as *pending* at each slot, from before the clock advances until this table has
//! applied the entry that the log has made of them.

use super::memory::Words;
use super::slots::{Slot, fingerprint};
use super::table::{Covered, InvalidationTable, raise};
use super::words::{
    BUS_FLOOR, GENERATIONS, GENERATIONS_KEPT, LEASE, OWN, OWN_KEPT, PENDING_FLOOR, POSITION,
};
use crate::sync::Ordering;

/// A place in the log, comparable with others of this table. Above, the epoch of its generation;
/// below, the number of the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

const SEQUENCE_BITS: u32 = 40;

/// Largest number of an entry.
pub const MOST_ENTRIES: u64 = (1 << SEQUENCE_BITS) - 1;

const MOST_EPOCHS: u64 = (1 << (u64::BITS - SEQUENCE_BITS)) - 1;

impl Position {
    fn new(epoch: u64, sequence: u64) -> Self {
        Self(epoch << SEQUENCE_BITS | sequence.min(MOST_ENTRIES))
    }

    /// Which generation, counted from 1 by this table; 0: none yet.
    #[must_use]
    pub fn epoch(self) -> u64 {
        self.0 >> SEQUENCE_BITS
    }

    /// The number of the entry.
    #[must_use]
    pub fn sequence(self) -> u64 {
        self.0 & MOST_ENTRIES
    }

    /// Another entry of the same generation.
    #[must_use]
    pub fn at(self, sequence: u64) -> Self {
        Self::new(self.epoch(), sequence)
    }
}

/// What of the log was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Up to here.
    pub position: Position,
    /// Number for the generation, the same on all hosts; 0: none yet.
    pub generation: u64,
}

/// The number for a generation.
#[must_use]
pub fn number_of(generation: &str) -> u64 {
    fingerprint(generation.as_bytes())
}

impl InvalidationTable {
    /// What of the log was applied here.
    #[must_use]
    pub fn known(&self) -> Known {
        let words = self.memory.words();
        loop {
            let position = Position(words.head(POSITION).load(Ordering::Acquire));
            let generation = match position.epoch() {
                0 => 0,
                epoch => words.head(cell_of(epoch)).load(Ordering::Acquire),
            };
            // Unless so many generations came meanwhile that the word means another one.
            let again = Position(words.head(POSITION).load(Ordering::Acquire));
            if again.epoch() == position.epoch() {
                return Known { position, generation };
            }
        }
    }

    /// Begins a generation, or begins anew after a gap: nothing from before is believed, here or
    /// from other hosts, and what comes after entry `start` is to be applied next. Does nothing
    /// if somebody else did so since `seen` was read. Returns whether it did.
    ///
    /// Waits for other processes of this host that do the same, and gives up after a few seconds.
    pub fn adopt(&self, seen: Position, generation: u64, start: u64) -> bool {
        let adopted = self.memory.exclusively(|words| {
            let now = Position(words.head(POSITION).load(Ordering::Acquire));
            if now.epoch() != seen.epoch() || now.epoch() >= MOST_EPOCHS {
                return false;
            }
            let first = Position::new(now.epoch() + 1, start);
            // As with slots: before the clock advances.
            words.head(BUS_FLOOR).fetch_max(first.0, Ordering::AcqRel);
            raise(words, &Covered { all: true, ..Covered::default() });
            words.head(cell_of(first.epoch())).store(generation, Ordering::Release);
            // Last: who sees the epoch sees its generation, and a floor raised for it.
            words.head(POSITION).fetch_max(first.0, Ordering::AcqRel);
            true
        });
        adopted.unwrap_or(false)
    }

    /// Applies the entry that follows what was applied already. Returns whether it is applied now,
    /// by whomever; `false`: entries before it are missing, or the log began anew meanwhile.
    pub fn apply(&self, at: Position, what: &Covered<'_>) -> bool {
        let words = self.memory.words();
        let now = Position(words.head(POSITION).load(Ordering::Acquire));
        if now.epoch() != at.epoch() || now.sequence() + 1 < at.sequence() {
            return false;
        }
        if now < at {
            mark(&words, at, what);
            // What this host has invalidated by itself need not be loaded once more.
            if words.head(own_cell_of(at)).load(Ordering::Acquire) != at.0 {
                raise(&words, what);
            }
            // Last: see the position at the top.
            words.head(POSITION).fetch_max(at.0, Ordering::AcqRel);
        }
        true
    }

    /// Notes that this host knows of everything that was acknowledged up to `now_millis`, having
    /// applied everything up to `upto`: the time at which the question was sent. Does nothing if
    /// the log began anew since.
    pub fn renew_lease(&self, upto: Position, now_millis: u64) {
        let words = self.memory.words();
        let position = Position(words.head(POSITION).load(Ordering::Acquire));
        if position.epoch() == upto.epoch() && position >= upto {
            words.head(LEASE).fetch_max(lease_word(upto, now_millis), Ordering::AcqRel);
        }
    }

    /// The time up to which this host knows of everything; `None`: it never did.
    #[must_use]
    pub fn lease(&self) -> Option<u64> {
        let word = self.memory.words().head(LEASE).load(Ordering::Acquire);
        (word >> EPOCH_IN_LEASE_BITS).checked_sub(1)
    }

    /// Whether this host knows of everything up to so many milliseconds ago.
    #[inline]
    #[must_use]
    pub fn holds_lease(&self, now_millis: u64, max_staleness_millis: u64) -> bool {
        let lease = self.memory.words().head(LEASE).load(Ordering::Acquire) >> EPOCH_IN_LEASE_BITS;
        lease != 0 && now_millis < lease.saturating_add(max_staleness_millis)
    }

    /// Before an invalidation by this host is written into the table: there will be a position
    /// for it, which is not known yet.
    pub fn begin_pending(&self, what: &Covered<'_>) {
        let words = self.memory.words();
        for_each_pending(&words, what, |word| {
            word.fetch_add(1, Ordering::AcqRel);
        });
    }

    /// The log has acknowledged an invalidation of this host, which was written into the table
    /// before it was appended.
    pub fn note_own(&self, generation: u64, sequence: u64) {
        let known = self.known();
        if known.generation == generation && sequence <= MOST_ENTRIES {
            let at = known.position.at(sequence);
            self.memory.words().head(own_cell_of(at)).store(at.0, Ordering::Release);
        }
    }

    /// Whether this table has applied an entry that was acknowledged at a time by the clock of
    /// leases, or has begun anew since.
    #[must_use]
    pub fn has_applied(&self, generation: u64, sequence: u64, acknowledged_at: u64) -> bool {
        let known = self.known();
        let is_applied = known.generation == generation && known.position.sequence() >= sequence;
        // Whoever asked after the acknowledgement, and applied the whole answer, has it.
        is_applied || self.lease().is_some_and(|lease| lease > acknowledged_at)
    }

    /// What [`Self::begin_pending`] began is over: the position is in the table, or something else
    /// that is pending covers it.
    pub fn end_pending(&self, what: &Covered<'_>) {
        let words = self.memory.words();
        for_each_pending(&words, what, |word| {
            let _ = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
        });
    }

    /// Whether a value may be believed that some host stored when it was at this place of the log,
    /// as far as these slots can tell. [`Self::holds_lease`] must have been asked before, and a
    /// stamp for the value taken before that.
    #[must_use]
    pub fn admits(&self, slots: &[Slot], generation: u64, sequence: u64) -> bool {
        let words = self.memory.words();
        let lease = words.head(LEASE).load(Ordering::Acquire);
        // Pending before the position: what is pending no more has its position in the table.
        let is_pending = words.head(PENDING_FLOOR).load(Ordering::Acquire) != 0
            || !slots.iter().all(|&slot| {
                words.pending(slot).is_some_and(|word| word.load(Ordering::Acquire) == 0)
            });
        let known = self.known();
        if is_pending
            || known.generation == 0
            || known.generation != generation
            || known.position.sequence() < sequence
            // What was known in an earlier epoch is not in the words of this one.
            || lease & EPOCH_IN_LEASE != known.position.epoch() & EPOCH_IN_LEASE
        {
            return false;
        }
        let at = known.position.at(sequence).0;
        words.head(BUS_FLOOR).load(Ordering::Acquire) <= at
            && slots
                .iter()
                .all(|&slot| words.bus(slot).is_some_and(|word| word.load(Ordering::Acquire) <= at))
    }
}

/// The word of a lease: above, the time plus one; below, what fits of the epoch in which it was
/// got.
const EPOCH_IN_LEASE_BITS: u32 = 16;
const EPOCH_IN_LEASE: u64 = (1 << EPOCH_IN_LEASE_BITS) - 1;

fn lease_word(upto: Position, now_millis: u64) -> u64 {
    let time = now_millis.saturating_add(1).min(u64::MAX >> EPOCH_IN_LEASE_BITS);
    time << EPOCH_IN_LEASE_BITS | upto.epoch() & EPOCH_IN_LEASE
}

fn cell_of(epoch: u64) -> usize {
    GENERATIONS + (epoch % GENERATIONS_KEPT as u64) as usize
}

fn own_cell_of(at: Position) -> usize {
    OWN + (at.sequence() % OWN_KEPT as u64) as usize
}

/// Notes at which position it was invalidated.
fn mark(words: &impl Words, at: Position, what: &Covered<'_>) {
    for &slot in what.slots {
        if let Some(word) = words.bus(slot) {
            word.fetch_max(at.0, Ordering::AcqRel);
        }
    }
    if what.all || !what.patterns.is_empty() {
        words.head(BUS_FLOOR).fetch_max(at.0, Ordering::AcqRel);
    }
}

fn for_each_pending(
    words: &impl Words,
    what: &Covered<'_>,
    change: impl Fn(&crate::sync::AtomicU64),
) {
    what.slots.iter().filter_map(|&slot| words.pending(slot)).for_each(&change);
    if what.all || !what.patterns.is_empty() {
        change(words.head(PENDING_FLOOR));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = 7;
    const ONE: Covered<'_> = Covered { slots: &[SLOT], patterns: &[], all: false };

    fn adopted() -> (InvalidationTable, Known) {
        let table = InvalidationTable::private(true);
        assert!(table.adopt(table.known().position, 1, 10));
        let known = table.known();
        assert_eq!((known.generation, known.position.sequence()), (1, 10));
        table.renew_lease(known.position, 100);
        (table, known)
    }

    #[test]
    fn entries_are_not_applied_over_a_gap_or_in_another_epoch() {
        let (table, known) = adopted();
        assert!(!table.apply(known.position.at(12), &ONE));
        assert_eq!(table.known(), known);
        assert!(table.adopt(known.position, 1, 20));
        assert!(!table.apply(known.position.at(11), &ONE));
        assert_eq!(table.known().position.sequence(), 20);
    }

    #[test]
    fn a_lease_from_before_a_gap_vouches_for_no_value_of_others() {
        let (table, known) = adopted();
        assert!(table.admits(&[SLOT], 1, 10));
        assert!(table.adopt(known.position, 1, 20));
        table.renew_lease(known.position, 900);
        assert_eq!(table.lease(), Some(100), "the log began anew");
        assert!(!table.admits(&[SLOT], 1, 20));
        table.renew_lease(table.known().position, 900);
        assert!(table.admits(&[SLOT], 1, 20));
    }

    #[test]
    fn nothing_is_admitted_before_there_is_a_generation() {
        let table = InvalidationTable::private(true);
        assert!(!table.admits(&[SLOT], 0, 0));
        assert_eq!(table.lease(), None);
        assert!(!table.holds_lease(0, 1_000));
    }

    #[test]
    fn entries_are_applied_once_and_in_order() {
        let (table, known) = adopted();
        let (stamp, at) = (table.now(), known.position.at(11));
        table.apply(at, &ONE);
        assert!(!table.is_current(stamp, &[SLOT]));
        let stamp = table.now();
        table.apply(at, &ONE);
        assert!(table.is_current(stamp, &[SLOT]));
        assert_eq!(table.known().position, at);
    }

    #[test]
    fn values_from_before_an_entry_that_covers_them_are_not_admitted() {
        let (table, known) = adopted();
        table.apply(known.position.at(11), &ONE);
        assert!(!table.admits(&[SLOT], 1, 10));
        assert!(table.admits(&[SLOT], 1, 11));
        assert!(table.admits(&[SLOT + 1], 1, 10));
        assert!(!table.admits(&[SLOT + 1], 1, 9), "older than what is known here");
        assert!(!table.admits(&[SLOT + 1], 1, 12), "newer than what is known here");
        assert!(!table.admits(&[SLOT + 1], 2, 11), "of another generation");
    }

    #[test]
    fn a_new_generation_ends_everything_from_before() {
        let (table, known) = adopted();
        let stamp = table.now();
        assert!(table.adopt(known.position, 2, 0));
        assert!(!table.is_current(stamp, &[]));
        assert!(!table.admits(&[SLOT], 1, 10));
        table.renew_lease(table.known().position, 200);
        assert!(table.admits(&[SLOT], 2, 0));
        // Numbers begin anew, and what bears them is applied all the same.
        let stamp = table.now();
        table.apply(table.known().position.at(1), &ONE);
        assert!(!table.is_current(stamp, &[SLOT]));
        assert!(!table.adopt(known.position, 3, 0), "somebody else was quicker");
    }

    #[test]
    fn own_invalidations_keep_values_out_until_they_have_a_position() {
        let (table, known) = adopted();
        table.begin_pending(&ONE);
        table.invalidate(&ONE);
        assert!(!table.admits(&[SLOT], 1, 10));
        table.note_own(1, 11);
        assert!(!table.has_applied(1, 11, 500));
        assert!(!table.admits(&[SLOT], 1, 10));
        // What was done already is not done again.
        let stamp = table.now();
        assert!(table.apply(known.position.at(11), &ONE));
        assert!(table.is_current(stamp, &[SLOT]));
        assert!(table.has_applied(1, 11, 500));
        table.end_pending(&ONE);
        assert!(!table.admits(&[SLOT], 1, 10));
        assert!(table.admits(&[SLOT], 1, 11));
    }

    #[test]
    fn a_lease_is_the_newest_question_whose_answer_was_applied() {
        let (table, known) = adopted();
        table.renew_lease(known.position, 500);
        table.renew_lease(known.position, 400);
        assert_eq!(table.lease(), Some(500));
        assert!(table.holds_lease(1_500, 1_000));
        assert!(!table.holds_lease(1_501, 1_000));
        table.renew_lease(known.position.at(11), 900);
        assert_eq!(table.lease(), Some(500), "its answer was not applied to the end");
    }
}
