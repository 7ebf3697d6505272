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
//! * The **lease** says up to when this host knows of everything; see [`super::lease`].
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
//! applied the entry that the log has made of them. The file of a table may be taken away at any
//! time: then what was pending in one table never ends in another, where it would take away
//! somebody else's; and a note is written together with the invalidation, see
//! [`InvalidationTable::revoke`].

use super::lease::{EPOCH_IN_LEASE, lease_in};
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
pub struct Position(pub(super) u64);

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
    /// Which table says so; see [`InvalidationTable::identity`].
    pub table: u64,
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
        known_in(&self.memory.words())
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
            let first = Position::new(next_epoch(words, now), start);
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

    /// Notes something as pending that this table was told before; for what is told now, see
    /// [`Self::revoke`]. Does nothing if another table is used by now. Returns whether it is noted.
    #[must_use = "what is pending has to end"]
    pub fn begin_pending(&self, what: &Covered<'_>, told: u64) -> bool {
        let words = self.memory.words();
        let is_the_same = words.identity() == told;
        if is_the_same {
            note_pending(&words, what);
        }
        is_the_same
    }

    /// The log has acknowledged an invalidation of this host, which this table was told before it
    /// was appended. Another one may never have been told, and has to learn it from the log.
    pub fn note_own(&self, generation: u64, sequence: u64, told: u64) {
        let words = self.memory.words();
        let known = known_in(&words);
        if known.table == told && known.generation == generation && sequence <= MOST_ENTRIES {
            let at = known.position.at(sequence);
            words.head(own_cell_of(at)).store(at.0, Ordering::Release);
        }
    }

    /// Whether this table has applied an entry that was acknowledged at a time by the clock of
    /// leases, or has begun anew since.
    #[must_use]
    pub fn has_applied(&self, generation: u64, sequence: u64, acknowledged_at: u64) -> bool {
        let words = self.memory.words();
        let known = known_in(&words);
        let is_applied = known.generation == generation && known.position.sequence() >= sequence;
        // Whoever asked after the acknowledgement, and applied the whole answer, has it.
        is_applied || lease_in(&words).is_some_and(|lease| lease > acknowledged_at)
    }

    /// What is pending in this table is over: the position is in it, or something else that is
    /// pending covers it. Does nothing if another table is used by now.
    pub fn end_pending(&self, what: &Covered<'_>, noted_in: u64) {
        let words = self.memory.words();
        if words.identity() != noted_in {
            return;
        }
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
        let known = known_in(&words);
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

fn known_in(words: &impl Words) -> Known {
    loop {
        let position = Position(words.head(POSITION).load(Ordering::Acquire));
        let generation = match position.epoch() {
            0 => 0,
            epoch => words.head(cell_of(epoch)).load(Ordering::Acquire),
        };
        // Unless so many generations came meanwhile that the word means another one.
        let again = Position(words.head(POSITION).load(Ordering::Acquire));
        if again.epoch() == position.epoch() {
            return Known { position, generation, table: words.identity() };
        }
    }
}

/// Tables begin with different epochs, so that an answer to what was asked for one that was taken
/// away meanwhile is not applied to the next.
fn next_epoch(words: &impl Words, now: Position) -> u64 {
    let first = words.identity() % MOST_FIRST_EPOCHS;
    if now.epoch() == 0 { first + 1 } else { now.epoch() + 1 }
}

const MOST_FIRST_EPOCHS: u64 = 1 << 16;

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

/// Notes that an entry of the log is to come, before the clock advances for what it is about.
pub(super) fn note_pending(words: &impl Words, what: &Covered<'_>) {
    for_each_pending(words, what, |word| {
        word.fetch_add(1, Ordering::AcqRel);
    });
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
        let told = table.revoke(&ONE);
        assert_eq!(told, table.identity());
        assert!(!table.admits(&[SLOT], 1, 10));
        table.note_own(1, 11, told);
        assert!(!table.has_applied(1, 11, 500));
        assert!(!table.admits(&[SLOT], 1, 10));
        // What was done already is not done again.
        let stamp = table.now();
        assert!(table.apply(known.position.at(11), &ONE));
        assert!(table.is_current(stamp, &[SLOT]));
        assert!(table.has_applied(1, 11, 500));
        table.end_pending(&ONE, told);
        assert!(!table.admits(&[SLOT], 1, 10));
        assert!(table.admits(&[SLOT], 1, 11));
    }
}
