//! How large a world is, and how much may happen in it. Within that, everything does.

use crate::rules::Rules;
use crate::world::{
    Age, Entry, Follower, Heard, Lease, Left, Log, Mark, Revocation, Stamp, Table, Worker, World,
};

/// A name that no entry depends on.
pub const ANOTHER_NAME: u8 = 2;
/// Between the clocks of two tables made one after the other; a table counts less far than this.
const TABLE_OFFSET: Stamp = 40;

/// A world to go through.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The rules that all follow.
    pub rules: Rules,
    /// So long, in ticks, an older value may be believed.
    pub max_staleness: Age,
    /// Whether there is a log; there is one table otherwise, and no lease.
    pub log: bool,
    /// The workers.
    pub workers: Vec<WorkerPlan>,
    /// The revocations, in any order and at any time.
    pub revocations: Vec<RevocationPlan>,
    /// Entries of the log that one answer holds at most.
    pub answer_size: u8,
    /// Whether other threads see the table between the advance of its clock and the raised slot.
    pub fine: bool,
    /// Whether lookups in a worker's own cache are done check by check. Otherwise all at once.
    pub looks: bool,
    /// Whether revocations wait until all hosts know.
    pub fleet: bool,
    /// Fail-overs of the log, with any number of entries lost.
    pub fail_overs: u8,
    /// Trimmings of the log.
    pub trims: u8,
    /// Crashes of workers.
    pub crashes: u8,
    /// Tables whose file is replaced under running workers.
    pub replacements: u8,
    /// Restarts of hosts.
    pub restarts: u8,
    /// Whether who begins anew reads what the log still has, to judge older values of L2.
    pub replays: bool,
    /// Whether all hosts have joined and asked already when the world begins.
    pub joined: bool,
    /// Whether those who load have done so then, and do not again.
    pub loaded: bool,
    /// Whether there is an entry of the log then, about something else, that nobody has applied.
    pub backlog: bool,
    /// Whether L2 holds whatever other hosts, which are not in this world, may have loaded before
    /// the revocation and written at any time. (What they load later does no harm.)
    pub loads_elsewhere: bool,
    /// Whether questions and answers are lost. Where there are no heartbeats and nobody remembers
    /// silence, one that is lost is as good as never sent.
    pub lost_messages: bool,
    /// Whether acknowledgements of the log are lost, so that entries are written again.
    pub lost_acknowledgements: bool,
    /// Whether silence is remembered, to see what comes after it.
    pub remember_silence: bool,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerPlan {
    /// On which host.
    pub host: u8,
    /// Whether it loads, as often as it likes.
    pub loads: bool,
    /// Whether it has a follower.
    pub follows: bool,
    /// Whether it writes what it loads to L2.
    pub puts: bool,
    /// Whether it looks values up in L2.
    pub fetches: bool,
}

/// What a revocation does.
#[derive(Debug, Clone, Copy)]
pub struct RevocationPlan {
    /// The worker that does it.
    pub worker: u8,
    /// Which name it invalidates: one of the two that entries depend on, or [`ANOTHER_NAME`].
    pub name: u8,
    /// Whether it takes something away. Otherwise something else changed, on a host that is not
    /// in this world.
    pub revokes: bool,
}

impl RevocationPlan {
    /// Takes something away.
    #[must_use]
    pub fn by(worker: u8, name: u8) -> Self {
        Self { worker, name, revokes: true }
    }

    /// Something else changes.
    #[must_use]
    pub fn of_something_else() -> Self {
        Self { worker: 0, name: ANOTHER_NAME, revokes: false }
    }
}

impl Scenario {
    /// Nothing goes wrong but messages, in a world of these workers and revocations.
    #[must_use]
    pub fn new(workers: Vec<WorkerPlan>, revocations: Vec<RevocationPlan>) -> Self {
        Self {
            rules: Rules::default(),
            max_staleness: 2,
            log: true,
            workers,
            revocations,
            answer_size: 2,
            fine: false,
            looks: false,
            fleet: false,
            fail_overs: 0,
            trims: 0,
            crashes: 0,
            replacements: 0,
            restarts: 0,
            replays: false,
            joined: false,
            loaded: false,
            backlog: false,
            loads_elsewhere: false,
            lost_messages: false,
            lost_acknowledgements: false,
            remember_silence: false,
        }
    }

