//! The two threads that connect a table with a log, and what they have in common.

use super::follower::Follower;
use super::publisher::{Outbox, Publisher, WaitFor};
use super::{Batch, Event, InvalidationLog, LogError};
use crate::engine::Names;
use crate::engine::clock::{Clock, Millis, millis};
use crate::invalidation::InvalidationTable;
use serde::Serialize;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How a table is connected with a log.
#[derive(Debug, Clone)]
pub struct ChannelSettings {
    /// Name of this machine; those that share a table are one host.
    pub machine: String,
    /// So long after the last news may permissive entries be served.
    pub max_staleness: Duration,
    /// Whether values of other hosts are used, so that old entries of the log matter.
    pub replays: bool,
    /// Longest time that stopping waits for what is not yet published.
    pub linger: Duration,
}

/// What happened, in numbers that only grow.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) applied: AtomicU64,
    pub(super) published: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) floors: AtomicU64,
    pub(super) garbage: AtomicU64,
    pub(super) errors: AtomicU64,
    /// Newest entry that the log is known to have.
    pub(super) last_seen: AtomicU64,
    /// Epoch of the table when the log was last asked, and when that began, plus one.
    epoch: AtomicU64,
    epoch_began: AtomicU64,
}

/// How a connection with a log is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Entries applied by this process.
    pub applied: u64,
    /// Invalidations of this process that the log has acknowledged.
    pub published: u64,
    /// Invalidations of this process that it has not.
    pub unpublished: u64,
    /// Times something was missing in the log.
    pub gaps: u64,
    /// Times everything was disbelieved: at the start, after a gap, in a new generation.
    pub floors: u64,
    /// Entries that could not be understood, and were taken to name everything.
    pub garbage: u64,
    /// Times the log did not do what it was asked.
    pub errors: u64,
    /// Why not, the last time; `None` since it works again.
    pub last_error: Option<String>,
    /// The last entry that was applied on this host.
    pub position: u64,
    /// Entries of the log that were not yet applied here when it was last asked.
    pub lag: u64,
    /// Since when this host may have missed something, in milliseconds; `None`: always.
    pub lease_age_ms: Option<Millis>,
    /// Whether permissive entries may be served.
    pub has_lease: bool,
}

/// What the threads have in common.
///
/// With the locks of the standard library, for the reason that [`Outbox`] has.
#[derive(Debug)]
pub(super) struct State {
    pub(super) table: Arc<InvalidationTable>,
    pub(super) clock: Clock,
    machine: String,
    pub(super) max_staleness: Duration,
    pub(super) replays: bool,
    pub(super) figures: Figures,
    pub(super) outbox: Outbox,
    last_error: Mutex<Option<String>>,
    stopped: AtomicBool,
    linger: Duration,
    stopped_at: Mutex<Option<Instant>>,
}

/// Heartbeats for each length of time that permissive entries may be served without one.
const HEARTBEATS: u64 = 4;
const LONGEST_INTERVAL: Millis = 250;

/// How long a host fills its memory anew after it has disbelieved everything, in milliseconds.
const REFILLING: Millis = 5_000;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl State {
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Whether there is still time to publish.
    pub(super) fn may_publish(&self) -> bool {
        let in_time = || lock(&self.stopped_at).is_none_or(|at| at.elapsed() < self.linger);
        !self.is_stopped() || (self.outbox.waiting() > 0 && in_time())
    }

    pub(super) fn heartbeat_interval(&self) -> Millis {
        (millis(self.max_staleness) / HEARTBEATS).clamp(1, LONGEST_INTERVAL)
    }

    pub(super) fn note_answer(&self, batch: &Batch) {
        self.figures.last_seen.store(batch.last, Ordering::Relaxed);
        *lock(&self.last_error) = None;
    }

    /// The time by the clock of leases. Not for lookups: it is read too slowly.
    pub(super) fn now(&self) -> Millis {
        // In this order: what was suspended in between is missing, and the time is too early.
        let suspended = self.clock.suspended();
        self.table.lease_time(self.clock.now(), suspended)
    }

    /// Name of the host with this table: with another one it is another host, and whoever has not
    /// noticed yet is still the former.
    pub(super) fn host_in(&self, table: u64) -> String {
        format!("{}/{table:016x}", self.machine)
    }

    /// Notes in which epoch the table is: with each one, everything has to be loaded anew.
    pub(super) fn note_epoch(&self, epoch: u64) {
        if self.figures.epoch.swap(epoch, Ordering::Relaxed) != epoch {
            self.figures.epoch_began.store(self.clock.now() + 1, Ordering::Relaxed);
        }
    }

    /// Whether the log has been the same for so long that all hosts have noticed, if they have the
    /// same settings.
    pub(super) fn has_settled(&self) -> bool {
        let began = self.figures.epoch_began.load(Ordering::Relaxed);
        began != 0 && self.clock.now() >= began + millis(self.max_staleness)
    }

    pub(super) fn note_error(&self, error: &LogError) {
        self.figures.errors.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_error) = Some(error.to_string());
    }

    /// A pause that grows with every failure, of a length that differs from host to host, so that
    /// a log that comes back is not run over.
    pub(super) fn back_off(&self, failures: u32) {
        let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
        let mut random = [0];
        // Without randomness all wait equally long.
        let _ = getrandom::fill(&mut random);
        let pause = longest / 2 + longest.mul_f64(f64::from(random[0]) / 512.0);
        let end = Instant::now() + pause;
        while !self.is_stopped() && Instant::now() < end {
            thread::sleep((end - Instant::now().min(end)).min(FIRST_PAUSE));
        }
        if self.is_stopped() {
            thread::sleep(FIRST_PAUSE);
        }
    }
}

