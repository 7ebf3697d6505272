//! All shards together: the engine's public face.

use super::analytics::history::History;
use super::analytics::journal::Journal;
use super::analytics::lives::{self, LifeClass};
use super::analytics::miss::MissReason;
use super::analytics::samples::Samples;
use super::basis::{self, Basis, InheritedKey};
use super::clock::{Clock, Millis};
use super::config::{ConfigError, EngineConfig};
use super::grace::GRACE_BYTES;
use super::keys;
use super::policy::RowId;
use super::row::{NewRow, weigh};
use super::shard::Shard;
use super::stats::Snapshot;
use super::stored_key::StoredKey;
use crate::invalidation::pattern::Pattern;
use crate::invalidation::slots::SlotList;
use crate::invalidation::{InvalidationTable, Slot, Stamp};
use crate::sync::{Mutex, RawMutex, ShardGuard, ShardMutex};
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
    /// Weight on survival; 1 is ordinary, 15 the most.
    pub priority: u8,
    /// [`Store::snapshot`] as it was before the value was read.
    pub stamp: Stamp,
    /// What else can invalidate it, besides its key and the prefixes of its key.
    pub tag_slots: &'a [Slot],
    /// Whether it allows anything: then it is served only while this host hears from the log, if
    /// there is one.
    pub permissive: bool,
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

/// A concurrent table with lives, bounds and invalidation.
///
/// Consistency: an operation on one key sees all operations on that key that ended before it
/// began, whichever thread they ran on. When an invalidation has returned, no lookup that begins
/// later is answered by what it covered, and no load that began before it can store its value.
///
/// `L` is the lock of a shard, `K` what keys are kept as. The defaults suit everybody who has
/// nothing better.
pub struct Store<V, L = RawMutex, K = Box<[u8]>> {
    pub(super) shards: Box<[ShardMutex<L, Shard<V, K>>]>,
    shard_bits: u32,
    hasher: RandomState,
    pub(super) clock: Clock,
    pub(super) table: Arc<InvalidationTable>,
    pub(super) samples: Samples,
    pub(super) history: Mutex<History>,
    pub(super) journal: Journal,
    lock_timeout: Duration,
    lock_timeouts: AtomicU64,
    pub(super) batch_size: usize,
    /// Called between two lock holds of a walk over many rows.
    pub(super) between_batches: fn(),
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
        let shards = (0..count).map(|number| {
            let entries = config.max_entries / count;
            let bytes = config.max_bytes / count;
            let shard = Shard::new(config.policy, entries.max(1), bytes.max(1), config.lease);
            // Which shard a key is in is chance: one of them stands for all. None does under a model
            // checker, which must find the same in each run: which keys are followed is chance, too.
            let estimates = number == 0 && !cfg!(any(loom, shuttle));
            ShardMutex::new(if estimates { shard.with_what_if(config.policy) } else { shard })
        });
        Ok(Self {
            shards: shards.collect(),
            shard_bits: count.ilog2(),
            hasher: RandomState::default(),
            history: Mutex::new(History::since(clock.now())),
            clock,
            table,
            samples: Samples::new(),
            journal: Journal::new(),
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

    /// What a result inherits that is made of a value that was loaded since `stamp` and is not
    /// looked up here but handed on.
    pub fn basis_of(key: &[u8], tag_slots: &[Slot], stamp: Stamp, deadline: Millis) -> Basis {
        let mut own = SlotList::new();
        keys::push_slots_of_key(key, &mut own);
        tag_slots.iter().for_each(|&slot| keys::push_once(slot, &mut own));
        let slots = own.iter().map(|&slot| (slot, stamp)).collect();
        Basis {
            slots,
            keys: vec![InheritedKey { key: key.into(), stamp, checked_at: 0 }],
            deadline,
        }
    }

    /// When something that is stored now with such a life ends.
    pub fn deadline(&self, ttl: Millis) -> Millis {
        self.clock.deadline(self.clock.now(), ttl)
    }

    /// The table that says what may be believed.
    pub fn table(&self) -> &Arc<InvalidationTable> {
        &self.table
    }

    /// The clock that lives are counted on.
    pub fn clock(&self) -> &Clock {
        &self.clock
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
                if let Some(start) = start {
                    self.sample_lookup(&mut shard, start, hash, key, found.is_ok());
                }
                found
            }
            None => Err(None),
        };
        found.unwrap_or_else(miss)
    }

