//! The clock, the floor and the slots: what was revoked is never believed afterwards.

use crate::exploring::explore;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use velro_cache::invalidation::{InvalidationTable, Slot, Stamp};

/// What a revocation covers.
#[derive(Clone, Copy)]
pub(crate) enum Covered {
    Slot(Slot),
    Everything,
}

/// What the store does with the table, with the orders of steps that are to be shown right.
pub(crate) trait Protocol: Send + Sync + 'static {
    fn now(&self) -> Stamp;
    fn is_current(&self, stamp: Stamp, slots: &[Slot]) -> bool;
    fn invalidate(&self, what: Covered);

    fn load<R>(&self, read: impl FnOnce() -> R) -> (Stamp, R) {
        let stamp = self.now();
        (stamp, read())
    }

    fn revoke(&self, commit: impl FnOnce(), what: Covered) {
        commit();
        self.invalidate(what);
    }

    /// As in a row of the store: slots are looked at only if the clock moved since they were.
    fn is_valid(&self, entry: &mut Entry) -> bool {
        let clock = self.now();
        if entry.checked_at == clock {
            return true;
        }
        let valid = self.is_current(entry.stamp, &entry.slots);
        if valid {
            entry.checked_at = clock;
        }
        valid
    }
}

impl Protocol for InvalidationTable {
    fn now(&self) -> Stamp {
        self.now()
    }

    fn is_current(&self, stamp: Stamp, slots: &[Slot]) -> bool {
        self.is_current(stamp, slots)
    }

    fn invalidate(&self, what: Covered) {
        match what {
            Covered::Slot(slot) => self.invalidate_slots(&[slot]),
            Covered::Everything => self.invalidate_all(),
        }
    }
}

pub(crate) struct Entry {
    pub(crate) stamp: Stamp,
    pub(crate) checked_at: Stamp,
    pub(crate) slots: Vec<Slot>,
    /// For each permission: granted when it was loaded.
    granted: Vec<bool>,
}

impl Entry {
    /// One that was found valid when it was loaded.
    pub(crate) fn new(stamp: Stamp, slots: &[Slot]) -> Self {
        Self { stamp, checked_at: stamp, slots: slots.to_vec(), granted: vec![true] }
    }
}

/// The table, and the database that loaders read. The database promises nothing by itself:
/// whoever must see a write must be told so by the table.
struct World<T> {
    table: T,
    revoked: Vec<AtomicBool>,
}

impl<T: Protocol> World<T> {
    fn revoke(&self, number: usize, covered: Covered) {
        self.table.revoke(|| self.revoked[number].store(true, Ordering::Relaxed), covered);
    }

    /// Loads all permissions into an entry with these slots. Returns whether it may be stored.
    fn load(&self, slots: &[Slot]) -> (Entry, bool) {
        let (stamp, granted) = self
            .table
            .load(|| self.revoked.iter().map(|revoked| !revoked.load(Ordering::Relaxed)).collect());
        let checked_at = self.table.now();
        let current = self.table.is_current(stamp, slots);
        (Entry { stamp, checked_at, slots: slots.to_vec(), granted }, current)
    }
}

/// Runs revocations at the same time, one thread each, while an entry that depends on `slots` is
/// loaded and looked up. `lookups` are those that may fall into a revocation. Then nothing
/// revoked may be served by a lookup after its revocation returned.
pub(crate) fn check<T: Protocol>(
    table: fn() -> T,
    slots: &'static [Slot],
    revocations: &'static [Covered],
    lookups: usize,
) {
    // All orders of three threads would take hours; nearly all mistakes need one preemption or two.
    let preemptions = (revocations.len() > 1).then_some(2);
    explore(preemptions, revocations.len(), move |stamps| {
        let world = World {
            table: table(),
            revoked: revocations.iter().map(|_| AtomicBool::new(false)).collect(),
        };
        let world = Arc::new(world);
        let running: Vec<_> = revocations
            .iter()
            .enumerate()
            .map(|(number, &covered)| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.revoke(number, covered))
            })
            .collect();
        let (mut entry, mut present) = world.load(slots);
        stamps.saw(entry.stamp);
        for _ in 0..lookups {
            present = present && world.table.is_valid(&mut entry);
        }
        for (number, revocation) in running.into_iter().enumerate() {
            revocation.join().unwrap();
            present = present && world.table.is_valid(&mut entry);
            assert!(!(present && entry.granted[number]), "served after its revocation");
        }
    });
}

const A: Covered = Covered::Slot(0);
const B: Covered = Covered::Slot(1);

#[test]
fn what_was_loaded_before_an_invalidation_is_never_believed_after_it() {
    loom::model(|| {
        let table = Arc::new(InvalidationTable::new());
        let stamp = table.now();
        let revoking = Arc::clone(&table);
        let revocation = thread::spawn(move || revoking.invalidate_slots(&[0]));
        // While it runs, either answer will do; the other slot is left alone throughout.
        let _ = table.is_current(stamp, &[0]);
        assert!(table.is_current(stamp, &[1]));
        revocation.join().unwrap();
        assert!(!table.is_current(stamp, &[0]));
        assert!(table.is_current(stamp, &[1]));
        assert!(table.is_current(table.now(), &[0]));
    });
}

#[test]
fn a_load_during_an_invalidation_never_outlives_it_with_what_was_revoked() {
    check(InvalidationTable::new, &[0], &[A], 0);
}

#[test]
fn an_entry_checked_at_a_clock_is_valid_while_that_clock_stands() {
    check(InvalidationTable::new, &[0], &[A], 2);
}

#[test]
fn the_same_with_two_invalidations_of_one_name() {
    check(InvalidationTable::new, &[0], &[A, A], 1);
}

#[test]
fn the_same_with_two_invalidations_of_two_names() {
    check(InvalidationTable::new, &[0, 1], &[A, B], 1);
}

#[test]
fn clearing_covers_everything_whatever_else_is_invalidated() {
    check(InvalidationTable::new, &[0], &[Covered::Everything], 2);
    check(InvalidationTable::new, &[0], &[A, Covered::Everything], 1);
    check(InvalidationTable::new, &[0], &[Covered::Everything, Covered::Everything], 1);
}
