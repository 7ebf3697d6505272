//! Sizes and limits of a store, checked once.

use super::policy::PolicyKind;
use serde::Deserialize;
use std::time::Duration;
use thiserror::Error;

/// A setting no store can work with.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number that must be at least one is zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// More entries than row numbers.
    #[error("max_entries must be at most {0}")]
    TooManyEntries(usize),
}

/// Settings of a [`super::Store`].
#[derive(Debug, Clone, Deserialize)]
pub struct EngineConfig {
    /// Most entries held at once; at least 1.
    pub max_entries: usize,
    /// Most bytes held at once, own overhead per entry included; at least 1.
    pub max_bytes: usize,
    /// Which entry goes when either bound is reached.
    pub policy: PolicyKind,
    /// Independent locks. More than one only pays where several threads run at once.
    pub shards: usize,
    /// Longest wait for a lock in a read or a write; an invalidation waits as long as it takes.
    pub lock_timeout: Duration,
    /// Rows examined per lock hold by a sweep or an invalidation.
    pub batch_size: usize,
    /// Set where other hosts invalidate too; see [`Lease`].
    #[serde(skip)]
    pub lease: Option<Lease>,
}

/// What permissive entries need besides being valid: that this host hears from the log by which
/// others tell it what to invalidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// So long may it not have heard, in milliseconds of the store's clock.
    pub max_staleness: super::clock::Millis,
    /// Serve entries all the same, and count that.
    pub serve_stale: bool,
}

/// Row numbers are 32 bits; one is kept as "none".
const MOST_ENTRIES: usize = u32::MAX as usize - 1;

/// A shard smaller than this would evict what others have room for: keys do not fall evenly.
const FEWEST_ENTRIES_PER_SHARD: usize = 64;

impl EngineConfig {
    /// A single-lock store with default limits.
    #[must_use]
    pub fn new(max_entries: usize, max_bytes: usize, policy: PolicyKind) -> Self {
        Self {
            max_entries,
            max_bytes,
            policy,
            shards: 1,
            lock_timeout: Duration::from_millis(100),
            batch_size: 100,
            lease: None,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// A bound is zero or larger than the store can number.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("max_entries", self.max_entries),
            ("max_bytes", self.max_bytes),
            ("shards", self.shards),
            ("batch_size", self.batch_size),
        ];
        if let Some((name, _)) = at_least_one.into_iter().find(|&(_, value)| value == 0) {
            return Err(ConfigError::Zero(name));
        }
        if self.max_entries > MOST_ENTRIES {
            return Err(ConfigError::TooManyEntries(MOST_ENTRIES));
        }
        Ok(())
    }

    /// Shards really used: a power of two, fewer where the store is small.
    #[must_use]
    pub fn effective_shards(&self) -> usize {
        let most = (self.max_entries / FEWEST_ENTRIES_PER_SHARD).max(1);
        let wanted = self.shards.min(most).max(1);
        1 << wanted.ilog2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_refused_by_name() {
        let config = EngineConfig::new(0, 1, PolicyKind::Lru);
        assert_eq!(config.validate(), Err(ConfigError::Zero("max_entries")));
    }

    #[test]
    fn small_stores_have_one_shard() {
        let mut config = EngineConfig::new(100, 128 << 20, PolicyKind::Lru);
        config.shards = 64;
        assert_eq!(config.effective_shards(), 1);
        config.max_entries = 10_000;
        assert_eq!(config.effective_shards(), 64);
    }
}
