//! Appends what this process invalidates to the log, in a thread of its own.
//!
//! Whoever invalidates leaves the names in a queue and gets a ticket. The thread takes everything
//! that is waiting, appends it as one entry, and tries again until the log acknowledges; so the
//! names are in the log once or more often, in order, and never lost while the process lives. A
//! queue that grows too long becomes one entry that names everything.
//!
//! For as long as the table has not applied that entry, it notes that it is to come. Should the
//! file of the table be taken away meanwhile, the one that takes its place is told as well.

use super::channel::State;
use super::{Appended, Event, Host, InvalidationLog, LogError};
use crate::engine::Names;
use crate::engine::clock::Millis;
use crate::fork_gate;
use crate::invalidation::InvalidationTable;
use crate::invalidation::bus::number_of;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Invalidations waiting at most; those beyond are merged into one that names everything.
const MOST_WAITING: usize = 10_000;

/// Names in one entry, about: a longer one would hold up readers.
const MOST_NAMES: usize = 1_000;

/// How soon hosts are asked for again while somebody waits for them: soon at first, since most
/// answer within a millisecond, and after twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_micros(250);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// How soon a publisher without work notices that it is to stop.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// The log has acknowledged it.
    Bus,
    /// Every other host has applied it, or no longer serves what it knew.
    Fleet,
}

#[derive(Debug)]
struct Waiting {
    event: Event,
    names: Names,
    /// The table that was told, in which it is pending; `None`: nothing notes that.
    told: Option<u64>,
    /// Tickets it stands for.
    tickets: u64,
}

/// Acknowledged, and maybe not yet applied to the table of this host.
#[derive(Debug)]
struct Unsettled {
    names: Names,
    told: Option<u64>,
    appended: Appended,
    at: Millis,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// So many of them, from the first on, may be on their way and must not be changed.
    under_way: usize,
    /// Ticket of the last one that was put in.
    last: u64,
    /// Tickets up to this one are acknowledged.
    acknowledged: u64,
    /// Where the newest of those is.
    appended: Option<Appended>,
    unsettled: Vec<Unsettled>,
    /// Up to which entry all hosts are, as of the last time somebody wanted to know.
    fleet: Option<Appended>,
    waits_for_fleet: usize,
}

/// The queue, and those who wait for what becomes of it.
///
/// With the locks of the standard library: those of `parking_lot` keep a table of waiting threads,
/// which a forked child inherits while the memory it points to is given to other threads.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Outbox {
    /// Puts an invalidation into the queue that is pending in the table that was told. Returns its
    /// ticket.
    pub(super) fn put(
        &self,
        event: Event,
        names: Names,
        told: Option<u64>,
        table: &InvalidationTable,
    ) -> u64 {
        let mut queue = self.lock();
        if queue.waiting.len() < MOST_WAITING {
            queue.waiting.push_back(Waiting { event, names, told, tickets: 1 });
        } else {
            let may_change = queue.waiting.len() > queue.under_way;
            let covers = |last: &&mut Waiting| last.event.all && last.told == told;
            if let Some(last) = queue.waiting.back_mut().filter(|last| may_change && covers(last)) {
                last.tickets += 1;
            } else {
                let (event, everything) = (Event::everything(), Names::everything());
                // Where it cannot be noted, another table was not told either: see
                // `Publisher::tell_the_next_table`.
                let begin = |told| everything.with_covered(|what| table.begin_pending(what, told));
                let _is_noted = told.is_some_and(begin);
                queue.waiting.push_back(Waiting { event, names: everything, told, tickets: 1 });
            }
            // What is pending for everything is so for this one, too.
            if let Some(told) = told {
                names.with_covered(|what| table.end_pending(what, told));
            }
        }
        queue.last += 1;
        let ticket = queue.last;
        drop(queue);
        self.changed.notify_all();
        ticket
    }

    /// Waits until a ticket is where it is wanted, at most so long. Returns whether it is.
    pub(super) fn wait(&self, ticket: u64, what: WaitFor, at_most: Duration) -> bool {
        let end = Instant::now() + at_most;
        let mut queue = self.lock();
        let waits_for_fleet = what == WaitFor::Fleet;
        queue.waits_for_fleet += usize::from(waits_for_fleet);
        let reached = loop {
            if queue.acknowledged >= ticket {
                if !waits_for_fleet {
                    break true;
                }
                let (wanted, fleet) = (queue.appended.as_ref(), queue.fleet.as_ref());
                if wanted.zip(fleet).is_some_and(|(wanted, fleet)| {
                    wanted.generation == fleet.generation && fleet.sequence >= wanted.sequence
                }) {
                    break true;
                }
            }
            self.changed.notify_all();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            queue = self.rest(queue, left);
        };
        queue.waits_for_fleet -= usize::from(waits_for_fleet);
        reached
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Whoever panicked left it as it was before or after a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the queue until something has changed, at most so long.
    fn rest<'a>(&self, queue: MutexGuard<'a, Queue>, at_most: Duration) -> MutexGuard<'a, Queue> {
        self.changed.wait_timeout(queue, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until the queue is empty, at most so long.
    pub(super) fn drain(&self, at_most: Duration) -> bool {
        let last = self.lock().last;
        self.wait(last, WaitFor::Bus, at_most)
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Has everybody look again.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }
}

/// A publisher with its log.
pub(super) struct Publisher {
    state: Arc<State>,
    log: Box<dyn InvalidationLog>,
    /// The next one while somebody waits for hosts.
    pause: Duration,
}

impl Publisher {
    pub(super) fn new(state: Arc<State>, log: Box<dyn InvalidationLog>) -> Self {
        Self { state, log, pause: FIRST_PAUSE }
    }

