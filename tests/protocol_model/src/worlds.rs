//! The worlds that are gone through. Each shows some rules at work, and has no more in it than
//! that takes: hosts that do not share a table meet only in the log, in L2 and in the database,
//! so most worlds have one host and revocations that come from another.

use crate::scenario::{RevocationPlan, Scenario, WorkerPlan};

/// Revokes for others to hear of it; does nothing else.
const REVOKES: WorkerPlan =
    WorkerPlan { host: 0, loads: false, follows: false, puts: false, fetches: false };
/// Follows the log, on another host than that, for those who share its table.
const FOLLOWS: WorkerPlan = WorkerPlan { host: 1, follows: true, ..REVOKES };
/// Does so, and loads.
const LISTENS: WorkerPlan = WorkerPlan { host: 1, loads: true, follows: true, ..REVOKES };

/// One host without a log, two workers, two revocations through different names. Every step is
/// seen by the other worker, and either may crash.
#[must_use]
pub fn one_host() -> Scenario {
    let worker = WorkerPlan { loads: true, ..REVOKES };
    Scenario {
        log: false,
        fine: true,
        looks: true,
        crashes: 1,
        ..Scenario::new(
            vec![worker, worker],
            vec![RevocationPlan::by(0, 0), RevocationPlan::by(1, 1)],
        )
    }
}

/// The same with somebody who removes the file of the table.
#[must_use]
pub fn replaced_table() -> Scenario {
    let worker = WorkerPlan { loads: true, ..REVOKES };
    Scenario {
        log: false,
        replacements: 1,
        ..Scenario::new(
            vec![worker, REVOKES],
            vec![RevocationPlan::by(0, 0), RevocationPlan::by(1, 1)],
        )
    }
}

/// A host that listens while another one revokes. Every step is seen by others; it may restart.
#[must_use]
pub fn listening() -> Scenario {
    Scenario {
        fine: true,
        looks: true,
        restarts: 1,
        remember_silence: true,
        lost_messages: true,
        ..Scenario::new(vec![REVOKES, LISTENS], vec![RevocationPlan::by(0, 1)])
    }
}

/// The same with more in the log than one answer holds, entries that are written twice, and a
/// log that drops what it has.
#[must_use]
pub fn long_log() -> Scenario {
    Scenario {
        answer_size: 1,
        trims: 1,
        lost_acknowledgements: true,
        ..Scenario::new(
            vec![REVOKES, LISTENS],
            vec![RevocationPlan::by(0, 1), RevocationPlan::of_something_else()],
        )
    }
}

/// Two revocations, and a log that fails over between or after them.
#[must_use]
pub fn fail_over() -> Scenario {
    Scenario {
        fail_overs: 1,
        ..Scenario::new(
            vec![REVOKES, LISTENS],
            vec![RevocationPlan::by(0, 1), RevocationPlan::by(0, 1)],
        )
    }
}

/// Two fail-overs, after each of which the log has numbers that it had before.
#[must_use]
pub fn two_fail_overs() -> Scenario {
    Scenario {
        fail_overs: 2,
        ..Scenario::new(vec![REVOKES, LISTENS], vec![RevocationPlan::by(0, 1)])
    }
}

/// Two followers that write into one table, in a log that fails over and then gives a number
/// once more.
#[must_use]
pub fn shared_table() -> Scenario {
    Scenario {
        max_staleness: 0,
        joined: true,
        backlog: true,
        fail_overs: 1,
        ..Scenario::new(
            vec![REVOKES, WorkerPlan { follows: false, ..LISTENS }, FOLLOWS, FOLLOWS],
            vec![RevocationPlan::by(0, 1)],
        )
    }
}

/// The revoking host itself: two workers, one that follows the log and revokes, one that serves.
#[must_use]
pub fn revoking_host() -> Scenario {
    Scenario {
        crashes: 1,
        fine: true,
        ..Scenario::new(
            vec![WorkerPlan { follows: true, ..REVOKES }, WorkerPlan { loads: true, ..REVOKES }],
            vec![RevocationPlan::by(0, 1)],
        )
    }
}

