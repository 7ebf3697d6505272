//! Least recently used: the entry not used for longest goes first.
//!
//! When not to use it: a scan over many keys that are used once empties it.

use super::lazy_heap::Rank;
use super::{Resident, Usage};

/// The word of an entry is the number of the request that last used it.
#[derive(Debug)]
pub(in crate::engine) struct Lru {
    /// What one level of priority is worth: this many requests of being left alone.
    requests_per_level: u64,
}

impl Lru {
    pub(super) fn new(max_entries: usize) -> Self {
        Self { requests_per_level: (max_entries as u64 / 4).max(1) }
    }
}

#[inline]
pub(super) fn on_use(usage: &mut Usage, now: u64) {
    *usage = Usage::from_word(now);
}

impl Rank for Lru {
    fn rank(&self, entry: &Resident) -> u64 {
        let levels = u64::from(entry.priority.saturating_sub(1));
        entry.usage.word() + levels * self.requests_per_level
    }
}
