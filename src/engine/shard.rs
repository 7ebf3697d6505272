//! One locked table. Takes no lock itself: whoever has `&mut Shard` holds it.
//!
//! Rows live in a list of places that are used again, so that a row keeps its number for life;
//! the index maps a hash to such a number. No value is dropped here: each one that leaves is
//! handed to the caller.

use super::clock::{Clock, Millis};
use super::keys::Family;
use super::policy::{Policy, PolicyKind, Pressure, RowId};
use super::row::Row;
use super::stats::Counters;
use super::store::Garbage;
use crate::invalidation::{InvalidationTable, Slot, Stamp};
use hashbrown::HashTable;

/// Rows looked at for outdated ones before a good one is evicted.
const OUTDATED_LOOKS: usize = 4;

#[derive(Debug)]
pub(super) struct Shard<V> {
    index: HashTable<RowId>,
    rows: Vec<Option<Row<V>>>,
    free: Vec<RowId>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    policy: Policy,
    requests: u64,
    versions: u32,
    /// Where the next search for outdated rows begins.
    hand: usize,
    pub(super) counters: Counters,
}

/// Why a row leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Expired,
    Invalidated,
    Evicted,
    Replaced,
}

/// A row to be set, checked and weighed.
pub(super) struct NewRow<'a, V> {
    pub(super) hash: u64,
    pub(super) key: &'a [u8],
    pub(super) slots: &'a [Slot],
    pub(super) value: V,
    pub(super) weight: u32,
    pub(super) deadline: Millis,
    pub(super) stamp: Stamp,
    pub(super) checked_at: Stamp,
    pub(super) priority: u8,
}

impl<V> Shard<V> {
    pub(super) fn new(kind: PolicyKind, max_entries: usize, max_bytes: usize) -> Self {
        Self {
            index: HashTable::new(),
            rows: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            max_entries,
            max_bytes,
            policy: Policy::new(kind, max_entries),
            requests: 0,
            versions: 0,
            hand: 0,
            counters: Counters::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// One past the highest row number in use.
    pub(super) fn places(&self) -> usize {
        self.rows.len()
    }

    /// The answer of a hit, or the value that was found outdated and has left, if any.
    #[inline]
    pub(super) fn lookup<R>(
        &mut self,
        hash: u64,
        key: &[u8],
        clock: &Clock,
        table: &InvalidationTable,
        read: impl FnOnce(&V) -> R,
    ) -> Result<R, Option<V>> {
        self.requests += 1;
        let Some(id) = self.find(hash, key) else {
            self.count_miss(key);
            return Err(None);
        };
        // Before the check: a row found valid at this reading stays so while it does not change.
        let checked_at = table.now();
        let Some(row) = self.rows.get_mut(id as usize).and_then(Option::as_mut) else {
            return Err(None);
        };
        let in_time = clock.now() < row.deadline;
        if in_time && row.is_valid(table, checked_at) {
            row.last_access = self.requests;
            row.hits = row.hits.saturating_add(1);
            self.counters.hits += 1;
            self.counters.family_hits[row.family as usize] += 1;
            return Ok(read(&row.value));
        }
        let why = if in_time { Leaving::Invalidated } else { Leaving::Expired };
        self.count_miss(key);
        Err(self.remove(id, why))
    }

    /// Looks without counting and without leaving a trace in the policy.
    pub(super) fn peek(
        &self,
        hash: u64,
        key: &[u8],
        now: Millis,
        table: &InvalidationTable,
    ) -> Option<&V> {
        let row = self.rows.get(self.find(hash, key)? as usize)?.as_ref()?;
        (now < row.deadline && table.is_current(row.stamp, &row.slots)).then_some(&row.value)
    }

    pub(super) fn set(
        &mut self,
        new: NewRow<'_, V>,
        now: Millis,
        table: &InvalidationTable,
    ) -> Garbage<V> {
        self.requests += 1;
        let mut garbage = Garbage::new();
        if let Some(id) = self.find(new.hash, new.key) {
            garbage.extend(self.remove(id, Leaving::Replaced));
        }
        self.make_room(new.weight as usize, now, table, &mut garbage);
        self.versions = self.versions.wrapping_add(1);
        let row = Row {
            hash: new.hash,
            deadline: new.deadline,
            stamp: new.stamp,
            checked_at: new.checked_at,
            last_access: self.requests,
            key: new.key.into(),
            slots: new.slots.into(),
            value: new.value,
            weight: new.weight,
            hits: 0,
            version: self.versions,
            priority: new.priority,
            family: Family::of(new.key),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.rows[id as usize] = Some(row);
                id
            }
            None => {
                self.rows.push(Some(row));
                (self.rows.len() - 1) as RowId
            }
        };
        let rows = &self.rows;
        self.index.insert_unique(new.hash, id, |&other| hash_of(rows, other));
        self.bytes += new.weight as usize;
        self.counters.sets += 1;
        self.policy.on_set(id, &self.rows);
        garbage
    }

    /// Removes one key, whatever its state. Tells whether it could still have been served.
    pub(super) fn delete(
        &mut self,
        hash: u64,
        key: &[u8],
        now: Millis,
        table: &InvalidationTable,
    ) -> (bool, Option<V>) {
        let live = self.peek(hash, key, now, table).is_some();
        let value = self.find(hash, key).and_then(|id| {
            let why = if live { Leaving::Invalidated } else { Leaving::Expired };
            self.remove(id, why)
        });
        (live, value)
    }

    /// Drops the row of a key without counting it as anything: its replacement was refused.
    pub(super) fn discard(&mut self, hash: u64, key: &[u8]) -> Option<V> {
        self.find(hash, key).and_then(|id| self.remove(id, Leaving::Replaced))
    }

    /// Removes the rows numbered `from..to` for which `why` gives a reason. Returns how many of
    /// them were neither expired before nor replaced.
    pub(super) fn remove_where(
        &mut self,
        from: usize,
        to: usize,
        mut why: impl FnMut(&mut Row<V>) -> Option<Leaving>,
        garbage: &mut Vec<V>,
    ) -> usize {
        let mut removed = 0;
        for id in from..to.min(self.rows.len()) {
            let reason = self.rows.get_mut(id).and_then(Option::as_mut).and_then(&mut why);
            if let Some(reason) = reason {
                removed += usize::from(reason == Leaving::Invalidated);
                garbage.extend(self.remove(id as RowId, reason));
            }
        }
        removed
    }

    /// The rows themselves, for listings.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row<V>> {
        self.rows.iter().flatten()
    }

