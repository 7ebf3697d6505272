//! All shards together: the engine's public face.

use super::clock::{Clock, Millis};
use super::config::{ConfigError, EngineConfig};
use super::latency::{self, Latency};
use super::policy::RowId;
use super::row::{Grounds, NewRow, Row, weigh};
use super::shard::{Leaving, Shard};
use super::stats::Snapshot;
use super::stored_key::StoredKey;
use super::{ids, keys};
use crate::invalidation::pattern::{Pattern, Reach};
use crate::invalidation::slots::{self, SlotList};
use crate::invalidation::{InvalidationTable, Slot, Stamp};
use crate::sync::{RawMutex, ShardGuard, ShardMutex};
use foldhash::fast::RandomState;
use lock_api::RawMutexTimed;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What left the store. Dropping it is up to the caller, who holds no lock. A value that was
/// replaced leaves without its key.
pub type Garbage<V, K = Box<[u8]>> = SmallVec<[(Option<K>, V); 2]>;

/// An entry that left the store.
pub type Departed<V, K = Box<[u8]>> = (K, V);

/// Where an entry lies. Only a hint: whoever goes there has to check that it is the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// Where nothing lies.
    pub const NOWHERE: Self = Self(u32::MAX);

    /// The place with this number.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// A number for it.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }
}

/// A value to be stored.
#[derive(Debug)]
pub struct NewEntry<'a, V> {
    /// Bytes of the key.
    pub key: &'a [u8],
    /// The value.
    pub value: V,
    /// Bytes the value takes.
    pub value_bytes: usize,
    /// How long it may be served, in milliseconds.
    pub ttl: Millis,
    /// Weight on survival; 1 is ordinary.
    pub priority: u8,
    /// [`Store::snapshot`] as it was before the value was read.
    pub stamp: Stamp,
    /// What else can invalidate it, besides its key and the prefixes of its key.
    pub tag_slots: &'a [Slot],
}

/// What became of a value to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is there. That does not promise it stays: room may be needed the next moment.
    Stored,
    /// It is larger than the store may hold. Nothing was evicted for it; an older value of the
    /// same key is gone, since it no longer is what the caller wants found.
    TooLarge,
    /// Something it depends on was invalidated after its stamp.
    Stale,
    /// The lock was not to be had in time.
    Busy,
}

/// Outcome of an insertion, with the values that left because of it.
#[derive(Debug)]
pub struct Inserted<V, K = Box<[u8]>> {
    /// What became of it.
    pub outcome: Outcome,
    /// Where it lies, if it was stored.
    pub place: Place,
    /// Replaced, evicted or refused values.
    pub garbage: Garbage<V, K>,
}

/// A walk lets others in after this many rows: about a millisecond.
const ROWS_BETWEEN_PAUSES: usize = 16_384;

/// A concurrent table with lives, bounds and invalidation.
///
/// Consistency: an operation on one key sees all operations on that key that ended before it
/// began, whichever thread they ran on. When an invalidation has returned, no lookup that begins
/// later is answered by what it covered, and no load that began before it can store its value.
///
/// `L` is the lock of a shard, `K` what keys are kept as. The defaults suit everybody who has
/// nothing better.
pub struct Store<V, L = RawMutex, K = Box<[u8]>> {
    shards: Box<[ShardMutex<L, Shard<V, K>>]>,
    shard_bits: u32,
    hasher: RandomState,
    clock: Clock,
    table: Arc<InvalidationTable>,
    latency: Latency,
    lock_timeout: Duration,
    lock_timeouts: AtomicU64,
    batch_size: usize,
    /// Called between two lock holds of a walk over many rows.
    between_batches: fn(),
}

impl<V, L: RawMutexTimed<Duration = Duration>, K: StoredKey> Store<V, L, K> {
    /// Builds an empty store.
    ///
    /// # Errors
    /// A setting is out of range.
    pub fn new(
        config: &EngineConfig,
        clock: Clock,
        table: Arc<InvalidationTable>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let count = config.effective_shards();
        let shards = (0..count).map(|_| {
            let entries = config.max_entries / count;
            let bytes = config.max_bytes / count;
            ShardMutex::new(Shard::new(config.policy, entries.max(1), bytes.max(1)))
        });
        Ok(Self {
            shards: shards.collect(),
            shard_bits: count.ilog2(),
            hasher: RandomState::default(),
            clock,
            table,
            latency: Latency::new(),
            lock_timeout: config.lock_timeout,
            lock_timeouts: AtomicU64::new(0),
            batch_size: config.batch_size,
            between_batches: || {},
        })
    }

