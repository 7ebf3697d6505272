//! What must hold in every state, and what must be possible in some.

use crate::explore::Everything;
use crate::scenario::Scenario;
use crate::steps::{number, table};
use crate::world::{Due, Revocations, SharedValue, Table, World};
use stateright::Property;

/// Which part of the promise was broken by an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broken {
    /// It was older than `max_staleness` allows.
    Late,
    /// The call had returned on this host.
    Here,
    /// All hosts were said to know.
    Fleet,
}

/// Nothing that was acknowledged longer ago than `max_staleness` is answered by an older value.
pub const NEVER_LATE: &str = "no answer is older than max_staleness";
/// Nothing that was revoked on this host is.
pub const NEVER_HERE: &str = "no answer on the revoking host is older than the call that returned";
/// Nothing that was waited for is.
pub const NEVER_FLEET: &str = "no answer anywhere is older than a call that waited for the fleet";

/// The model can serve something.
pub const SERVES: &str = "an entry that allows is served";
/// The model can serve something from L2.
pub const ADMITS: &str = "a value of L2 is admitted";
/// The model comes back after silence, by itself.
pub const RECOVERS: &str = "an entry that allows is served again after silence";
/// The model comes back after a fail-over.
pub const FAILS_OVER: &str = "an entry that allows is served in a later generation";
/// A value of L2 that allows is served in a later generation.
pub const L2_FAILS_OVER: &str = "a value of L2 is admitted in a later generation";
/// Waiting for all hosts ends.
pub const FLEET_ENDS: &str = "a call that waits for the fleet returns";
/// A deny is served through silence.
pub const DENIES: &str = "a deny is served though nothing is heard of the log";

/// What a lookup that begins now in this worker must know.
#[must_use]
pub fn due(scenario: &Scenario, world: &World, worker: u8) -> Due {
    let table = world.workers[worker as usize].table;
    let mut due = Due::default();
    for (number, state) in world.revocations.iter().enumerate() {
        let bit = (1 << number) & scenario.revoking();
        if state.acknowledged.is_some_and(|age| age > scenario.max_staleness) {
            due.late |= bit;
        }
        let host = world.tables[table as usize].host;
        // Workers that have an older table mapped cannot be reached by who has not. A table that
        // is lost takes the notes with it: for values of L2, what remains is `late`.
        if state.returned.is_some_and(|returned| {
            let came_later = table > returned && !scenario.has_l2();
            table == returned || (came_later && world.tables[returned as usize].host == host)
        }) {
            due.here |= bit;
        }
        if state.fleet {
            due.fleet |= bit;
        }
    }
    due
}

/// Whether an answer that has seen these revocations breaks the promise.
#[must_use]
pub fn broken(due: Due, seen: Revocations) -> Option<Broken> {
    [(due.late, Broken::Late), (due.here, Broken::Here), (due.fleet, Broken::Fleet)]
        .into_iter()
        .find_map(|(revocations, broken)| (revocations & !seen != 0).then_some(broken))
}

/// What of the promise the lookups that could be done now in one step would break.
fn now(scenario: &Scenario, world: &World, part: Broken) -> bool {
    world.broken == Some(part)
        || (0..number(world.workers.len())).any(|worker| {
            world.workers[worker as usize].entry.is_some_and(|entry| {
                let due = due(scenario, world, worker);
                let missing = match part {
                    Broken::Late => due.late,
                    Broken::Here => due.here,
                    Broken::Fleet => due.fleet,
                };
                missing & !entry.seen != 0 && table::may_serve(scenario, world, worker, entry)
            })
        })
}

/// Whether some worker could answer a lookup from its own cache, and what more is asked of that.
fn serves(scenario: &Scenario, world: &World, and: impl Fn(&Table, Revocations) -> bool) -> bool {
    (0..number(world.workers.len())).any(|worker| {
        world.workers[worker as usize].entry.is_some_and(|entry| {
            table::may_serve(scenario, world, worker, entry)
                && and(table::of(world, worker), entry.seen)
        })
    })
}

/// Whether a lookup in L2 has passed all checks, and what more is asked of that.
fn admits(scenario: &Scenario, world: &World, and: impl Fn(&SharedValue) -> bool) -> bool {
    let last = scenario.rules.fetching().len() - 1;
    world.workers.iter().filter_map(|worker| worker.fetching).any(|fetching| {
        fetching.done as usize == last && fetching.value.seen == 0 && and(&fetching.value)
    })
}

/// Whether an entry cannot be used for nothing but silence.
#[must_use]
pub fn is_silent(scenario: &Scenario, world: &World) -> bool {
    (0..number(world.workers.len())).any(|worker| {
        let table = table::of(world, worker);
        world.workers[worker as usize].entry.is_some_and(|entry| {
            table.lease.is_some()
                && table::is_current(scenario, table, entry.stamp)
                && !table::lease_is_young(scenario, table)
        })
    })
}

/// What must hold, always, and what must be possible, in the worlds where it can be.
#[must_use]
pub fn properties(scenario: &Scenario) -> Vec<Property<Everything>> {
    let mut properties = vec![
        Property::<Everything>::always(NEVER_LATE, |m, w| !now(&m.0, w, Broken::Late)),
        Property::<Everything>::always(NEVER_HERE, |m, w| !now(&m.0, w, Broken::Here)),
        Property::<Everything>::always(NEVER_FLEET, |m, w| !now(&m.0, w, Broken::Fleet)),
        Property::<Everything>::sometimes(SERVES, |m, w| serves(&m.0, w, |_, seen| seen == 0)),
    ];
    let mut possible = |name, condition| {
        properties.push(Property::<Everything>::sometimes(name, condition));
    };
    if scenario.log && scenario.workers.iter().any(|worker| worker.loads) && !scenario.loaded {
        possible(DENIES, |m, w| {
            serves(&m.0, w, |table, seen| {
                seen == m.0.revoking() && !table::lease_is_young(&m.0, table)
            })
        });
    }
    if scenario.remember_silence {
        possible(RECOVERS, |m, w| w.silence && serves(&m.0, w, |_, seen| seen == 0));
    }
    if scenario.fail_overs > 0 {
        possible(FAILS_OVER, |m, w| {
            serves(&m.0, w, |table, seen| seen == 0 && table.generation > 1)
        });
    }
    if scenario.workers.iter().any(|worker| worker.fetches) {
        possible(ADMITS, |m, w| admits(&m.0, w, |_| true));
        if scenario.fail_overs > 0 {
            possible(L2_FAILS_OVER, |m, w| admits(&m.0, w, |value| value.generation > 1));
        }
    }
    if scenario.fleet {
        possible(FLEET_ENDS, |_, w| w.revocations.iter().any(|revocation| revocation.fleet));
    }
    properties
}
