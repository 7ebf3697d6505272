//! No lookup that begins after a revocation returned is answered by what it covered, no value
//! goes missing, and the counters add up.

use super::books::{Books, Receipt};
use super::{Checked, ROOM_FOR_FOUR_SHARDS, below, check, store};
use shuttle::thread;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use velro_cache::engine::clock::ManualClock;
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::store::Place;
use velro_cache::engine::{EngineConfig, NewEntry, keys};
use velro_cache::invalidation::{InvalidationTable, Pattern, Slot};

const THREADS: usize = 3;
/// A thread has one to so many. What went wrong is easily undone by what comes after it.
const MOST_OPERATIONS: usize = 6;
const KEYS: [&str; 4] =
    ["auth:user:1:profile", "auth:user:2:profile", "auth:gen:1:user:1:access", "a:1:profile"];
/// All spellings of a revocation by pattern: a prefix, some without a slot, one key, everything.
const PATTERNS: [&str; 5] = ["auth:user:*", "*:profile", "auth:*:1:*", "a:1:profile", "*"];
/// Keys that carry the tag `user:1` by their shape.
const OF_USER_1: [usize; 2] = [0, 2];
/// More than any store here can hold.
const HUGE: usize = 1 << 20;

struct World {
    store: Checked<Receipt, true>,
    clock: Arc<ManualClock>,
    table: Arc<InvalidationTable>,
    books: Books,
    /// For each key: versions of the truth, and the newest one whose revocation returned.
    truth: [AtomicU64; KEYS.len()],
    revoked: [AtomicU64; KEYS.len()],
    /// For each key: where it was last seen. All begin with the place of one of them.
    places: [AtomicU32; KEYS.len()],
}

impl World {
    fn new(shards: usize, max_bytes: usize, policy: PolicyKind) -> Self {
        let mut config = EngineConfig::new(ROOM_FOR_FOUR_SHARDS, max_bytes, policy);
        config.shards = shards;
        // A walk lets others in after each row.
        config.batch_size = 1;
        let (clock, table) = Default::default();
        let store = store(&config, &clock, &table);
        let (books, truth, revoked, places) = Default::default();
        Self { store, clock, table, books, truth, revoked, places }
    }

    fn operate(&self) {
        match below(16) {
            0..6 => {
                let key = below(KEYS.len());
                if !self.look_up(key) {
                    self.load(key, small());
                }
            }
            6 | 7 => self.load(below(KEYS.len()), small()),
            8 => self.load(below(KEYS.len()), HUGE),
            9 => {
                let key = below(KEYS.len());
                self.revoke(&[key], || self.store.delete(KEYS[key].as_bytes()).1.into_iter());
            }
            10 => self.revoke(&OF_USER_1, || self.store.invalidate_slots(&[user_1()]).1),
            // In the table alone, which does without the removal that follows.
            11 | 12 => self.revoke(&OF_USER_1, || {
                self.table.invalidate_slots(&[user_1()]);
                None
            }),
            13 => {
                let pattern = PATTERNS[below(PATTERNS.len())].as_bytes();
                let compiled = Pattern::new(pattern);
                let covers = |&key: &usize| compiled.matches(KEYS[key].as_bytes());
                let covered: Vec<_> = (0..KEYS.len()).filter(covers).collect();
                self.revoke(&covered, || self.store.invalidate_pattern(pattern).1);
            }
            14 => self.revoke(&[0, 1, 2, 3], || self.store.clear().1),
            _ => {
                self.clock.advance(Duration::from_secs(1));
                self.books.left(self.store.sweep());
            }
        }
    }

    /// Whether an answer was found.
    fn look_up(&self, key: usize) -> bool {
        let oldest_allowed = self.revoked[key].load(Ordering::Relaxed);
        let Some(value) = self.find(key) else { return false };
        assert_eq!(value.key, key);
        assert!(value.version >= oldest_allowed, "served after its revocation");
        true
    }