    /// Whether any worker looks values up in L2.
    #[must_use]
    pub fn has_l2(&self) -> bool {
        self.workers.iter().any(|worker| worker.fetches)
    }

    fn first_worker(&self, plan: &WorkerPlan) -> Worker {
        let mut worker = Worker::new(plan.host);
        if self.loaded && plan.loads {
            let stamp = self.first_table(plan.host).clock;
            worker.entry = Some(Entry { stamp, seen: 0 });
        }
        worker
    }

    fn first_heartbeats(&self, hosts: u8) -> Vec<Option<Heard>> {
        let followed =
            |host| self.workers.iter().any(|worker| worker.host == host && worker.follows);
        let heard = Heard { at: 0, generation: 1, applied: 0 };
        let heard = |host| (self.fleet && self.joined && followed(host)).then_some(heard);
        (0..hosts).map(heard).collect()
    }

    /// The name of the host that a table belongs to, for the log.
    #[must_use]
    pub fn name_of_host(&self, world: &World, table: u8) -> usize {
        use crate::mistake::Mistake::HostNameWithoutTable;
        if self.rules.make(HostNameWithoutTable) {
            world.tables[table as usize].host as usize
        } else {
            table as usize
        }
    }

    /// A table made anew. Its clock is ahead of all that were before it, so that no stamp of
    /// theirs is good.
    #[must_use]
    pub fn new_table(&self, host: u8, made_before: usize) -> Table {
        use crate::mistake::Mistake::NewTableCountsFromOne;
        let made_before = Stamp::try_from(made_before).unwrap_or(Stamp::MAX);
        let from_one = self.rules.make(NewTableCountsFromOne);
        let clock = if from_one { 1 } else { 1 + TABLE_OFFSET * made_before };
        Table {
            host,
            clock,
            floor: clock,
            slots: [0; 2],
            bus: [Mark::default(); 2],
            bus_floor: Mark::default(),
            generation: 0,
            position: Mark::default(),
            lease: None,
        }
    }

    fn first_table(&self, host: u8) -> Table {
        let mut table = self.new_table(host, host as usize);
        if self.joined {
            let joined = Mark { epoch: 1, sequence: 0 };
            (table.generation, table.position, table.bus_floor) = (1, joined, joined);
            table.lease = Some(Lease { age: 0, epoch: 1 });
        }
        table
    }

    /// Bits of the revocations that take something away.
    #[must_use]
    pub fn revoking(&self) -> u8 {
        let bits = self.revocations.iter().enumerate();
        bits.filter(|(_, plan)| plan.revokes).map(|(number, _)| 1 << number).sum()
    }

    /// The beginning.
    #[must_use]
    pub fn world(&self) -> World {
        let hosts = self.workers.iter().map(|worker| worker.host + 1).max().unwrap_or(0);
        let mut world = World {
            committed: 0,
            tables: (0..hosts).map(|host| self.first_table(host)).collect(),
            named: (0..hosts).collect(),
            workers: self.workers.iter().map(|plan| self.first_worker(plan)).collect(),
            log: Log {
                generation: 1,
                entries: if self.backlog { vec![ANOTHER_NAME] } else { vec![] },
                trimmed: 0,
                hosts: self.first_heartbeats(hosts),
                began: None,
            },
            deposed: None,
            from_elsewhere: vec![],
            shared_value: None,
            revocations: vec![Revocation::default(); self.revocations.len()],
            left: Left {
                fail_overs: self.fail_overs,
                trims: self.trims,
                crashes: self.crashes,
                replacements: self.replacements,
                restarts: self.restarts,
            },
            broken: None,
            silence: false,
        };
        crate::steps::load::load_elsewhere(self, &mut world);
        world
    }
}

impl Worker {
    /// One that has just started.
    #[must_use]
    pub fn new(table: u8) -> Self {
        Self {
            table,
            entry: None,
            loading: None,
            putting: None,
            looking: None,
            fetching: None,
            follower: Follower::Idle,
            late_answer: None,
        }
    }
}
