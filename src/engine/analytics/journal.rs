//! What was invalidated here lately, by whom and why.
//!
//! Memory: 500 invalidations with the first five names of each, 256 bytes of every text: 1 MiB at
//! the very most, some tens of KiB as a rule.

use super::top::kept;
use crate::engine::clock::Millis;
// Not one of a model checker's: no decision depends on what it guards.
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Invalidations that are kept.
pub const MOST_RECORDS: usize = 500;

/// Names that are kept of each.
pub const MOST_NAMES_EACH: usize = 5;

/// What a name is that was invalidated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A tag.
    Tag,
    /// A user's id.
    User,
    /// A generation's id.
    Generation,
    /// A whole key.
    Key,
    /// A wildcard over keys.
    Pattern,
    /// Everything.
    Everything,
}

impl NameKind {
    /// What callers know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::User => "user",
            Self::Generation => "generation",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::Everything => "everything",
        }
    }
}

/// One invalidation.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The first of its names.
    pub names: Vec<(NameKind, Box<[u8]>)>,
    /// How many there were.
    pub named: usize,
    /// Who asked for it.
    pub actor: Option<Box<[u8]>>,
    /// Why.
    pub reason: Option<Box<[u8]>>,
    /// When, on the clock of the store.
    pub at: Millis,
    /// Live entries that left before it returned.
    pub dropped: usize,
    /// Whether there may be more of them that left later.
    pub unfinished: bool,
}

impl Record {
    /// Takes note of a name.
    pub fn add(&mut self, kind: NameKind, name: &[u8]) {
        self.named += 1;
        if self.names.len() < MOST_NAMES_EACH {
            self.names.push((kind, kept(name)));
        }
    }

    /// Says who asked for it, and why.
    #[must_use]
    pub fn told_by(mut self, actor: Option<&[u8]>, reason: Option<&[u8]>) -> Self {
        (self.actor, self.reason) = (actor.map(kept), reason.map(kept));
        self
    }
}

/// The last invalidations.
#[derive(Debug, Default)]
pub struct Journal {
    records: Mutex<VecDeque<Record>>,
}

impl Journal {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { records: Mutex::new(VecDeque::new()) }
    }

    /// Takes note of an invalidation.
    pub fn note(&self, record: Record) {
        let mut records = self.records.lock();
        let oldest = if records.len() < MOST_RECORDS { None } else { records.pop_front() };
        records.push_back(record);
        drop(records);
        drop(oldest);
    }

    /// Up to `limit` invalidations, newest first.
    #[must_use]
    pub fn last(&self, limit: usize) -> Vec<Record> {
        self.records.lock().iter().rev().take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_the_first_names_of_each() {
        let journal = Journal::new();
        for at in 0..700 {
            let mut record = Record { at, ..Record::default() };
            (0..at).for_each(|_| record.add(NameKind::Tag, &[b'x'; 1_000]));
            journal.note(record);
        }
        let all = journal.last(usize::MAX);
        assert_eq!(all.len(), MOST_RECORDS);
        assert_eq!(all.iter().map(|record| record.at).min(), Some(200));
        assert_eq!((all[0].at, all[0].named, all[0].names.len()), (699, 699, MOST_NAMES_EACH));
        assert_eq!(all[0].names[0], (NameKind::Tag, [b'x'; 256].into()));
        assert_eq!(journal.last(3).len(), 3);
    }
}