/// A table and a log, connected until this is dropped.
pub struct Channel {
    state: Arc<State>,
    idle: Mutex<Idle>,
    is_started: AtomicBool,
}

/// What the system has not given a thread yet.
struct Idle {
    follower: Option<Follower>,
    publisher: Option<Publisher>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Channel").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Channel {
    /// Connects a table with a log, once it is started. Each thread uses a connection of its own.
    #[must_use]
    pub fn new(
        settings: ChannelSettings,
        table: Arc<InvalidationTable>,
        clock: Clock,
        reading: Box<dyn InvalidationLog>,
        writing: Box<dyn InvalidationLog>,
    ) -> Self {
        let state = Arc::new(State {
            table,
            clock,
            machine: settings.machine,
            max_staleness: settings.max_staleness,
            replays: settings.replays,
            figures: Figures::default(),
            outbox: Outbox::default(),
            last_error: Mutex::new(None),
            stopped: AtomicBool::new(false),
            linger: settings.linger,
            stopped_at: Mutex::new(None),
        });
        let idle = Mutex::new(Idle {
            follower: Some(Follower::new(Arc::clone(&state), reading)),
            publisher: Some(Publisher::new(Arc::clone(&state), writing)),
        });
        Self { state, idle, is_started: AtomicBool::new(false) }
    }

    /// Starts what does not run yet. Whatever is published until it does waits in the queue.
    ///
    /// # Errors
    /// The system allows no more threads; may be tried again.
    pub fn start(&self) -> io::Result<()> {
        if self.is_started.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut idle = lock(&self.idle);
        let started = start("velro-cache-publish", &mut idle.publisher, Publisher::run)
            .and_then(|()| start("velro-cache-follow", &mut idle.follower, Follower::run));
        match &started {
            Ok(()) => self.is_started.store(true, Ordering::Release),
            Err(error) => {
                let why = format!("no thread can be started for it: {error}");
                self.state.note_error(&LogError::Unreachable(why));
            }
        }
        started
    }

    /// Has an invalidation appended to the log, now that a table was told; see
    /// [`InvalidationTable::revoke`]. `None`: it was told without a note of what is pending.
    /// Returns a ticket to wait for; returns at once.
    pub fn publish(&self, event: Event, names: Names, told: Option<u64>) -> u64 {
        self.state.outbox.put(event, names, told, &self.state.table)
    }

    /// Waits for what became of an invalidation, at most so long. Returns whether it is where it
    /// is wanted.
    pub fn wait(&self, ticket: u64, what: WaitFor, at_most: Duration) -> bool {
        self.state.outbox.wait(ticket, what, at_most)
    }

    /// Waits until everything is published, as long as stopping may wait. Returns whether it is.
    pub fn drain(&self) -> bool {
        match self.start() {
            Ok(()) => self.state.outbox.drain(self.state.linger),
            Err(_) => self.state.outbox.waiting() == 0,
        }
    }

    /// Whether permissive entries may be served.
    pub fn has_lease(&self) -> bool {
        let (state, now) = (&self.state, self.state.clock.now());
        state.table.holds_lease(now, millis(state.max_staleness))
    }

    /// Whether loads should be held back, because this host serves nothing permissive from memory,
    /// or has nothing left: what many ask for is then loaded by all at once.
    pub fn is_refilling(&self) -> bool {
        let (state, now) = (&self.state, self.state.clock.now());
        let began = state.figures.epoch_began.load(Ordering::Relaxed);
        !self.has_lease() || now < began.saturating_add(REFILLING)
    }

    /// How it is going.
    pub fn report(&self) -> Report {
        let (state, figures) = (&self.state, &self.state.figures);
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let (now, lease) = (state.now(), state.table.lease());
        let position = state.table.known().position.sequence();
        Report {
            applied: read(&figures.applied),
            published: read(&figures.published),
            unpublished: state.outbox.waiting() as u64,
            gaps: read(&figures.gaps),
            floors: read(&figures.floors),
            garbage: read(&figures.garbage),
            errors: read(&figures.errors),
            last_error: lock(&state.last_error).clone(),
            position,
            lag: read(&figures.last_seen).saturating_sub(position),
            lease_age_ms: lease.map(|lease| now.saturating_sub(lease)),
            has_lease: self.has_lease(),
        }
    }
}

/// Gives a worker a thread, unless it has one.
fn start<T: Send + 'static>(
    name: &str,
    idle: &mut Option<T>,
    run: impl FnOnce(T) + Send + 'static,
) -> io::Result<()> {
    let Some(worker) = idle.take() else { return Ok(()) };
    // The system keeps what it is handed even where it allows no thread.
    let handed = Arc::new(Mutex::new(Some(worker)));
    let kept = Arc::clone(&handed);
    let started = thread::Builder::new().name(name.into()).spawn(move || {
        let worker = lock(&handed).take();
        if let Some(worker) = worker {
            run(worker);
        }
    });
    started.map(drop).inspect_err(|_| *idle = lock(&kept).take())
}

/// Whoever panicked left it as it was before or after a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Channel {
    fn drop(&mut self) {
        *lock(&self.state.stopped_at) = Some(Instant::now());
        self.state.stopped.store(true, Ordering::Release);
        self.state.outbox.wake();
    }
}
