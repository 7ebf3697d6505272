//! Workers and hosts that die and start again.

use super::number;
use crate::scenario::Scenario;
use crate::world::{Worker, World};

/// A worker dies in the middle of whatever it does. The one that takes its place opens the table
/// that is there.
pub fn crash(scenario: &Scenario, world: &mut World, worker: u8) {
    world.left.crashes -= 1;
    let host = world.tables[world.workers[worker as usize].table as usize].host;
    die(scenario, world, worker);
    start_anew(world, worker, world.named[host as usize]);
}

/// What it had begun to revoke goes no further.
fn die(scenario: &Scenario, world: &mut World, worker: u8) {
    for (state, plan) in world.revocations.iter_mut().zip(&scenario.revocations) {
        state.dead |= plan.worker == worker && state.done > 0;
    }
}

fn start_anew(world: &mut World, worker: u8, table: u8) {
    world.workers[worker as usize] = Worker::new(table);
}

/// A host loses its table and all its workers.
pub fn restart_host(scenario: &Scenario, world: &mut World, host: u8) {
    world.left.restarts -= 1;
    let table = new_table(scenario, world, host);
    for worker in 0..number(world.workers.len()) {
        if scenario.workers[worker as usize].host == host {
            die(scenario, world, worker);
            start_anew(world, worker, table);
        }
    }
}

/// Somebody removes the file of a table, and somebody else makes another.
pub fn replace_table(scenario: &Scenario, world: &mut World, host: u8) {
    world.left.replacements -= 1;
    new_table(scenario, world, host);
}

fn new_table(scenario: &Scenario, world: &mut World, host: u8) -> u8 {
    let number = number(world.tables.len());
    let table = scenario.new_table(host, world.tables.len());
    world.tables.push(table);
    world.named[host as usize] = number;
    number
}

/// A worker maps the new table and drops its entries. A load under way goes on, with the stamp
/// that it has.
pub fn remap(world: &mut World, worker: u8) {
    let state = &world.workers[worker as usize];
    let host = world.tables[state.table as usize].host;
    let loading = state.loading;
    let putting = state.putting;
    start_anew(world, worker, world.named[host as usize]);
    let state = &mut world.workers[worker as usize];
    state.loading = loading;
    state.putting = putting;
}
