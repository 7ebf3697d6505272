//! What there is. Everything is small numbers, since there will be millions of these.

/// Numbers of revocations, as bits.
pub type Revocations = u8;
/// How long ago something was, in ticks. Below 0: in the future, by the clock of somebody who
/// trusts another one's. All that is too long ago to matter is the same; see [`crate::tidy`].
pub type Age = i8;
/// A reading of a table's invalidation clock.
pub type Stamp = u8;

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct World {
    /// The database of permissions: which revocations are committed.
    pub committed: Revocations,
    /// All tables that ever were, in the order in which they were made.
    pub tables: Vec<Table>,
    /// The table that a new worker of each host would open.
    pub named: Vec<u8>,
    /// All workers of all hosts.
    pub workers: Vec<Worker>,
    /// The server of the log, with whatever stands in for it after a fail-over.
    pub log: Log,
    /// The server that was the primary before the last fail-over, where it still runs.
    pub deposed: Option<Log>,
    /// What hosts outside this world may have loaded before anything was revoked: for each
    /// generation, the highest number that was applied before such a load.
    pub from_elsewhere: Vec<u8>,
    /// The value in L2, if there is one.
    pub shared_value: Option<SharedValue>,
    /// How far each revocation has come.
    pub revocations: Vec<Revocation>,
    /// What may still go wrong.
    pub left: Left,
    /// What was answered that must not have been; see [`crate::promise`].
    pub broken: Option<crate::promise::Broken>,
    /// An entry could once not be used for silence; only where the scenario asks for it.
    pub silence: bool,
}

/// A number in the log, as a table knows it: numbers of different epochs do not mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark {
    /// Counts how often this table began anew: it joined, or may have missed something.
    pub epoch: u8,
    /// Number of an entry.
    pub sequence: u8,
}

/// Up to when a table knows everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// Everything acknowledged before this moment is applied.
    pub age: Age,
    /// The epoch in which it was applied.
    pub epoch: u8,
}

/// What the workers of a host share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Of which host.
    pub host: u8,
    /// The invalidation clock.
    pub clock: Stamp,
    /// Nothing older is believed.
    pub floor: Stamp,
    /// Of each name: nothing older that depends on it is believed.
    pub slots: [Stamp; 2],
    /// Of each name: the newest entry of the log about it.
    pub bus: [Mark; 2],
    /// Which entries there were up to here is not known.
    pub bus_floor: Mark,
    /// The generation of the log that `position` is in; 0 before the first.
    pub generation: u8,
    /// All entries up to this one are applied.
    pub position: Mark,
    /// Up to when everything is known.
    pub lease: Option<Lease>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    /// The table it has mapped.
    pub table: u8,
    /// The one entry of its own cache. It depends on both names.
    pub entry: Option<Entry>,
    /// A loader under way.
    pub loading: Option<Loading>,
    /// A value on its way to L2.
    pub putting: Option<SharedValue>,
    /// A lookup in its own cache.
    pub looking: Option<Looking>,
    /// A lookup in L2.
    pub fetching: Option<Fetching>,
    /// Its follower.
    pub follower: Follower,
    /// An answer that came after the follower had given up waiting for it.
    pub late_answer: Option<Batch>,
}

/// An entry of a worker's cache. It allows what the revocations it has not seen take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Read from the table before the load began.
    pub stamp: Stamp,
    /// The revocations that the loader saw.
    pub seen: Revocations,
}

/// A loader under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Loading {
    /// How many steps it has done.
    pub done: u8,
    /// The stamp, once taken.
    pub stamp: Option<Stamp>,
    /// Generation and number up to which the table was applied, once read.
    pub position: Option<(u8, u8)>,
    /// What it read, once it has: at `BEGIN` where a transaction keeps what it saw then.
    pub seen: Option<Revocations>,
}

/// A value in L2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedValue {
    /// The generation of the log at the load.
    pub generation: u8,
    /// Up to which number the loading host had applied it before the load.
    pub sequence: u8,
    /// The revocations that the loader saw.
    pub seen: Revocations,
}

