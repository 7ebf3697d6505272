//! One entry.

use super::clock::Millis;
use super::keys::Family;
use crate::invalidation::{InvalidationTable, Slot, Stamp};

/// One entry: what it holds, how long, on what it depends, and how it was used.
///
/// A hit writes `last_access` and `hits`, and `checked_at` after an invalidation somewhere.
#[derive(Debug)]
pub(super) struct Row<V> {
    pub(super) hash: u64,
    /// Never served from this time on.
    pub(super) deadline: Millis,
    /// Clock of the invalidation table before the value was loaded.
    pub(super) stamp: Stamp,
    /// Clock of the table when the row was last found valid; valid while it has not moved.
    pub(super) checked_at: Stamp,
    /// Number of the shard's request that last used this row.
    pub(super) last_access: u64,
    pub(super) key: Box<[u8]>,
    pub(super) slots: Box<[Slot]>,
    pub(super) value: V,
    /// Bytes this row counts for.
    pub(super) weight: u32,
    /// Times used since it was set; stops at the top.
    pub(super) hits: u32,
    /// Tells a policy's notes about this row from notes about an earlier one with its number.
    pub(super) version: u32,
    pub(super) priority: u8,
    pub(super) family: Family,
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