    /// Has something called now and then during a walk over many rows, with no lock held, so
    /// that a walk need not keep others waiting.
    #[must_use]
    pub fn with_pause(mut self, between_batches: fn()) -> Self {
        self.between_batches = between_batches;
        self
    }

    /// Whether a value loaded since `stamp` could still be stored, or given to somebody who asks
    /// now.
    pub fn is_current(&self, key: &[u8], tag_slots: &[Slot], stamp: Stamp) -> bool {
        let mut slots = SlotList::new();
        keys::push_slots_of_key(key, &mut slots);
        slots.extend_from_slice(tag_slots);
        self.may_store(key, stamp, &slots)
    }

    /// Bytes one entry may have at the most.
    pub fn max_entry_bytes(&self) -> usize {
        self.shards.first().map_or(0, |shard| shard.lock().max_bytes())
    }

    /// Looks a key up. A hit is answered by `read`, a miss by `miss`, which is given the entry
    /// that was found outdated and has left, if any.
    ///
    /// `read` is called under the lock: it must be quick and must not call back. Both return the
    /// answer itself, not a description of it, so that it stays in a register.
    #[inline(always)]
    pub fn get_with<R>(
        &self,
        key: &[u8],
        read: impl FnOnce(Place, &K, &V) -> R,
        miss: impl FnOnce(Option<Departed<V, K>>) -> R,
    ) -> R {
        let hash = self.hash(key);
        let number = self.shard_number(hash);
        let found = match self.try_shard(hash) {
            Some(mut shard) => {
                let start = start_if_due(&shard);
                let read = |id, key: &K, value: &V| read(self.place(number, id), key, value);
                let found = shard.lookup(hash as u32, key, &self.clock, &self.table, read);
                self.record_if(start, true);
                found
            }
            None => Err(None),
        };
        found.unwrap_or_else(miss)
    }

    /// As [`Self::get_with`] for somebody who remembers where the entry was, and can tell by the
    /// key as it is kept whether it is still there. `None` if it is not, or cannot be served; then
    /// nothing was counted and [`Self::get_with`] will tell.
    #[inline(always)]
    pub fn get_at<R>(
        &self,
        place: Place,
        is_it: impl FnOnce(&K, &V) -> bool,
        read: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        if place == Place::NOWHERE {
            return None;
        }
        let (number, id) = self.shard_and_row(place);
        let mut shard = self.shards.get(number)?.try_lock()?;
        let start = start_if_due(&shard);
        let found = shard.serve(id, &self.clock, &self.table, is_it, |_, value| read(value));
        self.record_if(start, found.is_some());
        found
    }

    /// Keeps the key of an entry as another object with the same bytes. Returns the one that is
    /// not kept.
    pub fn keep_key(&self, place: Place, key: K) -> K {
        let (number, id) = self.shard_and_row(place);
        match self.shards.get(number) {
            Some(shard) => shard.lock().keep_key(id, key),
            None => key,
        }
    }

    /// The clock of invalidations, to be read *before* reading what will be stored.
    #[inline]
    pub fn snapshot(&self) -> Stamp {
        self.table.now()
    }

    /// Whether a lookup would be a hit; leaves no trace in statistics or policy.
    pub fn contains(&self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let now = self.clock.now();
        self.shard(hash).lock().peek(hash as u32, key, now, &self.table).is_some()
    }

    /// Stores a value under its key, replacing what is there. Amortised `O(1)` plus the slots.
    pub fn insert(&self, entry: NewEntry<'_, V>) -> Inserted<V, K> {
        self.insert_with(entry, |key| K::from(key))
    }

    /// As [`Self::insert`]; where the key is new, `keep` makes what it is kept as, of the same
    /// bytes. It is called under the lock: it must be quick and must not call back.
    #[inline]
    pub fn insert_with(
        &self,
        entry: NewEntry<'_, V>,
        keep: impl FnOnce(&[u8]) -> K,
    ) -> Inserted<V, K> {
        let hash = self.hash(entry.key);
        let Some(shard) = self.try_shard(hash) else {
            return Inserted::refused(Outcome::Busy, entry.value);
        };
        self.insert_into(shard, self.shard_number(hash), entry, |shard, row, now, garbage| {
            shard.set(hash as u32, row, keep, now, &self.table, garbage)
        })
    }

