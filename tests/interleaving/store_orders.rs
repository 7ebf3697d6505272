//! The whole store at its smallest: one entry, one thread that looks it up and loads it, and
//! revocations meanwhile. Here the rows themselves decide whether the slots need looking at.

use crate::exploring::explore;
use crate::shard_lock::ShardLock;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::{self, JoinHandle};
use velro_cache::engine::clock::{Clock, ManualClock};
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::store::Place;
use velro_cache::engine::{EngineConfig, NewEntry, Store};
use velro_cache::invalidation::{InvalidationTable, Stamp, slots};

const KEY: &[u8] = b"auth:user:1:profile";

/// More than loom gives a thread, in words.
const STACK_SIZE: usize = 1 << 15;

struct World {
    store: Store<bool, ShardLock>,
    /// Some revocations go to the table directly, as loom tries too few orders of a thread that
    /// reads the clock and then writes it, which the store does to count.
    table: std::sync::Arc<InvalidationTable>,
    revoked: AtomicBool,
}

impl World {
    fn new() -> Self {
        let config = EngineConfig::new(4, 1 << 20, PolicyKind::Lru);
        let clock = Clock::Manual(std::sync::Arc::new(ManualClock::default()));
        let table = std::sync::Arc::new(InvalidationTable::new());
        let store = Store::new(&config, clock, std::sync::Arc::clone(&table)).unwrap();
        Self { store, table, revoked: AtomicBool::new(false) }
    }

    fn load(&self) -> (Stamp, bool) {
        (self.store.snapshot(), !self.revoked.load(Ordering::Relaxed))
    }

    /// Stores where the entry was last seen, or wherever there is room. Returns where that was.
    fn set(&self, place: Place, (stamp, granted): (Stamp, bool)) -> Place {
        let entry = NewEntry {
            key: KEY,
            value: granted,
            value_bytes: 1,
            ttl: 60_000,
            priority: 1,
            stamp,
            tag_slots: &[],
            permissive: true,
        };
        match self.store.overwrite_at(place, |key| **key == *KEY, entry) {
            Ok(_) => place,
            Err(entry) => self.store.insert(entry).place,
        }
    }

    fn get(&self, place: Place) -> Option<bool> {
        self.store
            .get_at(place, |key, _| **key == *KEY, |granted| *granted)
            .or_else(|| self.store.get_with(KEY, |_, _, granted| Some(*granted), |_| None))
    }
}

type Step = fn(&World);

/// What else runs at the same time.
#[derive(Clone, Copy)]
enum Bystander {
    None,
    Looks,
    Revokes(Step),
}

/// Runs a revocation while an entry is loaded, stored and looked up: one that is new, and one
/// that takes the place of another.
fn check(invalidate: Step, bystander: Bystander) {
    check_from(invalidate, bystander, |_| Place::NOWHERE);
    check_from(invalidate, bystander, |world| world.set(Place::NOWHERE, world.load()));
}

fn check_from(invalidate: Step, bystander: Bystander, start: fn(&World) -> Place) {
    // Without a bound, the slowest of these takes a minute and finds no more.
    let (preemptions, revocations, bystander): (_, _, Option<Step>) = match bystander {
        Bystander::None => (3, 1, None),
        Bystander::Looks => (2, 1, Some(|world| _ = world.get(Place::NOWHERE))),
        Bystander::Revokes(step) => (2, 2, Some(step)),
    };
    explore(Some(preemptions), revocations, move |stamps| {
        let stamps = stamps.clone();
        in_thread(move || {
            let world = Arc::new(World::new());
            let place = start(&world);
            let (revoking, meanwhile) = (Arc::clone(&world), Arc::clone(&world));
            let revocation = in_thread(move || {
                revoking.revoked.store(true, Ordering::Relaxed);
                invalidate(&revoking);
            });
            let bystander = bystander.map(|step| in_thread(move || step(&meanwhile)));
            let loaded = world.load();
            stamps.saw(loaded.0);
            let place = world.set(place, loaded);
            world.get(place);
            revocation.join().unwrap();
            assert_ne!(world.get(place), Some(true), "served after its revocation");
            bystander.into_iter().for_each(|bystander| bystander.join().unwrap());
            let place = world.set(place, world.load());
            assert_eq!(world.get(place), Some(false), "what was loaded since is kept");
        })
        .join()
        .unwrap();
    });
}

fn in_thread(run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().stack_size(STACK_SIZE).spawn(run).unwrap()
}

fn raise_the_slot(world: &World) {
    world.table.invalidate_slots(&[slots::of_key(KEY)]);
}

#[test]
fn a_revoked_key_is_never_served() {
    check(raise_the_slot, Bystander::None);
}

#[test]
fn nothing_is_served_that_was_cleared() {
    check(|world| _ = world.store.clear(), Bystander::None);
}

#[test]
fn a_key_is_not_served_that_a_wildcard_covers() {
    check(|world| _ = world.store.invalidate_pattern(b"auth:*:profile"), Bystander::None);
}

#[test]
fn a_deleted_key_is_not_served() {
    check(|world| _ = world.store.delete(KEY), Bystander::None);
}

#[test]
fn a_revoked_key_is_never_served_whatever_else_is_invalidated() {
    check(raise_the_slot, Bystander::Revokes(|world| world.table.invalidate_slots(&[0])));
}

#[test]
fn a_revoked_key_is_never_served_to_others_who_look() {
    check(raise_the_slot, Bystander::Looks);
}

/// Runs a revocation of an entry while another one is made of it, or of what is loaded anew.
fn check_what_is_made_of_it(invalidate: Step) {
    const OUTER: &[u8] = b"made:of:it";
    explore(Some(2), 1, move |stamps| {
        let stamps = stamps.clone();
        in_thread(move || {
            let world = Arc::new(World::new());
            world.set(Place::NOWHERE, world.load());
            let revoking = Arc::clone(&world);
            let revocation = in_thread(move || {
                revoking.revoked.store(true, Ordering::Relaxed);
                invalidate(&revoking);
            });
            let own = world.store.snapshot();
            stamps.saw(own);
            let (found, basis) =
                world.store.get_with_basis(KEY, |_, _, granted| Some(*granted), |_| None);
            let (granted, basis) = found.zip(basis).unwrap_or_else(|| {
                let (stamp, granted) = world.load();
                (granted, Store::<bool>::basis_of(KEY, &[], stamp, u64::MAX))
            });
            let entry = NewEntry {
                key: OUTER,
                value: granted,
                value_bytes: 1,
                ttl: 60_000,
                priority: 1,
                stamp: own,
                tag_slots: &[],
                permissive: true,
            };
            let _ = world.store.insert_made_of(entry, &basis);
            let get = || world.store.get_with(OUTER, |_, _, granted| Some(*granted), |_| None);
            get();
            revocation.join().unwrap();
            assert_ne!(get(), Some(true), "served after what it is made of was revoked");
        })
        .join()
        .unwrap();
    });
}

#[test]
fn what_is_made_of_a_revoked_key_is_not_served() {
    check_what_is_made_of_it(raise_the_slot);
}

#[test]
fn what_is_made_of_a_key_that_a_wildcard_covers_is_not_served() {
    check_what_is_made_of_it(|world| world.table.invalidate_pattern(b"auth:*:profile"));
}

#[test]
fn what_is_made_of_a_deleted_key_is_not_served() {
    check_what_is_made_of_it(|world| _ = world.store.delete(KEY));
}
