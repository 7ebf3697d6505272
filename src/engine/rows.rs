//! The rows of a shard: where they lie, and whether one may be served.

use super::analytics::explain::SetAt;
use super::policy::{Resident, Residents, RowId};
use super::row::{Grounds, Row};
use super::stored_key::StoredKey;
use crate::invalidation::{InvalidationTable, Stamp};

/// The rows of a shard, in three lists of the same length. Freed places are `None`.
#[derive(Debug)]
pub(super) struct Rows<V, K> {
    pub(super) rows: Vec<Option<Row<V, K>>>,
    pub(super) grounds: Vec<Grounds>,
    pub(super) set_at: Vec<SetAt>,
}

impl<V, K> Rows<V, K> {
    pub(super) const fn new() -> Self {
        Self { rows: Vec::new(), grounds: Vec::new(), set_at: Vec::new() }
    }

    #[inline]
    pub(super) fn at(&self, id: RowId) -> Option<&Row<V, K>> {
        self.rows.get(id as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn at_mut(&mut self, id: RowId) -> Option<&mut Row<V, K>> {
        self.rows.get_mut(id as usize)?.as_mut()
    }

    #[inline]
    pub(super) fn with_grounds(&mut self, id: RowId) -> Option<(&mut Row<V, K>, &mut Grounds)> {
        let row = self.rows.get_mut(id as usize)?.as_mut()?;
        Some((row, self.grounds.get_mut(id as usize)?))
    }

    /// Puts a row into a place that is free, or at the end.
    pub(super) fn put(
        &mut self,
        free: Option<RowId>,
        row: Row<V, K>,
        grounds: Grounds,
        set_at: SetAt,
    ) -> RowId {
        if let Some(id) = free
            && let Some(place) = self.rows.get_mut(id as usize)
            && let Some(its_grounds) = self.grounds.get_mut(id as usize)
            && let Some(its_time) = self.set_at.get_mut(id as usize)
        {
            *its_time = set_at;
            *place = Some(row);
            *its_grounds = grounds;
            return id;
        }
        self.rows.push(Some(row));
        self.grounds.push(grounds);
        self.set_at.push(set_at);
        (self.rows.len() - 1) as RowId
    }

    pub(super) fn take(&mut self, id: RowId) -> Option<Row<V, K>> {
        let row = self.rows.get_mut(id as usize)?.take()?;
        if let Some(grounds) = self.grounds.get_mut(id as usize) {
            *grounds = Grounds::default();
        }
        Some(row)
    }

    /// What the index is sorted by.
    pub(super) fn hash_of(&self, id: RowId) -> u64 {
        self.at(id).map_or(0, |row| spread(row.hash))
    }
}

impl<V, K: StoredKey> Rows<V, K> {
    /// Whether a row may be served, given the clock of the table read before this call.
    pub(super) fn is_valid(&mut self, id: RowId, table: &InvalidationTable, clock: Stamp) -> bool {
        let Some((row, grounds)) = self.with_grounds(id) else { return false };
        let valid = row.checked_at == clock || grounds.hold(&row.key, row.checked_at, table);
        if valid {
            row.checked_at = clock;
        }
        valid
    }

    /// As [`Self::is_valid`], as of now and without leaving a trace.
    pub(super) fn is_current(&self, id: RowId, table: &InvalidationTable) -> bool {
        let (row, grounds) = (self.at(id), self.grounds.get(id as usize));
        row.zip(grounds)
            .is_some_and(|(row, grounds)| grounds.would_hold(&row.key, row.checked_at, table))
    }
}

impl<V, K> Residents for Rows<V, K> {
    #[inline]
    fn places(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    fn get(&self, id: RowId) -> Option<Resident> {
        let row = self.at(id)?;
        Some(Resident {
            usage: row.usage,
            priority: row.terms.priority(),
            weight: row.weight,
            deadline: row.terms.deadline(),
        })
    }
}

/// The index takes the lowest and the highest bits of a hash; a row keeps 32 bits for both.
#[inline]
pub(super) fn spread(hash: u32) -> u64 {
    u64::from(hash) | (u64::from(hash) << 32)
}
