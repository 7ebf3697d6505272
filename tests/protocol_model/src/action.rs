//! What can happen next.

use crate::promise;
use crate::rules::{Apply, Fetch, Load, Look, Revoke};
use crate::scenario::Scenario;
use crate::steps;
use crate::tidy;
use crate::world::{Follower, SharedValue, World};
use std::fmt;

/// Something happens. Workers and hosts are given by number, steps by name for whoever reads a
/// counterexample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "said by their names, and where they are done")]
pub enum Action {
    /// Time passes for all.
    Tick,
    /// The next step of a revocation.
    Revoke { revocation: u8, step: Revoke },
    /// The acknowledgement of the log is lost: the entry is written again.
    LoseAcknowledgement { revocation: u8 },
    /// A revocation has waited until all hosts knew.
    AllHostsKnow { revocation: u8 },
    /// The next step of a load.
    Load { worker: u8, step: Load },
    /// A loaded value arrives in L2.
    Put { worker: u8 },
    /// A lookup in its own cache begins.
    BeginLook { worker: u8 },
    /// The next check of it.
    Look { worker: u8, step: Look },
    /// A value is fetched from L2.
    BeginFetch { worker: u8, value: SharedValue },
    /// The next step of that.
    Fetch { worker: u8, step: Fetch },
    /// A follower asks the log.
    Ask { worker: u8 },
    /// The log answers.
    Answer { worker: u8 },
    /// A server that is not the primary any more answers.
    DeposedAnswers { worker: u8 },
    /// The follower gives up waiting.
    GiveUp { worker: u8 },
    /// The answer arrives.
    Receive { worker: u8 },
    /// The next step of applying it.
    Apply { worker: u8, step: Apply },
    /// Another server takes over, with the first so many entries, and with the heartbeats or not.
    FailOver { entries: u8, heartbeats: bool },
    /// The log drops its first so many entries.
    Trim { entries: u8 },
    /// A worker dies, and one like it starts.
    Crash { worker: u8 },
    /// A host with all its workers does.
    RestartHost { host: u8 },
    /// The file of a table is replaced; those who have the old one mapped keep it.
    ReplaceTable { host: u8 },
    /// A follower finds that out; its worker maps the new one.
    Remap { worker: u8 },
}

/// For people.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Revoke { revocation, step } => write!(f, "revocation {revocation}: {step:?}"),
            Self::Load { worker, step } => write!(f, "worker {worker} loads: {step:?}"),
            Self::Look { worker, step } => write!(f, "worker {worker} looks up: {step:?}"),
            Self::Fetch { worker, step } => write!(f, "worker {worker} fetches: {step:?}"),
            Self::Apply { worker, step } => write!(f, "worker {worker} applies: {step:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// All that can happen in a world.
pub fn possible(scenario: &Scenario, world: &World, actions: &mut Vec<Action>) {
    if world.broken.is_some() {
        return;
    }
    if scenario.log {
        actions.push(Action::Tick);
    }
    for revocation in 0..steps::number(world.revocations.len()) {
        steps::revoke::possible(scenario, world, revocation, actions);
    }
    for worker in 0..steps::number(world.workers.len()) {
        steps::load::possible(scenario, world, worker, actions);
        steps::look::possible(scenario, world, worker, actions);
        steps::fetch::possible(scenario, world, worker, actions);
        steps::follow::possible(scenario, world, worker, actions);
        if world.left.crashes > 0 {
            actions.push(Action::Crash { worker });
        }
        let host = world.tables[world.workers[worker as usize].table as usize].host;
        // A follower looks at the file between two answers.
        let between = !matches!(world.workers[worker as usize].follower, Follower::Applying(_));
        if between && world.named[host as usize] != world.workers[worker as usize].table {
            actions.push(Action::Remap { worker });
        }
    }
    steps::server::possible(scenario, world, actions);
    for host in 0..steps::number(world.named.len()) {
        if world.left.restarts > 0 {
            actions.push(Action::RestartHost { host });
        }
        if world.left.replacements > 0 {
            actions.push(Action::ReplaceTable { host });
        }
    }
}

/// What becomes of a world. The action was possible in it.
#[must_use]
pub fn after(scenario: &Scenario, world: &World, action: Action) -> World {
    let mut world = world.clone();
    match action {
        Action::Tick => {
            tidy::grow_older(scenario, &mut world);
            world.silence |= scenario.remember_silence && promise::is_silent(scenario, &world);
        }
        Action::Revoke { revocation, step } => {
            steps::revoke::step(scenario, &mut world, revocation, step);
        }
        Action::LoseAcknowledgement { revocation } => {
            steps::revoke::lose_acknowledgement(scenario, &mut world, revocation);
        }
        Action::AllHostsKnow { revocation } => {
            world.revocations[revocation as usize].fleet = true;
        }
        Action::Load { worker, step } => steps::load::step(scenario, &mut world, worker, step),
        Action::Put { worker } => steps::load::put(&mut world, worker),
        Action::BeginLook { worker } => steps::look::begin(scenario, &mut world, worker),
        Action::Look { worker, step } => steps::look::step(scenario, &mut world, worker, step),
        Action::BeginFetch { worker, value } => {
            steps::fetch::begin(scenario, &mut world, worker, value);
        }
        Action::Fetch { worker, step } => steps::fetch::step(scenario, &mut world, worker, step),
        Action::Ask { worker } => steps::follow::ask(scenario, &mut world, worker),
        Action::Answer { worker } => steps::server::answer(scenario, &mut world, worker),
        Action::DeposedAnswers { worker } => {
            steps::server::deposed_answers(scenario, &mut world, worker);
        }
        Action::GiveUp { worker } => steps::follow::give_up(scenario, &mut world, worker),
        Action::Receive { worker } => steps::follow::receive(scenario, &mut world, worker),
        Action::Apply { worker, step } => steps::follow::step(scenario, &mut world, worker, step),
        Action::FailOver { entries, heartbeats } => {
            steps::server::fail_over(scenario, &mut world, entries, heartbeats);
        }
        Action::Trim { entries } => steps::server::trim(&mut world, entries),
        Action::Crash { worker } => steps::process::crash(scenario, &mut world, worker),
        Action::RestartHost { host } => steps::process::restart_host(scenario, &mut world, host),
        Action::ReplaceTable { host } => steps::process::replace_table(scenario, &mut world, host),
        Action::Remap { worker } => steps::process::remap(&mut world, worker),
    }
    steps::load::load_elsewhere(scenario, &mut world);
    tidy::forget(scenario, &mut world);
    world
}