    /// Empties the shard and gives its memory back.
    pub(super) fn clear(&mut self) -> Vec<Option<Row<V>>> {
        self.counters.invalidations += self.len() as u64;
        self.index = HashTable::new();
        self.free = Vec::new();
        self.bytes = 0;
        self.hand = 0;
        self.policy.clear();
        std::mem::take(&mut self.rows)
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<RowId> {
        let rows = &self.rows;
        let same = |&id: &RowId| {
            rows.get(id as usize).and_then(Option::as_ref).is_some_and(|row| *row.key == *key)
        };
        self.index.find(hash, same).copied()
    }

    fn make_room(
        &mut self,
        bytes: usize,
        now: Millis,
        table: &InvalidationTable,
        garbage: &mut Garbage<V>,
    ) {
        loop {
            let by_bytes = self.bytes + bytes > self.max_bytes;
            if !by_bytes && self.len() < self.max_entries {
                return;
            }
            if self.remove_an_outdated_row(now, table, garbage) {
                continue;
            }
            let pressure = Pressure { now: self.requests, by_bytes };
            let Some(victim) = self.policy.victim(&self.rows, pressure) else { return };
            garbage.extend(self.remove(victim, Leaving::Evicted));
        }
    }

    /// Looks at the next few rows; one that can never be served again goes before a good one.
    fn remove_an_outdated_row(
        &mut self,
        now: Millis,
        table: &InvalidationTable,
        garbage: &mut Garbage<V>,
    ) -> bool {
        let clock = table.now();
        for _ in 0..OUTDATED_LOOKS.min(self.rows.len()) {
            self.hand = (self.hand + 1) % self.rows.len();
            let Some(row) = self.rows[self.hand].as_mut() else { continue };
            let why = if now >= row.deadline {
                Leaving::Expired
            } else if row.is_valid(table, clock) {
                continue;
            } else {
                Leaving::Invalidated
            };
            garbage.extend(self.remove(self.hand as RowId, why));
            return true;
        }
        false
    }

    fn remove(&mut self, id: RowId, why: Leaving) -> Option<V> {
        let row = self.rows.get_mut(id as usize)?.take()?;
        if let Ok(entry) = self.index.find_entry(row.hash, |&other| other == id) {
            entry.remove();
        }
        self.free.push(id);
        self.bytes -= row.weight as usize;
        match why {
            Leaving::Expired => self.counters.expirations += 1,
            Leaving::Invalidated => self.counters.invalidations += 1,
            Leaving::Evicted => self.counters.evictions += 1,
            Leaving::Replaced => {}
        }
        Some(row.value)
    }

    fn count_miss(&mut self, key: &[u8]) {
        self.counters.misses += 1;
        self.counters.family_misses[Family::of(key) as usize] += 1;
    }

    /// Checks everything that must hold between the parts of a shard.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn validate(&self) {
        let live: Vec<_> = self.rows().collect();
        assert_eq!(live.len(), self.index.len(), "index and rows disagree");
        assert_eq!(live.len() + self.free.len(), self.rows.len(), "places went missing");
        let bytes: usize = live.iter().map(|row| row.weight as usize).sum();
        assert_eq!(bytes, self.bytes, "bytes are miscounted");
        assert!(live.len() <= self.max_entries, "too many entries");
        assert!(bytes <= self.max_bytes, "too many bytes");
        for row in live {
            let id = self.find(row.hash, &row.key);
            let found = id.and_then(|id| self.rows[id as usize].as_ref());
            assert_eq!(found.map(|found| &found.key), Some(&row.key), "a row cannot be found");
        }
    }
}

fn hash_of<V>(rows: &[Option<Row<V>>], id: RowId) -> u64 {
    rows.get(id as usize).and_then(Option::as_ref).map_or(0, |row| row.hash)
}
