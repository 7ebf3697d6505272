//! One entry.

use super::clock::Millis;
use super::keys::Family;
use crate::invalidation::{InvalidationTable, Slot, Stamp};

/// One entry: what it holds, how long, on what it depends, and how it was used.
///
/// The first 64 bytes are all that a hit reads and writes, and lie in one cache line: a hit on
/// a table larger than the first-level cache costs about as much as the lines it touches.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Row<V> {
    pub(super) key: Box<[u8]>,
    pub(super) value: V,
    /// Never served from this time on.
    pub(super) deadline: Millis,
    /// Clock of the table when the row was last found valid; valid while it has not moved.
    pub(super) checked_at: Stamp,
    /// Number of the shard's request that last used this row.
    pub(super) last_access: u64,
    /// Times used since it was set; stops at the top.
    pub(super) hits: u32,
    pub(super) family: Family,
    pub(super) priority: u8,

    pub(super) hash: u64,
    /// Clock of the invalidation table before the value was loaded.
    pub(super) stamp: Stamp,
    pub(super) slots: Box<[Slot]>,
    /// Bytes this row counts for.
    pub(super) weight: u32,
    /// Tells a policy's notes about this row from notes about an earlier one with its number.
    pub(super) version: u32,
}

impl<V> Row<V> {
    /// Bytes of a row beyond its key, its slots and its value: the row itself, its number in the
    /// index, and what the allocator rounds up for the two boxes.
    pub(super) const OVERHEAD: usize = size_of::<Self>() + 5 + 16;

    /// Whether the row may be served, given the clock of the table read before this call.
    #[inline]
    pub(super) fn is_valid(&mut self, table: &InvalidationTable, clock: Stamp) -> bool {
        if self.checked_at == clock {
            return true;
        }
        let valid = table.is_current(self.stamp, &self.slots);
        if valid {
            self.checked_at = clock;
        }
        valid
    }
}

/// Bytes an entry counts for.
#[must_use]
pub(super) fn weigh<V>(key: &[u8], slots: &[Slot], value_bytes: usize) -> usize {
    Row::<V>::OVERHEAD
        .saturating_add(key.len())
        .saturating_add(size_of_val(slots))
        .saturating_add(value_bytes)
}
