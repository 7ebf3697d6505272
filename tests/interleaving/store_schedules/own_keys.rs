//! Threads with keys of their own: each finds exactly what a plain map of its own says, whatever
//! the others do in the same shards.

use super::{Checked, ROOM_FOR_FOUR_SHARDS, below, check, run, store};
use shuttle::scheduler::RandomScheduler;
use shuttle::thread;
use std::collections::HashMap;
use std::sync::Arc;
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{EngineConfig, NewEntry, Outcome, keys};
use velro_cache::invalidation::slots;
use velro_cache::invalidation::{InvalidationTable, Stamp};

const THREADS: usize = 3;
const OPERATIONS: usize = 10;
const KEYS_EACH: usize = 2;

fn key(thread: usize, number: usize) -> String {
    format!("own:{thread}{number}")
}

fn tag(thread: usize) -> String {
    format!("tag:{thread}")
}

/// One thread's part of the world.
struct Owner {
    thread: usize,
    store: Arc<Checked<usize, false>>,
    model: HashMap<usize, usize>,
    /// A stamp taken some operations ago, and the keys invalidated since.
    stamp: Stamp,
    invalidated: Vec<usize>,
}

impl Owner {
    fn new(thread: usize, store: Arc<Checked<usize, false>>) -> Self {
        let stamp = store.snapshot();
        Self { thread, store, model: HashMap::new(), stamp, invalidated: Vec::new() }
    }

    fn operate(&mut self, value: usize) {
        let number = below(KEYS_EACH);
        let name = key(self.thread, number);
        match below(10) {
            0..3 => self.check_lookup(number),
            3..5 => {
                let stamp = self.store.snapshot();
                assert_eq!(self.insert(&name, value, stamp), Outcome::Stored);
                self.model.insert(number, value);
            }
            5 => {
                let stale = self.invalidated.contains(&number);
                let outcome = self.insert(&name, value, self.stamp);
                assert_eq!(outcome, if stale { Outcome::Stale } else { Outcome::Stored });
                if !stale {
                    self.model.insert(number, value);
                }
            }
            6 => {
                self.stamp = self.store.snapshot();
                self.invalidated.clear();
            }
            7 => {
                let expected = self.model.remove(&number);
                let deleted = self.store.delete(name.as_bytes());
                assert_eq!(
                    (deleted.0, deleted.1.map(|left| left.1)),
                    (expected.is_some(), expected)
                );
                self.invalidated.push(number);
            }
            8 => {
                let slot = keys::slot_of_tag(tag(self.thread).as_bytes());
                // Fewer if a sweep of another thread was quicker to remove what was invalidated.
                assert!(self.store.invalidate_slots(&[slot]).0 <= self.model.len());
                self.forget_all();
            }
            _ => {
                let pattern = format!("*n:{}?", self.thread);
                let removed = self.store.invalidate_pattern(pattern.as_bytes());
                assert_eq!(removed.0, self.model.len());
                self.forget_all();
                self.store.sweep();
            }
        }
    }

    fn check_lookup(&self, number: usize) {
        let name = key(self.thread, number);
        let found = self.store.get_with(name.as_bytes(), |_, _, value| Some(*value), |_| None);
        assert_eq!(found, self.model.get(&number).copied());
        assert_eq!(self.store.contains(name.as_bytes()), found.is_some());
    }

    fn insert(&self, name: &str, value: usize, stamp: Stamp) -> Outcome {
        let entry = NewEntry {
            key: name.as_bytes(),
            value,
            value_bytes: 8,
            ttl: 60_000,
            priority: 1,
            stamp,
            tag_slots: &[keys::slot_of_tag(tag(self.thread).as_bytes())],
        };
        self.store.insert(entry).outcome
    }

    fn forget_all(&mut self) {
        self.model.clear();
        self.invalidated.extend(0..KEYS_EACH);
    }
}

fn scenario() {
    let mut config = EngineConfig::new(ROOM_FOR_FOUR_SHARDS, 1 << 20, PolicyKind::Adaptive);
    config.shards = 4;
    config.batch_size = 1;
    let store = Arc::new(store(&config, &Arc::default(), &Arc::default()));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let mut owner = Owner::new(thread, Arc::clone(&store));
            thread::spawn(move || {
                (0..OPERATIONS).for_each(|value| owner.operate(value));
                owner
            })
        })
        .collect();
    for thread in threads {
        let owner = thread.join().unwrap();
        (0..KEYS_EACH).for_each(|number| owner.check_lookup(number));
    }
    store.validate();
}

#[test]
fn each_thread_finds_what_it_left_there() {
    check(scenario);
}

#[test]
fn no_two_names_share_a_slot() {
    // Else the test above would fail for no fault of the store's: give the names other letters.
    run(RandomScheduler::new(1), || {
        let of_thread = |thread| {
            let keys =
                (0..KEYS_EACH).map(move |number| slots::of_key(key(thread, number).as_bytes()));
            keys.chain([keys::slot_of_tag(tag(thread).as_bytes())])
        };
        let names: Vec<_> =
            slots::of_prefix(b"own").into_iter().chain((0..THREADS).flat_map(of_thread)).collect();
        let table = InvalidationTable::new();
        for (number, &slot) in names.iter().enumerate() {
            let stamp = table.now();
            table.invalidate_slots(&[slot]);
            assert!(table.is_current(stamp, &names[..number]), "{number} of {names:?}");
        }
    });
}