/// The permissions and the log in one database: an entry is there as soon as the revocation is.
#[must_use]
pub fn outbox() -> Scenario {
    let mut scenario = Scenario {
        fail_overs: 1,
        crashes: 1,
        ..Scenario::new(vec![REVOKES, LISTENS], vec![RevocationPlan::by(0, 1)])
    };
    scenario.rules.outbox = true;
    scenario
}

/// A host that reads and writes L2 while another one revokes.
#[must_use]
pub fn l2() -> Scenario {
    Scenario {
        max_staleness: 1,
        ..Scenario::new(
            vec![REVOKES, WorkerPlan { puts: true, fetches: true, ..LISTENS }],
            vec![RevocationPlan::by(0, 1)],
        )
    }
}

/// Reads from L2 what others write.
const FETCHES: WorkerPlan = WorkerPlan { loads: false, fetches: true, ..LISTENS };

/// A host that reads from L2 what others write, while another one revokes; it may restart.
#[must_use]
pub fn l2_of_others() -> Scenario {
    Scenario {
        max_staleness: 1,
        loads_elsewhere: true,
        restarts: 1,
        ..Scenario::new(vec![REVOKES, FETCHES], vec![RevocationPlan::by(0, 1)])
    }
}

/// The same with a log that fails over and then gives a number once more.
#[must_use]
pub fn l2_and_a_fail_over() -> Scenario {
    Scenario {
        max_staleness: 1,
        loads_elsewhere: true,
        joined: true,
        backlog: true,
        fail_overs: 1,
        ..Scenario::new(vec![REVOKES, FETCHES], vec![RevocationPlan::by(0, 1)])
    }
}

/// The same with a log that drops entries, of which a host that begins anew reads what is left.
/// A second worker follows the log as well.
#[must_use]
pub fn l2_and_a_short_log() -> Scenario {
    Scenario {
        max_staleness: 0,
        loads_elsewhere: true,
        joined: true,
        backlog: true,
        replays: true,
        trims: 1,
        ..Scenario::new(
            vec![REVOKES, WorkerPlan { follows: false, ..FETCHES }, FOLLOWS, FOLLOWS],
            vec![RevocationPlan::by(0, 1)],
        )
    }
}

/// The revoking host reads from L2 what others write. The worker that revokes may die, and so may
/// the host.
#[must_use]
pub fn l2_on_the_revoking_host() -> Scenario {
    Scenario { restarts: 1, crashes: 1, ..l2_here() }
}

/// The same with somebody who removes the file of the table.
#[must_use]
pub fn l2_on_the_revoking_host_and_a_replaced_table() -> Scenario {
    Scenario { replacements: 1, ..l2_here() }
}

/// The same with a log that drops entries.
#[must_use]
pub fn l2_on_the_revoking_host_and_a_short_log() -> Scenario {
    Scenario { joined: true, backlog: true, trims: 1, ..l2_here() }
}

fn l2_here() -> Scenario {
    Scenario {
        max_staleness: 1,
        loads_elsewhere: true,
        ..Scenario::new(
            vec![WorkerPlan { follows: true, ..REVOKES }, WorkerPlan { fetches: true, ..REVOKES }],
            vec![RevocationPlan::by(0, 1)],
        )
    }
}

/// A call that waits for all hosts, and a log that fails over.
#[must_use]
pub fn fleet() -> Scenario {
    Scenario {
        fleet: true,
        fail_overs: 1,
        lost_messages: true,
        ..Scenario::new(vec![REVOKES, LISTENS], vec![RevocationPlan::by(0, 1)])
    }
}

/// A call that waits for all hosts, one of which has lost the file of its table, so that its two
/// workers do not share one.
#[must_use]
pub fn fleet_with_a_replaced_table() -> Scenario {
    Scenario {
        max_staleness: 0,
        fleet: true,
        joined: true,
        loaded: true,
        replacements: 1,
        ..Scenario::new(vec![REVOKES, LISTENS, FOLLOWS], vec![RevocationPlan::by(0, 1)])
    }
}
