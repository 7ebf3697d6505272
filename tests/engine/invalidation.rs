//! What was taken away is never served again, not even by a load that began before.

use crate::support::{Fixture, POLICIES, entry};
use std::time::Duration;
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{NewEntry, Outcome};

type Invalidate = fn(&Fixture);

fn cache() -> Fixture {
    Fixture::with_room(PolicyKind::Adaptive, 1000)
}

#[test]
fn a_tag_covers_all_entries_that_carry_it_and_no_other() {
    let cache = cache();
    let now = cache.store.snapshot();
    cache.set_tagged("a", 1, &["user:1", "auth"], now);
    cache.set_tagged("b", 2, &["user:1"], now);
    cache.set_tagged("c", 3, &["user:2"], now);
    assert_eq!(cache.invalidate_tag("user:1"), 2);
    assert_eq!((cache.get("a"), cache.get("b"), cache.get("c")), (None, None, Some(3)));
}

#[test]
fn a_value_loaded_before_an_invalidation_is_not_stored_after_it() {
    let ways: [(&str, Invalidate); 6] = [
        ("tag", |cache| _ = cache.invalidate_tag("user:1")),
        ("key", |cache| _ = cache.store.delete(b"auth:user:1:profile")),
        ("prefix", |cache| _ = cache.store.invalidate_pattern(b"auth:user:*")),
        ("wildcard", |cache| _ = cache.store.invalidate_pattern(b"*:prof?le")),
        ("everything", |cache| _ = cache.store.invalidate_pattern(b"*")),
        ("clear", |cache| _ = cache.store.clear()),
    ];
    for (way, invalidate) in ways {
        let cache = cache();
        let before = cache.store.snapshot();
        invalidate(&cache);
        let late = cache.set_tagged("auth:user:1:profile", 1, &["user:1"], before);
        assert_eq!(late, Outcome::Stale, "{way}");
        assert_eq!(cache.get("auth:user:1:profile"), None, "{way}");
        let now = cache.store.snapshot();
        let fresh = cache.set_tagged("auth:user:1:profile", 2, &["user:1"], now);
        assert_eq!(fresh, Outcome::Stored, "{way}");
        assert_eq!(cache.get("auth:user:1:profile"), Some(2), "{way}");
    }
}

#[test]
fn a_late_value_does_not_push_out_a_newer_one() {
    let cache = cache();
    let before = cache.store.snapshot();
    cache.invalidate_tag("user:1");
    cache.set_tagged("k", 2, &["user:1"], cache.store.snapshot());
    assert_eq!(cache.set_tagged("k", 1, &["user:1"], before), Outcome::Stale);
    assert_eq!(cache.get("k"), Some(2));
}

#[test]
fn a_key_carries_the_tags_of_the_ids_in_it() {
    let cache = cache();
    cache.set("auth:gen:g1:user:u1:access", 1);
    cache.set("auth:gen:g1:user:u2:access", 2);
    assert_eq!(cache.invalidate_tag("user:u1"), 1);
    assert_eq!(cache.get("auth:gen:g1:user:u1:access"), None);
    assert_eq!(cache.invalidate_tag("generation:g1"), 1);
    assert_eq!(cache.get("auth:gen:g1:user:u2:access"), None);
}

#[test]
fn a_uuid_in_another_spelling_does_not_escape() {
    let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let spelt = format!("auth:gen:{}:user:u1:access", uuid.replace('-', "").to_uppercase());
    let key = format!("auth:gen:{uuid}:user:u1:access");
    for pattern in [format!("auth:gen:{uuid}:*"), format!("*:{uuid}:user:?1:*"), key] {
        let cache = cache();
        let before = cache.store.snapshot();
        cache.set(&spelt, 1);
        cache.store.invalidate_pattern(pattern.as_bytes());
        assert_eq!(cache.get(&spelt), None, "{pattern}");
        let late = cache.set_tagged(&spelt, 1, &[], before);
        assert_eq!(late, Outcome::Stale, "{pattern}");
    }
}

#[test]
fn counts_are_those_of_live_entries() {
    let cache = cache();
    let brief = NewEntry { ttl: 1000, ..entry("auth:a", 1, 1) };
    assert_eq!(cache.store.insert(brief).outcome, Outcome::Stored);
    cache.set("auth:b", 1);
    cache.set("auth:c", 1);
    cache.set("other", 1);
    cache.clock.advance(Duration::from_secs(1));
    assert_eq!(cache.store.invalidate_pattern(b"auth:*").0, 2);
    assert_eq!(cache.store.invalidate_pattern(b"auth:*").0, 0);
    assert_eq!(cache.store.len(), 1);
}

#[test]
fn an_entry_is_never_served_from_its_deadline_on() {
    for policy in POLICIES {
        let cache = Fixture::with_room(policy, 10);
        cache.set("k", 1);
        cache.clock.advance(Duration::from_millis(59_999));
        assert_eq!(cache.get("k"), Some(1), "{policy:?}");
        assert!(cache.store.contains(b"k"));
        cache.clock.advance(Duration::from_millis(1));
        assert!(!cache.store.contains(b"k"));
        assert_eq!(cache.get("k"), None, "{policy:?}");
        assert_eq!(cache.store.stats().counters.expirations, 1);
    }
}

#[test]
fn a_sweep_removes_what_can_never_be_served_again() {
    let cache = cache();
    let brief = NewEntry { ttl: 1000, ..entry("brief", 1, 1) };
    assert_eq!(cache.store.insert(brief).outcome, Outcome::Stored);
    cache.set("lasting", 2);
    cache.clock.advance(Duration::from_secs(1));
    assert_eq!(cache.store.sweep(), [(Box::from(&b"brief"[..]), 1)]);
    assert_eq!(cache.store.len(), 1);
    cache.store.validate();
}