    fn load(&self, key: usize, value_bytes: usize) {
        let stamp = self.store.snapshot();
        let version = self.truth[key].load(Ordering::Relaxed);
        let entry = NewEntry {
            key: KEYS[key].as_bytes(),
            value: self.books.issue(key, version),
            value_bytes,
            ttl: 1_000 * (1 + below(3) as u64),
            priority: 1,
            stamp,
            tag_slots: &[],
            permissive: true,
        };
        match self.store.overwrite_at(self.place(key), |kept| is(key, kept), entry) {
            Ok(replaced) => self.books.overwrote(replaced.unwrap()),
            Err(entry) => {
                let inserted = self.store.insert(entry);
                self.remember(key, inserted.place);
                self.books.inserted(key, inserted);
            }
        }
    }

    /// Looks where it was last seen, then everywhere.
    fn find(&self, key: usize) -> Option<Receipt> {
        let found = self.store.get_at(self.place(key), |kept, _| is(key, kept), |value| *value);
        if found.is_some() {
            self.books.looked_up::<()>(None);
            return found;
        }
        let found = self.store.get_with(
            KEYS[key].as_bytes(),
            |place, _, value| {
                self.remember(key, place);
                Ok(*value)
            },
            Err,
        );
        match found {
            Ok(value) => {
                self.books.looked_up::<()>(None);
                Some(value)
            }
            Err(left) => {
                self.books.looked_up(left);
                None
            }
        }
    }

    fn place(&self, key: usize) -> Place {
        Place::from_bits(self.places[key].load(Ordering::Relaxed))
    }

    fn remember(&self, key: usize, place: Place) {
        self.places[key].store(place.to_bits(), Ordering::Relaxed);
    }

    fn revoke<G: IntoIterator<Item = (Box<[u8]>, Receipt)>>(
        &self,
        covered: &[usize],
        invalidate: impl FnOnce() -> G,
    ) {
        let versions: Vec<_> = covered
            .iter()
            .map(|&key| (key, 1 + self.truth[key].fetch_add(1, Ordering::Relaxed)))
            .collect();
        self.books.left(invalidate());
        for (key, version) in versions {
            self.revoked[key].fetch_max(version, Ordering::Relaxed);
        }
    }
}

fn small() -> usize {
    8 * below(3)
}

fn is(key: usize, kept: &[u8]) -> bool {
    kept == KEYS[key].as_bytes()
}

fn user_1() -> Slot {
    keys::slot_of_tag(b"user:1")
}

/// Runs all threads once. Returns how often each thing happened that must not go unnoticed.
fn scenario(shards: usize, max_bytes: usize, policy: PolicyKind) -> [u64; 7] {
    let world = Arc::new(World::new(shards, max_bytes, policy));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let world = Arc::clone(&world);
            thread::spawn(move || (0..=below(MOST_OPERATIONS)).for_each(|_| world.operate()))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    (0..KEYS.len()).for_each(|key| _ = world.look_up(key));
    world.store.validate();
    let stats = world.store.stats();
    world.books.balance(&stats);
    world.books.left(world.store.clear().1);
    world.books.balance(&world.store.stats());
    let counters = stats.counters;
    [
        counters.hits(),
        counters.invalidations,
        counters.expirations,
        counters.stale_rejects,
        counters.oversize_rejects,
        stats.lock_timeouts,
        counters.evictions,
    ]
}

/// Runs it under all schedules and returns the sums.
fn check_all(shards: usize, max_bytes: usize, policy: PolicyKind) -> [u64; 7] {
    let sums = Arc::new(Mutex::new([0; 7]));
    let adding = Arc::clone(&sums);
    check(move || {
        let seen = scenario(shards, max_bytes, policy);
        let mut sums = adding.lock().unwrap();
        sums.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
    });
    Arc::into_inner(sums).unwrap().into_inner().unwrap()
}

#[test]
fn with_room_for_everything_in_several_shards() {
    let [seen @ .., evictions] = check_all(4, 1 << 20, PolicyKind::Adaptive);
    assert!(evictions == 0 && seen.iter().all(|&sum| sum > 0), "{seen:?}");
}

#[test]
fn with_room_for_an_entry_or_two() {
    let seen = check_all(1, 600, PolicyKind::Lru);
    assert!(seen.iter().all(|&sum| sum > 0), "{seen:?}");
}
