//! What a shard knows of one key, for operators. Leaves no trace in statistics or policy.

use super::analytics::explain::Held;
use super::analytics::miss::MissReason;
use super::clock::Millis;
use super::keys;
use super::policy::RowId;
use super::row::Row;
use super::shard::Shard;
use super::stored_key::StoredKey;
use crate::invalidation::InvalidationTable;
use crate::invalidation::slots::SlotList;

impl<V, K: StoredKey> Shard<V, K> {
    /// What is known of the row in a place.
    pub(super) fn held(&self, id: RowId, now: Millis, table: &InvalidationTable) -> Option<Held> {
        let (row, grounds) = (self.rows.at(id)?, self.rows.grounds.get(id as usize)?);
        let mut key_slots = SlotList::new();
        let tags = {
            let own = grounds.all_slots(&row.key);
            keys::push_slots_of_key_alone(row.key.bytes(), &mut key_slots);
            own.iter().filter(|slot| !key_slots.contains(slot)).count()
        };
        let deadline = row.terms.deadline();
        let needs_lease = row.terms.needs_lease();
        let why_not = if now >= deadline {
            Some(MissReason::Expired)
        } else if !self.rows.is_current(id, table) {
            Some(MissReason::Invalidated)
        } else if needs_lease && self.lacks_lease(now, table) {
            Some(MissReason::Lease)
        } else {
            None
        };
        let age = self.rows.set_at.get(id as usize)?.age(now);
        Some(Held {
            age,
            left: deadline.saturating_sub(now),
            tags,
            bytes: row.weight,
            permissive: needs_lease,
            priority: row.terms.priority(),
            why_not,
        })
    }

    /// Why the key with this hash left last.
    pub(super) fn last_departure(&self, hash: u32) -> MissReason {
        self.departures.last(hash)
    }

    /// The row in a place, if its key begins with a prefix and it can be served.
    pub(super) fn live_at(
        &self,
        place: usize,
        prefix: &[u8],
        now: Millis,
        table: &InvalidationTable,
    ) -> Option<&Row<V, K>> {
        let row = self.rows.rows.get(place)?.as_ref()?;
        let is_live = row.key.bytes().starts_with(prefix)
            && now < row.terms.deadline()
            && self.rows.is_current(place as RowId, table);
        is_live.then_some(row)
    }
}
