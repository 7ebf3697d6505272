//! Forgetting what cannot matter any more. Worlds that differ in nothing else are one; so there
//! are finitely many, though time has no end.

use crate::scenario::{RevocationPlan, Scenario};
use crate::steps::number;
use crate::world::{Age, Follower, Loading, Stamp, World};

/// Time passes, for all alike.
pub fn grow_older(scenario: &Scenario, world: &mut World) {
    // Nobody asks how much longer than `max_staleness` ago something was.
    let older = |age: &mut Age| *age = (*age + 1).min(scenario.max_staleness + 1);
    for table in &mut world.tables {
        table.lease.iter_mut().for_each(|lease| older(&mut lease.age));
    }
    for worker in &mut world.workers {
        match &mut worker.follower {
            Follower::Idle => {}
            Follower::Asked(question) | Follower::Answered(question, _) => {
                older(&mut question.sent);
            }
            Follower::Applying(applying) => older(&mut applying.sent),
        }
    }
    for log in std::iter::once(&mut world.log).chain(&mut world.deposed) {
        log.began.iter_mut().for_each(older);
        log.hosts.iter_mut().flatten().for_each(|host| older(&mut host.at));
    }
    for revocation in &mut world.revocations {
        revocation.acknowledged.iter_mut().for_each(older);
        revocation.known.iter_mut().for_each(older);
    }
}

/// Drops what cannot be used again, numbers stamps by their order, and forgets which is which of
/// workers that do the same.
pub fn forget(scenario: &Scenario, world: &mut World) {
    // Stamps of one table are compared with those of another where tables are replaced, and
    // counters are no stamps.
    let own_stamps = scenario.replacements == 0
        && scenario.rules.mistake != Some(crate::mistake::Mistake::CountersInsteadOfStamps);
    if !own_stamps {
        return;
    }
    for table in 0..number(world.tables.len()) {
        forget_stamps(scenario, world, table);
    }
    let mut first = 0;
    for alike in scenario.workers.chunk_by(|one, other| one == other) {
        let range = first..first + alike.len();
        first = range.end;
        let revokes = |plan: &RevocationPlan| range.contains(&(plan.worker as usize));
        if alike.len() > 1 && !scenario.revocations.iter().any(revokes) {
            world.workers[range].sort();
        }
    }
}

fn forget_stamps(scenario: &Scenario, world: &mut World, number: u8) {
    let table = &mut world.tables[number as usize];
    // All entries depend on both names, so they differ for the one that is newest only.
    let newest = table.floor.max(table.slots[0]).max(table.slots[1]);
    table.floor = newest;
    table.slots = [0; 2];
    let mut stamps: Vec<&mut Stamp> = vec![&mut table.floor, &mut table.clock];
    for (index, worker) in world.workers.iter_mut().enumerate() {
        if worker.table != number {
            continue;
        }
        // Stamps that are too old stay too old.
        worker.entry = worker.entry.filter(|entry| entry.stamp >= newest);
        let stale = |loading: &Loading| loading.stamp.is_some_and(|stamp| stamp < newest);
        if !scenario.workers[index].puts && worker.loading.as_ref().is_some_and(stale) {
            worker.loading = None;
        }
        let loading = worker.loading.as_mut().and_then(|loading| loading.stamp.as_mut());
        let fetching = worker.fetching.as_mut().and_then(|fetching| fetching.stamp.as_mut());
        let looking = worker.looking.as_mut().map(|looking| &mut looking.entry.stamp);
        for stamp in loading.into_iter().chain(fetching).chain(looking) {
            if *stamp < newest {
                *stamp = 0;
            }
            stamps.push(stamp);
        }
        stamps.extend(worker.entry.as_mut().map(|entry| &mut entry.stamp));
        if let Follower::Applying(applying) = &mut worker.follower {
            stamps.push(&mut applying.advanced);
        }
    }
    for (revocation, plan) in world.revocations.iter_mut().zip(&scenario.revocations) {
        if scenario.workers[plan.worker as usize].host == table.host {
            stamps.push(&mut revocation.advanced);
        }
    }
    stamps.sort();
    let mut last = 0;
    let mut rank = 0;
    for stamp in stamps {
        rank += Stamp::from(*stamp != last);
        last = *stamp;
        *stamp = rank;
    }
}
