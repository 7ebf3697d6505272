//! The one place that knows how velro-cache's engine is called.

use std::sync::Arc;
use std::time::Duration;
use velro_cache::engine::clock::{Clock, ManualClock};
pub use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{EngineConfig, NewEntry, Outcome, Store};
use velro_cache::invalidation::InvalidationTable;

/// Life of every entry, here and in the other caches that have one.
pub const TTL: Duration = Duration::from_secs(600);

/// More than any run stores: only the number of entries is to be short.
const MAX_BYTES: usize = 1 << 40;

/// The engine, with small integers as values.
#[derive(Debug)]
pub struct Engine {
    store: Store<u64>,
}

impl Engine {
    /// As it is used: the machine's clock, and shards for threads.
    ///
    /// # Errors
    /// The engine refused a setting.
    pub fn running(capacity: usize, shards: usize) -> Result<Self, String> {
        Self::new(capacity, PolicyKind::Adaptive, shards, Clock::System)
    }

    /// For counting hits: one shard, so that the capacity is exact, and a clock that stands
    /// still.
    ///
    /// # Errors
    /// The engine refused a setting.
    pub fn standing_still(capacity: usize, policy: PolicyKind) -> Result<Self, String> {
        Self::new(capacity, policy, 1, Clock::Manual(Arc::new(ManualClock::default())))
    }

    fn new(
        capacity: usize,
        policy: PolicyKind,
        shards: usize,
        clock: Clock,
    ) -> Result<Self, String> {
        let mut config = EngineConfig::new(capacity, MAX_BYTES, policy);
        config.shards = shards;
        let store = Store::new(&config, clock, Arc::new(InvalidationTable::new()));
        Ok(Self { store: store.map_err(|error| error.to_string())? })
    }

    /// The value under a key.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<u64> {
        self.store.get_with(key, |_, _, value| Some(*value), |_| None)
    }

    /// Stores a value that depends on nothing but its key.
    #[inline]
    pub fn insert(&self, key: &[u8], value: u64) {
        let inserted = self.store.insert(NewEntry {
            key,
            value,
            value_bytes: size_of::<u64>(),
            ttl: TTL.as_millis() as u64,
            priority: 1,
            stamp: self.store.snapshot(),
            tag_slots: &[],
            permissive: true,
        });
        debug_assert_eq!(inserted.outcome, Outcome::Stored);
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_what_was_stored() {
        let engine = Engine::running(100, 4).unwrap();
        assert_eq!(engine.get(b"k"), None);
        engine.insert(b"k", 7);
        assert_eq!((engine.get(b"k"), engine.len()), (Some(7), 1));
    }
}
