//! What the hit rate would be at half and at double the size, or with lives of half and of double
//! the length.
//!
//! Idea: a few keys, chosen by their hash, are followed through five small caches which run the very
//! policy of the real one. Each is as much smaller than what it stands for as keys are followed
//! fewer than there are. What a small cache misses, the large one would miss as many times over.
//! One of the five is the cache as it is: how far it is from what was measured tells how far the
//! others may be off.
//!
//! Sources: choosing keys by hash is SHARDS (Waldspurger, Park, Garthwaite, Ahmad: FAST 2015), in
//! its variant of fixed size: when too many keys are followed, half of them are let go, and the
//! caches shrink with them. Running the real policy over these keys is Miniature Simulations
//! (Waldspurger, Saemundsson, Ahmad, Park: USENIX ATC 2017). We count misses alone and divide by all
//! lookups, which is the correction named SHARDS-adj there: whether the hottest keys are among
//! those followed makes no difference, because they miss as seldom as others. And the misses
//! of followed keys in the real cache, beside all its misses, tell how many keys too many or too
//! few were chosen by chance.
//!
//! Where we depart from them: lives and invalidations are simulated, too. A followed key keeps on
//! what it rests, so an invalidation ends it in all caches, though the real one had evicted it long
//! ago. A value that only a simulated cache lacks is loaded there at once, with the life it had.
//! And hits on one key are looked at once in about 128 lookups, not each time: what is used twice in
//! so short a time is held by all of them, and the misses are what counts.
//!
//! Memory: see [`MOST_KEYS`]; about 1.5 MiB at the most, none of it before the first key is followed.
//!
//! Cost: no check more on a hit of a key that is not followed; see [`crate::engine::row::Terms`]. A
//! hit on one that is goes through five small caches, once in about 128 lookups. Both together came
//! to 2 to 8 instructions a call when they were counted (`tests/performance`). Overwriting costs nothing:
//! the next hit that is looked at finds it out. A miss, a new key or a departure finds out with a
//! multiplication and a comparison that the key is not followed.

mod followed;
mod measured;
mod small_cache;

use super::miss::MissReason;
use crate::engine::clock::Millis;
use crate::engine::policy::{PolicyKind, RowId};
use crate::engine::row::Grounds;
use crate::invalidation::{InvalidationTable, Stamp};
use foldhash::fast::RandomState;
use followed::Followed;
use hashbrown::HashMap;
use measured::Measured;
use serde::Serialize;
use small_cache::SmallCache;

/// One key in so many is followed, or fewer: following all keys of a small cache would cost more
/// than its lookups.
const FEWEST_FOLLOWED: u32 = 16;

/// Keys that are followed at the most. About 140 bytes each, and 32 in each cache that holds it.
const MOST_KEYS: usize = 4096;

/// Estimates rest on so many lookups of followed keys at least...
const LEAST_LOOKUPS: u64 = 1000;

/// ... and on so many followed keys: fewer could all be of one sort.
const LEAST_KEYS: usize = 32;

/// A small cache that had to evict and holds fewer is no likeness of anything.
const LEAST_HELD: usize = 16;

/// What is changed, and the factors of size and lives.
const CHANGES: [Change; 5] = [
    Change { size: 1.0, ttl: 1.0 },
    Change { size: 0.5, ttl: 1.0 },
    Change { size: 2.0, ttl: 1.0 },
    Change { size: 1.0, ttl: 0.5 },
    Change { size: 1.0, ttl: 2.0 },
];

#[derive(Debug, Clone, Copy)]
struct Change {
    size: f64,
    ttl: f64,
}

/// What it all comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhatIfReport {
    /// Keys that are followed now.
    pub sampled_keys: usize,
    /// Their share of all keys.
    pub sampling_rate: f64,
    /// Lookups of all keys that the rates are about; older ones count less.
    pub lookups: u64,
    /// Of these, the share that was answered from memory.
    pub measured_hit_rate: f64,
    /// Estimates at a half, at one and at two times the size.
    pub by_size: [Option<f64>; 3],
    /// Estimates with lives of a half, of one and of two times the length.
    pub by_ttl: [Option<f64>; 3],
}

/// Follows some keys of one shard.
#[derive(Debug)]
pub(in crate::engine) struct WhatIf {
    kind: PolicyKind,
    max_entries: usize,
    max_bytes: usize,
    /// One key in 2^this is followed.
    shift: u32,
    keys: HashMap<u32, Followed, RandomState>,
    /// In the order of [`CHANGES`]; none before the first key is followed.
    caches: Vec<SmallCache>,
    /// Misses of each, as those of the real cache they stand for.
    misses: [u64; CHANGES.len()],
    /// Misses of followed keys in the real cache, as those of all keys they stand for.
    missed: u64,
    /// Lookups of followed keys that were looked at, and sets of them.
    uses: u64,
    /// Rows whose next hits are not looked at.
    unmarked: Vec<RowId>,
    measured: Measured,
    /// Keys that have left a small cache just now.
    gone: Vec<u32>,
}

