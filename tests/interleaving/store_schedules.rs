//! Whole stores under random schedules: several shards, several threads, many operations.

mod books;
mod hosts;
mod own_keys;
mod revocations;

use crate::shard_lock::ShardLock;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::sync::Arc;
use velro_cache::engine::clock::{Clock, ManualClock};
use velro_cache::engine::{EngineConfig, Store};
use velro_cache::invalidation::InvalidationTable;

/// Drawn for each scenario, once of each kind.
const SCHEDULES: usize = 10_000;

/// Each finds most mistakes; schedules are drawn, so that some day one is not enough.
const MOST_ROUNDS_TO_FIND: usize = 20;

/// Lowest number of entries for which the engine makes four shards.
const ROOM_FOR_FOUR_SHARDS: usize = 1024;

type Checked<V, const IMPATIENT: bool> = Store<V, ShardLock<IMPATIENT>>;

fn store<V, const IMPATIENT: bool>(
    config: &EngineConfig,
    clock: &Arc<ManualClock>,
    table: &Arc<InvalidationTable>,
) -> Checked<V, IMPATIENT> {
    Store::new(config, Clock::Manual(Arc::clone(clock)), Arc::clone(table)).unwrap()
}

/// Runs a scenario under schedules where each step is anybody's, and under schedules where
/// threads keep going but for a few switches at the worst moments.
fn check(scenario: impl Fn() + Clone + Send + Sync + 'static) {
    run(RandomScheduler::new(SCHEDULES), scenario.clone());
    run(PctScheduler::new(3, SCHEDULES), scenario);
}

/// Runs a scenario with a mistake in it under as many schedules as it may take to find it.
fn find(scenario: impl Fn() + Clone + Send + Sync + 'static) {
    for _ in 0..MOST_ROUNDS_TO_FIND {
        check(scenario.clone());
    }
}

fn run(scheduler: impl Scheduler + 'static, scenario: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    // What loom is for: the order in which memory is seen.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(scenario);
}

/// A number below `bound`, drawn as part of the schedule, so that a replay draws it again.
fn below(bound: usize) -> usize {
    thread_rng().gen_range(0..bound)
}
