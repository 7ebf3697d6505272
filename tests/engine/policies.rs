//! Which entry goes, and that the bounds hold.

use crate::support::{Fixture, POLICIES, entry};
use proptest::prelude::*;
use std::time::Duration;
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{EngineConfig, NewEntry, Outcome};

#[test]
fn lru_evicts_what_was_not_used_for_longest() {
    let cache = Fixture::with_room(PolicyKind::Lru, 3);
    for key in ["a", "b", "c"] {
        cache.set(key, 1);
    }
    cache.get("a");
    cache.set("d", 1);
    assert_eq!(cache.get("b"), None);
    assert!(["a", "c", "d"].iter().all(|key| cache.get(key).is_some()));
}

#[test]
fn lfu_evicts_what_was_used_least_and_among_equals_the_oldest() {
    let cache = Fixture::with_room(PolicyKind::Lfu, 3);
    for key in ["a", "b", "c"] {
        cache.set(key, 1);
    }
    for key in ["a", "a", "b", "c"] {
        cache.get(key);
    }
    cache.set("d", 1);
    assert_eq!(cache.get("b"), None);
    assert!(["a", "c", "d"].iter().all(|key| cache.get(key).is_some()));
}

#[test]
fn ttl_evicts_what_expires_first_however_often_it_is_used() {
    let cache = Fixture::with_room(PolicyKind::Ttl, 2);
    let short = NewEntry { ttl: 5000, ..entry("short", 1, 1) };
    assert_eq!(cache.store.insert(short).outcome, Outcome::Stored);
    cache.set("long", 1);
    for _ in 0..10 {
        cache.get("short");
    }
    cache.set("new", 1);
    assert_eq!(cache.get("short"), None);
    assert!(cache.get("long").is_some() && cache.get("new").is_some());
}

#[test]
fn a_higher_priority_survives_under_every_policy() {
    for policy in POLICIES {
        let cache = Fixture::with_room(policy, 20);
        let important = NewEntry { priority: 10, ..entry("important", 1, 1) };
        assert_eq!(cache.store.insert(important).outcome, Outcome::Stored);
        for number in 0..30 {
            cache.set(&format!("other{number}"), 1);
        }
        assert!(cache.get("important").is_some(), "{policy:?}");
    }
}

#[test]
fn adaptive_keeps_the_popular_through_a_scan() {
    let cache = Fixture::with_room(PolicyKind::Adaptive, 100);
    let popular: Vec<_> = (0..50).map(|number| format!("popular{number}")).collect();
    for key in &popular {
        cache.set(key, 1);
    }
    for _ in 0..20 {
        popular.iter().for_each(|key| assert!(cache.get(key).is_some()));
    }
    for number in 0..200 {
        cache.set(&format!("scan{number}"), 1);
    }
    let kept = popular.iter().filter(|key| cache.get(key).is_some()).count();
    assert!(kept >= 45, "{kept} of 50 popular entries survived");
}

#[test]
fn expired_and_invalidated_entries_go_before_good_ones() {
    for policy in POLICIES {
        let cache = Fixture::with_room(policy, 4);
        let brief = NewEntry { ttl: 1000, ..entry("brief", 1, 1) };
        assert_eq!(cache.store.insert(brief).outcome, Outcome::Stored);
        for key in ["a", "b", "c"] {
            cache.set(key, 1);
        }
        cache.clock.advance(Duration::from_secs(1));
        cache.set("d", 1);
        assert!(["a", "b", "c", "d"].iter().all(|key| cache.get(key).is_some()), "{policy:?}");
    }
}

#[test]
fn what_is_larger_than_the_store_evicts_nothing_and_leaves_no_older_value() {
    let cache = Fixture::new(&EngineConfig::new(100, 10_000, PolicyKind::Lru));
    cache.set("same", 1);
    cache.set("other", 1);
    let huge = NewEntry { value_bytes: 20_000, ..entry("same", 2, 1) };
    assert_eq!(cache.store.insert(huge).outcome, Outcome::TooLarge);
    assert_eq!((cache.get("same"), cache.get("other")), (None, Some(1)));
    assert_eq!(cache.store.stats().counters.oversize_rejects, 1);
    cache.store.validate();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lru_keeps_exactly_the_most_recently_used(uses in prop::collection::vec(0u8..30, 1..300)) {
        let cache = Fixture::with_room(PolicyKind::Lru, 8);
        let mut order: Vec<u8> = Vec::new();
        for key in uses {
            let name = key.to_string();
            let expected = order.contains(&key);
            prop_assert_eq!(cache.get(&name).is_some(), expected);
            if !expected {
                cache.set(&name, 1);
            }
            order.retain(|other| *other != key);
            order.push(key);
            if order.len() > 8 {
                order.remove(0);
            }
        }
        cache.store.validate();
    }

    #[test]
    fn bounds_hold_whatever_is_set(
        sizes in prop::collection::vec((0u8..200, 0usize..3000), 1..200),
        policy in prop::sample::select(POLICIES.to_vec()),
    ) {
        let cache = Fixture::new(&EngineConfig::new(20, 20_000, policy));
        for (key, value_bytes) in sizes {
            let name = key.to_string();
            let new = NewEntry { value_bytes, ..entry(&name, 1, 1) };
            prop_assert_eq!(cache.store.insert(new).outcome, Outcome::Stored);
            cache.store.validate();
            let stats = cache.store.stats();
            prop_assert!(stats.entries <= 20 && stats.bytes <= 20_000);
            prop_assert!(cache.get(&name).is_some(), "what was just set must be there");
        }
    }
}
