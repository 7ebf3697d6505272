//! Reading and writing a host's table.

use crate::mistake::Mistake;
use crate::scenario::Scenario;
use crate::world::{Entry, Stamp, Table, World};

/// The table of a worker.
#[must_use]
pub fn of(world: &World, worker: u8) -> &Table {
    &world.tables[world.workers[worker as usize].table as usize]
}

/// The table of a worker, to write into.
pub fn of_mut(world: &mut World, worker: u8) -> &mut Table {
    let table = world.workers[worker as usize].table;
    &mut world.tables[table as usize]
}

/// The stamp of a load that begins now.
#[must_use]
pub fn stamp(scenario: &Scenario, table: &Table) -> Stamp {
    if scenario.rules.make(Mistake::CountersInsteadOfStamps) {
        return table.slots[0].max(table.slots[1]);
    }
    table.clock
}

/// Raises a slot to where the clock was advanced to.
pub fn raise(scenario: &Scenario, table: &mut Table, name: u8, advanced: Stamp) {
    let Some(slot) = table.slots.get_mut(name as usize) else { return };
    if scenario.rules.make(Mistake::CountersInsteadOfStamps) {
        *slot += 1;
    } else {
        *slot = (*slot).max(advanced);
    }
}

/// Whether nothing that this entry depends on was invalidated since its stamp.
#[must_use]
pub fn is_current(scenario: &Scenario, table: &Table, stamp: Stamp) -> bool {
    let newest = table.slots[0].max(table.slots[1]);
    if scenario.rules.make(Mistake::CountersInsteadOfStamps) {
        return newest <= stamp;
    }
    newest.max(table.floor) <= stamp
}

/// Whether everything acknowledged longer ago than `max_staleness` is known.
#[must_use]
pub fn lease_is_young(scenario: &Scenario, table: &Table) -> bool {
    !scenario.log || table.lease.is_some_and(|lease| lease.age <= scenario.max_staleness)
}

/// Whether an entry may answer a lookup that is done all at once.
#[must_use]
pub fn may_serve(scenario: &Scenario, world: &World, worker: u8, entry: Entry) -> bool {
    let table = of(world, worker);
    is_current(scenario, table, entry.stamp)
        && (denies_all(scenario, entry) || lease_is_young(scenario, table))
}

/// An entry that allows nothing needs no lease: it may be stale, nobody gets in by it.
#[must_use]
pub fn denies_all(scenario: &Scenario, entry: Entry) -> bool {
    entry.seen & scenario.revoking() == scenario.revoking()
}