    /// As [`Self::get_with`], and what a result inherits that is made of the value; both from one
    /// hold of the lock, so that they belong together.
    pub fn get_with_basis<R>(
        &self,
        key: &[u8],
        read: impl FnOnce(Place, &K, &V) -> R,
        miss: impl FnOnce(Option<Departed<V, K>>) -> R,
    ) -> (R, Option<Basis>) {
        let hash = self.hash(key);
        let number = self.shard_number(hash);
        let found = match self.try_shard(hash) {
            Some(mut shard) => {
                let found = shard.lookup(
                    hash as u32,
                    key,
                    &self.clock,
                    &self.table,
                    |id, key: &K, value: &V| (read(self.place(number, id), key, value), id),
                );
                found.map(|(answer, id)| (answer, shard.basis(id)))
            }
            None => Err(None),
        };
        found.unwrap_or_else(|outdated| (miss(outdated), None))
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
        if let Some(start) = start
            && found.is_some()
        {
            self.sample_hit(&mut shard, start, id);
        }
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
        self.peek(key, |_| ()).is_some()
    }

    /// What a lookup would find; leaves no trace in statistics or policy. `read` is called under the
    /// lock: it must be quick and must not call back.
    pub fn peek<R>(&self, key: &[u8], read: impl FnOnce(&V) -> R) -> Option<R> {
        let hash = self.hash(key);
        let now = self.clock.now();
        self.shard(hash).lock().peek(hash as u32, key, now, &self.table).map(read)
    }

    /// Whether there is an entry under this key, be it one that may not be served now.
    pub fn holds(&self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        self.shard(hash).lock().holds(hash as u32, key)
    }

    /// Where the entry of a key lies, for [`Self::get_at`]; be it one that may not be served now.
    /// Counts nothing.
    pub fn place_of(&self, key: &[u8]) -> Place {
        let hash = self.hash(key);
        let number = self.shard_number(hash);
        let found = self.shards.get(number).and_then(|shard| shard.lock().row_of(hash as u32, key));
        found.map_or(Place::NOWHERE, |id| self.place(number, id))
    }

    /// Stores a value under its key, replacing what is there. Amortised `O(1)` plus the slots.
    pub fn insert(&self, entry: NewEntry<'_, V>) -> Inserted<V, K> {
        self.insert_with(entry, |key| K::from(key))
    }

    /// As [`Self::insert`] for a value made of other entries: it is stored only if what they rest
    /// on still holds, served only while it does, and no longer than they are.
    pub fn insert_made_of(&self, entry: NewEntry<'_, V>, basis: &Basis) -> Inserted<V, K> {
        let hash = self.hash(entry.key);
        let Some(shard) = self.try_shard(hash) else {
            return Inserted::refused(Outcome::Busy, entry.value);
        };
        let number = self.shard_number(hash);
        self.insert_into(shard, number, entry, Some(basis), |shard, row, now, garbage| {
            shard.set(hash as u32, row, |key| K::from(key), now, &self.table, garbage)
        })
    }

    /// As [`Self::insert`] for a value that may be asked for by [`Self::past_end`] for so long past
    /// its end. One that allows something may not, whatever is asked for.
    pub fn insert_lasting(&self, entry: NewEntry<'_, V>, grace: Millis) -> Inserted<V, K> {
        let hash = self.hash(entry.key);
        let Some(shard) = self.try_shard(hash) else {
            return Inserted::refused(Outcome::Busy, entry.value);
        };
        let number = self.shard_number(hash);
        let value_bytes = entry.value_bytes.saturating_add(GRACE_BYTES);
        let entry = NewEntry { value_bytes, ..entry };
        self.insert_into(shard, number, entry, None, |shard, row, now, garbage| {
            let id = shard.set(hash as u32, row, |key| K::from(key), now, &self.table, garbage);
            shard.keep_past_end(id, grace);
            id
        })
    }

