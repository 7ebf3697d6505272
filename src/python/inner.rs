//! What a cache consists of: the store, its settings, and whether it is open.
//!
//! Shared by the Python object, the decorated functions bound to it and loads under way.

use super::errors::{CacheStoppedError, ConfigError};
use super::gil_lock::ShardLock;
use super::loads::Loads;
use super::pair;
use super::value::{self, CachedValue, Frozen, Storage};
use crate::engine::clock::Clock;
use crate::engine::keys::Life;
use crate::engine::{EngineConfig, NewEntry, Outcome, Store, policy::PolicyKind};
use crate::invalidation::slots::SlotList;
use crate::invalidation::{InvalidationTable, Stamp};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Settings as the Python side hands them over, checked there already.
#[derive(Debug, Deserialize)]
pub(super) struct Settings {
    max_size_mb: usize,
    max_entries: usize,
    default_ttl_seconds: f64,
    max_ttl_seconds: f64,
    auth_ttl_seconds: f64,
    uuid_validation_ttl_seconds: f64,
    eviction_policy: PolicyKind,
    eviction_batch_size: usize,
    compression_enabled: bool,
    compression_threshold_bytes: usize,
    lock_timeout_seconds: f64,
    isolation: String,
    /// Locks; more than one only where threads run at once.
    shards: usize,
}

/// Lives in effect.
#[derive(Debug)]
struct Lives {
    default: Duration,
    longest: Duration,
    authorization: Duration,
    uuid_validation: Duration,
}

/// A store of Python values.
pub(super) type ValueStore = Store<CachedValue, ShardLock>;

/// What a `CacheCore` and the decorated functions bound to it share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: ValueStore,
    lives: Lives,
    storage: Storage,
    pub(super) loads: Arc<Loads>,
    pub(super) stopped: AtomicBool,
}

/// A number of seconds as a caller gives it. An integer too large for a float is a very long time
/// like any other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seconds(f64);

impl<'py> FromPyObject<'_, 'py> for Seconds {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<f64>() {
            Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
                let sign = if object.gt(0)? { 1.0 } else { -1.0 };
                Ok(Self(f64::INFINITY * sign))
            }
            number => number.map(Self),
        }
    }
}

impl Inner {
    pub(super) fn new(settings: &Settings, clock: Clock) -> PyResult<Self> {
        let seconds = |seconds: f64| {
            Duration::try_from_secs_f64(seconds).map_err(|e| ConfigError::new_err(e.to_string()))
        };
        let config = EngineConfig {
            max_entries: settings.max_entries,
            max_bytes: settings.max_size_mb.saturating_mul(1 << 20),
            policy: settings.eviction_policy,
            shards: settings.shards,
            lock_timeout: seconds(settings.lock_timeout_seconds)?,
            batch_size: settings.eviction_batch_size,
        };
        let store = Store::new(&config, clock, Arc::new(InvalidationTable::new()))?
            .with_pause(let_others_run);
        let most_bytes = store.max_entry_bytes();
        Ok(Self {
            store,
            lives: Lives {
                default: seconds(settings.default_ttl_seconds)?,
                longest: seconds(settings.max_ttl_seconds)?,
                authorization: seconds(settings.auth_ttl_seconds)?,
                uuid_validation: seconds(settings.uuid_validation_ttl_seconds)?,
            },
            storage: Storage {
                shared: settings.isolation == "shared",
                compress_from: settings
                    .compression_enabled
                    .then_some(settings.compression_threshold_bytes),
                most_bytes,
            },
            loads: Arc::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Refuses work after `stop()`. Lookups need not ask on a hit: a stopped store is empty.
    pub(super) fn check_open(&self) -> PyResult<()> {
        if self.is_stopped() { Err(stopped_error()) } else { Ok(()) }
    }

    /// Whether `stop()` was called.
    #[inline]
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The life of an entry: what the caller asks for, cut to the longest; else the default.
    pub(super) fn life(&self, ttl: Option<Seconds>, default: Life) -> PyResult<Duration> {
        let usual = match default {
            Life::Authorization => self.lives.authorization,
            Life::UuidValidation => self.lives.uuid_validation,
            Life::Default => self.lives.default,
        };
        let Some(Seconds(ttl)) = ttl else { return Ok(usual) };
        if ttl.is_nan() || ttl <= 0.0 {
            return Err(PyValueError::new_err(format!(
                "ttl must be a number of seconds above 0, not {ttl}"
            )));
        }
        let asked = Duration::try_from_secs_f64(ttl).unwrap_or(Duration::MAX);
        Ok(asked.min(self.lives.longest.max(usual)))
    }

    /// Freezes and stores a value. `Ok(false)` where it was not stored, for a reason counted in
    /// the statistics.
    pub(super) fn store(
        &self,
        key: &[u8],
        value: &Bound<'_, PyAny>,
        ttl: Duration,
        priority: u8,
        stamp: Stamp,
        tag_slots: &SlotList,
    ) -> PyResult<bool> {
        let frozen = self.freeze(value)?;
        // Before, because what is replaced is dropped on the way, which may run Python code and let
        // a load store; and after, because a load may have begun meanwhile.
        self.loads.supersede(key);
        let outcome = self.store_frozen(key, frozen, ttl, priority, stamp, tag_slots)?;
        self.loads.supersede(key);
        Ok(outcome == Outcome::Stored)
    }

    pub(super) fn freeze(&self, value: &Bound<'_, PyAny>) -> PyResult<Frozen> {
        value::freeze(value, self.storage)
    }

    pub(super) fn store_frozen(
        &self,
        key: &[u8],
        frozen: Frozen,
        ttl: Duration,
        priority: u8,
        stamp: Stamp,
        tag_slots: &SlotList,
    ) -> PyResult<Outcome> {
        self.check_open()?;
        let inserted = self.store.insert(NewEntry {
            key,
            value: frozen.value,
            value_bytes: frozen.bytes,
            ttl,
            priority,
            stamp,
            tag_slots,
        });
        // A stop that came in between emptied the store before this entry was there.
        if inserted.outcome == Outcome::Stored && self.check_open().is_err() {
            drop(self.store.clear());
        }
        Ok(inserted.outcome)
    }

    /// Runs an invalidation. The values it drops are dropped afterwards, with no lock held.
    pub(super) fn invalidate(
        &self,
        work: impl Fn(&ValueStore) -> (usize, Vec<CachedValue>),
    ) -> usize {
        // Attached anew, not passed down: every caller is attached already.
        Python::attach(|py| {
            let (count, values) = work(&self.store);
            drop(values);
            pair::forget(py);
            count
        })
    }

    pub(super) fn invalidate_slots(&self, slots: &SlotList) -> usize {
        self.invalidate(|store| store.invalidate_slots(slots))
    }

    pub(super) fn invalidate_pattern(&self, pattern: &[u8]) -> usize {
        self.invalidate(|store| store.invalidate_pattern(pattern))
    }
}

/// Gives the GIL up for a moment, in the middle of a walk over many entries.
fn let_others_run() {
    Python::attach(|py| py.detach(|| {}));
}

#[cold]
pub(super) fn stopped_error() -> PyErr {
    CacheStoppedError::new_err("this cache was stopped; start() opens it again, empty")
}
