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
    /// Whether wildcards come, too. Whoever looks while one is being written down may miss what it
    /// does not cover, and a stamp older than one may be refused.
    has_wildcards: bool,
}

impl Owner {
    fn new(thread: usize, store: Arc<Checked<usize, false>>, has_wildcards: bool) -> Self {
        let stamp = store.snapshot();
        let (model, invalidated) = (HashMap::new(), Vec::new());
        Self { thread, store, model, stamp, invalidated, has_wildcards }
    }

    fn operate(&mut self, value: usize) {
        let number = below(KEYS_EACH);
        match below(10) {
            0..3 => self.check_lookup(number),
            3..5 => {
                let stamp = self.store.snapshot();
                self.insert(number, value, stamp, false);
            }
            5 => {
                let stale = self.invalidated.contains(&number);
                self.insert(number, value, self.stamp, stale);
            }
            6 => {
                self.stamp = self.store.snapshot();
                self.invalidated.clear();
            }
            7 => {
                let expected = self.model.remove(&number);
                let (was_live, left) = self.store.delete(key(self.thread, number).as_bytes());
                if !self.has_wildcards {
                    let left = left.map(|left| left.1);
                    assert_eq!((was_live, left), (expected.is_some(), expected));
                }
                self.invalidated.push(number);
            }
            8 if self.has_wildcards => {
                let pattern = format!("*n:{}?", self.thread);
                self.store.invalidate_pattern(pattern.as_bytes());
                self.forget_all();
                self.store.sweep();
            }
            _ => {
                let slot = keys::slot_of_tag(tag(self.thread).as_bytes());
                // Fewer if a sweep of another thread was quicker to remove what was invalidated.
                let dropped = self.store.invalidate_slots(&[slot]).0;
                assert!(self.has_wildcards || dropped <= self.model.len());
                self.forget_all();
            }
        }
    }

    fn check_lookup(&mut self, number: usize) {
        let name = key(self.thread, number);
        let found = self.store.get_with(name.as_bytes(), |_, _, value| Some(*value), |_| None);
        if self.has_wildcards && found.is_none() {
            // It may still be there, and be found the next time.
            self.model.remove(&number);
            self.store.delete(name.as_bytes());
            self.invalidated.push(number);
        }
        assert_eq!(found, self.model.get(&number).copied());
        if !self.has_wildcards {
            assert_eq!(self.store.contains(name.as_bytes()), found.is_some());
        }
    }

    fn insert(&mut self, number: usize, value: usize, stamp: Stamp, is_stale: bool) {
        let name = key(self.thread, number);
        let entry = NewEntry {
            key: name.as_bytes(),
            value,
            value_bytes: 8,
            ttl: 60_000,
            priority: 1,
            stamp,
            tag_slots: &[keys::slot_of_tag(tag(self.thread).as_bytes())],
            permissive: true,
        };
        let outcome = self.store.insert(entry).outcome;
        if outcome == Outcome::Stored {
            assert!(!is_stale);
            self.model.insert(number, value);
        } else {
            assert!(is_stale || self.has_wildcards);
        }
    }

    fn forget_all(&mut self) {
        self.model.clear();
        self.invalidated.extend(0..KEYS_EACH);
    }
}

fn scenario(has_wildcards: bool) {
    let mut config = EngineConfig::new(ROOM_FOR_FOUR_SHARDS, 1 << 20, PolicyKind::Adaptive);
    config.shards = 4;
    config.batch_size = 1;
    let store = Arc::new(store(&config, &Arc::default(), &Arc::default()));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let mut owner = Owner::new(thread, Arc::clone(&store), has_wildcards);
            thread::spawn(move || {
                (0..OPERATIONS).for_each(|value| owner.operate(value));
                owner
            })
        })
        .collect();
    for thread in threads {
        let mut owner = thread.join().unwrap();
        (0..KEYS_EACH).for_each(|number| owner.check_lookup(number));
    }
    store.validate();
}

#[test]
fn each_thread_finds_what_it_left_there() {
    check(|| scenario(false));
}

#[test]
fn each_thread_finds_nothing_else_while_wildcards_come() {
    check(|| scenario(true));
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
