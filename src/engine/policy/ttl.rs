//! Time to live: the entry that expires first goes first.
//!
//! When not to use it: where entries differ more in how often they are used than in how long
//! they live.

use super::Resident;
use super::lazy_heap::Rank;

/// The word of an entry is not used.
#[derive(Debug)]
pub(in crate::engine) struct Ttl;

/// What one level of priority is worth: one more minute of life.
const MILLIS_PER_LEVEL: u64 = 60_000;

impl Rank for Ttl {
    fn rank(&self, entry: &Resident) -> u64 {
        let levels = u64::from(entry.priority.saturating_sub(1));
        entry.deadline.saturating_add(levels * MILLIS_PER_LEVEL)
    }
}
