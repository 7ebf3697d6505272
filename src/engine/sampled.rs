//! The lookups of a store that are timed and looked at: one in about 128.

use super::analytics::samples::Sample;
use super::analytics::tag_names::TagNames;
use super::keys;
use super::policy::RowId;
use super::shard::Shard;
use super::store::Store;
use super::stored_key::StoredKey;
use crate::invalidation::slots::SlotList;
use lock_api::RawMutexTimed;
use std::time::{Duration, Instant};

impl<V, L: RawMutexTimed<Duration = Duration>, K: StoredKey> Store<V, L, K> {
    /// Takes note of a sampled lookup that was a hit on the row in a place.
    #[cold]
    #[inline(never)]
    pub(super) fn sample_hit(&self, shard: &mut Shard<V, K>, start: Instant, id: RowId) {
        let time = start.elapsed();
        let now = self.clock.now();
        let Some(weight) = shard.take_sample(now) else { return };
        let (Some(key), life) = (shard.key_at(id), shard.life_at(id)) else { return };
        let key = key.bytes();
        let sample = Sample { key, hash: self.hash(key), is_hit: true, life, weight, time, now };
        self.samples.note(&sample, |names| all_tags(key, shard.tags(id), names));
    }

    /// Takes note of a sampled lookup of a key.
    #[cold]
    #[inline(never)]
    pub(super) fn sample_lookup(
        &self,
        shard: &mut Shard<V, K>,
        start: Instant,
        hash: u64,
        key: &[u8],
        is_hit: bool,
    ) {
        let time = start.elapsed();
        let now = self.clock.now();
        let Some(weight) = shard.take_sample(now) else { return };
        // What was found outdated has left; then its key tells some tags.
        let found = shard.find(hash as u32, key);
        let life = found.and_then(|id| shard.life_at(id));
        let sample = Sample { key, hash, is_hit, life, weight, time, now };
        self.samples.note(&sample, |names| {
            let given = found.map(|id| shard.tags(id));
            all_tags(key, given.unwrap_or_default(), names)
        });
    }
}

/// Tags that an entry was given, and those that its key implies, whose names are told by it.
fn all_tags(key: &[u8], given: SlotList, names: &TagNames) -> SlotList {
    let mut tags = given;
    keys::for_each_implied_tag(key, |slot, name| {
        names.learn(slot, name);
        keys::push_once(slot, &mut tags);
    });
    tags
}
