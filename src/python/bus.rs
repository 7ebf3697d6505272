//! What a cache tells other hosts, and hears from them.

use super::errors::{ConfigError, InvalidationNotAcknowledged, SharedTableError};
use super::inner::ValueStore;
use crate::engine::clock::{Clock, millis};
use crate::engine::{Lease, Names};
use crate::invalidation::slots::fingerprint;
use crate::invalidation::{Covered, InvalidationTable, Told};
use crate::log::channel::Report;
use crate::log::connect::connect_pair;
use crate::log::options::Options;
use crate::log::{Channel, ChannelSettings, Event, WaitFor};
use crate::sync::RwLock;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// By which something that was published can be waited for; 0: nothing was.
pub(super) type Ticket = u64;

/// How often whoever waits looks whether a signal has come.
const LOOK_FOR_SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// Names of what is to be invalidated, as this host looks for them and as others are told.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) names: Names,
    event: Event,
}

impl Named {
    pub(super) fn everything() -> Self {
        Self { names: Names::everything(), event: Event::everything() }
    }

    pub(super) fn key(key: &[u8]) -> Self {
        let mut named = Self::default();
        named.add_key(key);
        named
    }

    pub(super) fn add_tag(&mut self, tag: &[u8]) {
        self.names.add_tag(tag);
        self.tell(tag, |event| &mut event.tags);
    }

    pub(super) fn add_key(&mut self, key: &[u8]) {
        self.names.add_key(key);
        self.tell(key, |event| &mut event.keys);
    }

    pub(super) fn add_pattern(&mut self, pattern: &[u8]) {
        self.names.add_pattern(pattern);
        self.tell(pattern, |event| &mut event.patterns);
    }

    /// A tag that others are not told.
    pub(super) fn add_local_tag(&mut self, tag: &[u8]) {
        self.names.add_tag(tag);
    }

    /// A pattern that only others are told.
    pub(super) fn add_remote_pattern(&mut self, pattern: &[u8]) {
        self.tell(pattern, |event| &mut event.patterns);
    }

    fn tell(&mut self, name: &[u8], list: impl FnOnce(&mut Event) -> &mut Vec<String>) {
        match str::from_utf8(name) {
            Ok(name) => list(&mut self.event).push(name.to_owned()),
            // Half a surrogate pair has no place in a log; it is as good as never there.
            Err(_) => self.event.all = true,
        }
    }
}

/// The log by which hosts tell each other what to invalidate.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LogSettings {
    url: String,
    timeout_seconds: f64,
    max_staleness_seconds: f64,
    serve_stale: bool,
    /// Whether values are shared with other hosts, too.
    has_values: bool,
    wait: String,
    /// Name of this machine.
    host: String,
}

impl LogSettings {
    /// The same for all who read the same log, whatever their passwords.
    pub(super) fn identity(&self) -> u64 {
        let (scheme, rest) = self.url.split_once("://").unwrap_or_default();
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let place = rest.rsplit('@').next().unwrap_or_default();
        fingerprint(format!("{scheme}://{place}").as_bytes())
    }

    pub(super) fn lease(&self, clock: &Clock) -> Lease {
        // A reading of the clock may lag behind by a tick, and must not make up for it here.
        let max_staleness = clock.deadline(0, millis(self.max_staleness()));
        Lease { max_staleness, serve_stale: self.serve_stale }
    }

    fn max_staleness(&self) -> Duration {
        Duration::try_from_secs_f64(self.max_staleness_seconds).unwrap_or_default()
    }

    fn timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout_seconds).unwrap_or_default()
    }
}

/// Tells of one invalidation first the table of this host, then the log.
pub(super) struct Telling {
    channel: Option<Arc<Channel>>,
    /// The table that was told.
    told: Option<Told>,
    has_log: bool,
}

/// What became of one invalidation. Whatever could be done is done.
#[must_use = "others may not know"]
pub(super) enum Delivery {
    /// It holds on this host, and is on its way to others.
    UnderWay(Ticket),
    /// Other processes of this host may not know of it.
    NotShared { is_published: bool },
    /// Nobody sends it to other hosts; it may be waiting for somebody who does.
    NotPublished { is_waiting: bool },
}

impl Telling {
    /// Has it in effect on this host.
    pub(super) fn tell(&mut self, table: &InvalidationTable, what: &Covered<'_>) {
        self.told = Some(table.tell(what, self.channel.is_some()));
    }

    /// Has it published.
    pub(super) fn publish(self, named: &Named) -> Delivery {
        let noted = self.told.map(|told| told.table);
        let (ticket, is_sent) = match &self.channel {
            None => (0, !self.has_log),
            Some(channel) => {
                let ticket = channel.publish(named.event.clone(), named.names.clone(), noted);
                (ticket, channel.start().is_ok())
            }
        };
        if self.told.is_some_and(|told| !told.is_shown) {
            return Delivery::NotShared { is_published: is_sent && self.has_log };
        }
        if is_sent {
            Delivery::UnderWay(ticket)
        } else {
            Delivery::NotPublished { is_waiting: ticket != 0 }
        }
    }
}

impl Delivery {
    /// What to wait for.
    ///
    /// # Errors
    /// Who may not know of the invalidation, and who does.
    pub(super) fn ticket(self) -> PyResult<Ticket> {
        match self {
            Self::UnderWay(ticket) => Ok(ticket),
            Self::NotShared { is_published } => Err(SharedTableError::new_err(format!(
                "the file of the table of invalidations was taken away, and no other one can be \
                 made: what was invalidated holds in this process, and other processes of this \
                 host may not know{}. Make room, or correct the rights of the folder, and \
                 invalidate again",
                if is_published { " until they read it in the invalidation log" } else { "" }
            ))),
            Self::NotPublished { is_waiting } => {
                Err(InvalidationNotAcknowledged::new_err(if is_waiting {
                    "no thread could be started that tells other hosts: it holds on this host, and \
                     waits in this process until one can be, which is tried with every \
                     invalidation"
                } else {
                    "this process is not connected with the invalidation log: it holds on this \
                     host, and other hosts are not told"
                }))
            }
        }
    }
}

