//! A wildcard has no slot: stored entries it covers are removed, loads under way are refused by
//! the table's log. Between the two, nothing may slip through.

use crate::exploring::explore;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use velro_cache::invalidation::{InvalidationTable, Stamp};

const KEY: &[u8] = b"a:1:z";
const WILDCARD: &[u8] = b"a*z";

/// A shard of one entry, reduced to whether the permission was granted when it was loaded.
struct World {
    table: InvalidationTable,
    shard: Mutex<Option<bool>>,
    revoked: AtomicBool,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            table: InvalidationTable::new(),
            shard: Mutex::new(None),
            revoked: AtomicBool::new(false),
        })
    }

    fn load(&self) -> (Stamp, bool) {
        (self.table.now(), !self.revoked.load(Ordering::Relaxed))
    }

    fn store(&self, (stamp, granted): (Stamp, bool)) {
        let mut shard = self.shard.lock().unwrap();
        if self.table.may_store(&[KEY], stamp, &[0]) {
            *shard = Some(granted);
        }
    }

    /// The mistake the documentation of `may_store` warns of.
    fn store_asking_before_the_lock(&self, (stamp, granted): (Stamp, bool)) {
        if self.table.may_store(&[KEY], stamp, &[0]) {
            *self.shard.lock().unwrap() = Some(granted);
        }
    }

    fn revoke(&self) {
        self.revoked.store(true, Ordering::Relaxed);
        self.table.invalidate_pattern(WILDCARD);
        *self.shard.lock().unwrap() = None;
    }

    fn revoke_removing_before_the_table_is_told(&self) {
        self.revoked.store(true, Ordering::Relaxed);
        *self.shard.lock().unwrap() = None;
        self.table.invalidate_pattern(WILDCARD);
    }
}

/// What may run at the same time as a revocation.
type Step = fn(&World);

fn check(store: fn(&World, (Stamp, bool)), revoke: Step, bystander: Option<Step>) {
    let preemptions = bystander.map(|_| 3);
    explore(preemptions, 1 + usize::from(bystander.is_some()), move |stamps| {
        let world = World::new();
        let spawn = |step: Step| {
            let world = Arc::clone(&world);
            thread::spawn(move || step(&world))
        };
        let (revocation, bystander) = (spawn(revoke), bystander.map(spawn));
        let loaded = world.load();
        stamps.saw(loaded.0);
        store(&world, loaded);
        revocation.join().unwrap();
        assert_ne!(*world.shard.lock().unwrap(), Some(true), "served after its revocation");
        // Who loads from now on may store.
        store(&world, world.load());
        assert_eq!(*world.shard.lock().unwrap(), Some(false));
        bystander.into_iter().for_each(|bystander| bystander.join().unwrap());
    });
}

#[test]
fn a_load_during_a_wildcard_never_outlives_it_with_what_was_revoked() {
    check(World::store, World::revoke, None);
}

#[test]
fn the_same_with_another_wildcard_at_the_same_time() {
    check(World::store, World::revoke, Some(|world| world.table.invalidate_pattern(b"b*")));
}

#[test]
fn the_same_with_the_invalidation_of_a_name_at_the_same_time() {
    check(World::store, World::revoke, Some(|world| world.table.invalidate_slots(&[1])));
}

#[test]
#[should_panic(expected = "served after its revocation")]
fn asking_before_the_lock_is_found() {
    check(World::store_asking_before_the_lock, World::revoke, None);
}

#[test]
#[should_panic(expected = "served after its revocation")]
fn removing_before_the_table_is_told_is_found() {
    check(World::store, World::revoke_removing_before_the_table_is_told, None);
}
