//! One entry.

use super::clock::Millis;
use super::keys::{self, Family};
use super::policy::Usage;
use super::stored_key::StoredKey;
use crate::invalidation::slots::SlotList;
use crate::invalidation::{InvalidationTable, Slot, Stamp};
use smallvec::SmallVec;

/// As many slots as entries of the documented kinds have.
const SLOTS_IN_ROW: usize = 10;

type RowSlots = SmallVec<[Slot; SLOTS_IN_ROW]>;

/// One entry: what it holds, how long, on what it depends, and how it was used.
///
/// The first 64 bytes are all that a hit reads and writes, and lie in one cache line: a hit on
/// a table larger than the first-level cache costs about as much as the lines it touches.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Row<V, K> {
    pub(super) key: K,
    pub(super) value: V,
    /// Never served from this time on.
    pub(super) deadline: Millis,
    /// Clock of the table when the row was last found valid; valid while it has not moved.
    pub(super) checked_at: Stamp,
    /// What the policy notes about the uses of the row.
    pub(super) usage: Usage,
    /// Hash of the key.
    pub(super) hash: u32,
    pub(super) family: Family,
    pub(super) priority: u8,
    /// Whether the slots of the key itself are in `slots`. They are added when they are first
    /// asked for: most entries live and die without an invalidation.
    has_key_slots: bool,

    /// Clock of the invalidation table before the value was loaded.
    pub(super) stamp: Stamp,
    /// Bytes this row counts for.
    pub(super) weight: u32,
    /// Tells a policy's notes about this row from notes about an earlier one with its number.
    pub(super) version: u32,
    slots: RowSlots,
}

/// A row to be set, checked and weighed.
pub(super) struct NewRow<'a, V> {
    pub(super) key: &'a [u8],
    /// Slots of the tags, and those of the key if `has_key_slots`.
    pub(super) slots: &'a [Slot],
    pub(super) has_key_slots: bool,
    pub(super) value: V,
    pub(super) weight: u32,
    pub(super) deadline: Millis,
    pub(super) stamp: Stamp,
    pub(super) checked_at: Stamp,
    pub(super) priority: u8,
}

impl<V, K: StoredKey> Row<V, K> {
    pub(super) fn new(key: K, new: NewRow<'_, V>, hash: u32, usage: Usage, version: u32) -> Self {
        Self {
            key,
            value: new.value,
            deadline: new.deadline,
            checked_at: new.checked_at,
            usage,
            hash,
            family: Family::of(new.key),
            priority: new.priority,
            has_key_slots: new.has_key_slots,
            stamp: new.stamp,
            weight: new.weight,
            version,
            slots: RowSlots::from_slice(new.slots),
        }
    }

    /// Puts another value under the same key. Returns the one before.
    #[inline]
    pub(super) fn replace(&mut self, new: NewRow<'_, V>, version: u32) -> V {
        self.deadline = new.deadline;
        self.checked_at = new.checked_at;
        self.priority = new.priority;
        self.has_key_slots = new.has_key_slots;
        self.stamp = new.stamp;
        self.weight = new.weight;
        self.version = version;
        self.slots.clear();
        if !new.slots.is_empty() {
            self.slots.extend_from_slice(new.slots);
        }
        std::mem::replace(&mut self.value, new.value)
    }

    /// Whether the row may be served, given the clock of the table read before this call.
    #[inline]
    pub(super) fn is_valid(&mut self, table: &InvalidationTable, clock: Stamp) -> bool {
        self.checked_at == clock || self.is_still_valid(table, clock)
    }

    #[cold]
    fn is_still_valid(&mut self, table: &InvalidationTable, clock: Stamp) -> bool {
        let valid = table.is_current(self.stamp, self.slots());
        if valid {
            self.checked_at = clock;
        }
        valid
    }

    /// Everything the row depends on.
    pub(super) fn slots(&mut self) -> &[Slot] {
        if !self.has_key_slots {
            let mut all = SlotList::from_slice(&self.slots);
            keys::push_slots_of_key(self.key.bytes(), &mut all);
            self.slots = RowSlots::from_slice(&all);
            self.has_key_slots = true;
        }
        &self.slots
    }

    /// As [`Self::is_valid`], without leaving a trace.
    pub(super) fn is_current(&self, table: &InvalidationTable) -> bool {
        if self.has_key_slots {
            return table.is_current(self.stamp, &self.slots);
        }
        let mut all = SlotList::from_slice(&self.slots);
        keys::push_slots_of_key(self.key.bytes(), &mut all);
        table.is_current(self.stamp, &all)
    }
}

/// Bytes an entry counts for: the row, its key and value, its number in the index, what the
/// allocator rounds up for the key, and slots that find no room in the row.
#[must_use]
pub(super) fn weigh<V, K>(key: &[u8], tag_slots: &[Slot], value_bytes: usize) -> usize {
    const MOST_KEY_SLOTS: usize = 6;
    let slots = tag_slots.len() + MOST_KEY_SLOTS;
    let outside = if slots > SLOTS_IN_ROW { size_of::<Slot>() * slots } else { 0 };
    (size_of::<Row<V, K>>() + 5 + 16 + outside)
        .saturating_add(key.len())
        .saturating_add(value_bytes)
}
