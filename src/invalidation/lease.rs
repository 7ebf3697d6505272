//! Up to when a host knows of everything, and time that its clock leaves out.
//!
//! The **lease** is the time up to which this host knows of everything in the log: that at which a
//! question was *sent* whose answer was then applied to its end.
//!
//! The clock by which lookups tell the time stands still while the machine is suspended; one that
//! does not is too dear to be read at every lookup. So leases are told by the clock of lookups
//! *plus* the time for which the machine was suspended, and that sum is a word of the table. A
//! question from before a suspension, whose answer is found in the socket afterwards, thus renews
//! nothing. Threads that wake up often keep the word up to date: the follower, before each
//! question, and the thread that watches the file, which wakes up together with the machine.
//! Until the first of them has run, a lookup takes it that no time has passed.
//!
//! Lives of entries cannot be told that way: their ends are fixed. Who finds that the machine was
//! suspended has nothing believed from before.

use super::bus::Position;
use super::memory::Words;
use super::table::{Covered, InvalidationTable};
use super::words::{LEASE, POSITION, SUSPENDED};
use crate::sync::Ordering;

/// Two readings of how long the machine was suspended differ by less without it.
const SHORTEST_SUSPENSION: u64 = 2;

impl InvalidationTable {
    /// A time by the clock of leases: that of lookups, and for how long the machine had been
    /// suspended by then, which is to be read first.
    #[must_use]
    pub fn lease_time(&self, now_millis: u64, suspended_millis: u64) -> u64 {
        let before = self.memory.words().suspended_before();
        now_millis.saturating_add(suspended_millis.saturating_sub(before))
    }

    /// Tells the table for how long the machine has been suspended in all. If that is longer than
    /// the table knew, nothing from before is believed, and a lease is as old as it is. Returns
    /// whether it was.
    pub fn note_suspension(&self, suspended_millis: u64) -> bool {
        let words = self.memory.words();
        let suspended = suspended_millis.saturating_sub(words.suspended_before());
        let known = words.head(SUSPENDED).load(Ordering::Acquire);
        if suspended < known.saturating_add(SHORTEST_SUSPENSION) {
            return false;
        }
        // First: who dies in between leaves it to be done by the next.
        self.invalidate(&Covered { all: true, ..Covered::default() });
        words.head(SUSPENDED).fetch_max(suspended, Ordering::AcqRel);
        true
    }

    /// Notes that this host knows of everything that was acknowledged up to `sent_at`, having
    /// applied everything up to `upto`: the time at which the question was sent, by the clock of
    /// leases. Does nothing if the log began anew since.
    pub fn renew_lease(&self, upto: Position, sent_at: u64) {
        let words = self.memory.words();
        let position = Position(words.head(POSITION).load(Ordering::Acquire));
        if position.epoch() == upto.epoch() && position >= upto {
            words.head(LEASE).fetch_max(lease_word(upto, sent_at), Ordering::AcqRel);
        }
    }

    /// The time up to which this host knows of everything, by the clock of leases; `None`: it never
    /// did.
    #[must_use]
    pub fn lease(&self) -> Option<u64> {
        lease_in(&self.memory.words())
    }

    /// Whether this host knows of everything up to so many milliseconds ago. The time is that of
    /// lookups.
    #[inline]
    #[must_use]
    pub fn holds_lease(&self, now_millis: u64, max_staleness_millis: u64) -> bool {
        let words = self.memory.words();
        let lease = words.head(LEASE).load(Ordering::Acquire) >> EPOCH_IN_LEASE_BITS;
        // Relaxed: whoever sees an older word serves as if it had come a moment before that.
        let now = now_millis.saturating_add(words.head(SUSPENDED).load(Ordering::Relaxed));
        lease != 0 && now < lease.saturating_add(max_staleness_millis)
    }
}

/// The word of a lease: above, the time plus one; below, what fits of the epoch in which it was
/// got.
const EPOCH_IN_LEASE_BITS: u32 = 16;
pub(super) const EPOCH_IN_LEASE: u64 = (1 << EPOCH_IN_LEASE_BITS) - 1;

fn lease_word(upto: Position, sent_at: u64) -> u64 {
    let time = sent_at.saturating_add(1).min(u64::MAX >> EPOCH_IN_LEASE_BITS);
    time << EPOCH_IN_LEASE_BITS | upto.epoch() & EPOCH_IN_LEASE
}

pub(super) fn lease_in(words: &impl Words) -> Option<u64> {
    let word = words.head(LEASE).load(Ordering::Acquire);
    (word >> EPOCH_IN_LEASE_BITS).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that has applied everything up to entry 10 of a generation, and heard so at 100.
    fn adopted() -> (InvalidationTable, Position) {
        let table = InvalidationTable::private(true);
        assert!(table.adopt(table.known().position, 1, 10));
        let position = table.known().position;
        table.renew_lease(position, 100);
        (table, position)
    }

    #[test]
    fn a_lease_is_the_newest_question_whose_answer_was_applied() {
        let (table, position) = adopted();
        table.renew_lease(position, 500);
        table.renew_lease(position, 400);
        assert_eq!(table.lease(), Some(500));
        assert!(table.holds_lease(1_500, 1_000));
        assert!(!table.holds_lease(1_501, 1_000));
        table.renew_lease(position.at(11), 900);
        assert_eq!(table.lease(), Some(500), "its answer was not applied to the end");
    }

    #[test]
    fn a_lease_does_not_outlive_a_suspension() {
        let (table, position) = adopted();
        let before = crate::suspension::so_far();
        assert!(table.holds_lease(200, 1_000));
        assert!(table.note_suspension(before + 3_600_000));
        assert!(!table.holds_lease(200, 1_000));
        // Whoever asked before it, and reads the answer now, has learned nothing of the time since.
        table.renew_lease(position, table.lease_time(199, before));
        assert!(!table.holds_lease(200, 1_000));
        table.renew_lease(position, table.lease_time(199, before + 3_600_000));
        assert!(table.holds_lease(200, 1_000));
        assert!(!table.holds_lease(1_200, 1_000));
    }

    #[test]
    fn nothing_from_before_a_suspension_is_believed_and_the_same_one_is_noted_once() {
        let (table, _) = adopted();
        let before = crate::suspension::so_far();
        let stamp = table.now();
        assert!(!table.note_suspension(before), "that was before the table was made");
        assert!(!table.note_suspension(before + 1), "readings differ by that much");
        assert!(table.is_current(stamp, &[]));
        assert!(table.note_suspension(before + 10_000));
        assert!(!table.is_current(stamp, &[]));
        let stamp = table.now();
        assert!(!table.note_suspension(before + 10_001));
        assert!(table.is_current(stamp, &[]));
        assert!(table.note_suspension(before + 20_000));
        assert!(!table.is_current(stamp, &[]));
    }
}
