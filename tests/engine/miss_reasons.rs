//! Every miss has one cause, and it is the right one.

use crate::support::{Fixture, POLICIES, entry};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;
use velro_cache::engine::analytics::miss::MissCounts;
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{EngineConfig, Lease, Outcome};

fn reasons(fixture: &Fixture) -> MissCounts {
    fixture.store.stats().counters.misses_by_reason
}

#[test]
fn an_evicted_key_is_told_from_one_that_was_never_there() {
    for policy in POLICIES {
        let fixture = Fixture::with_room(policy, 8);
        (0..9).for_each(|n| assert_eq!(fixture.set(&format!("k{n}"), n), Outcome::Stored));
        let found = (0..9).filter(|n| fixture.get(&format!("k{n}")).is_some()).count();
        assert_eq!((found, fixture.get("stranger")), (8, None));
        assert_eq!(reasons(&fixture), MissCounts { evicted: 1, cold: 1, ..Default::default() });
    }
}

#[test]
fn a_refused_value_is_the_cause_of_the_next_miss() {
    let mut config = EngineConfig::new(100, 10_000, PolicyKind::Lru);
    config.lease = Some(Lease { max_staleness: 1_000, serve_stale: false });
    let fixture = Fixture::new(&config);
    let stamp = fixture.store.snapshot();
    fixture.invalidate_tag("user:1");
    assert_eq!(fixture.set_tagged("auth:user:1:profile", 1, &[], stamp), Outcome::Stale);
    assert_eq!(fixture.get("auth:user:1:profile"), None);
    let mut large = entry("large", 1, fixture.store.snapshot());
    large.value_bytes = 20_000;
    assert_eq!(fixture.store.insert(large).outcome, Outcome::TooLarge);
    assert_eq!(fixture.get("large"), None);
    // Nobody hears from a log here, and this allows something.
    fixture.set("leased", 1);
    assert_eq!(fixture.get("leased"), None);
    let expected = MissCounts { stale: 1, too_large: 1, lease: 1, ..Default::default() };
    assert_eq!(reasons(&fixture), expected);
}

#[derive(Debug, Clone)]
enum Operation {
    Get(usize),
    Set(usize),
    Delete(usize),
    InvalidateTag(usize),
    Clear,
    Sweep,
    Advance(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0usize..5).prop_map(Operation::Get),
        4 => (0usize..5).prop_map(Operation::Set),
        1 => (0usize..5).prop_map(Operation::Delete),
        2 => (0usize..3).prop_map(Operation::InvalidateTag),
        1 => Just(Operation::Clear),
        1 => Just(Operation::Sweep),
        1 => (0u64..50_000).prop_map(Operation::Advance),
    ]
}

proptest! {
    #[test]
    fn causes_are_those_of_a_plain_model(operations in prop::collection::vec(operation(), 0..120)) {
        let fixture = Fixture::with_room(PolicyKind::Adaptive, 1_000);
        let (mut now, mut expected, mut hits) = (0, MissCounts::default(), 0);
        // Deadline of what is held; and why what is not held left last.
        let mut held: HashMap<usize, u64> = HashMap::new();
        let mut left: HashMap<usize, bool> = HashMap::new();
        let text = |key: usize| format!("auth:user:{}:{key}", key % 3);
        for operation in operations {
            // What is over counts as expired, whatever else happens to it later.
            match operation {
                Operation::Get(key) => {
                    if held.get(&key).is_some_and(|&deadline| deadline <= now) {
                        held.remove(&key);
                        left.insert(key, true);
                    }
                    match (held.contains_key(&key), left.get(&key)) {
                        (true, _) => hits += 1,
                        (false, None) => expected.cold += 1,
                        (false, Some(true)) => expected.expired += 1,
                        (false, Some(false)) => expected.invalidated += 1,
                    }
                    prop_assert_eq!(fixture.get(&text(key)).is_some(), held.contains_key(&key));
                }
                Operation::Set(key) => {
                    fixture.set(&text(key), 1);
                    held.insert(key, now + 60_000);
                }
                Operation::Delete(key) => {
                    fixture.store.delete(text(key).as_bytes());
                    if let Some(deadline) = held.remove(&key) {
                        left.insert(key, deadline <= now);
                    }
                }
                Operation::InvalidateTag(tag) => {
                    fixture.invalidate_tag(&format!("user:{tag}"));
                    held.retain(|&key, &mut deadline| {
                        if key % 3 == tag {
                            left.insert(key, deadline <= now);
                        }
                        key % 3 != tag
                    });
                }
                Operation::Clear => {
                    fixture.store.clear();
                    left.extend(held.drain().map(|(key, _)| (key, false)));
                }
                Operation::Sweep => {
                    drop(fixture.store.sweep());
                    held.retain(|&key, &mut deadline| {
                        if deadline <= now {
                            left.insert(key, true);
                        }
                        deadline > now
                    });
                }
                Operation::Advance(by) => {
                    now += by;
                    fixture.clock.advance(Duration::from_millis(by));
                }
            }
            let stats = fixture.store.stats();
            prop_assert_eq!(stats.counters.misses_by_reason, expected);
            prop_assert_eq!((stats.hits, stats.misses), (hits, expected.sum()));
        }
    }
}