impl WhatIf {
    pub(in crate::engine) fn new(kind: PolicyKind, max_entries: usize, max_bytes: usize) -> Self {
        Self::following(kind, max_entries, max_bytes, FEWEST_FOLLOWED.ilog2())
    }

    fn following(kind: PolicyKind, max_entries: usize, max_bytes: usize, shift: u32) -> Self {
        Self {
            kind,
            max_entries,
            max_bytes,
            shift,
            keys: HashMap::default(),
            caches: Vec::new(),
            misses: [0; CHANGES.len()],
            missed: 0,
            uses: 0,
            unmarked: Vec::new(),
            measured: Measured::default(),
            gone: Vec::new(),
        }
    }

    /// A key is followed if its mixed hash is below this.
    pub(in crate::engine) const fn followed_below(&self) -> u64 {
        (1 << 32) >> self.shift
    }

    /// A hit on the row in a place. Its mark was taken away, so that its next hits are not told.
    /// It has so much weight and priority, and ends at `deadline`.
    pub(in crate::engine) fn hit(
        &mut self,
        id: RowId,
        hash: u32,
        (weight, priority): (u32, u8),
        deadline: Millis,
        now: Millis,
    ) {
        let Some(key) = self.keys.get_mut(&hash) else { return };
        self.unmarked.push(id);
        self.uses += 1;
        if key.deadline != deadline {
            (key.weight, key.priority) = (weight, priority);
            let set_at = key.overwritten(deadline, now);
            for (number, cache) in self.caches.iter_mut().enumerate() {
                let new = key.as_new(hash, set_at, CHANGES[number].ttl);
                key.places[number] =
                    cache.set(key.places[number], &new, now, self.uses, &mut self.gone);
            }
        }
        for (number, cache) in self.caches.iter_mut().enumerate() {
            if !key.touch(number, cache, now, self.uses) {
                self.misses[number] += 1 << self.shift;
                let new = key.as_new(hash, now, CHANGES[number].ttl);
                key.places[number] = cache.insert(&new, now, self.uses, &mut self.gone);
            }
        }
        self.forget_gone();
    }

    /// A lookup of a followed key that was not answered.
    pub(in crate::engine) fn miss(
        &mut self,
        hash: u32,
        key: &[u8],
        why: MissReason,
        now: Millis,
        table: &InvalidationTable,
    ) {
        self.uses += 1;
        self.missed += 1 << self.shift;
        let Some(followed) = self.keys.get_mut(&hash).filter(|_| why != MissReason::Lease) else {
            self.misses.iter_mut().for_each(|misses| *misses += 1 << self.shift);
            return;
        };
        followed.was_missed = true;
        let holds = followed.holds(key, table);
        for (number, cache) in self.caches.iter_mut().enumerate() {
            if !holds {
                followed.leave(number, cache);
            }
            if !followed.touch(number, cache, now, self.uses) {
                self.misses[number] += 1 << self.shift;
            }
        }
        self.forget_if_unheld(hash);
    }

    /// A value was stored under a followed key: its grounds, weight and priority, and when it ends.
    pub(in crate::engine) fn set(
        &mut self,
        hash: u32,
        grounds: Grounds,
        (weight, priority): (u32, u8),
        now: Millis,
        deadline: Millis,
        checked_at: Stamp,
    ) {
        if self.caches.is_empty() {
            self.begin(now);
        }
        self.uses += 1;
        let key = self.keys.entry(hash).or_default();
        (key.grounds, key.checked_at) = (grounds, checked_at);
        (key.weight, key.priority) = (weight, priority);
        (key.deadline, key.ttl) = (deadline, deadline.saturating_sub(now));
        key.is_held = true;
        // Who had to load it would not have had to where it was not missed.
        let was_missed = std::mem::take(&mut key.was_missed);
        for (number, cache) in self.caches.iter_mut().enumerate() {
            let place = key.places[number];
            if was_missed && cache.is_live(place, now) {
                continue;
            }
            let new = key.as_new(hash, now, CHANGES[number].ttl);
            key.places[number] = cache.set(place, &new, now, self.uses, &mut self.gone);
        }
        self.forget_gone();
        if self.keys.len() > MOST_KEYS {
            self.follow_fewer(now);
        }
    }

    /// On what the value of a followed key rests, last found to hold when the clock of the table
    /// was `checked_at`.
    pub(in crate::engine) fn rest_on(&mut self, hash: u32, grounds: &Grounds, checked_at: Stamp) {
        if let Some(key) = self.keys.get_mut(&hash)
            && !key.grounds.is_same(grounds)
        {
            (key.grounds, key.checked_at) = (grounds.clone(), checked_at);
        }
    }

    /// A followed key has left the real cache.
    pub(in crate::engine) fn left(&mut self, hash: u32, was_invalidated: bool) {
        let Some(key) = self.keys.get_mut(&hash) else { return };
        key.is_held = false;
        if was_invalidated {
            let caches = self.caches.iter_mut().enumerate();
            caches.for_each(|(number, cache)| key.leave(number, cache));
        }
        self.forget_if_unheld(hash);
    }

