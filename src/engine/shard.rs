//! One locked table. Takes no lock itself: whoever has `&mut Shard` holds it.
//!
//! Rows live in a list of places that are used again, so that a row keeps its number for life;
//! the index maps a hash to such a number. No value is dropped here: each one that leaves is
//! handed to the caller.

use super::analytics::departures::Departures;
use super::analytics::explain::SetAt;
use super::analytics::lives::LifeClass;
use super::analytics::miss::MissReason;
use super::analytics::samples::Sampling;
use super::analytics::what_if::{self, WhatIf};
use super::basis::Basis;
use super::clock::{Clock, Millis};
use super::config::Lease;
use super::following::note_marked_hit;
use super::grace::Graces;
use super::keys::Family;
use super::policy::{Policy, PolicyKind, Pressure, Residents, RowId};
use super::row::{Grounds, NewRow, Row};
use super::rows::{Rows, spread};
use super::stats::Counters;
use super::store::Garbage;
use super::stored_key::StoredKey;
use crate::invalidation::InvalidationTable;
use crate::invalidation::slots::SlotList;
use hashbrown::HashTable;

/// Rows looked at for outdated ones before a good one is evicted.
const OUTDATED_LOOKS: usize = 4;

#[derive(Debug)]
pub(super) struct Shard<V, K> {
    index: HashTable<RowId>,
    pub(super) rows: Rows<V, K>,
    free: Vec<RowId>,
    bytes: usize,
    pub(super) max_entries: usize,
    pub(super) max_bytes: usize,
    policy: Policy,
    requests: u64,
    sampling: Sampling,
    /// Where the next search for outdated rows begins.
    hand: usize,
    lease: Option<Lease>,
    pub(super) departures: Departures,
    graces: Graces,
    pub(super) what_if: Option<Box<WhatIf>>,
    /// Keys whose mixed hash is below this are told to `what_if`.
    pub(super) followed_below: u64,
    pub(super) counters: Counters,
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
            graces: Graces::default(),
            what_if: None,
            followed_below: 0,
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
    pub(super) fn take_sample(&mut self, now: Millis) -> Option<u64> {
        self.look_at_followed_again(now);
        self.sampling.take(self.requests, self.counters.sets())
    }

    /// The slots of the tags that the row in a place was given, and perhaps of some its key implies.
    pub(super) fn tags(&self, id: RowId) -> SlotList {
        let both = self.rows.at(id).zip(self.rows.grounds.get(id as usize));
        both.map_or_else(SlotList::new, |(row, grounds)| grounds.tags(row.key.bytes()))
    }