    /// As [`Self::insert`] for somebody who remembers where the entry was, and can tell by the
    /// key as it is kept whether it is still there. Gives the replaced value back; or, where there
    /// is more to it than replacing one, the new entry, and nothing was done.
    #[inline(always)]
    pub fn overwrite_at<'a>(
        &self,
        place: Place,
        is_it: impl FnOnce(&K) -> bool,
        entry: NewEntry<'a, V>,
    ) -> Result<Option<V>, NewEntry<'a, V>> {
        let (number, id) = self.shard_and_row(place);
        let Some(mut shard) = self.shards.get(number).and_then(|shard| shard.try_lock()) else {
            return Err(entry);
        };
        // As in `insert_into`.
        let checked_at = self.table.now();
        if entry.stamp < checked_at || !shard.is_at(id, is_it) {
            return Err(entry);
        }
        let weight = weigh::<V, K>(entry.key, entry.tag_slots, entry.value_bytes);
        let Ok(weight) = u32::try_from(weight) else { return Err(entry) };
        if !shard.has_room_to_replace(id, weight) {
            return Err(entry);
        }
        let row = NewRow {
            key: entry.key,
            slots: entry.tag_slots,
            has_key_slots: false,
            value: entry.value,
            weight,
            deadline: self.clock.deadline(self.clock.now(), entry.ttl),
            stamp: entry.stamp,
            checked_at,
            priority: entry.priority,
        };
        Ok(shard.replace(id, row))
    }

    #[inline]
    fn insert_into(
        &self,
        mut shard: ShardGuard<'_, L, Shard<V, K>>,
        number: usize,
        entry: NewEntry<'_, V>,
        set: impl FnOnce(&mut Shard<V, K>, NewRow<'_, V>, Millis, &mut Garbage<V, K>) -> RowId,
    ) -> Inserted<V, K> {
        // Before the check; see `Row::checked_at`.
        let checked_at = self.table.now();
        // Nothing at all was invalidated since a stamp as new as the clock.
        let is_newest = entry.stamp >= checked_at;
        let mut slots = SlotList::new();
        if !is_newest {
            keys::push_slots_of_key(entry.key, &mut slots);
            entry.tag_slots.iter().for_each(|&slot| keys::push_once(slot, &mut slots));
            if !self.may_store(entry.key, entry.stamp, &slots) {
                shard.counters.stale_rejects += 1;
                drop(shard);
                return Inserted::refused(Outcome::Stale, entry.value);
            }
        }
        let weight = weigh::<V, K>(entry.key, entry.tag_slots, entry.value_bytes);
        let fitting = u32::try_from(weight).ok().filter(|_| weight <= shard.max_bytes());
        let Some(weight) = fitting else {
            let replaced = shard.discard(self.hash(entry.key) as u32, entry.key);
            shard.counters.oversize_rejects += 1;
            drop(shard);
            let mut inserted = Inserted::refused(Outcome::TooLarge, entry.value);
            inserted.garbage.extend(replaced.map(|(key, value)| (Some(key), value)));
            return inserted;
        };
        let now = self.clock.now();
        let row = NewRow {
            key: entry.key,
            slots: if is_newest { entry.tag_slots } else { &slots },
            has_key_slots: !is_newest,
            value: entry.value,
            weight,
            deadline: self.clock.deadline(now, entry.ttl),
            stamp: entry.stamp,
            checked_at,
            priority: entry.priority,
        };
        let mut garbage = Garbage::new();
        let id = set(&mut shard, row, now, &mut garbage);
        Inserted { outcome: Outcome::Stored, place: self.place(number, id), garbage }
    }

    /// Removes one key and keeps loads of it that are under way from storing it. Returns
    /// whether it could still have been served, and its value.
    pub fn delete(&self, key: &[u8]) -> (bool, Option<Departed<V, K>>) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash).lock();
        // Counted before the slot is raised: afterwards the row is invalid in any case.
        let deleted = shard.delete(hash as u32, key, self.clock.now(), &self.table);
        self.table.invalidate_slots(&[slots::of_key(key)]);
        deleted
    }

    /// Invalidates everything that depends on one of these slots. Effective at once and for all
    /// when the table is raised; the walk that follows (`O(entries)`) gives the memory back.
    /// Returns how many live entries that were, and the values.
    pub fn invalidate_slots(&self, slots: &[Slot]) -> (usize, Vec<Departed<V, K>>) {
        let live_before = self.table.now();
        self.table.invalidate_slots(slots);
        self.remove_where(|row, grounds, now, table| {
            let hit = grounds.slots(&row.key).iter().any(|slot| slots.contains(slot));
            (hit && !grounds.hold(&row.key, table)).then(|| {
                let was_live = now < row.terms.deadline() && grounds.stamp <= live_before;
                if was_live { Leaving::Invalidated } else { Leaving::Expired }
            })
        })
    }

    /// Invalidates every key that fits a wildcard (see [`crate::invalidation::pattern`]).
    /// Returns how many live entries that were, and the values.
    pub fn invalidate_pattern(&self, text: &[u8]) -> (usize, Vec<Departed<V, K>>) {
        let pattern = Pattern::new(text);
        match pattern.reach() {
            Reach::Everything => self.clear(),
            Reach::Key(key) => {
                let (live, value) = self.delete(&key);
                (usize::from(live), value.into_iter().collect())
            }
            Reach::Prefix(prefix) => match slots::of_prefix(&prefix) {
                Some(slot) => self.invalidate_slots(&[slot]),
                None => self.invalidate_scattered(&pattern, text),
            },
            Reach::Scattered => self.invalidate_scattered(&pattern, text),
        }
    }

    /// Whether nothing that covers a key in any spelling was invalidated since `stamp`.
    fn may_store(&self, key: &[u8], stamp: Stamp, slots: &[Slot]) -> bool {
        // A stamp as new as the clock is newer than every wildcard, in any spelling.
        let newest = stamp >= self.table.now();
        self.table.may_store(key, stamp, slots)
            && (newest || self.canonical_may_store(key, stamp, slots))
    }

    #[cold]
    fn canonical_may_store(&self, key: &[u8], stamp: Stamp, slots: &[Slot]) -> bool {
        ids::with_canonical_uuids(key)
            .is_none_or(|canonical| self.table.may_store(&canonical, stamp, slots))
    }

    fn invalidate_scattered(&self, pattern: &Pattern, text: &[u8]) -> (usize, Vec<Departed<V, K>>) {
        self.table.invalidate_pattern(text);
        self.remove_where(|row, _, now, _| {
            let why =
                if now < row.terms.deadline() { Leaving::Invalidated } else { Leaving::Expired };
            fits(pattern, row.key.bytes()).then_some(why)
        })
    }

    /// Invalidates everything and gives the memory back. Returns how many live
    /// entries that were, and the values.
    pub fn clear(&self) -> (usize, Vec<Departed<V, K>>) {
        self.table.invalidate_all();
        let now = self.clock.now();
        let (mut live, mut values) = (0, Vec::new());
        for shard in &self.shards {
            // One statement: the lock is gone before a key or a list is freed.
            let rows = shard.lock().clear();
            for row in rows.into_iter().flatten() {
                live += usize::from(now < row.terms.deadline());
                values.push((row.key, row.value));
            }
        }
        (live, values)
    }

    /// Removes what can never be served again. Returns the values.
    pub fn sweep(&self) -> Vec<Departed<V, K>> {
        let swept = self.remove_where(|row, grounds, now, table| {
            if now >= row.terms.deadline() {
                return Some(Leaving::Expired);
            }
            let outdated = row.checked_at != table.now() && !grounds.hold(&row.key, table);
            outdated.then_some(Leaving::Invalidated)
        });
        swept.1
    }

    /// Entries held, those included that expired and were not yet swept.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `limit` keys of live entries that fit a wildcard. `O(entries)`.
    pub fn keys(&self, pattern: &[u8], limit: usize) -> Vec<Box<[u8]>> {
        let pattern = Pattern::new(pattern);
        let now = self.clock.now();
        let mut keys = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let fitting = shard.rows().filter(|(row, grounds)| {
                now < row.terms.deadline()
                    && pattern.matches(row.key.bytes())
                    && grounds.would_hold(&row.key, &self.table)
            });
            keys.extend(fitting.take(limit - keys.len()).map(|(row, _)| row.key.bytes().into()));
        }
        keys
    }

    /// Shows every value to `look`, shard by shard, until one gives an error. Passes over shards
    /// that are in use. `look` is called under the lock: it must not call back.
    pub fn try_each<E>(&self, mut look: impl FnMut(&V) -> Result<(), E>) -> Result<(), E> {
        let mut unused = self.shards.iter().filter_map(|shard| shard.try_lock());
        unused.try_for_each(|shard| shard.rows().try_for_each(|(row, _)| look(&row.value)))
    }

    /// All figures. `O(shards)`.
    pub fn stats(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            latency: self.latency.summary(),
            lock_timeouts: self.lock_timeouts.load(Ordering::Relaxed),
            ..Snapshot::default()
        };
        for shard in &self.shards {
            let shard = shard.lock();
            snapshot.counters.add(&shard.counters);
            snapshot.entries += shard.len();
            snapshot.bytes += shard.bytes();
        }
        snapshot.hits = snapshot.counters.hits();
        snapshot.misses = snapshot.counters.misses();
        snapshot.families = snapshot.counters.families();
        snapshot
    }

    #[inline(always)]
    fn record_if(&self, start: Option<Instant>, answered: bool) {
        if let Some(start) = start
            && answered
        {
            self.latency.record(start.elapsed());
        }
    }

    /// Walks over all rows, `batch_size` of them per lock hold, and removes those for which
    /// `why` gives a reason.
    fn remove_where(
        &self,
        why: impl Fn(&Row<V, K>, &mut Grounds, Millis, &InvalidationTable) -> Option<Leaving>,
    ) -> (usize, Vec<Departed<V, K>>) {
        let now = self.clock.now();
        let (mut removed, mut values) = (0, Vec::new());
        for shard in &self.shards {
            let (mut from, mut pause_at) = (0, ROWS_BETWEEN_PAUSES);
            loop {
                let mut shard = shard.lock();
                if from >= shard.places() {
                    break;
                }
                let to = from.saturating_add(self.batch_size);
                removed += shard.remove_where(
                    from,
                    to,
                    |row, its| why(row, its, now, &self.table),
                    &mut values,
                );
                let more = to < shard.places();
                drop(shard);
                from = to;
                if more && from >= pause_at {
                    (self.between_batches)();
                    pause_at = from + ROWS_BETWEEN_PAUSES;
                }
            }
        }
        (removed, values)
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// A shard uses the lower half of a hash; this is from the upper one.
    #[inline]
    fn shard_number(&self, hash: u64) -> usize {
        (hash >> 32) as usize & ((1 << self.shard_bits) - 1)
    }

    #[inline]
    fn shard(&self, hash: u64) -> &ShardMutex<L, Shard<V, K>> {
        &self.shards[self.shard_number(hash)]
    }

    #[inline]
    fn place(&self, number: usize, id: RowId) -> Place {
        match u32::try_from((u64::from(id) << self.shard_bits) | number as u64) {
            Ok(bits) => Place(bits),
            Err(_) => Place::NOWHERE,
        }
    }

    #[inline]
    fn shard_and_row(&self, place: Place) -> (usize, RowId) {
        (place.0 as usize & ((1 << self.shard_bits) - 1), place.0 >> self.shard_bits)
    }

    #[inline]
    fn try_shard(&self, hash: u64) -> Option<ShardGuard<'_, L, Shard<V, K>>> {
        let guard = self.shard(hash).try_lock_for(self.lock_timeout);
        if guard.is_none() {
            self.lock_timeouts.fetch_add(1, Ordering::Relaxed);
        }
        guard
    }

    /// Checks everything that must hold inside. For tests.
    #[cfg(any(test, debug_assertions))]
    pub fn validate(&self) {
        for shard in &self.shards {
            shard.lock().validate();
        }
    }
}

/// The time now, if the lookup about to begin is one of those that are timed.
#[inline(always)]
fn start_if_due<V, K: StoredKey>(shard: &Shard<V, K>) -> Option<Instant> {
    latency::is_due(shard.requests()).then(Instant::now)
}

/// Whether a wildcard covers a key as it is, or with its UUIDs in their one spelling.
fn fits(pattern: &Pattern, key: &[u8]) -> bool {
    pattern.matches(key)
        || ids::with_canonical_uuids(key).is_some_and(|canonical| pattern.matches(&canonical))
}

impl<V, L, K> std::fmt::Debug for Store<V, L, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the entries: they are somebody's permissions.
        f.debug_struct("Store").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl<V, K> Inserted<V, K> {
    fn refused(outcome: Outcome, value: V) -> Self {
        Self { outcome, place: Place::NOWHERE, garbage: smallvec::smallvec![(None, value)] }
    }
}