    /// Publishes until told to stop and nothing is left, or stopping takes too long.
    pub(super) fn run(mut self) {
        let mut failures = 0;
        while self.state.may_publish() {
            match self.turn() {
                Ok(()) => failures = 0,
                Err(error) => {
                    self.state.note_error(&error);
                    failures += 1;
                    self.state.back_off(failures);
                }
            }
        }
    }

    fn turn(&mut self) -> Result<(), LogError> {
        self.tell_the_next_table();
        self.settle();
        if let Some((event, count)) = self.next() {
            let appended = self.log.append(&event.encode())?;
            self.pause = FIRST_PAUSE;
            self.acknowledge(count, appended);
            return Ok(());
        }
        if self.somebody_waits_for_fleet() && self.knows_all_hosts() {
            let hosts = self.log.hosts()?;
            self.note_fleet(&hosts);
        }
        self.rest();
        Ok(())
    }

    /// The next invalidations as one entry, and how many they are. They stay in the queue.
    fn next(&self) -> Option<(Event, usize)> {
        let mut queue = self.state.outbox.lock();
        let (mut event, mut count) = (Event::default(), 0);
        for waiting in &queue.waiting {
            if count > 0 && event.names_count() >= MOST_NAMES {
                break;
            }
            event.extend(waiting.event.clone());
            count += 1;
        }
        queue.under_way = count;
        (count > 0).then_some((event, count))
    }

    fn acknowledge(&self, count: usize, appended: Appended) {
        // After the answer has come: whoever asks later than this finds the entry.
        let at = self.state.now();
        let mut queue = self.state.outbox.lock();
        let done: Vec<Waiting> = queue.waiting.drain(..count).collect();
        let told = done.first().and_then(|first| first.told);
        if let Some(told) = told.filter(|_| done.iter().all(|one| one.told == told)) {
            let generation = number_of(&appended.generation);
            self.state.table.note_own(generation, appended.sequence, told);
        }
        queue.under_way = 0;
        let tickets = done.iter().map(|done| done.tickets).sum::<u64>();
        queue.acknowledged += tickets;
        let unsettled = done.into_iter();
        queue.unsettled.extend(unsettled.map(|done| Unsettled {
            names: done.names,
            told: done.told,
            appended: appended.clone(),
            at,
        }));
        queue.appended = Some(appended);
        drop(queue);
        self.state.figures.published.fetch_add(tickets, Ordering::Relaxed);
        self.state.outbox.changed.notify_all();
        self.settle();
    }

    /// Lets go of what is pending in the table, as soon as that has applied it.
    fn settle(&self) {
        let unsettled = std::mem::take(&mut self.state.outbox.lock().unsettled);
        if unsettled.is_empty() {
            return;
        }
        let _pass = fork_gate::pass();
        let table = &self.state.table;
        let (settled, left): (Vec<_>, Vec<_>) = unsettled.into_iter().partition(|one| {
            let generation = number_of(&one.appended.generation);
            table.has_applied(generation, one.appended.sequence, one.at)
        });
        for one in settled {
            if let Some(told) = one.told {
                one.names.with_covered(|what| table.end_pending(what, told));
            }
        }
        if !left.is_empty() {
            self.state.outbox.lock().unsettled.extend(left);
        }
    }

    /// Has the table told once more if another one has taken its place since: that may have begun
    /// before the log had the entries.
    fn tell_the_next_table(&self) {
        let table = &self.state.table;
        let now = table.identity();
        let is_another = |told: Option<u64>| told.is_some_and(|told| told != now);
        let queue = self.state.outbox.lock();
        let waiting = queue.waiting.iter().enumerate().filter(|(_, one)| is_another(one.told));
        let untold: Vec<_> = waiting.map(|(at, one)| (at, one.names.clone())).collect();
        drop(queue);
        for (at, names) in untold {
            let _pass = fork_gate::pass();
            let told = names.with_covered(|what| table.revoke(what));
            // Only this thread takes something out of the queue, and from its beginning.
            if let Some(one) = self.state.outbox.lock().waiting.get_mut(at) {
                one.told = Some(told);
            }
        }
    }

    fn somebody_waits_for_fleet(&self) -> bool {
        self.state.outbox.lock().waits_for_fleet > 0
    }

    /// Whether every host that may still serve something is among those the log names. A log that
    /// began anew has forgotten them all: until they had the time to write a heartbeat, or to
    /// notice that they cannot, nothing follows from their not being named.
    fn knows_all_hosts(&self) -> bool {
        let generation = self.state.table.known().generation;
        let queue = self.state.outbox.lock();
        let is_the_same = |appended: &Appended| number_of(&appended.generation) == generation;
        queue.appended.as_ref().is_some_and(is_the_same) && self.state.has_settled()
    }

    /// Up to which of our entries all other hosts are.
    fn note_fleet(&self, hosts: &[Host]) {
        let mut queue = self.state.outbox.lock();
        let Some(newest) = queue.appended.clone() else { return };
        let this_host = self.state.host_in(self.state.table.identity());
        let others = hosts.iter().filter(|host| host.name != this_host);
        let slowest = others
            .map(|host| if host.generation == newest.generation { host.applied } else { 0 })
            .fold(newest.sequence, u64::min);
        queue.fleet = Some(Appended { sequence: slowest, ..newest });
        drop(queue);
        self.state.outbox.changed.notify_all();
    }

    fn rest(&mut self) {
        let queue = self.state.outbox.lock();
        if queue.waiting.is_empty() {
            let is_wanted = queue.waits_for_fleet > 0 || !queue.unsettled.is_empty();
            let pause = if is_wanted { self.pause } else { LONGEST_REST };
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
            drop(self.state.outbox.rest(queue, pause));
        }
    }
}