    /// Looks for a value that is over by `longest` or less, was stored by [`Self::insert_lasting`]
    /// and was not invalidated. `read` is given it and how long it has been over, under the lock:
    /// it must be quick and must not call back. With the answer comes what a result inherits that
    /// is made of it: its end, which is past, too. `None`: there is none; nothing is counted.
    ///
    /// Consistency: as for a lookup, an invalidation that has returned is seen.
    pub fn past_end<R>(
        &self,
        key: &[u8],
        longest: Millis,
        read: impl FnOnce(&V, Millis) -> R,
    ) -> Option<(R, Basis)> {
        let hash = self.hash(key);
        let mut shard = self.try_shard(hash)?;
        let (value, over, basis) =
            shard.past_end(hash as u32, key, longest, &self.clock, &self.table)?;
        Some((read(value, over), basis))
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
        let number = self.shard_number(hash);
        self.insert_into(shard, number, entry, None, |shard, row, now, garbage| {
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
        if !InvalidationTable::is_newest(entry.stamp, checked_at) {
            return Err(entry);
        }
        let Some(before) = shard.weight_if(id, is_it) else { return Err(entry) };
        let weight = weigh::<V, K>(entry.key, entry.tag_slots, entry.value_bytes);
        let Ok(weight) = u32::try_from(weight) else { return Err(entry) };
        if !shard.has_room_instead(before, weight) {
            return Err(entry);
        }
        let row = NewRow {
            key: entry.key,
            slots: entry.tag_slots,
            has_key_slots: false,
            value: entry.value,
            weight,
            deadline: self.clock.deadline(self.clock.now(), entry.ttl),
            life: LifeClass::of(entry.ttl),
            stamp: entry.stamp,
            checked_at,
            priority: entry.priority,
            permissive: entry.permissive,
        };
        Ok(shard.replace(id, row))
    }

    #[inline]
    fn insert_into(
        &self,
        mut shard: ShardGuard<'_, L, Shard<V, K>>,
        number: usize,
        entry: NewEntry<'_, V>,
        basis: Option<&Basis>,
        set: impl FnOnce(&mut Shard<V, K>, NewRow<'_, V>, Millis, &mut Garbage<V, K>) -> RowId,
    ) -> Inserted<V, K> {
        // Before the check; see `Row::checked_at`.
        let checked_at = self.table.now();
        // Nothing at all was invalidated since a stamp as new as the clock.
        let is_newest = basis.is_none() && InvalidationTable::is_newest(entry.stamp, checked_at);
        let mut slots = SlotList::new();
        if !is_newest {
            keys::push_slots_of_key(entry.key, &mut slots);
            entry.tag_slots.iter().for_each(|&slot| keys::push_once(slot, &mut slots));
            let holds = self.may_store(entry.key, entry.stamp, &slots)
                && basis.is_none_or(|basis| basis.holds(&self.table));
            if !holds {
                shard.counters.stale_rejects += 1;
                shard.note_refusal(self.hash(entry.key) as u32, MissReason::Stale);
                drop(shard);
                return Inserted::refused(Outcome::Stale, entry.value);
            }
        }
        let weight = weigh::<V, K>(entry.key, entry.tag_slots, entry.value_bytes)
            .saturating_add(basis.map_or(0, basis::weigh));
        let fitting = u32::try_from(weight).ok().filter(|_| weight <= shard.max_bytes());
        let Some(weight) = fitting else {
            let hash = self.hash(entry.key) as u32;
            let replaced = shard.discard(hash, entry.key);
            shard.counters.oversize_rejects += 1;
            shard.note_refusal(hash, MissReason::TooLarge);
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
            deadline: self
                .clock
                .deadline(now, entry.ttl)
                .min(basis.map_or(Millis::MAX, |basis| basis.deadline)),
            life: LifeClass::of(entry.ttl),
            stamp: entry.stamp,
            checked_at,
            priority: entry.priority,
            permissive: entry.permissive,
        };
        let mut garbage = Garbage::new();
        let id = set(&mut shard, row, now, &mut garbage);
        if let Some(basis) = basis {
            shard.inherit(id, basis);
        }
        Inserted { outcome: Outcome::Stored, place: self.place(number, id), garbage }
    }

    /// Whether nothing that covers a key in any spelling was invalidated since `stamp`.
    fn may_store(&self, key: &[u8], stamp: Stamp, slots: &[Slot]) -> bool {
        self.table.is_current(stamp, slots)
            && (InvalidationTable::is_newest(stamp, self.table.now())
                || !keys::is_covered(key, stamp, 0, &self.table))
    }

    /// Entries held, those included that expired and were not yet swept, or are kept past their end.
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
                    && grounds.would_hold(&row.key, row.checked_at, &self.table)
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
            latency: self.samples.latency(),
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
        snapshot.sets = snapshot.counters.sets();
        snapshot.lives = lives::counts(&snapshot.counters.sets_by_life, &self.samples.life_hits());
        snapshot
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
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
    pub(super) fn shard(&self, hash: u64) -> &ShardMutex<L, Shard<V, K>> {
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
    shard.is_sample_due().then(Instant::now)
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
