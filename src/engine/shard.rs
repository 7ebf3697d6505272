//! One locked table. Takes no lock itself: whoever has `&mut Shard` holds it.
//!
//! Rows live in a list of places that are used again, so that a row keeps its number for life;
//! the index maps a hash to such a number. No value is dropped here: each one that leaves is
//! handed to the caller.

use super::analytics::departures::Departures;
use super::analytics::explain::{Held, SetAt};
use super::analytics::miss::MissReason;
use super::analytics::samples::Sampling;
use super::basis::Basis;
use super::clock::{Clock, Millis};
use super::config::Lease;
use super::keys::{self, Family};
use super::policy::{Policy, PolicyKind, Pressure, Resident, Residents, RowId};
use super::row::{Grounds, NewRow, Row};
use super::stats::Counters;
use super::store::Garbage;
use super::stored_key::StoredKey;
use crate::invalidation::slots::SlotList;
use crate::invalidation::{InvalidationTable, Stamp};
use hashbrown::HashTable;

/// Rows looked at for outdated ones before a good one is evicted.
const OUTDATED_LOOKS: usize = 4;

#[derive(Debug)]
pub(super) struct Shard<V, K> {
    index: HashTable<RowId>,
    rows: Rows<V, K>,
    free: Vec<RowId>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    policy: Policy,
    requests: u64,
    sampling: Sampling,
    /// Where the next search for outdated rows begins.
    hand: usize,
    lease: Option<Lease>,
    departures: Departures,
    pub(super) counters: Counters,
}

/// The rows of a shard, in three lists of the same length. Freed places are `None`.
#[derive(Debug)]
struct Rows<V, K> {
    rows: Vec<Option<Row<V, K>>>,
    grounds: Vec<Grounds>,
    set_at: Vec<SetAt>,
}

impl<V, K> Rows<V, K> {
    const fn new() -> Self {
        Self { rows: Vec::new(), grounds: Vec::new(), set_at: Vec::new() }
    }

    #[inline]
    fn at(&self, id: RowId) -> Option<&Row<V, K>> {
        self.rows.get(id as usize)?.as_ref()
    }

    #[inline]
    fn at_mut(&mut self, id: RowId) -> Option<&mut Row<V, K>> {
        self.rows.get_mut(id as usize)?.as_mut()
    }

    #[inline]
    fn with_grounds(&mut self, id: RowId) -> Option<(&mut Row<V, K>, &mut Grounds)> {
        let row = self.rows.get_mut(id as usize)?.as_mut()?;
        Some((row, self.grounds.get_mut(id as usize)?))
    }

    /// Puts a row into a place that is free, or at the end.
    fn put(
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

    fn take(&mut self, id: RowId) -> Option<Row<V, K>> {
        let row = self.rows.get_mut(id as usize)?.take()?;
        if let Some(grounds) = self.grounds.get_mut(id as usize) {
            *grounds = Grounds::default();
        }
        Some(row)
    }

    /// What the index is sorted by.
    fn hash_of(&self, id: RowId) -> u64 {
        self.at(id).map_or(0, |row| spread(row.hash))
    }
}

impl<V, K: StoredKey> Rows<V, K> {
    /// Whether a row may be served, given the clock of the table read before this call.
    fn is_valid(&mut self, id: RowId, table: &InvalidationTable, clock: Stamp) -> bool {
        let Some((row, grounds)) = self.with_grounds(id) else { return false };
        let valid = row.checked_at == clock || grounds.hold(&row.key, row.checked_at, table);
        if valid {
            row.checked_at = clock;
        }
        valid
    }

