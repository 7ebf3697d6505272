//! A follower: asks the log, and applies what it answers to its host's table.

use super::{number, table};
use crate::action::Action;
use crate::mistake::Mistake;
use crate::rules::Apply;
use crate::scenario::Scenario;
use crate::world::{Applying, Batch, Follower, Lease, Mark, Question, World};

/// What a follower can do next.
pub fn possible(scenario: &Scenario, world: &World, worker: u8, actions: &mut Vec<Action>) {
    if !scenario.log || !scenario.workers[worker as usize].follows {
        return;
    }
    let state = &world.workers[worker as usize];
    let gives_up = scenario.lost_messages;
    match &state.follower {
        Follower::Idle => actions.push(Action::Ask { worker }),
        Follower::Asked(_) => {
            actions.push(Action::Answer { worker });
            if world.deposed.is_some() && scenario.rules.make(Mistake::LeaseFromARead) {
                actions.push(Action::DeposedAnswers { worker });
            }
            if gives_up {
                actions.push(Action::GiveUp { worker });
            }
            if state.late_answer.is_some() {
                actions.push(Action::Receive { worker });
            }
        }
        Follower::Answered(..) => {
            actions.push(Action::Receive { worker });
            if gives_up {
                actions.push(Action::GiveUp { worker });
            }
        }
        Follower::Applying(applying) => {
            if let Some(&step) = steps_of(scenario, applying).get(applying.done as usize) {
                actions.push(Action::Apply { worker, step });
            }
        }
    }
}

/// It asks for what comes after the table's position, and remembers when.
pub fn ask(scenario: &Scenario, world: &mut World, worker: u8) {
    let table = table::of(world, worker);
    let question = Question {
        sent: 0,
        after: table.position,
        // Only heartbeats say it.
        generation: if scenario.fleet { table.generation } else { 0 },
    };
    world.workers[worker as usize].follower = Follower::Asked(question);
}

/// Question or answer are lost, or too late.
pub fn give_up(scenario: &Scenario, world: &mut World, worker: u8) {
    let state = &mut world.workers[worker as usize];
    let given_up = std::mem::replace(&mut state.follower, Follower::Idle);
    if let (true, Follower::Answered(_, batch)) =
        (scenario.rules.make(Mistake::LateAnswerTakenForTheNext), given_up)
    {
        state.late_answer = Some(batch);
    }
}

/// The answer arrives, and is judged by what the table holds now.
pub fn receive(scenario: &Scenario, world: &mut World, worker: u8) {
    let rules = &scenario.rules;
    let state = &mut world.workers[worker as usize];
    let (mut question, batch) = match std::mem::replace(&mut state.follower, Follower::Idle) {
        Follower::Answered(question, batch) => (question, batch),
        Follower::Asked(question) => match state.late_answer.take() {
            Some(batch) => (question, batch),
            None => return,
        },
        _ => return,
    };
    if rules.make(Mistake::LeaseFromTheAnswer) {
        question.sent = 0;
    }
    let table = table::of(world, worker);
    if table.position.epoch != question.after.epoch {
        // The table began anew since. What this answer would make of it may be older than that.
        if !rules.make(Mistake::AnswerFromAnotherEpoch) {
            return;
        }
        question.after = table.position;
    }
    let anew = must_begin_anew(scenario, table.generation, question.after.sequence, &batch);
    let done = 0;
    let epoch = question.after.epoch;
    let applying = Applying { sent: question.sent, epoch, batch, anew, done, advanced: 0 };
    if !steps_of(scenario, &applying).is_empty() {
        world.workers[worker as usize].follower = Follower::Applying(applying);
    }
}

/// Joined, another life of the log, or entries are missing: nothing before it can be believed.
fn must_begin_anew(scenario: &Scenario, generation: u8, after: u8, batch: &Batch) -> bool {
    let rules = &scenario.rules;
    let joins = generation == 0;
    let other_life = generation != batch.generation && !rules.make(Mistake::NoGenerationCheck);
    let gap = (batch.trimmed > after || batch.last < after) && !rules.make(Mistake::NoGapCheck);
    joins || other_life || gap
}

