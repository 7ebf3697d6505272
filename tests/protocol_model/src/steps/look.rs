//! A lookup in a worker's own cache, check by check.

use super::table;
use crate::action::Action;
use crate::promise;
use crate::rules::Look;
use crate::scenario::Scenario;
use crate::world::{Looking, World};

/// What a lookup can do next.
pub fn possible(scenario: &Scenario, world: &World, worker: u8, actions: &mut Vec<Action>) {
    let state = &world.workers[worker as usize];
    match state.looking {
        None if scenario.looks && state.entry.is_some() => {
            actions.push(Action::BeginLook { worker });
        }
        None => {}
        Some(looking) => {
            if let Some(&step) = scenario.rules.looking().get(looking.done as usize) {
                actions.push(Action::Look { worker, step });
            }
        }
    }
}

/// It begins: from now on it is held to what is due now.
pub fn begin(scenario: &Scenario, world: &mut World, worker: u8) {
    let due = promise::due(scenario, world, worker);
    let state = &mut world.workers[worker as usize];
    state.looking = state.entry.map(|entry| Looking { due, entry, done: 0 });
}

/// Does the next check; after the last one it is answered.
pub fn step(scenario: &Scenario, world: &mut World, worker: u8, step: Look) {
    let Some(looking) = world.workers[worker as usize].looking else { return };
    let entry = looking.entry;
    let table = table::of(world, worker);
    let passed = match step {
        Look::Lease => table::denies_all(scenario, entry) || table::lease_is_young(scenario, table),
        Look::Slots => table::is_current(scenario, table, entry.stamp),
    };
    let done = looking.done + 1;
    let more = (done as usize) < scenario.rules.looking().len();
    if passed && !more {
        world.broken = promise::broken(looking.due, entry.seen);
    }
    world.workers[worker as usize].looking =
        (passed && more).then_some(Looking { done, ..looking });
}
