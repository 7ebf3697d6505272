//! What happened, in numbers.

use super::analytics::lives::{LIFE_CLASSES, LifeClass, LifeCounts};
use super::analytics::miss::MissCounts;
use super::keys::{FAMILIES, FAMILY_NAMES};
use serde::Serialize;

/// Counters of one shard; plain integers, written under its lock.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counters {
    /// Entries stored, overwrites included, by how long they were to live.
    #[serde(skip)]
    pub sets_by_life: [u64; LIFE_CLASSES],
    /// Entries that left because room was needed.
    pub evictions: u64,
    /// Entries that left because their time was over.
    pub expirations: u64,
    /// Entries that left because they were invalidated or deleted.
    pub invalidations: u64,
    /// Values refused because an invalidation came while they were being loaded.
    pub stale_rejects: u64,
    /// Values refused because they are larger than a shard may hold.
    pub oversize_rejects: u64,
    /// Lookups of valid permissive entries that were not answered for want of news from the log.
    pub fail_closed: u64,
    /// Lookups of such entries that were answered all the same, because settings say so.
    pub stale_served: u64,
    /// Lookups that were not answered, by cause.
    pub misses_by_reason: MissCounts,
    /// Lookups answered from memory, by family of key.
    #[serde(skip)]
    pub family_hits: [u64; FAMILIES],
    /// Lookups that were not, by family of key.
    #[serde(skip)]
    pub family_misses: [u64; FAMILIES],
}

impl Counters {
    #[inline]
    pub(super) fn count_set(&mut self, life: LifeClass) {
        if let Some(count) = self.sets_by_life.get_mut(life.index()) {
            *count += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.sets_by_life.iter_mut().zip(other.sets_by_life) {
            *mine += theirs;
        }
        self.evictions += other.evictions;
        self.expirations += other.expirations;
        self.invalidations += other.invalidations;
        self.stale_rejects += other.stale_rejects;
        self.oversize_rejects += other.oversize_rejects;
        self.fail_closed += other.fail_closed;
        self.stale_served += other.stale_served;
        self.misses_by_reason.add(&other.misses_by_reason);
        for (mine, theirs) in self.family_hits.iter_mut().zip(other.family_hits) {
            *mine += theirs;
        }
        for (mine, theirs) in self.family_misses.iter_mut().zip(other.family_misses) {
            *mine += theirs;
        }
    }
}

/// Lookups of one family of keys.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FamilyCounts {
    /// Name of the family, such as `auth:gen`.
    pub name: &'static str,
    /// Lookups answered from memory.
    pub hits: u64,
    /// Lookups that were not.
    pub misses: u64,
}

impl Counters {
    /// Entries stored, overwrites included.
    #[must_use]
    pub fn sets(&self) -> u64 {
        self.sets_by_life.iter().sum()
    }

    /// Lookups answered from memory.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.family_hits.iter().sum()
    }

    /// Lookups that were not.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.family_misses.iter().sum()
    }

    /// Lookups by family, in the order of [`super::keys::Family`].
    #[must_use]
    pub fn families(&self) -> Vec<FamilyCounts> {
        let counts = self.family_hits.into_iter().zip(self.family_misses);
        let named = FAMILY_NAMES.into_iter().zip(counts);
        named.map(|(name, (hits, misses))| FamilyCounts { name, hits, misses }).collect()
    }
}

/// All figures of a store at about one moment: each shard is read at a moment of its own.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshot {
    /// Sums over all shards.
    pub counters: Counters,
    /// Lookups answered from memory.
    pub hits: u64,
    /// Lookups that were not.
    pub misses: u64,
    /// The same by family of key.
    pub families: Vec<FamilyCounts>,
    /// Entries stored, overwrites included.
    pub sets: u64,
    /// The same by how long they were to live, with the lookups they answered.
    pub lives: Vec<LifeCounts>,
    /// Entries held, those included that expired and were not yet swept.
    pub entries: usize,
    /// Bytes held, own overhead included.
    pub bytes: usize,
    /// Operations given up because a lock took longer than `lock_timeout`.
    pub lock_timeouts: u64,
    /// Time of sampled lookups.
    pub latency: super::latency::LatencySummary,
}