    /// As [`Self::is_valid`], as of now and without leaving a trace.
    fn is_current(&self, id: RowId, table: &InvalidationTable) -> bool {
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
fn spread(hash: u32) -> u64 {
    u64::from(hash) | (u64::from(hash) << 32)
}

/// Whether a permissive entry may be served, as far as news from the log are concerned.
#[inline]
fn has_lease(
    lease: Option<Lease>,
    counters: &mut Counters,
    now: Millis,
    table: &InvalidationTable,
) -> bool {
    let Some(lease) = lease else { return true };
    if table.holds_lease(now, lease.max_staleness) {
        return true;
    }
    counters.stale_served += u64::from(lease.serve_stale);
    lease.serve_stale
}

/// Why a row leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Expired,
    Invalidated,
    Evicted,
    Replaced,
}

impl<V, K: StoredKey> Shard<V, K> {
    pub(super) fn new(
        kind: PolicyKind,
        max_entries: usize,
        max_bytes: usize,
        lease: Option<Lease>,
    ) -> Self {
        Self {
            index: HashTable::new(),
            rows: Rows::new(),
            free: Vec::new(),
            bytes: 0,
            max_entries,
            max_bytes,
            policy: Policy::new(kind, max_entries),
            requests: 0,
            sampling: Sampling::new(),
            hand: 0,
            lease,
            departures: Departures::of_capacity(max_entries),
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

    /// Whether the lookup about to begin is one of those that are sampled.
    #[inline(always)]
    pub(super) fn is_sample_due(&self) -> bool {
        self.sampling.is_due(self.requests)
    }

    /// A lookup was due. Returns how many it stands for; `None`: it is not sampled after all.
    pub(super) fn take_sample(&mut self) -> Option<u64> {
        self.sampling.take(self.requests, self.counters.sets)
    }

    /// The slots of the tags that the row in a place was given, and perhaps of some its key implies.
    pub(super) fn tags(&self, id: RowId) -> SlotList {
        let both = self.rows.at(id).zip(self.rows.grounds.get(id as usize));
        both.map_or_else(SlotList::new, |(row, grounds)| grounds.tags(row.key.bytes()))
    }

    /// The key of the row in a place.
    pub(super) fn key_at(&self, id: RowId) -> Option<&K> {
        self.rows.at(id).map(|row| &row.key)
    }

    /// One past the highest row number in use.
    pub(super) fn places(&self) -> usize {
        self.rows.places()
    }

    /// The answer of a hit, or the row that was found outdated and has left, if any.
    #[inline]
    pub(super) fn lookup<R>(
        &mut self,
        hash: u32,
        key: &[u8],
        clock: &Clock,
        table: &InvalidationTable,
        read: impl FnOnce(RowId, &K, &V) -> R,
    ) -> Result<R, Option<(K, V)>> {
        let Some(id) = self.find(hash, key) else {
            self.count_miss(key, self.departures.last(hash));
            return Err(None);
        };
        if let Some(answer) =
            self.serve(id, clock, table, |_, _| true, |key, value| read(id, key, value))
        {
            return Ok(answer);
        }
        let (now, clock) = (clock.now(), table.now());
        let expired = self.rows.at(id).is_some_and(|row| now >= row.terms.deadline());
        if !expired && self.rows.is_valid(id, table, clock) {
            // News from the log are missing, and it may be served once they are there; or a wildcard
            // was just being written down.
            let needs_lease = self.rows.at(id).is_some_and(|row| row.terms.needs_lease());
            self.counters.fail_closed += u64::from(needs_lease);
            let why = if needs_lease { MissReason::Lease } else { MissReason::Invalidated };
            self.count_miss(key, why);
            return Err(None);
        }
        let (why, counted) = if expired {
            (Leaving::Expired, MissReason::Expired)
        } else {
            (Leaving::Invalidated, MissReason::Invalidated)
        };
        self.count_miss(key, counted);
        Err(self.remove(id, why))
    }

    /// The answer of a hit on the row in a place, if there is one with the key that `is_it` looks
    /// for and it can be served. `None` leaves no trace.
    #[inline(always)]
    pub(super) fn serve<R>(
        &mut self,
        id: RowId,
        clock: &Clock,
        table: &InvalidationTable,
        is_it: impl FnOnce(&K, &V) -> bool,
        read: impl FnOnce(&K, &V) -> R,
    ) -> Option<R> {
        let row = self.rows.at_mut(id)?;
        if !is_it(&row.key, &row.value) {
            return None;
        }
        // Time, lease, clock, in this order: a lease that is young at this time says that everything
        // older was applied before, and then the clock read after it has moved for it.
        let now = clock.now();
        if now >= row.terms.deadline() {
            return None;
        }
        if row.terms.needs_lease() && !has_lease(self.lease, &mut self.counters, now, table) {
            return None;
        }
        // Before the check: a row found valid at this reading stays so while it does not change.
        let checked_at = table.now();
        let row = if row.checked_at == checked_at {
            row
        } else if self.rows.is_valid(id, table, checked_at) {
            self.rows.at_mut(id)?
        } else {
            return None;
        };
        self.requests += 1;
        self.policy.on_hit(&mut row.usage, self.requests);
        if let Some(count) = self.counters.family_hits.get_mut(row.terms.family()) {
            *count += 1;
        }
        Some(read(&row.key, &row.value))
    }

    /// Has the row in a place, which was stored with all its slots, rest on a basis as well.
    pub(super) fn inherit(&mut self, id: RowId, basis: &Basis) {
        if let Some((_, grounds)) = self.rows.with_grounds(id) {
            grounds.inherit(basis);
        }
    }

    /// What a result inherits that is made of the row in a place.
    pub(super) fn basis(&self, id: RowId) -> Option<Basis> {
        let (row, grounds) = (self.rows.at(id)?, self.rows.grounds.get(id as usize)?);
        Some(grounds.basis(&row.key, row.checked_at, row.terms))
    }

    /// Whether there is a row under this key, whatever its state.
    pub(super) fn holds(&self, hash: u32, key: &[u8]) -> bool {
        self.find(hash, key).is_some()
    }

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

    /// The key of the row in a place, if it begins with a prefix and the row can be served.
    pub(super) fn live_key_at(
        &self,
        place: usize,
        prefix: &[u8],
        now: Millis,
        table: &InvalidationTable,
    ) -> Option<Box<[u8]>> {
        let row = self.rows.rows.get(place)?.as_ref()?;
        let is_live = row.key.bytes().starts_with(prefix)
            && now < row.terms.deadline()
            && self.rows.is_current(place as RowId, table);
        is_live.then(|| row.key.bytes().into())
    }

    /// Whether what needs a lease would not be served for want of one.
    fn lacks_lease(&self, now: Millis, table: &InvalidationTable) -> bool {
        let lease = self.lease.filter(|lease| !lease.serve_stale);
        lease.is_some_and(|lease| !table.holds_lease(now, lease.max_staleness))
    }

    /// Looks without counting and without leaving a trace in the policy.
    pub(super) fn peek(
        &self,
        hash: u32,
        key: &[u8],
        now: Millis,
        table: &InvalidationTable,
    ) -> Option<&V> {
        let id = self.find(hash, key)?;
        let row = self.rows.at(id)?;
        let leased = || !row.terms.needs_lease() || !self.lacks_lease(now, table);
        let live = now < row.terms.deadline() && leased() && self.rows.is_current(id, table);
        live.then_some(&row.value)
    }

    /// Stores a row, in the place of one with the same key if there is one; else `keep` makes
    /// the key. Returns its place.
    pub(super) fn set(
        &mut self,
        hash: u32,
        new: NewRow<'_, V>,
        keep: impl FnOnce(&[u8]) -> K,
        now: Millis,
        table: &InvalidationTable,
        garbage: &mut Garbage<V, K>,
    ) -> RowId {
        match self.find(hash, new.key) {
            Some(id) => self.set_at(id, new, now, table, garbage),
            None => self.set_new(hash, keep(new.key), new, now, table, garbage),
        }
    }

    /// Stores a row in the place of one with the same key. Returns its place, which is another
    /// one if it was so much larger that room had to be made.
    fn set_at(
        &mut self,
        id: RowId,
        new: NewRow<'_, V>,
        now: Millis,
        table: &InvalidationTable,
        garbage: &mut Garbage<V, K>,
    ) -> RowId {
        let Some(row) = self.rows.at(id) else { return id };
        if !self.has_room_instead(row.weight, new.weight) {
            // Room is needed, for which this row must not be chosen.
            let hash = row.hash;
            let Some((key, value)) = self.remove(id, Leaving::Replaced) else { return id };
            garbage.push((None, value));
            return self.set_new(hash, key, new, now, table, garbage);
        }
        garbage.extend(self.replace(id, new).map(|value| (None, value)));
        id
    }

    /// Whether a row that weighs `before` may weigh so much without another one having to go.
    #[inline]
    pub(super) fn has_room_instead(&self, before: u32, weight: u32) -> bool {
        self.bytes - before as usize + weight as usize <= self.max_bytes
    }

    /// Puts another value under the key of the row in a place. Returns the one before.
    #[inline]
    pub(super) fn replace(&mut self, id: RowId, new: NewRow<'_, V>) -> Option<V> {
        let (row, grounds) = self.rows.with_grounds(id)?;
        self.requests += 1;
        self.bytes = self.bytes - row.weight as usize + new.weight as usize;
        self.policy.on_overwrite(&mut row.usage, self.requests);
        let before = row.replace(grounds, new);
        self.counters.sets += 1;
        self.policy.on_set(id, &self.rows);
        Some(before)
    }

    fn set_new(
        &mut self,
        hash: u32,
        key: K,
        new: NewRow<'_, V>,
        now: Millis,
        table: &InvalidationTable,
        garbage: &mut Garbage<V, K>,
    ) -> RowId {
        self.requests += 1;
        let (weight, set_at) = (new.weight as usize, SetAt::new(now));
        self.make_room(weight, now, table, garbage);
        let usage = self.policy.on_insert(hash, self.requests);
        let (row, grounds) = Row::new(key, new, hash, usage);
        let id = self.rows.put(self.free.pop(), row, grounds, set_at);
        let rows = &self.rows;
        self.index.insert_unique(spread(hash), id, |&other| rows.hash_of(other));
        self.bytes += weight;
        self.counters.sets += 1;
        self.policy.on_set(id, &self.rows);
        id
    }

    /// The weight of the row in a place, if it has the key that `is_it` looks for.
    #[inline]
    pub(super) fn weight_if(&self, id: RowId, is_it: impl FnOnce(&K) -> bool) -> Option<u32> {
        let row = self.rows.at(id)?;
        is_it(&row.key).then_some(row.weight)
    }

    /// Keeps the key of a row as another object with the same bytes. Returns the one not kept.
    pub(super) fn keep_key(&mut self, id: RowId, key: K) -> K {
        match self.rows.at_mut(id) {
            Some(row) if row.key.bytes() == key.bytes() => std::mem::replace(&mut row.key, key),
            _ => key,
        }
    }

    /// Removes one key, whatever its state. Tells whether it could still have been served.
    pub(super) fn delete(
        &mut self,
        hash: u32,
        key: &[u8],
        now: Millis,
        table: &InvalidationTable,
    ) -> (bool, Option<(K, V)>) {
        let live = self.peek(hash, key, now, table).is_some();
        let removed = self.find(hash, key).and_then(|id| {
            let why = if live { Leaving::Invalidated } else { Leaving::Expired };
            self.remove(id, why)
        });
        (live, removed)
    }

    /// Drops the row of a key without counting it as anything: its replacement was refused.
    pub(super) fn discard(&mut self, hash: u32, key: &[u8]) -> Option<(K, V)> {
        self.find(hash, key).and_then(|id| self.remove(id, Leaving::Replaced))
    }

    /// Removes the rows numbered `from..to` for which `why` gives a reason. Returns how many of
    /// them were neither expired before nor replaced.
    pub(super) fn remove_where(
        &mut self,
        from: usize,
        to: usize,
        mut why: impl FnMut(&mut Row<V, K>, &mut Grounds) -> Option<Leaving>,
        garbage: &mut Vec<(K, V)>,
    ) -> usize {
        let mut removed = 0;
        for id in from..to.min(self.rows.places()) {
            let id = id as RowId;
            let reason = self.rows.with_grounds(id).and_then(|(row, grounds)| why(row, grounds));
            if let Some(reason) = reason {
                removed += usize::from(reason == Leaving::Invalidated);
                garbage.extend(self.remove(id, reason));
            }
        }
        removed
    }

    /// The rows themselves, for listings.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Row<V, K>, &Grounds)> {
        let both = self.rows.rows.iter().zip(&self.rows.grounds);
        both.filter_map(|(row, grounds)| Some((row.as_ref()?, grounds)))
    }

    /// Empties the shard and gives its memory back.
    pub(super) fn clear(&mut self) -> Vec<Option<Row<V, K>>> {
        self.counters.invalidations += self.len() as u64;
        for row in self.rows.rows.iter().flatten() {
            self.departures.note(row.hash, MissReason::Invalidated);
        }
        self.index = HashTable::new();
        self.free = Vec::new();
        self.bytes = 0;
        self.hand = 0;
        self.policy.clear();
        std::mem::replace(&mut self.rows, Rows::new()).rows
    }

    #[inline]
    pub(super) fn find(&self, hash: u32, key: &[u8]) -> Option<RowId> {
        let same = |&id: &RowId| self.rows.at(id).is_some_and(|row| row.key.bytes() == key);
        self.index.find(spread(hash), same).copied()
    }

    fn make_room(
        &mut self,
        bytes: usize,
        now: Millis,
        table: &InvalidationTable,
        garbage: &mut Garbage<V, K>,
    ) {
        loop {
            let by_bytes = self.bytes + bytes > self.max_bytes;
            if !by_bytes && self.len() < self.max_entries {
                return;
            }
            let removed = match self.outdated_row(now, table) {
                Some((id, why)) => self.remove(id, why),
                None => {
                    let pressure = Pressure { by_bytes };
                    let Some(victim) = self.policy.victim(&self.rows, pressure) else { return };
                    self.remove(victim, Leaving::Evicted)
                }
            };
            garbage.extend(removed.map(|(key, value)| (Some(key), value)));
        }
    }

    /// Looks at the next few rows; one that can never be served again goes before a good one.
    fn outdated_row(&mut self, now: Millis, table: &InvalidationTable) -> Option<(RowId, Leaving)> {
        let clock = table.now();
        let places = self.rows.places();
        for _ in 0..OUTDATED_LOOKS.min(places) {
            self.hand = if self.hand + 1 < places { self.hand + 1 } else { 0 };
            let id = self.hand as RowId;
            let Some(row) = self.rows.at(id) else { continue };
            if now >= row.terms.deadline() {
                return Some((id, Leaving::Expired));
            }
            if row.checked_at != clock && !self.rows.is_valid(id, table, clock) {
                return Some((id, Leaving::Invalidated));
            }
        }
        None
    }

    fn remove(&mut self, id: RowId, why: Leaving) -> Option<(K, V)> {
        let row = self.rows.take(id)?;
        if let Ok(entry) = self.index.find_entry(spread(row.hash), |&other| other == id) {
            entry.remove();
        }
        self.free.push(id);
        self.bytes -= row.weight as usize;
        match why {
            Leaving::Evicted => {
                self.counters.evictions += 1;
                self.departures.note(row.hash, MissReason::Evicted);
                self.policy.on_evict(row.hash, row.usage);
                return Some((row.key, row.value));
            }
            Leaving::Expired => {
                self.counters.expirations += 1;
                self.departures.note(row.hash, MissReason::Expired);
            }
            Leaving::Invalidated => {
                self.counters.invalidations += 1;
                self.departures.note(row.hash, MissReason::Invalidated);
            }
            Leaving::Replaced => {}
        }
        self.policy.on_remove();
        Some((row.key, row.value))
    }

    /// A value for a key that is not there, or no longer valid, was not stored.
    pub(super) fn note_refusal(&mut self, hash: u32, why: MissReason) {
        self.departures.note(hash, why);
    }

    fn count_miss(&mut self, key: &[u8], why: MissReason) {
        self.requests += 1;
        self.counters.misses_by_reason.count(why);
        self.counters.family_misses[Family::of(key) as usize] += 1;
    }

    /// Checks everything that must hold between the parts of a shard.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn validate(&self) {
        let live: Vec<_> = self.rows().map(|(row, _)| row).collect();
        assert_eq!(live.len(), self.index.len(), "index and rows disagree");
        assert_eq!(live.len() + self.free.len(), self.rows.places(), "places went missing");
        let bytes: usize = live.iter().map(|row| row.weight as usize).sum();
        assert_eq!(bytes, self.bytes, "bytes are miscounted");
        assert!(live.len() <= self.max_entries, "too many entries");
        assert!(bytes <= self.max_bytes, "too many bytes");
        for row in live {
            let found = self.find(row.hash, row.key.bytes()).and_then(|id| self.rows.at(id));
            let found = found.map(|found| found.key.bytes());
            assert_eq!(found, Some(row.key.bytes()), "a row cannot be found");
        }
    }
}
