//! Results made of other entries rest on what those rest on.

use crate::support::{Fixture, entry};
use std::time::Duration;
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{Basis, EngineConfig, NewEntry, Outcome, Store, keys};
use velro_cache::invalidation::Stamp;

type Invalidate = fn(&Fixture);

const INNER: &str = "auth:user:1:profile";

fn cache() -> Fixture {
    Fixture::with_room(PolicyKind::Adaptive, 1000)
}

/// An entry and what is inherited from it.
fn look(cache: &Fixture, key: &str) -> (Option<u64>, Option<Basis>) {
    cache.store.get_with_basis(key.as_bytes(), |_, _, value| Some(*value), |_| None)
}

fn made(cache: &Fixture, key: &str, stamp: Stamp, of: &Basis) -> Outcome {
    cache.store.insert_made_of(entry(key, 9, stamp), of).outcome
}

/// A cache with an entry, and another one that is made of it.
fn two() -> Fixture {
    let cache = cache();
    cache.set_tagged(INNER, 1, &["mine"], cache.store.snapshot());
    let basis = look(&cache, INNER).1.unwrap();
    assert_eq!(made(&cache, "outer", cache.store.snapshot(), &basis), Outcome::Stored);
    cache
}

const WAYS: [(&str, Invalidate); 6] = [
    ("tag", |cache| _ = cache.invalidate_tag("mine")),
    ("implied tag", |cache| _ = cache.invalidate_tag("user:1")),
    ("key", |cache| _ = cache.store.delete(INNER.as_bytes())),
    ("prefix", |cache| _ = cache.store.invalidate_pattern(b"auth:user:*")),
    ("wildcard", |cache| _ = cache.store.invalidate_pattern(b"*:prof?le")),
    ("clear", |cache| _ = cache.store.clear()),
];

#[test]
fn what_reaches_the_one_reaches_the_other() {
    for (way, invalidate) in WAYS {
        let cache = two();
        assert_eq!(cache.get("outer"), Some(9), "{way}");
        invalidate(&cache);
        assert_eq!(cache.get("outer"), None, "{way}");
        assert!(!cache.store.contains(b"outer"), "{way}");
        cache.store.validate();
    }
}

#[test]
fn what_came_before_it_was_stored_keeps_it_from_being_stored() {
    for (way, invalidate) in WAYS {
        let cache = cache();
        cache.set_tagged(INNER, 1, &["mine"], cache.store.snapshot());
        let basis = look(&cache, INNER).1.unwrap();
        invalidate(&cache);
        let now = cache.store.snapshot();
        assert_eq!(made(&cache, "outer", now, &basis), Outcome::Stale, "{way}");
        assert_eq!(cache.get("outer"), None, "{way}");
    }
}

#[test]
fn what_is_inherited_is_inherited_again() {
    for (way, invalidate) in WAYS {
        let cache = two();
        let basis = look(&cache, "outer").1.unwrap();
        assert_eq!(made(&cache, "outermost", cache.store.snapshot(), &basis), Outcome::Stored);
        assert_eq!(cache.get("outermost"), Some(9), "{way}");
        invalidate(&cache);
        assert_eq!(cache.get("outermost"), None, "{way}");
    }
}

#[test]
fn an_invalidation_of_its_own_does_not_wait_for_what_it_is_made_of() {
    let cache = two();
    cache.store.delete(b"outer");
    let basis = look(&cache, INNER).1.unwrap();
    assert_eq!(made(&cache, "outer", cache.store.snapshot(), &basis), Outcome::Stored);
    assert_eq!(cache.get("outer"), Some(9));
    // Both slots of the row are looked at when the clock has moved.
    cache.invalidate_tag("unrelated");
    assert_eq!(cache.get("outer"), Some(9));
}

#[test]
fn the_earliest_end_is_the_end() {
    let cache = cache();
    let brief = NewEntry { ttl: 1000, ..entry("brief", 1, 1) };
    assert_eq!(cache.store.insert(brief).outcome, Outcome::Stored);
    cache.clock.advance(Duration::from_millis(400));
    let basis = look(&cache, "brief").1.unwrap();
    assert_eq!(basis.deadline, 1000);
    assert_eq!(made(&cache, "outer", cache.store.snapshot(), &basis), Outcome::Stored);
    cache.clock.advance(Duration::from_millis(599));
    assert_eq!(cache.get("outer"), Some(9));
    cache.clock.advance(Duration::from_millis(1));
    assert_eq!(cache.get("outer"), None);
}

