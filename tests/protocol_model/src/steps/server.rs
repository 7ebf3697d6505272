//! The log: answers, fails over, forgets.

use super::number;
use crate::action::Action;
use crate::mistake::Mistake;
use crate::scenario::Scenario;
use crate::world::{Age, Batch, Follower, Heard, Log, Question, World};

/// How far its clock is ahead of that of the hosts.
const SERVER_AHEAD: Age = 4;

/// What can happen to the log.
pub fn possible(scenario: &Scenario, world: &World, actions: &mut Vec<Action>) {
    if world.left.fail_overs > 0 {
        // In an outbox what is lost was never committed.
        let least = if scenario.rules.outbox { number(world.log.entries.len()) } else { 0 };
        for entries in least.max(world.log.trimmed)..=number(world.log.entries.len()) {
            actions.push(Action::FailOver { entries, heartbeats: false });
            if scenario.fleet {
                actions.push(Action::FailOver { entries, heartbeats: true });
            }
        }
    }
    if world.left.trims > 0 {
        let more = world.log.trimmed + 1..=number(world.log.entries.len());
        actions.extend(more.map(|entries| Action::Trim { entries }));
    }
}

/// Writes the heartbeat and answers.
pub fn answer(scenario: &Scenario, world: &mut World, worker: u8) {
    let state = &world.workers[worker as usize];
    let Follower::Asked(mut question) = state.follower else { return };
    let name = scenario.name_of_host(world, state.table);
    if scenario.rules.make(Mistake::LeaseByTheServersClock) {
        question.sent = -SERVER_AHEAD;
    }
    if scenario.fleet {
        let Question { generation, after, .. } = question;
        let heard = Heard { at: 0, generation, applied: after.sequence };
        let hosts = &mut world.log.hosts;
        if hosts.len() <= name {
            hosts.resize(name + 1, None);
        }
        hosts[name] = Some(heard);
    }
    let batch = read(scenario, &world.log, &question);
    question.generation = 0;
    world.workers[worker as usize].follower = Follower::Answered(question, batch);
}

/// Answers without a heartbeat: it cannot write one any more.
pub fn deposed_answers(scenario: &Scenario, world: &mut World, worker: u8) {
    let Follower::Asked(question) = world.workers[worker as usize].follower else { return };
    let Some(log) = &world.deposed else { return };
    let batch = read(scenario, log, &question);
    world.workers[worker as usize].follower = Follower::Answered(question, batch);
}

fn read(scenario: &Scenario, log: &Log, question: &Question) -> Batch {
    let last = number(log.entries.len());
    let after = question.after.sequence.max(log.trimmed).min(last);
    let until = last.min(after + scenario.answer_size);
    Batch {
        generation: log.generation,
        trimmed: log.trimmed,
        last,
        after,
        names: log.entries[after as usize..until as usize].to_vec(),
    }
}

/// Another server takes over. It has the first entries only, and may not know who is there; from
/// now on the one before it takes no more writes. A restart that forgets is the same thing.
pub fn fail_over(scenario: &Scenario, world: &mut World, entries: u8, heartbeats: bool) {
    world.left.fail_overs -= 1;
    let rules = &scenario.rules;
    if rules.make(Mistake::LeaseFromARead) || rules.make(Mistake::DeposedServerTakesWrites) {
        world.deposed = Some(world.log.clone());
    }
    let log = &mut world.log;
    log.entries.truncate(entries as usize);
    if !heartbeats {
        log.hosts.clear();
    }
    if !rules.make(Mistake::SameGenerationAfterLoss) {
        log.generation += 1;
        log.began = scenario.fleet.then_some(0);
    }
}

/// The first entries go; their numbers are not given again.
pub fn trim(world: &mut World, entries: u8) {
    world.left.trims -= 1;
    world.log.trimmed = entries;
}

/// Whether the log can tell that every host that may still serve something has applied this
/// revocation.
#[must_use]
pub fn all_hosts_know(scenario: &Scenario, world: &World, revocation: u8) -> bool {
    let state = &world.revocations[revocation as usize];
    let (Some((generation, sequence)), true) = (state.entry, state.heard) else { return false };
    let log = &world.log;
    // A host that is not heard of so long serves nothing any more.
    let silent = |at: Age| at > scenario.max_staleness;
    // Hosts that only the server before this one has heard of may serve so long.
    let knows_all =
        log.began.is_none_or(silent) || scenario.rules.make(Mistake::FleetTrustsANewServer);
    let answering = scenario.rules.make(Mistake::FleetCountsOnlyWhoAnswers);
    log.generation == generation
        && knows_all
        && log.hosts.iter().flatten().all(|host| {
            let knows = host.generation == generation && host.applied >= sequence;
            knows || silent(host.at) || (answering && state.acknowledged <= Some(host.at))
        })
}
