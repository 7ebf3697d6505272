//! What the tests share: a store with a clock that stands still, and short ways to use it.

use std::sync::Arc;
use velro_cache::engine::clock::{Clock, ManualClock};
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{EngineConfig, NewEntry, Outcome, Store, keys};
use velro_cache::invalidation::slots::SlotList;
use velro_cache::invalidation::{InvalidationTable, Stamp};

/// Every policy: a test that is not about one of them runs with all.
pub(crate) const POLICIES: [PolicyKind; 4] =
    [PolicyKind::Lru, PolicyKind::Lfu, PolicyKind::Ttl, PolicyKind::Adaptive];

/// A store and the hand of its clock.
pub(crate) struct Fixture {
    pub(crate) store: Store<u64>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Fixture {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let clock = Arc::new(ManualClock::default());
        let table = Arc::new(InvalidationTable::new());
        let store = Store::new(config, Clock::Manual(Arc::clone(&clock)), table).unwrap();
        Self { store, clock }
    }

    pub(crate) fn with_room(policy: PolicyKind, max_entries: usize) -> Self {
        Self::new(&EngineConfig::new(max_entries, 1 << 30, policy))
    }

    pub(crate) fn get(&self, key: &str) -> Option<u64> {
        self.store.get_with(key.as_bytes(), |_, _, value| Some(*value), |_| None)
    }

    pub(crate) fn set(&self, key: &str, value: u64) -> Outcome {
        self.set_tagged(key, value, &[], self.store.snapshot())
    }

    pub(crate) fn set_tagged(&self, key: &str, value: u64, tags: &[&str], stamp: Stamp) -> Outcome {
        let mut entry = entry(key, value, stamp);
        let tag_slots: SlotList =
            tags.iter().map(|tag| keys::slot_of_tag(tag.as_bytes())).collect();
        entry.tag_slots = &tag_slots;
        self.store.insert(entry).outcome
    }

    pub(crate) fn invalidate_tag(&self, tag: &str) -> usize {
        self.store.invalidate_slots(&[keys::slot_of_tag(tag.as_bytes())]).0
    }
}

/// An entry with nothing special about it.
pub(crate) fn entry(key: &str, value: u64, stamp: Stamp) -> NewEntry<'_, u64> {
    NewEntry {
        key: key.as_bytes(),
        value,
        value_bytes: 8,
        ttl: 60_000,
        priority: 1,
        stamp,
        tag_slots: &[],
        permissive: true,
    }
}
