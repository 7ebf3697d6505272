//! What a store tells operators: keys and tags asked for most, the last minutes, one key, pages.

use crate::support::{Fixture, POLICIES, entry};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;
use velro_cache::engine::analytics::explain::{Explanation, Held};
use velro_cache::engine::analytics::miss::MissReason;
use velro_cache::engine::analytics::reports::Bookmark;
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{EngineConfig, Lease, Outcome};

fn explain(fixture: &Fixture, key: &str) -> Explanation {
    fixture.store.explain(key.as_bytes())
}

fn held(fixture: &Fixture, key: &str) -> Held {
    let told = explain(fixture, key);
    let held = if let Explanation::Held(held) = told { Some(held) } else { None };
    held.unwrap()
}

#[test]
fn a_key_in_turn_with_others_is_seen_as_often_as_they_are() {
    let fixture = Fixture::with_room(PolicyKind::Lru, 1_000);
    fixture.set_tagged("auth:user:ada:profile", 1, &["plain"], fixture.store.snapshot());
    fixture.store.tag_names().learn(velro_cache::engine::keys::slot_of_tag(b"plain"), b"plain");
    // Two by two: whoever samples each 128th lookup never meets one of them.
    for _ in 0..200_000 {
        fixture.get("auth:user:ada:profile");
        fixture.get("absent");
    }
    let top = fixture.store.top_keys(10);
    assert_eq!(top.len(), 2);
    for hot in &top {
        assert!(hot.requests.abs_diff(200_000) < 40_000, "{top:?}");
        let hits = if &*hot.name == b"absent" { 0 } else { hot.requests };
        assert_eq!((hot.hits, hot.error), (hits, 0));
    }
    let tags = fixture.store.top_tags(10);
    let names: BTreeSet<&[u8]> = tags.iter().map(|hot| &*hot.name).collect();
    assert_eq!(names, BTreeSet::from([&b"plain"[..], b"user:ada"]));
    assert!(tags.iter().all(|hot| hot.requests.abs_diff(200_000) < 80_000), "{tags:?}");
    fixture.clock.advance(Duration::from_secs(3_600));
    assert_eq!(fixture.store.top_keys(10), []);
}

#[test]
fn the_history_counts_what_happened_since_the_point_before() {
    let fixture = Fixture::with_room(PolicyKind::Lru, 2);
    fixture.store.observe(0);
    assert_eq!(fixture.store.history(900), []);
    (0..3).for_each(|n| assert!(fixture.get(&format!("k{n}")).is_none()));
    (0..3).for_each(|n| assert_eq!(fixture.set(&format!("k{n}"), n), Outcome::Stored));
    fixture.clock.advance(Duration::from_secs(2));
    fixture.store.observe(3);
    // Again in the same second: nothing new.
    fixture.store.observe(4);
    assert_eq!(fixture.get("k2"), Some(2));
    fixture.store.clear();
    fixture.clock.advance(Duration::from_secs(1));
    fixture.store.observe(5);
    let points = fixture.store.history(900);
    assert_eq!(points.iter().map(|p| (p.second, p.seconds)).collect::<Vec<_>>(), [(2, 2), (3, 1)]);
    let [first, second] = [points[0].counts, points[1].counts];
    assert_eq!((first.hits, first.misses, first.loads, first.evictions), (0, 3, 3, 1));
    assert_eq!((second.hits, second.misses, second.loads, second.invalidations), (1, 0, 2, 2));
    assert_eq!((points[0].levels.entries, points[1].levels.entries), (2, 0));
    assert!(points[0].levels.bytes > 0 && points[0].levels.samples > 0);
    assert!(0 < points[0].levels.p50_ns && points[0].levels.p50_ns <= points[0].levels.p99_ns);
    assert_eq!(fixture.store.history(1).len(), 1);
}