    /// Everything has left.
    pub(in crate::engine) fn clear(&mut self) {
        self.keys = HashMap::default();
        self.unmarked = Vec::new();
        self.caches.iter_mut().for_each(SmallCache::clear);
    }

    /// Rows whose marks were taken away since this was called last.
    pub(in crate::engine) fn take_unmarked(&mut self) -> Vec<RowId> {
        std::mem::take(&mut self.unmarked)
    }

    /// Lets what was counted long ago count less. To be called now and then.
    pub(in crate::engine) fn fade(&mut self, now: Millis, hits: u64, misses: u64) {
        if !self.caches.is_empty() && self.measured.is_due(now) {
            self.measured.fade(now, hits, misses);
            self.misses.iter_mut().for_each(|misses| *misses /= 2);
            self.missed /= 2;
        }
    }

    /// What was found so far; `None` if that is too little. `hits` and `misses` are those of the
    /// shard.
    pub(in crate::engine) fn report(&self, hits: u64, misses: u64) -> Option<WhatIfReport> {
        let (hits, misses) = self.measured.with(hits, misses);
        let lookups = hits + misses;
        if lookups >> self.shift < LEAST_LOOKUPS || self.keys.len() < LEAST_KEYS {
            return None;
        }
        // By chance, a few more or fewer keys are followed than there should be: how many more is
        // known, as the misses of these and those of all are.
        let is_known = self.missed > 0 && misses > 0;
        let excess = if is_known { self.missed as f64 / misses as f64 } else { 1.0 };
        let rate = |number: usize| {
            let cache = self.caches.get(number)?;
            let is_likeness = !cache.has_evicted() || cache.len() >= LEAST_HELD;
            let missed = self.misses[number] as f64 / excess / lookups as f64;
            is_likeness.then(|| (1.0 - missed).max(0.0))
        };
        Some(WhatIfReport {
            sampled_keys: self.keys.len(),
            sampling_rate: 1.0 / f64::from(1u32 << self.shift),
            lookups,
            measured_hit_rate: hits as f64 / lookups as f64,
            by_size: [rate(1), rate(0), rate(2)],
            by_ttl: [rate(3), rate(0), rate(4)],
        })
    }

    fn begin(&mut self, now: Millis) {
        self.measured.begin(now);
        let caches = CHANGES.iter().map(|_| SmallCache::new(self.kind, 1, 1)).collect();
        self.caches = caches;
        self.fit(true);
    }

    /// Gives each cache the size that it has with so many keys followed.
    fn fit(&mut self, is_new: bool) {
        for (cache, change) in self.caches.iter_mut().zip(CHANGES) {
            let scaled = |all: usize| ((all as f64 * change.size) as usize >> self.shift).max(1);
            cache.resize(self.kind, scaled(self.max_entries), scaled(self.max_bytes), is_new);
        }
    }

    /// Lets keys go whose lives are over everywhere; and half of all, if that is not enough.
    fn follow_fewer(&mut self, now: Millis) {
        let is_enough = |followed: usize| followed <= MOST_KEYS / 4 * 3;
        self.let_go(|_, key, caches| {
            let expired =
                |(number, cache): (usize, &SmallCache)| !cache.is_live(key.places[number], now);
            key.is_held || !caches.iter().enumerate().all(expired)
        });
        while !is_enough(self.keys.len()) && self.shift < u32::BITS {
            self.shift += 1;
            let below = self.followed_below();
            self.let_go(|hash, _, _| is_followed(hash, below));
            self.fit(false);
        }
    }

    /// Keeps those keys alone that `stays` is true for.
    fn let_go(&mut self, stays: impl Fn(u32, &Followed, &[SmallCache]) -> bool) {
        let caches = &mut self.caches;
        self.keys.retain(|&hash, key| {
            let stays = stays(hash, key, caches);
            if !stays {
                caches.iter_mut().enumerate().for_each(|(number, cache)| key.leave(number, cache));
            }
            stays
        });
    }

    /// Takes note of what has just left small caches to make room.
    fn forget_gone(&mut self) {
        while let Some(hash) = self.gone.pop() {
            let Some(key) = self.keys.get_mut(&hash) else { continue };
            for (place, cache) in key.places.iter_mut().zip(&self.caches) {
                if !cache.holds(*place, hash) {
                    *place = small_cache::NOWHERE;
                }
            }
            self.forget_if_unheld(hash);
        }
    }

    fn forget_if_unheld(&mut self, hash: u32) {
        if self.keys.get(&hash).is_some_and(Followed::is_unheld) {
            self.keys.remove(&hash);
        }
    }
}

/// Whether a key with this hash is among those that are followed.
#[inline]
pub(in crate::engine) fn is_followed(hash: u32, followed_below: u64) -> bool {
    // Multiplied by the golden ratio: a table takes its places from the bits as they are.
    u64::from(hash.wrapping_mul(0x9E37_79B1)) < followed_below
}

#[cfg(test)]
mod tests;