    /// The class of the life that the row in a place was given.
    pub(super) fn life_at(&self, id: RowId) -> Option<LifeClass> {
        self.rows.at(id).map(|row| row.terms.life())
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
            self.count_miss(hash, key, self.departures.last(hash), clock, table);
            return Err(None);
        };
        if let Some(answer) =
            self.serve(id, clock, table, |_, _| true, |key, value| read(id, key, value))
        {
            return Ok(answer);
        }
        let (now, checked_at) = (clock.now(), table.now());
        let expired = self.rows.at(id).is_some_and(|row| now >= row.terms.deadline());
        if !expired && self.rows.is_valid(id, table, checked_at) {
            // News from the log are missing, and it may be served once they are there; or a wildcard
            // was just being written down.
            let needs_lease = self.rows.at(id).is_some_and(|row| row.terms.needs_lease());
            self.counters.fail_closed += u64::from(needs_lease);
            let why = if needs_lease { MissReason::Lease } else { MissReason::Invalidated };
            self.count_miss(hash, key, why, clock, table);
            return Err(None);
        }
        let (why, counted) = if expired {
            (Leaving::Expired, MissReason::Expired)
        } else {
            (Leaving::Invalidated, MissReason::Invalidated)
        };
        self.count_miss(hash, key, counted, clock, table);
        if expired && self.is_kept(id, now) && self.rows.is_valid(id, table, checked_at) {
            return Err(None);
        }
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
        match self.counters.family_hits.get_mut(row.terms.counter()) {
            Some(count) => *count += 1,
            None => note_marked_hit(&mut self.what_if, &mut self.counters, row, id, now),
        }
        Some(read(&row.key, &row.value))
    }

    /// Has the row in a place, which must not be one that allows something, kept past its end for
    /// so long.
    pub(super) fn keep_past_end(&mut self, id: RowId, grace: Millis) {
        if let Some(row) = self.rows.at(id)
            && !row.terms.needs_lease()
        {
            let deadline = row.terms.deadline();
            self.graces.put(deadline, id, deadline.saturating_add(grace));
        }
    }

    /// Whether the row in a place, which is over, is kept all the same.
    fn is_kept(&self, id: RowId, now: Millis) -> bool {
        let deadline = self.rows.at(id).map(|row| row.terms.deadline());
        deadline.is_some_and(|deadline| now < self.graces.end(deadline, id))
    }

    /// A value that is over by `longest` or less, is kept and was not invalidated, with how long it
    /// has been over. Nothing is counted, and the policy hears nothing of it.
    pub(super) fn past_end(
        &mut self,
        hash: u32,
        key: &[u8],
        longest: Millis,
        clock: &Clock,
        table: &InvalidationTable,
    ) -> Option<(&V, Millis, Basis)> {
        let id = self.find(hash, key)?;
        // As for a lookup: first the time, then the clock of invalidations.
        let now = clock.now();
        let terms = self.rows.at(id)?.terms;
        let over = now.checked_sub(terms.deadline())?;
        if terms.needs_lease() || over > longest || !self.is_kept(id, now) {
            return None;
        }
        let checked_at = table.now();
        if !self.rows.is_valid(id, table, checked_at) {
            return None;
        }
        let basis = self.basis(id)?;
        self.rows.at(id).map(|row| (&row.value, over, basis))
    }

    /// Has the row in a place, which was stored with all its slots, rest on a basis as well.
    pub(super) fn inherit(&mut self, id: RowId, basis: &Basis) {
        if let Some((row, grounds)) = self.rows.with_grounds(id) {
            grounds.inherit(basis);
            if what_if::is_followed(row.hash, self.followed_below)
                && let Some(what_if) = &mut self.what_if
            {
                what_if.rest_on(row.hash, grounds, row.checked_at);
            }
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

    /// The row under this key, whatever its state.
    pub(super) fn row_of(&self, hash: u32, key: &[u8]) -> Option<RowId> {
        self.find(hash, key)
    }

    /// Whether what needs a lease would not be served for want of one.
    pub(super) fn lacks_lease(&self, now: Millis, table: &InvalidationTable) -> bool {
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
        self.graces.forget(row.terms.deadline(), id);
        self.requests += 1;
        self.bytes = self.bytes - row.weight as usize + new.weight as usize;
        self.policy.on_overwrite(&mut row.usage, self.requests);
        self.counters.count_set(new.life);
        let before = row.replace(grounds, new);
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
        let life = new.life;
        self.make_room(weight, now, table, garbage);
        let is_followed = self.is_followed(hash);
        if is_followed {
            self.tell_set(hash, &new, now);
        }
        let usage = self.policy.on_insert(hash, self.requests);
        let (mut row, grounds) = Row::new(key, new, hash, usage);
        row.terms.mark(is_followed);
        let id = self.rows.put(self.free.pop(), row, grounds, set_at);
        let rows = &self.rows;
        self.index.insert_unique(spread(hash), id, |&other| rows.hash_of(other));
        self.bytes += weight;
        self.counters.count_set(life);
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

    /// Removes the rows numbered `from..to` for which `why` gives a reason; it is told until when
    /// a row is kept. Returns how many of them were neither expired before nor replaced.
    pub(super) fn remove_where(
        &mut self,
        from: usize,
        to: usize,
        mut why: impl FnMut(&mut Row<V, K>, &mut Grounds, Millis) -> Option<Leaving>,
        garbage: &mut Vec<(K, V)>,
    ) -> usize {
        let mut removed = 0;
        for id in from..to.min(self.rows.places()) {
            let id = id as RowId;
            let reason = self.rows.with_grounds(id).and_then(|(row, grounds)| {
                let end = self.graces.end(row.terms.deadline(), id);
                why(row, grounds, end)
            });
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
        self.graces.clear();
        self.policy.clear();
        if let Some(what_if) = &mut self.what_if {
            what_if.clear();
        }
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

    /// Finds what is only kept past its end, or else looks at the next few rows: one that can never
    /// be served again goes before a good one.
    fn outdated_row(&mut self, now: Millis, table: &InvalidationTable) -> Option<(RowId, Leaving)> {
        if let Some(id) = self.graces.first_over(now) {
            return Some((id, Leaving::Expired));
        }
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
        self.graces.forget(row.terms.deadline(), id);
        if let Ok(entry) = self.index.find_entry(spread(row.hash), |&other| other == id) {
            entry.remove();
        }
        self.free.push(id);
        self.bytes -= row.weight as usize;
        if self.is_followed(row.hash)
            && let Some(what_if) = &mut self.what_if
        {
            what_if.left(row.hash, why == Leaving::Invalidated);
        }
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

    fn count_miss(
        &mut self,
        hash: u32,
        key: &[u8],
        why: MissReason,
        clock: &Clock,
        table: &InvalidationTable,
    ) {
        if self.is_followed(hash)
            && let Some(what_if) = &mut self.what_if
        {
            what_if.miss(hash, key, why, clock.now(), table);
        }
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
        let kept = |id| {
            self.rows
                .at(id)
                .is_some_and(|row| self.graces.end(row.terms.deadline(), id) > row.terms.deadline())
        };
        let graces = (0..self.rows.places()).filter(|&id| kept(id as RowId)).count();
        assert_eq!(graces, self.graces.len(), "a grace outlived its row");
        for row in live {
            let found = self.find(row.hash, row.key.bytes()).and_then(|id| self.rows.at(id));
            let found = found.map(|found| found.key.bytes());
            assert_eq!(found, Some(row.key.bytes()), "a row cannot be found");
        }
    }
}
