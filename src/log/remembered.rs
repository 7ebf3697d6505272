//! What a process remembers of an outbox, so that it notices when old rows are put back.
//!
//! A restore that writes into the tables that are there brings an older counter back, and with it
//! the generation: numbers are given out a second time, to other entries. Whoever has read up to
//! number 10 of the former entries would take the new number 10 for the one it knows. So each
//! reader remembers its *mark*, the newest entry that it saw: its number, and a fingerprint of what
//! it said and when it was written. Every read shows, as of the same moment, what now bears that
//! number. If that is not what it was, the log was rewritten, and whoever finds out gives it a new
//! generation: all hosts then disbelieve everything they know, values that others have stored in
//! the former life included.
//!
//! An entry is removed for its age only after the one that follows it has been there for as long
//! ([`super::sql::RETENTION`]). So a mark that is missing though its successor is kept was not
//! removed for its age, or nobody here has read for so long.
//!
//! A generation that has given way to another does not come back by itself either; that is what a
//! second restore of the same copy would do.

use super::{Generation, Sequence};
use crate::fork_gate;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Former generations that are remembered.
const MOST_FORMER: usize = 16;

/// An entry as it was when it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) sequence: Sequence,
    /// Of its body, and of the time at which it was written.
    pub(super) fingerprint: String,
}

/// What one read shows, as of one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) generation: &'a str,
    /// The oldest entry that is kept; `last + 1` where none is.
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    /// Fingerprint of what bears the number of the mark, see [`Memory::number`].
    pub(super) at_mark: Option<&'a str>,
}

/// What was seen of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// Empty: nothing was seen yet.
    generation: Generation,
    mark: Option<Mark>,
    former: Vec<Generation>,
}

impl Memory {
    /// Number of the entry to be compared; 0, which none has, where there is nothing to compare.
    pub(super) fn number(&self) -> Sequence {
        self.mark.as_ref().map_or(0, |mark| mark.sequence)
    }

    /// Whether what is shown cannot have come from what was seen.
    pub(super) fn contradicts(&self, shown: &Shown<'_>) -> bool {
        if shown.generation != self.generation {
            return self.former.iter().any(|former| former == shown.generation);
        }
        let Some(mark) = &self.mark else { return false };
        match shown.at_mark {
            _ if shown.last < mark.sequence => true,
            Some(fingerprint) => fingerprint != mark.fingerprint,
            // Beyond that it is a gap, which the reader sees, or another reader of this host knew.
            None => shown.first <= mark.sequence.saturating_add(1),
        }
    }

    fn note(&mut self, generation: &str, newest: Option<Mark>) {
        if generation != self.generation {
            let before = std::mem::replace(&mut self.generation, generation.to_owned());
            self.former.retain(|former| former != generation && *former != before);
            if !before.is_empty() {
                self.former.push(before);
            }
            let too_many = self.former.len().saturating_sub(MOST_FORMER);
            self.former.drain(..too_many);
        }
        self.mark = newest;
    }
}

/// What a process remembers of one log, for all its connections: what reads notes it, what
/// appends compares.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembered(Arc<Mutex<Memory>>);

impl Remembered {
    /// As of now. Not to be asked for inside the gate of forks.
    pub(super) fn now(&self) -> Memory {
        let _pass = fork_gate::pass();
        self.lock().clone()
    }

    /// Notes what was seen, which contradicted nothing. Not to be called inside the gate of forks.
    pub(super) fn note(&self, generation: &str, newest: Option<Mark>) {
        let _pass = fork_gate::pass();
        self.lock().note(generation, newest);
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Whoever panicked left it as it was before or after a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entry 10 of generation "a" was the newest.
    fn memory() -> Memory {
        let mut memory = Memory::default();
        memory.note("a", Some(Mark { sequence: 10, fingerprint: "ten".into() }));
        memory
    }

    fn shown(first: Sequence, last: Sequence, at_mark: Option<&str>) -> Shown<'_> {
        Shown { generation: "a", first, last, at_mark }
    }

    #[test]
    fn a_log_that_goes_on_is_no_contradiction() {
        for (first, last, at_mark) in [(1, 10, Some("ten")), (10, 30, Some("ten")), (12, 30, None)]
        {
            assert!(!memory().contradicts(&shown(first, last, at_mark)), "{first} {last}");
        }
        assert!(!Memory::default().contradicts(&shown(1, 3, None)));
    }

    #[test]
    fn a_log_whose_numbers_were_given_out_again_is_one() {
        for (first, last, at_mark) in [
            (1, 9, None),
            (1, 10, Some("another")),
            (1, 30, Some("another")),
            (1, 30, None),
            (11, 10, None),
            (11, 30, None),
            (10, 9, None),
        ] {
            assert!(memory().contradicts(&shown(first, last, at_mark)), "{first} {last}");
        }
    }

    #[test]
    fn a_generation_does_not_come_back() {
        let mut memory = memory();
        let of = |generation| Shown { generation, ..shown(1, 4, None) };
        assert!(!memory.contradicts(&of("b")));
        memory.note("b", None);
        assert!(memory.contradicts(&of("a")));
        assert!(!memory.contradicts(&of("b")));
        (0..MOST_FORMER + 3).for_each(|life| memory.note(&life.to_string(), None));
        assert_eq!(memory.former.len(), MOST_FORMER);
    }
}