/// What is waited for after an invalidation.
pub(super) type Wait = Option<WaitFor>;

/// The connection with other hosts; none without a log.
#[derive(Debug)]
pub(super) struct Bus {
    name: String,
    log: Option<LogSettings>,
    channel: RwLock<Option<Arc<Channel>>>,
}

impl Bus {
    pub(super) fn new(name: String, log: Option<LogSettings>) -> Self {
        Self { name, log, channel: RwLock::new(None) }
    }

    /// Connects, in the background, or stays as it is.
    pub(super) fn open(&self, store: &ValueStore) -> PyResult<()> {
        let opened = self.open_in_child(store);
        if opened.is_err() {
            drop(self.channel.write().take());
        }
        opened
    }

    /// Connects, in the background. Where that fails for want of threads it is tried again with
    /// every invalidation: a child was asked by nobody whether it may be one.
    pub(super) fn open_in_child(&self, store: &ValueStore) -> PyResult<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let settings = ChannelSettings {
            machine: log.host.clone(),
            max_staleness: log.max_staleness(),
            replays: log.has_values,
            linger: log.timeout(),
        };
        let options = Options { timeout: log.timeout(), ..Options::default() };
        let logs = connect_pair(&log.url, &self.name, options);
        let [reading, writing] = logs.map_err(|error| ConfigError::new_err(error.to_string()))?;
        let (table, clock) = (Arc::clone(store.table()), store.clock().clone());
        let channel = Arc::new(Channel::new(settings, table, clock, reading, writing));
        *self.channel.write() = Some(Arc::clone(&channel));
        channel.start().map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// Disconnects, once everything is published, or if that takes too long.
    pub(super) fn close(&self, py: Python<'_>) {
        self.drain(py);
        drop(self.channel.write().take());
    }

    /// Waits, without the GIL and not for ever, until everything is published.
    pub(super) fn drain(&self, py: Python<'_>) -> bool {
        self.channel().is_none_or(|channel| py.detach(|| channel.drain()))
    }

    /// In a forked child: whatever the threads of the parent had, nobody here goes on with it.
    pub(super) fn forget(&self) {
        // Not dropped: that would end what is the parent's.
        let _parents = std::mem::ManuallyDrop::new(self.channel.write().take());
    }

    /// Whether there was news from the log as lately as permissive entries need it.
    pub(super) fn is_heard(&self, store: &ValueStore) -> bool {
        self.log.as_ref().is_none_or(|log| {
            let clock = store.clock();
            store.table().holds_lease(clock.now(), log.lease(clock).max_staleness)
        })
    }

    fn channel(&self) -> Option<Arc<Channel>> {
        self.channel.read().clone()
    }

    /// For one invalidation: the table, then other hosts.
    pub(super) fn telling(&self) -> Telling {
        Telling { channel: self.channel(), told: None, has_log: self.log.is_some() }
    }

    /// What a caller wants to wait for, or what is configured.
    pub(super) fn wait_for(&self, wait: Option<&str>) -> PyResult<Wait> {
        let configured = self.log.as_ref().map_or("host", |log| &log.wait);
        match wait.unwrap_or(configured) {
            "host" => Ok(None),
            "bus" => Ok(Some(WaitFor::Bus)),
            "fleet" => Ok(Some(WaitFor::Fleet)),
            other => Err(PyValueError::new_err(format!(
                "wait must be \"host\", \"bus\" or \"fleet\", not {:?}",
                other.chars().take(40).collect::<String>()
            ))),
        }
    }

    /// Waits without the GIL. What a signal handler raises ends the wait; the invalidation stays in
    /// the queue.
    pub(super) fn wait(&self, py: Python<'_>, ticket: Ticket, wait: Wait) -> PyResult<()> {
        let (Some(wait), Some(log)) = (wait, &self.log) else { return Ok(()) };
        let Some(channel) = self.channel() else {
            return Delivery::NotPublished { is_waiting: false }.ticket().map(drop);
        };
        let at_most = log.timeout();
        let end = Instant::now() + at_most;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let part = left.min(LOOK_FOR_SIGNALS_EVERY);
            if py.detach(|| channel.wait(ticket, wait, part)) {
                return Ok(());
            }
            py.check_signals()?;
            if left.is_zero() {
                break;
            }
        }
        let who = match wait {
            WaitFor::Bus => "the invalidation log has not acknowledged it",
            WaitFor::Fleet => "not every host has applied it",
        };
        Err(InvalidationNotAcknowledged::new_err(format!(
            "{who} within {} s; it holds on this host, and is sent as soon as the log can be \
             reached",
            at_most.as_secs_f64()
        )))
    }

    /// Whether this host knows of what other hosts invalidate: it hears from the log, or there is
    /// none.
    pub(super) fn vouches(&self) -> bool {
        self.log.is_none() || self.channel().is_some_and(|channel| channel.has_lease())
    }

    /// Whether values are shared with other hosts.
    pub(super) fn shares_values(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.has_values)
    }

    /// Whether loads should be held back; see [`Channel::is_refilling`].
    pub(super) fn is_refilling(&self) -> bool {
        self.channel().is_some_and(|channel| channel.is_refilling())
    }

    pub(super) fn report(&self) -> Option<Report> {
        self.channel().map(|channel| channel.report())
    }
}
