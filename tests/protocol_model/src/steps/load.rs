//! Loading a value, and writing it to L2.

use super::table;
use crate::action::Action;
use crate::mistake::Mistake;
use crate::rules::Load;
use crate::scenario::Scenario;
use crate::world::{Entry, Loading, SharedValue, World};

/// What a worker's load can do next.
pub fn possible(scenario: &Scenario, world: &World, worker: u8, actions: &mut Vec<Action>) {
    let state = &world.workers[worker as usize];
    if state.putting.is_some() {
        actions.push(Action::Put { worker });
    }
    match state.loading {
        None if scenario.workers[worker as usize].loads && !scenario.loaded => {
            actions.push(Action::Load { worker, step: Load::Stamp });
        }
        None => {}
        Some(loading) => {
            if let Some(&step) = scenario.rules.loading().get(loading.done as usize) {
                actions.push(Action::Load { worker, step });
            }
        }
    }
}

/// Hosts outside this world load, all the time: having applied the log to its end by now, and
/// maybe less when the load began.
pub fn load_elsewhere(scenario: &Scenario, world: &mut World) {
    if scenario.loads_elsewhere && world.committed == 0 {
        let generation = world.log.generation as usize;
        world.from_elsewhere.resize(generation, 0);
        let applied = &mut world.from_elsewhere[generation - 1];
        *applied = (*applied).max(super::number(world.log.entries.len()));
    }
}

/// Does the next step.
pub fn step(scenario: &Scenario, world: &mut World, worker: u8, step: Load) {
    let rules = &scenario.rules;
    let table = table::of(world, worker);
    let now = table::stamp(scenario, table);
    let puts = scenario.workers[worker as usize].puts;
    let position =
        (puts && table.generation != 0).then_some((table.generation, table.position.sequence));
    let committed = world.committed;
    let state = &mut world.workers[worker as usize];
    let mut loading = state.loading.unwrap_or_default();
    match step {
        Load::Stamp => {
            loading = Loading { stamp: Some(now), position, ..loading };
            if rules.make(Mistake::StampAfterTheRead) {
                loading.stamp = None;
            }
        }
        Load::Read => loading.seen = Some(committed),
        Load::Store => {
            let stamp = loading.stamp.unwrap_or(now);
            let seen = loading.seen.unwrap_or(committed);
            let late = rules.make(Mistake::L2PositionAfterTheLoad);
            let position = if late { position } else { loading.position };
            state.loading = None;
            if let Some((generation, sequence)) = position {
                state.putting = Some(SharedValue { generation, sequence, seen });
            }
            if table::is_current(scenario, table::of(world, worker), stamp) {
                world.workers[worker as usize].entry = Some(Entry { stamp, seen });
            }
            return;
        }
    }
    loading.done += 1;
    state.loading = Some(loading);
}

/// The value arrives in L2.
pub fn put(world: &mut World, worker: u8) {
    world.shared_value = world.workers[worker as usize].putting.take();
}
