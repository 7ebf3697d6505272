//! Least frequently used: the entry used least often since it was set goes first; among equals,
//! the one not used for longest.
//!
//! When not to use it: it keeps what was popular long ago.

use super::lazy_heap::Rank;
use super::{Resident, Usage};

/// The word of an entry is the number of its uses, and below it the number of the request that
/// last used it, which decides among equals.
#[derive(Debug)]
pub(in crate::engine) struct Lfu;

/// 2^40 requests last 12 days at a million a second; after that, only ties among equals are
/// affected.
const RECENCY_BITS: u32 = 40;
const MOST_USES: u64 = (1 << (u64::BITS - RECENCY_BITS)) - 1;
const RECENCY: u64 = (1 << RECENCY_BITS) - 1;

#[inline]
pub(super) fn on_use(usage: &mut Usage, now: u64) {
    let uses = ((usage.word() >> RECENCY_BITS) + 1).min(MOST_USES);
    *usage = Usage::from_word((uses << RECENCY_BITS) | (now & RECENCY));
}

/// A new value has not been used yet.
pub(super) fn on_overwrite(usage: &mut Usage, now: u64) {
    *usage = Usage::from_word(0);
    on_use(usage, now);
}

impl Rank for Lfu {
    fn rank(&self, entry: &Resident) -> u64 {
        let uses = (entry.usage.word() >> RECENCY_BITS) * u64::from(entry.priority.max(1));
        (uses.min(MOST_USES) << RECENCY_BITS) | (entry.usage.word() & RECENCY)
    }
}