#[test]
fn what_is_handed_on_rests_on_what_it_would_have_as_an_entry() {
    let cache = cache();
    let stamp = cache.store.snapshot();
    cache.set_tagged(INNER, 1, &["mine"], stamp);
    let tags = [keys::slot_of_tag(b"mine")];
    let mut handed_on = Store::<u64>::basis_of(INNER.as_bytes(), &tags, stamp, 60_000);
    let mut looked_up = look(&cache, INNER).1.unwrap();
    handed_on.slots.sort_unstable();
    looked_up.slots.sort_unstable();
    assert_eq!(looked_up.keys[0].checked_at, stamp);
    looked_up.keys[0].checked_at = 0;
    assert_eq!(handed_on, looked_up);
    assert!(handed_on.holds(cache.store.table()));
    cache.invalidate_tag("mine");
    assert!(!handed_on.holds(cache.store.table()));
}

#[test]
fn a_value_set_in_its_place_inherits_nothing() {
    let cache = two();
    cache.set("outer", 2);
    cache.invalidate_tag("mine");
    assert_eq!(cache.get("outer"), Some(2));
    cache.store.validate();
}

#[test]
fn what_is_inherited_counts_for_memory() {
    let cache = Fixture::new(&EngineConfig::new(10, 4000, PolicyKind::Lru));
    let slots = (0..250).map(|slot| (slot, 1)).collect();
    let many = Basis { slots, deadline: 60_000, ..Basis::default() };
    assert_eq!(made(&cache, "outer", 1, &many), Outcome::TooLarge);
    let fewer = Basis { slots: many.slots[..100].to_vec(), ..many };
    assert_eq!(made(&cache, "outer", 1, &fewer), Outcome::Stored);
    assert!(cache.store.stats().bytes > 1600);
    cache.store.validate();
    cache.store.delete(b"outer");
    assert_eq!(cache.store.stats().bytes, 0);
}

#[test]
fn a_miss_has_nothing_to_inherit() {
    let cache = cache();
    assert_eq!(look(&cache, "nothing"), (None, None));
    assert_eq!(cache.store.stats().misses, 1);
}

#[test]
fn a_wildcard_covers_what_was_made_of_the_keys_it_covers_and_nothing_else() {
    let cache = two();
    cache.set("auth:user:2:profile", 2);
    let basis = look(&cache, "auth:user:2:profile").1.unwrap();
    made(&cache, "other", cache.store.snapshot(), &basis);
    assert_eq!(cache.store.invalidate_pattern(b"auth:*:1:profile").0, 2);
    assert_eq!((cache.get("outer"), cache.get("other")), (None, Some(9)));
    // What is older than the wildcard, and was compared with it, may be made into something new.
    let basis = look(&cache, "auth:user:2:profile").1.unwrap();
    assert_eq!(made(&cache, "newer", cache.store.snapshot(), &basis), Outcome::Stored);
    assert_eq!(cache.get("newer"), Some(9));
    // The entry itself may be gone.
    cache.store.delete(b"unrelated");
    cache.set_tagged("auth:user:2:profile", 3, &[], cache.store.snapshot());
    assert_eq!(cache.store.invalidate_pattern(b"auth:*:2:profile").0, 3);
    assert_eq!((cache.get("newer"), cache.get("other")), (None, None));
}

#[test]
fn very_many_wildcards_later_nothing_is_refused_that_was_looked_at_meanwhile() {
    let cache = two();
    for n in 0..500 {
        cache.store.invalidate_pattern(format!("a*{n}*z").as_bytes());
        assert_eq!(cache.get("outer"), Some(9), "{n}");
        assert_eq!(cache.get(INNER), Some(1), "{n}");
    }
    let basis = look(&cache, INNER).1.unwrap();
    assert_eq!(made(&cache, "newer", cache.store.snapshot(), &basis), Outcome::Stored);
    cache.store.invalidate_pattern(b"*:prof?le");
    assert_eq!((cache.get("outer"), cache.get("newer")), (None, None));
}
