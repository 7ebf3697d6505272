//! Any sequence of operations, compared with a plain map.

use crate::support::{Fixture, POLICIES};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;
use velro_cache::engine::Outcome;
use velro_cache::engine::policy::PolicyKind;
use velro_cache::invalidation::{Pattern, Stamp};

const KEYS: [&str; 6] =
    ["auth:user:1:profile", "auth:user:2:profile", "auth:gen:1:user:1:access", "a", "a:b", "b"];
const TAGS: [&str; 4] = ["user:1", "user:2", "generation:1", "plain"];
const PATTERNS: [&str; 7] = ["*", "auth:*", "auth:user:1:*", "a", "a*", "*:profile", "[ab]"];

#[derive(Debug, Clone)]
enum Operation {
    Get(usize),
    Set {
        key: usize,
        tags: Vec<usize>,
    },
    /// Store with a stamp taken some operations ago.
    SetLate {
        key: usize,
        tag: usize,
    },
    TakeStamp,
    Delete(usize),
    InvalidateTag(usize),
    InvalidatePattern(usize),
    Clear,
    Sweep,
    Advance(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let (key, tag) = (0..KEYS.len(), 0..TAGS.len());
    prop_oneof![
        6 => key.clone().prop_map(Operation::Get),
        6 => (key.clone(), prop::collection::vec(tag.clone(), 0..3))
            .prop_map(|(key, tags)| Operation::Set { key, tags }),
        2 => (key.clone(), tag.clone()).prop_map(|(key, tag)| Operation::SetLate { key, tag }),
        2 => Just(Operation::TakeStamp),
        1 => key.prop_map(Operation::Delete),
        2 => tag.prop_map(Operation::InvalidateTag),
        2 => (0..PATTERNS.len()).prop_map(Operation::InvalidatePattern),
        1 => Just(Operation::Clear),
        1 => Just(Operation::Sweep),
        1 => (0u64..40_000).prop_map(Operation::Advance),
    ]
}

/// What the store should hold, without any cleverness.
#[derive(Default)]
struct Model {
    now: u64,
    /// Key to value, tags and deadline.
    entries: HashMap<&'static str, (u64, Vec<&'static str>, u64)>,
    /// Everything invalidated since the stamp was taken, as a test on key and tags.
    since_stamp: Vec<Covered>,
}

#[derive(Clone, Copy)]
enum Covered {
    Key(&'static str),
    Tag(&'static str),
    Pattern(&'static str),
}

impl Covered {
    fn includes(self, key: &str, tags: &[&str]) -> bool {
        match self {
            Self::Key(covered) => covered == key,
            Self::Tag(covered) => tags.contains(&covered) || implied(key).contains(&covered),
            Self::Pattern(pattern) => Pattern::new(pattern.as_bytes()).matches(key.as_bytes()),
        }
    }
}

fn implied(key: &str) -> &'static [&'static str] {
    match key {
        "auth:user:1:profile" => &["user:1"],
        "auth:user:2:profile" => &["user:2"],
        "auth:gen:1:user:1:access" => &["user:1", "generation:1"],
        _ => &[],
    }
}

impl Model {
    fn live(&self, key: &str) -> Option<u64> {
        self.entries.get(key).filter(|entry| self.now < entry.2).map(|entry| entry.0)
    }

    fn set(&mut self, key: &'static str, value: u64, tags: Vec<&'static str>) {
        self.entries.insert(key, (value, tags, self.now + 60_000));
    }

    fn invalidate(&mut self, what: Covered) -> usize {
        let now = self.now;
        let mut live = 0;
        self.entries.retain(|key, (_, tags, deadline)| {
            let gone = what.includes(key, tags);
            live += usize::from(gone && now < *deadline);
            !gone
        });
        self.since_stamp.push(what);
        live
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_store_answers_like_a_plain_map(
        operations in prop::collection::vec(operation(), 1..120),
        policy in prop::sample::select(POLICIES.to_vec()),
    ) {
        run(policy, &operations)?;
    }
}

fn run(policy: PolicyKind, operations: &[Operation]) -> Result<(), TestCaseError> {
    let cache = Fixture::with_room(policy, 1000);
    let mut model = Model::default();
    let mut stamp: Stamp = cache.store.snapshot();
    for (number, operation) in operations.iter().enumerate() {
        let value = number as u64;
        match operation {
            Operation::Get(key) => prop_assert_eq!(cache.get(KEYS[*key]), model.live(KEYS[*key])),
            Operation::Set { key, tags } => {
                let tags: Vec<_> = tags.iter().map(|tag| TAGS[*tag]).collect();
                let outcome = cache.set_tagged(KEYS[*key], value, &tags, cache.store.snapshot());
                prop_assert_eq!(outcome, Outcome::Stored);
                model.set(KEYS[*key], value, tags);
            }
            Operation::SetLate { key, tag } => {
                let tags = vec![TAGS[*tag]];
                let stale = model.since_stamp.iter().any(|what| what.includes(KEYS[*key], &tags));
                let outcome = cache.set_tagged(KEYS[*key], value, &tags, stamp);
                prop_assert_eq!(outcome, if stale { Outcome::Stale } else { Outcome::Stored });
                if !stale {
                    model.set(KEYS[*key], value, tags);
                }
            }
            Operation::TakeStamp => {
                stamp = cache.store.snapshot();
                model.since_stamp.clear();
            }
            Operation::Delete(key) => {
                let deleted = cache.store.delete(KEYS[*key].as_bytes()).0;
                prop_assert_eq!(usize::from(deleted), model.invalidate(Covered::Key(KEYS[*key])));
            }
            Operation::InvalidateTag(tag) => {
                let count = cache.invalidate_tag(TAGS[*tag]);
                prop_assert_eq!(count, model.invalidate(Covered::Tag(TAGS[*tag])));
            }
            Operation::InvalidatePattern(pattern) => {
                let pattern = PATTERNS[*pattern];
                let count = cache.store.invalidate_pattern(pattern.as_bytes()).0;
                prop_assert_eq!(count, model.invalidate(Covered::Pattern(pattern)));
            }
            Operation::Clear => {
                prop_assert_eq!(cache.store.clear().0, model.invalidate(Covered::Pattern("*")));
            }
            Operation::Sweep => {
                cache.store.sweep();
                let now = model.now;
                model.entries.retain(|_, entry| now < entry.2);
                prop_assert_eq!(cache.store.len(), model.entries.len());
            }
            Operation::Advance(millis) => {
                cache.clock.advance(Duration::from_millis(*millis));
                model.now += millis;
            }
        }
        cache.store.validate();
    }
    for key in KEYS {
        prop_assert_eq!(cache.get(key), model.live(key));
        prop_assert_eq!(cache.store.contains(key.as_bytes()), model.live(key).is_some());
    }
    Ok(())
}
