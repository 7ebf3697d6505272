//! Revoking: the database, the host's table, the log.

use super::{process, server, table};
use crate::action::Action;
use crate::mistake::Mistake;
use crate::rules::Revoke;
use crate::scenario::Scenario;
use crate::world::World;

/// What a revocation can do next.
pub fn possible(scenario: &Scenario, world: &World, revocation: u8, actions: &mut Vec<Action>) {
    let state = &world.revocations[revocation as usize];
    if scenario.fleet && !state.fleet && server::all_hosts_know(scenario, world, revocation) {
        actions.push(Action::AllHostsKnow { revocation });
    }
    if state.dead {
        return;
    }
    let Some(step) = next(scenario, revocation, state.done) else { return };
    let possible = match step {
        Revoke::TakeBack => may_take_back(scenario, world, revocation),
        _ => true,
    };
    if possible {
        actions.push(Action::Revoke { revocation, step });
    }
    if step == Revoke::Acknowledge
        && scenario.lost_acknowledgements
        && !scenario.rules.outbox
        && world.log.entries.len() < 2
    {
        actions.push(Action::LoseAcknowledgement { revocation });
    }
}

/// The next step. Notes are for L2 alone, and acknowledgements for those who wait for them.
fn next(scenario: &Scenario, revocation: u8, done: u8) -> Option<Revoke> {
    if !scenario.revocations[revocation as usize].revokes {
        return (done == 0).then_some(Revoke::Append);
    }
    let step = *scenario.rules.revoking().get(done as usize)?;
    let done = match step {
        Revoke::TakeBack => !scenario.has_l2(),
        Revoke::Acknowledge => {
            !scenario.has_l2() && !scenario.fleet && !scenario.lost_acknowledgements
        }
        Revoke::Append => !scenario.log,
        _ => false,
    };
    (!done).then_some(step)
}

/// The table has applied the entry: by its number; or whatever its number was, since it has
/// applied all that was there after the acknowledgement.
fn may_take_back(scenario: &Scenario, world: &World, revocation: u8) -> bool {
    let state = &world.revocations[revocation as usize];
    if scenario.rules.make(Mistake::PendingUntilAcknowledged) {
        return true;
    }
    let (Some(pending), Some((generation, sequence)), Some(known)) =
        (state.pending, state.entry, state.known)
    else {
        return false;
    };
    let table = &world.tables[pending as usize];
    (table.generation == generation && table.position.sequence >= sequence)
        || table.lease.is_some_and(|lease| lease.age < known)
}

/// Does the next step.
pub fn step(scenario: &Scenario, world: &mut World, revocation: u8, step: Revoke) {
    let plan = scenario.revocations[revocation as usize];
    let revoking_table = world.workers[plan.worker as usize].table;
    match step {
        Revoke::Commit => {
            world.committed |= 1 << revocation;
            if scenario.rules.outbox {
                append(scenario, world, revocation, false);
            }
        }
        Revoke::Note => {
            let pending = scenario.has_l2().then_some(revoking_table);
            world.revocations[revocation as usize].pending = pending;
        }
        Revoke::Advance => {
            let table = &mut world.tables[revoking_table as usize];
            table.clock += 1;
            let state = &mut world.revocations[revocation as usize];
            (state.told, state.advanced) = (revoking_table, table.clock);
        }
        Revoke::Raise => {
            let state = &mut world.revocations[revocation as usize];
            let (told, advanced) = (state.told, std::mem::take(&mut state.advanced));
            table::raise(scenario, &mut world.tables[told as usize], plan.name, advanced);
        }
        Revoke::Confirm => {
            let host = world.tables[revoking_table as usize].host;
            let told = if scenario.rules.make(Mistake::LookAtWhatIsMapped) {
                revoking_table
            } else {
                world.revocations[revocation as usize].told
            };
            // The table that has the note is the one that was told, and the one that others open.
            let state = &world.revocations[revocation as usize];
            let has_note = state.pending.is_none_or(|pending| pending == told)
                || scenario.rules.make(Mistake::NoNoteInTheNextTable);
            let is_named = has_note && world.named[host as usize] == told;
            if !is_named && !scenario.rules.make(Mistake::NoLookAtTheFile) {
                process::remap(world, plan.worker);
                // With the note, unless that is the mistake.
                let first = match scenario.rules.mistake {
                    Some(Mistake::NoNoteInTheNextTable) => Revoke::Advance,
                    _ => Revoke::Note,
                };
                let again = scenario.rules.revoking().iter().position(|&step| step == first);
                world.revocations[revocation as usize].done = again.map_or(0, super::number);
                return;
            }
        }
        Revoke::Return => {
            let state = &mut world.revocations[revocation as usize];
            state.returned = Some(state.told);
        }
        Revoke::Append => {
            let deposed =
                scenario.rules.make(Mistake::DeposedServerTakesWrites) && world.deposed.is_some();
            append(scenario, world, revocation, deposed);
        }
        Revoke::Acknowledge => {
            let state = &mut world.revocations[revocation as usize];
            state.heard = true;
            state.known = state.pending.map(|_| 0);
        }
        Revoke::TakeBack => {
            let state = &mut world.revocations[revocation as usize];
            (state.pending, state.known) = (None, None);
        }
    }
    world.revocations[revocation as usize].done += 1;
    // Nobody else sees what lies between the two; see `Scenario::fine`.
    if step == Revoke::Advance && !scenario.fine {
        self::step(scenario, world, revocation, Revoke::Raise);
    }
    // Nothing comes of it where files stay.
    if step == Revoke::Raise && scenario.replacements == 0 {
        self::step(scenario, world, revocation, Revoke::Confirm);
    }
}

/// The log has written an entry, and from then on its acknowledgement is under way.
fn append(scenario: &Scenario, world: &mut World, revocation: u8, deposed: bool) {
    let log = match &mut world.deposed {
        Some(deposed_log) if deposed => deposed_log,
        _ => &mut world.log,
    };
    log.entries.push(scenario.revocations[revocation as usize].name);
    let entry = (log.generation, super::number(log.entries.len()));
    let state = &mut world.revocations[revocation as usize];
    if scenario.revocations[revocation as usize].revokes {
        state.acknowledged.get_or_insert(0);
        // Whose number it is matters to those who wait for it.
        state.entry = (scenario.fleet || scenario.has_l2()).then_some(entry);
    }
}

/// The entry is written again.
pub fn lose_acknowledgement(scenario: &Scenario, world: &mut World, revocation: u8) {
    step(scenario, world, revocation, Revoke::Append);
    world.revocations[revocation as usize].done -= 1;
}