fn steps_of(scenario: &Scenario, applying: &Applying) -> Vec<Apply> {
    let batch = &applying.batch;
    let entries = number(batch.names.len());
    let all = batch.after + entries >= batch.last;
    scenario.rules.applying(applying.anew, entries, all)
}

/// Whether an entry is known to be one that this host wrote after it had told this very table,
/// which need not be told once more.
fn is_own(scenario: &Scenario, world: &World, worker: u8, entry: u8) -> bool {
    let state = &world.workers[worker as usize];
    let Follower::Applying(applying) = &state.follower else { return false };
    let place = (applying.batch.generation, applying.batch.after + 1 + entry);
    let host = world.tables[state.table as usize].host;
    world.revocations.iter().any(|revocation| {
        let told = if scenario.rules.make(Mistake::OwnEntryInAnotherTable) {
            world.tables[revocation.told as usize].host == host
        } else {
            revocation.told == state.table
        };
        told && revocation.heard && revocation.entry == Some(place)
    })
}

/// Does the next step.
pub fn step(scenario: &Scenario, world: &mut World, worker: u8, step: Apply) {
    let rules = &scenario.rules;
    let is_own = matches!(step, Apply::Raise(entry) if is_own(scenario, world, worker, entry));
    let state = &mut world.workers[worker as usize];
    let Follower::Applying(mut applying) = std::mem::replace(&mut state.follower, Follower::Idle)
    else {
        return;
    };
    let table = &mut world.tables[state.table as usize];
    let batch = &applying.batch;
    let mark = |entry: u8| Mark { epoch: applying.epoch, sequence: batch.after + 1 + entry };
    let start = if scenario.replays { batch.trimmed } else { batch.last };
    let begins = Mark { epoch: applying.epoch + 1, sequence: start };
    let mut outrun = false;
    match step {
        Apply::Bus(entry) => {
            if let Some(bus) = table.bus.get_mut(batch.names[entry as usize] as usize) {
                *bus = (*bus).max(mark(entry));
            }
        }
        Apply::Advance => {
            table.clock += 1;
            applying.advanced = table.clock;
        }
        Apply::Raise(entry) => {
            let advanced = std::mem::take(&mut applying.advanced);
            if !is_own {
                table::raise(scenario, table, batch.names[entry as usize], advanced);
            }
        }
        Apply::Position => {
            let reached = batch.after + number(batch.names.len());
            if rules.make(Mistake::PositionWithoutEpoch) {
                table.position.sequence = table.position.sequence.max(reached);
            } else {
                let reached = Mark { epoch: applying.epoch, sequence: reached };
                table.position = table.position.max(reached);
            }
        }
        Apply::BusFloor => {
            if rules.make(Mistake::BusWithoutEpoch) {
                table.bus = [Mark::default(); 2];
                table.bus_floor = begins;
            } else {
                table.bus_floor = table.bus_floor.max(begins);
            }
        }
        Apply::Floor => {
            if !(rules.make(Mistake::NoFloorWhenJoining) && table.generation == 0) {
                table.floor = table.floor.max(std::mem::take(&mut applying.advanced));
            }
        }
        // Only if nobody else was faster: what they took may be newer.
        Apply::Begin => {
            outrun = table.position.epoch != applying.epoch;
            if !outrun {
                table.position = begins;
                table.generation = batch.generation;
            }
        }
        // The newer one counts, whoever comes last.
        Apply::Lease => {
            let lease = Lease { age: applying.sent, epoch: applying.epoch };
            let is_newer = |old: Lease| (lease.age, old.epoch) < (old.age, lease.epoch);
            if table.lease.is_none_or(is_newer) {
                table.lease = Some(lease);
            }
        }
    }
    applying.done += 1;
    let steps = steps_of(scenario, &applying);
    if outrun || applying.done as usize >= steps.len() {
        return;
    }
    let next = steps[applying.done as usize];
    world.workers[worker as usize].follower = Follower::Applying(applying);
    // Nobody else sees what lies between the two; see `Scenario::fine`.
    if step == Apply::Advance && !scenario.fine {
        self::step(scenario, world, worker, next);
    }
}