/// What a lookup has to know, by when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Due {
    /// Acknowledged longer ago than `max_staleness`.
    pub late: Revocations,
    /// The call returned to a worker with the same table.
    pub here: Revocations,
    /// Waited for until all hosts knew.
    pub fleet: Revocations,
}

/// A lookup in a worker's own cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Looking {
    /// What it must know.
    pub due: Due,
    /// What it found.
    pub entry: Entry,
    /// How many checks it has passed.
    pub done: u8,
}

/// A lookup in L2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fetching {
    /// What it must know.
    pub due: Due,
    /// What L2 answered.
    pub value: SharedValue,
    /// How many checks it has passed.
    pub done: u8,
    /// The stamp, once taken.
    pub stamp: Option<Stamp>,
    /// The epoch of the lease that was young enough.
    pub lease_epoch: u8,
    /// The table's epoch when its position was compared.
    pub epoch: u8,
}

/// What a follower does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Follower {
    /// Nothing.
    Idle,
    /// It has asked; the question may be on its way, or lost.
    Asked(Question),
    /// It was answered; the answer may be on its way, or lost.
    Answered(Question, Batch),
    /// It writes what it learned into the table.
    Applying(Applying),
}

/// What a follower asks, with its heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// When it was sent.
    pub sent: Age,
    /// The table's position then.
    pub after: Mark,
    /// The table's generation then.
    pub generation: u8,
}

/// What the log answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    /// Its generation.
    pub generation: u8,
    /// Entries up to this one are gone.
    pub trimmed: u8,
    /// Its newest entry.
    pub last: u8,
    /// The entry before the first of `names`.
    pub after: u8,
    /// What the entries name.
    pub names: Vec<u8>,
}

/// An answer being applied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Applying {
    /// When the question was sent.
    pub sent: Age,
    /// The table's epoch when the question was sent.
    pub epoch: u8,
    /// The answer.
    pub batch: Batch,
    /// Whether it begins anew, since it may have missed something.
    pub anew: bool,
    /// How many steps are done.
    pub done: u8,
    /// The last advance of the table's clock.
    pub advanced: Stamp,
}

/// One server of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log {
    /// Which life of the log this is; the first one is 1.
    pub generation: u8,
    /// What each entry names; the first one has number 1.
    pub entries: Vec<u8>,
    /// Entries up to this one are gone.
    pub trimmed: u8,
    /// The last heartbeat of each host, by its name.
    pub hosts: Vec<Option<Heard>>,
    /// When this generation began, if it is not the first.
    pub began: Option<Age>,
}

/// A heartbeat that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heard {
    /// When.
    pub at: Age,
    /// The generation of `applied`.
    pub generation: u8,
    /// What the host had applied when it was sent.
    pub applied: u8,
}

/// How far a revocation has come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revocation {
    /// How many steps are done.
    pub done: u8,
    /// The process that did it is gone.
    pub dead: bool,
    /// The table that was told.
    pub told: u8,
    /// The first advance of its clock.
    pub advanced: Stamp,
    /// When the log had it.
    pub acknowledged: Option<Age>,
    /// Generation and number of its entry.
    pub entry: Option<(u8, u8)>,
    /// The revoking host has heard of that.
    pub heard: bool,
    /// How long ago, while `pending`.
    pub known: Option<Age>,
    /// The call returned, having told this table.
    pub returned: Option<u8>,
    /// A table in which it is not known yet which entry of the log speaks of it.
    pub pending: Option<u8>,
    /// Waited for until all hosts knew.
    pub fleet: bool,
}

/// How often things may still happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Left {
    /// Fail-overs of the log.
    pub fail_overs: u8,
    /// Trimmings of the log.
    pub trims: u8,
    /// Crashes of workers.
    pub crashes: u8,
    /// Tables whose file is replaced under running workers.
    pub replacements: u8,
    /// Restarts of hosts.
    pub restarts: u8,
}