#[test]
fn what_is_known_of_a_key_follows_its_life() {
    for policy in POLICIES {
        let fixture = Fixture::with_room(policy, 100);
        let key = "auth:gen:1:user:ada:access";
        assert_eq!(explain(&fixture, key), Explanation::NotHeld(MissReason::Cold));
        fixture.set_tagged(key, 7, &["plain"], fixture.store.snapshot());
        fixture.clock.advance(Duration::from_millis(8_000));
        let found = held(&fixture, key);
        assert_eq!((found.age, found.left), (8_000, 52_000));
        assert_eq!((found.tags, found.permissive, found.priority), (3, true, 1));
        assert_eq!(found.why_not, None);
        assert!(found.bytes > 100);
        // Set over: a new life of the same entry.
        fixture.set(key, 8);
        let found = held(&fixture, key);
        assert_eq!((found.age, found.left, found.tags), (8_000, 60_000, 2));
        fixture.clock.advance(Duration::from_secs(61));
        let found = held(&fixture, key);
        assert_eq!((found.left, found.why_not), (0, Some(MissReason::Expired)));
        drop(fixture.store.sweep());
        assert_eq!(explain(&fixture, key), Explanation::NotHeld(MissReason::Expired));
        fixture.set(key, 9);
        fixture.store.delete(key.as_bytes());
        assert_eq!(explain(&fixture, key), Explanation::NotHeld(MissReason::Invalidated));
        // Another one told the table, and nobody has looked at the row yet.
        fixture.set(key, 9);
        fixture.store.table().invalidate_all();
        assert_eq!(held(&fixture, key).why_not, Some(MissReason::Invalidated));
        let stats = fixture.store.stats();
        assert_eq!((stats.hits, stats.misses), (0, 0));
    }
}

#[test]
fn an_entry_that_lacks_a_lease_says_so() {
    let mut config = EngineConfig::new(100, 1 << 20, PolicyKind::Lru);
    config.lease = Some(Lease { max_staleness: 1_000, serve_stale: false });
    let fixture = Fixture::new(&config);
    fixture.set("allows", 1);
    let mut denies = entry("denies", 1, fixture.store.snapshot());
    denies.permissive = false;
    fixture.store.insert(denies);
    assert_eq!(held(&fixture, "allows").why_not, Some(MissReason::Lease));
    assert_eq!(held(&fixture, "denies").why_not, None);
}

proptest! {
    #[test]
    fn pages_list_each_key_once(
        keys in prop::collection::btree_set("[ab]:[a-d]{1,3}", 0..80),
        limit in 1usize..20,
        shards in 1usize..4,
        prefix in prop_oneof![Just(""), Just("a"), Just("a:"), Just("b:a"), Just("c")],
    ) {
        let mut config = EngineConfig::new(1_000, 1 << 24, PolicyKind::Adaptive);
        config.shards = shards;
        let fixture = Fixture::new(&config);
        keys.iter().for_each(|key| assert_eq!(fixture.set(key, 1), Outcome::Stored));
        let (mut found, mut after) = (Vec::new(), Some(Bookmark::default()));
        while let Some(from) = after {
            let (page, next) = fixture.store.keys_with_prefix(prefix.as_bytes(), limit, from);
            prop_assert!(page.len() <= limit);
            found.extend(page.into_iter().map(|key| String::from_utf8(key.into()).unwrap()));
            // A listing that goes on is told so by a number that is not that of the beginning.
            prop_assert!(next.is_none_or(|next| next.to_bits() > from.to_bits()));
            after = next;
        }
        found.sort_unstable();
        let expected: Vec<_> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_page_looks_at_a_bounded_number_of_entries() {
    let fixture = Fixture::with_room(PolicyKind::Lru, 100_000);
    (0..40_000).for_each(|n| assert_eq!(fixture.set(&format!("k{n}"), n), Outcome::Stored));
    fixture.set("last", 1);
    let (mut pages, mut after) = (Vec::new(), Some(Bookmark::default()));
    while let Some(from) = after {
        let (page, next) = fixture.store.keys_with_prefix(b"last", 10, from);
        pages.push(page.len());
        after = next;
    }
    assert_eq!(pages, [0, 0, 1]);
    // No place so far away exists.
    let nowhere = Bookmark::from_bits(u64::MAX);
    assert_eq!(fixture.store.keys_with_prefix(b"", 10, nowhere), (vec![], None));
    fixture.clock.advance(Duration::from_secs(61));
    assert_eq!(
        fixture.store.keys_with_prefix(b"", 10, Bookmark::default()).0,
        Vec::<Box<[u8]>>::new()
    );
}
