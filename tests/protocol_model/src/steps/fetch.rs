//! A lookup in L2.

use super::table;
use crate::action::Action;
use crate::mistake::Mistake;
use crate::promise;
use crate::rules::Fetch;
use crate::scenario::Scenario;
use crate::world::{Entry, Fetching, Mark, SharedValue, Table, World};

/// What a lookup in L2 can do next.
pub fn possible(scenario: &Scenario, world: &World, worker: u8, actions: &mut Vec<Action>) {
    match world.workers[worker as usize].fetching {
        None if scenario.workers[worker as usize].fetches => {
            let begin = |value| Action::BeginFetch { worker, value };
            actions.extend(world.shared_value.map(begin));
            for (before, &last) in world.from_elsewhere.iter().enumerate() {
                let generation = super::number(before) + 1;
                let values =
                    (0..=last).map(|sequence| SharedValue { generation, sequence, seen: 0 });
                actions.extend(values.map(begin));
            }
        }
        None => {}
        Some(fetching) => {
            if let Some(&step) = scenario.rules.fetching().get(fetching.done as usize) {
                actions.push(Action::Fetch { worker, step });
            }
        }
    }
}

/// The value is fetched, and the stamp taken before. What happens between the two is no matter:
/// all checks come later.
pub fn begin(scenario: &Scenario, world: &mut World, worker: u8, value: SharedValue) {
    let due = promise::due(scenario, world, worker);
    let fetching = Fetching { due, value, done: 0, stamp: None, lease_epoch: 0, epoch: 0 };
    world.workers[worker as usize].fetching = Some(fetching);
    if scenario.rules.fetching()[0] == Fetch::Stamp {
        step(scenario, world, worker, Fetch::Stamp);
    }
}

/// Does the next step; the first check that is not passed ends it.
pub fn step(scenario: &Scenario, world: &mut World, worker: u8, step: Fetch) {
    let rules = &scenario.rules;
    let Some(mut fetching) = world.workers[worker as usize].fetching else { return };
    let table = table::of(world, worker);
    let passed = match step {
        Fetch::Stamp => {
            fetching.stamp = Some(table::stamp(scenario, table));
            true
        }
        Fetch::Lease => {
            fetching.lease_epoch = table.lease.map_or(0, |lease| lease.epoch);
            rules.make(Mistake::L2WithoutLease) || table::lease_is_young(scenario, table)
        }
        Fetch::Pending => !is_pending(scenario, world, worker),
        Fetch::Position => {
            fetching.epoch = table.position.epoch;
            position_is_right(scenario, table, &fetching)
        }
        Fetch::Bus => bus_is_right(scenario, table, &fetching),
        Fetch::Use => {
            let seen = fetching.value.seen;
            let stamp = fetching.stamp.unwrap_or_default();
            world.broken = promise::broken(fetching.due, seen);
            if table::is_current(scenario, table::of(world, worker), stamp) {
                world.workers[worker as usize].entry = Some(Entry { stamp, seen });
            }
            false
        }
    };
    fetching.done += 1;
    world.workers[worker as usize].fetching = passed.then_some(fetching);
}

fn position_is_right(scenario: &Scenario, table: &Table, fetching: &Fetching) -> bool {
    let rules = &scenario.rules;
    // What an earlier epoch knew is not in the numbers of this one.
    let is_of_this_epoch = fetching.lease_epoch == fetching.epoch
        || rules.make(Mistake::L2WithALeaseOfAnotherEpoch)
        || rules.make(Mistake::L2WithoutLease);
    is_of_this_epoch
        && (rules.make(Mistake::L2WithoutGeneration)
            || table.generation == fetching.value.generation)
        && (rules.make(Mistake::L2WithoutPosition)
            || table.position.sequence >= fetching.value.sequence)
}

fn bus_is_right(scenario: &Scenario, table: &Table, fetching: &Fetching) -> bool {
    let rules = &scenario.rules;
    let value = Mark { epoch: fetching.epoch, sequence: fetching.value.sequence };
    let not_newer = |mark: Mark| {
        if rules.make(Mistake::BusWithoutEpoch) {
            mark.sequence <= value.sequence
        } else {
            mark <= value
        }
    };
    (rules.make(Mistake::NoBusFloor) || not_newer(table.bus_floor))
        && table.bus.iter().all(|&mark| not_newer(mark))
}

/// Whether an invalidation of this table is not known to be in the log yet, or its entry was not
/// applied yet.
fn is_pending(scenario: &Scenario, world: &World, worker: u8) -> bool {
    let rules = &scenario.rules;
    let table = world.workers[worker as usize].table;
    let own_only = rules.make(Mistake::PendingInItsProcessOnly);
    !rules.make(Mistake::L2WithoutPending)
        && world.revocations.iter().zip(&scenario.revocations).any(|(state, plan)| {
            state.pending == Some(table) && (!own_only || plan.worker == worker)
        })
}
