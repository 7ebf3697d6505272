//! Invalidation logs as a Python class, for tools and tests.

use super::errors::{
    ConfigError, InvalidationLogRefused, InvalidationLogUnavailable, NotAnInvalidationLog,
};
use crate::fork_gate;
use crate::log::connect::connect;
use crate::log::options::Options;
use crate::log::{Heartbeat, InvalidationLog, LogError, Poll, Sequence};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

impl From<LogError> for PyErr {
    fn from(error: LogError) -> Self {
        let message = error.to_string();
        match error {
            LogError::Unreachable(_) => InvalidationLogUnavailable::new_err(message),
            LogError::Refused(_) => InvalidationLogRefused::new_err(message),
            LogError::NotALog(_) => NotAnInvalidationLog::new_err(message),
            LogError::Config(_) => ConfigError::new_err(message),
        }
    }
}

/// The log by which hosts tell each other what to invalidate.
///
/// One connection, made at the first call and made anew after an error; calls of several threads
/// take turns. Every call ends within its time limit, whatever the server does, and other Python
/// threads run meanwhile. A forked child has a connection of its own.
///
/// Args:
///     url: Where it is: ``redis://``, ``rediss://`` or ``unix://``.
///     name: Name of the cache it is for.
///     timeout_seconds: Longest time of one call (0.001 to 3600).
///
/// Raises:
///     ConfigError: The address or the time limit cannot be used.
#[pyclass(name = "InvalidationLog", module = "velro_cache._engine", frozen)]
pub(super) struct PyInvalidationLog {
    url: String,
    name: String,
    timeout: Duration,
    /// Locked for moments only, and inside the gate of forks: a child finds it at rest.
    connected: Mutex<Arc<Connected>>,
}

/// A log as one process uses it.
struct Connected {
    process: u32,
    /// Locked while a call is under way, which a fork does not wait for.
    log: Mutex<Option<Box<dyn InvalidationLog>>>,
}

impl Connected {
    fn new(url: &str, name: &str, timeout: Duration) -> PyResult<Arc<Self>> {
        let log = connect(url, name, Options { timeout, ..Options::default() })?;
        Ok(Arc::new(Self { process: std::process::id(), log: Mutex::new(Some(log)) }))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // Its end would be told to the server, which would take it for the parent's.
            let log = self.log.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _parents = ManuallyDrop::new(log.take());
        }
    }
}

impl PyInvalidationLog {
    /// The log as this process uses it.
    fn connected(&self) -> PyResult<Arc<Connected>> {
        let _pass = fork_gate::pass();
        let mut connected = lock(&self.connected);
        if connected.process != std::process::id() {
            *connected = Connected::new(&self.url, &self.name, self.timeout)?;
        }
        Ok(Arc::clone(&connected))
    }

    /// Does something with it, while other Python threads run.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut dyn InvalidationLog) -> Result<T, LogError> + Send,
    ) -> PyResult<T> {
        // Without the GIL: whoever forks needs it to open the gate again.
        let connected = py.detach(|| self.connected())?;
        let done = py.detach(|| lock(&connected.log).as_mut().map(|log| call(&mut **log)));
        // It is taken out only where nobody has it any more.
        done.unwrap_or_else(|| Err(LogError::Unreachable("it belongs to another process".into())))
            .map_err(PyErr::from)
    }
}

/// Locks of the standard library; see the queue of the publisher. Whoever panicked inside left a
/// log that connects anew.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for PyInvalidationLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvalidationLog").finish_non_exhaustive()
    }
}

/// A log and its entries as seen at one moment.
#[pyclass(module = "velro_cache._engine", frozen, get_all)]
#[derive(Debug)]
pub(super) struct LogBatch {
    /// Which life of the log this is.
    generation: String,
    /// The oldest entry that is kept.
    first: Sequence,
    /// The newest entry.
    last: Sequence,
    /// Pairs of number and body.
    entries: Vec<(Sequence, Py<PyBytes>)>,
}

#[pymethods]
impl PyInvalidationLog {
    #[new]
    #[pyo3(signature = (url, name, timeout_seconds = 5.0))]
    fn new(url: &str, name: &str, timeout_seconds: f64) -> PyResult<Self> {
        let timeout = seconds(timeout_seconds)?;
        let connected = Mutex::new(Connected::new(url, name, timeout)?);
        Ok(Self { url: url.to_owned(), name: name.to_owned(), timeout, connected })
    }

    /// Read entries, after a heartbeat if there is a host.
    ///
    /// Args:
    ///     after: Entries after this one.
    ///     max_entries: At most so many.
    ///     host: Write a heartbeat of this host first. None: only read.
    ///     generation: The generation that ``applied`` is of.
    ///     applied: The last entry the host has applied.
    ///     max_staleness_seconds: So long after it the host still serves what it knows.
    ///
    /// Returns:
    ///     What the log holds, all of it as of one moment.
    ///
    /// Raises:
    ///     InvalidationLogError: One of its kinds; no heartbeat counts as written then.
    #[pyo3(signature = (
        after = 0, max_entries = 1000, host = None, generation = "", applied = 0,
        max_staleness_seconds = 1.0,
    ))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn poll(
        &self,
        py: Python<'_>,
        after: Sequence,
        max_entries: usize,
        host: Option<&str>,
        generation: &str,
        applied: Sequence,
        max_staleness_seconds: f64,
    ) -> PyResult<LogBatch> {
        let max_staleness = seconds(max_staleness_seconds)?;
        let heartbeat = host.map(|host| Heartbeat { host, generation, applied, max_staleness });
        let poll = Poll { after, max_entries, heartbeat };
        let batch = self.call(py, |log| log.poll(&poll))?;
        let entries = batch.entries.into_iter();
        Ok(LogBatch {
            generation: batch.generation,
            first: batch.first,
            last: batch.last,
            entries: entries
                .map(|entry| (entry.sequence, PyBytes::new(py, &entry.body).unbind()))
                .collect(),
        })
    }

    /// Wait until there is an entry after this one, or until the time is over.
    ///
    /// Args:
    ///     after: Number of an entry.
    ///     seconds: At most so long; may end early without one.
    ///
    /// Raises:
    ///     InvalidationLogError: One of its kinds.
    #[pyo3(name = "wait")]
    fn wait_for_entry(&self, py: Python<'_>, after: Sequence, seconds: f64) -> PyResult<()> {
        let at_most = self::seconds(seconds)?;
        self.call(py, |log| log.wait(after, at_most))
    }

    /// Append an entry; it is acknowledged when this returns.
    ///
    /// Args:
    ///     body: What it says, in JSON; see ``docs/invalidation.md``.
    ///
    /// Returns:
    ///     Generation and number of the entry.
    ///
    /// Raises:
    ///     InvalidationLogError: One of its kinds. The entry may be there all the same.
    ///     ConfigError: The body is too long.
    fn append(&self, py: Python<'_>, body: &[u8]) -> PyResult<(String, Sequence)> {
        let appended = self.call(py, |log| log.append(body))?;
        Ok((appended.generation, appended.sequence))
    }

    /// List the hosts that may still serve something.
    ///
    /// Returns:
    ///     Name, generation and last applied entry of each.
    ///
    /// Raises:
    ///     InvalidationLogError: One of its kinds.
    fn hosts(&self, py: Python<'_>) -> PyResult<Vec<(String, String, Sequence)>> {
        let hosts = self.call(py, |log| log.hosts())?;
        Ok(hosts.into_iter().map(|host| (host.name, host.generation, host.applied)).collect())
    }
}

fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err("seconds must be a number that is not negative"))
}
