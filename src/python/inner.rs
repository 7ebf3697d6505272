//! What a cache consists of: the store, its settings, and whether it is open.
//!
//! Belongs to one Python object, to which decorated functions and loads under way refer.

use super::bus::{Bus, LogSettings, Ticket};
use super::errors::{CacheStoppedError, ConfigError};
use super::exit_guard::{DroppedGuarded, ExitGuard};
use super::gil_lock::ShardLock;
use super::int::{self, Side};
use super::key::{self, CachedKey, PlainText};
use super::loads::Loads;
use super::memo::{Hint, Memo};
use super::nested::Refusals;
use super::pair;
use super::raw::Argument;
use super::spoken::Spoken;
use super::value::{self, CachedValue, Frozen, Storage};
use crate::engine::analytics::journal::Record;
use crate::engine::clock::{Clock, Millis, millis};
use crate::engine::keys::Life;
use crate::engine::{
    Basis, Departed, EngineConfig, Hand, Inserted, NewEntry, Outcome, Place, Store,
    policy::PolicyKind,
};
use crate::invalidation::slots::SlotList;
use crate::invalidation::{InvalidationTable, SharedTable, Stamp, TableError, watch};
use crate::sync::Mutex;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt};
use pyo3::{PyTraverseError, PyVisit};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
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
    name: String,
    sharing: SharingWanted,
    shared_memory_directory: Option<PathBuf>,
    /// Where invalidations of other hosts come from; with a log only.
    log: Option<LogSettings>,
}

/// Who is to see what is invalidated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SharingWanted {
    /// All processes of this host, or nothing works.
    Required,
    /// All processes of this host, or this one alone.
    IfPossible,
    /// This process alone.
    Private,
}

/// Lives in effect.
#[derive(Debug)]
struct Lives {
    default: Millis,
    longest: Millis,
    authorization: Millis,
    uuid_validation: Millis,
}

/// A store of Python values.
pub(super) type ValueStore = Store<CachedValue, ShardLock, CachedKey>;

/// An entry that left it.
pub(super) type Left = Departed<CachedValue, CachedKey>;

/// The inside of a `CacheCore`.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: DroppedGuarded<ValueStore>,
    /// Entries that were asked for by a text that somebody holds.
    pub(super) texts: Memo,
    /// Entries that were asked for by a kind and ids, or by a call.
    pub(super) composites: Memo,
    /// Texts that could have been kept in the place of others.
    changes: AtomicU32,
    lives: Lives,
    storage: Storage,
    pub(super) loads: Arc<Loads>,
    /// Results that could not be stored because of what they were made of.
    pub(super) refusals: Refusals,
    pub(super) stopped: AtomicBool,
    /// The clock of invalidations when this was last opened: what was loaded before belongs to a
    /// cache that was stopped.
    opened_at: AtomicU64,
    /// The connection with other hosts, and what it is made from.
    pub(super) bus: Bus,
    /// Called when an invalidation leaves rows to be swept.
    on_leftovers: Mutex<Option<Py<PyAny>>>,
    /// Why invalidations are not shared though they should be, if possible.
    pub(super) not_shared: Option<String>,
}

/// What is to be stored besides a key and a value.
#[derive(Debug)]
pub(super) struct About {
    pub(super) ttl: Millis,
    pub(super) priority: u8,
    pub(super) stamp: Stamp,
    pub(super) tag_slots: SlotList,
    /// Whether it allows something, so that serving it longer than it is true does harm.
    pub(super) permissive: bool,
}

impl About {
    fn entry<'a>(&'a self, key: &'a [u8], frozen: Frozen) -> NewEntry<'a, CachedValue> {
        NewEntry {
            key,
            value: frozen.value,
            value_bytes: frozen.bytes,
            ttl: self.ttl,
            priority: self.priority,
            stamp: self.stamp,
            tag_slots: &self.tag_slots,
            permissive: self.permissive,
        }
    }
}

/// A number of seconds as a caller gives it. An integer too large for a float is a very long time
/// like any other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seconds {
    Whole(u32),
    Exact(f64),
}

impl<'py> FromPyObject<'_, 'py> for Seconds {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(whole) = object.cast_exact::<PyInt>() {
            return Ok(match int::to_i64(&whole) {
                Ok(whole) => u32::try_from(whole).map_or(Self::Exact(whole as f64), Self::Whole),
                Err(Side::Above) => Self::Exact(f64::INFINITY),
                Err(Side::Below) => Self::Exact(f64::NEG_INFINITY),
            });
        }
        // Other numbers have code of their own.
        let _guard = (!object.is_exact_instance_of::<PyFloat>()).then(ExitGuard::hold);
        match object.extract::<f64>() {
            Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
                let sign = if object.gt(0)? { 1.0 } else { -1.0 };
                Ok(Self::Exact(f64::INFINITY * sign))
            }
            number => number.map(Self::Exact),
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
            lease: settings.log.as_ref().map(|log| log.lease(&clock)),
        };
        let (table, not_shared) = table(settings)?;
        let store = Store::new(&config, clock, table)?.with_pause(let_others_run);
        let bus = Bus::new(settings.name.clone(), settings.log.clone());
        bus.open(&store)?;
        let most_bytes = store.max_entry_bytes();
        Ok(Self {
            store: DroppedGuarded::new(store),
            texts: Memo::new(settings.max_entries),
            composites: Memo::new(settings.max_entries),
            changes: AtomicU32::new(0),
            lives: Lives {
                default: millis(seconds(settings.default_ttl_seconds)?),
                longest: millis(seconds(settings.max_ttl_seconds)?),
                authorization: millis(seconds(settings.auth_ttl_seconds)?),
                uuid_validation: millis(seconds(settings.uuid_validation_ttl_seconds)?),
            },
            storage: Storage {
                shared: settings.isolation == "shared",
                compress_from: settings
                    .compression_enabled
                    .then_some(settings.compression_threshold_bytes),
                most_bytes,
            },
            loads: Arc::default(),
            refusals: Refusals::default(),
            stopped: AtomicBool::new(false),
            opened_at: AtomicU64::new(0),
            bus,
            on_leftovers: Mutex::new(None),
            not_shared,
        })
    }

    /// Refuses work after `stop()`. Lookups need not ask on a hit: a stopped store is empty.
    pub(super) fn check_open(&self) -> PyResult<()> {
        if self.is_stopped() { Err(stopped_error()) } else { Ok(()) }
    }

    /// Opens after `stop()`, empty.
    pub(super) fn reopen(&self) -> PyResult<()> {
        if self.is_stopped() {
            // What was loaded before must not be stored, and its stamp may be that of now.
            self.store.table().invalidate_slots(&[]);
            self.opened_at.store(self.store.snapshot(), Ordering::Release);
            self.bus.open(&self.store)?;
            self.stopped.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Whether `stop()` was called.
    #[inline]
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The life of an entry: what the caller asks for, cut to the longest; else the default.
    #[inline]
    pub(super) fn life(&self, ttl: Option<Seconds>, default: Life) -> PyResult<Millis> {
        let usual = match default {
            Life::Authorization => self.lives.authorization,
            Life::UuidValidation => self.lives.uuid_validation,
            Life::Default => self.lives.default,
        };
        let asked = match ttl {
            None => return Ok(usual),
            Some(Seconds::Whole(0)) => return Err(bad_ttl(0.0)),
            Some(Seconds::Whole(seconds)) => u64::from(seconds) * 1000,
            Some(Seconds::Exact(seconds)) if seconds.is_nan() || seconds <= 0.0 => {
                return Err(bad_ttl(seconds));
            }
            // The conversion stops at the longest time there is.
            Some(Seconds::Exact(seconds)) => (seconds * 1000.0) as Millis,
        };
        Ok(asked.min(self.lives.longest.max(usual)))
    }

    /// Whether a row should keep a text that was asked for as its key, in the place of what it
    /// keeps.
    #[inline]
    pub(super) fn should_keep(&self, kept: &CachedKey, text: Argument<'_, '_>) -> bool {
        match kept {
            CachedKey::Bytes(_) => true,
            CachedKey::Text(kept) if kept.is(text.as_ptr()) || kept.is_only_ours(text.py()) => true,
            // Two texts in use for one key: now and then is often enough to change over.
            CachedKey::Text(_) => self.changes.fetch_add(1, Ordering::Relaxed).is_multiple_of(8),
        }
    }

    /// Has the row in a place keep a text as its key, and remembers the place.
    #[cold]
    pub(super) fn keep(&self, text: Argument<'_, '_>, place: Place) {
        if let Some(plain) = PlainText::new(&text) {
            self.store.keep_key(place, CachedKey::Text(plain)).release(text.py());
            self.texts.remember(Hint::of_text(text.as_ptr()), place);
        }
    }

    /// As [`Self::store`] for a key that came as a text.
    pub(super) fn store_text(
        &self,
        text: Argument<'_, '_>,
        key: &[u8],
        value: Argument<'_, '_>,
        about: &About,
    ) -> PyResult<bool> {
        let frozen = self.freeze(&value)?;
        self.loads.supersede(key);
        self.check_open()?;
        if self.is_from_before(about) {
            return Ok(false);
        }
        let object = text.as_ptr();
        let place = self.texts.place_of(Hint::of_text(object));
        let entry = about.entry(key, frozen);
        let entry = match self.store.overwrite_at(place, |kept| kept.is(object), entry) {
            Ok(before) => {
                if let Some(before) = before {
                    before.release(text.py());
                }
                self.after_store(Outcome::Stored);
                self.loads.supersede(key);
                return Ok(true);
            }
            Err(entry) => entry,
        };
        let inserted = self.insert_text(text, entry);
        let outcome = self.after_insert(text.py(), inserted);
        self.loads.supersede(key);
        Ok(outcome == Outcome::Stored)
    }

    fn insert_text(
        &self,
        text: Argument<'_, '_>,
        entry: NewEntry<'_, CachedValue>,
    ) -> Inserted<CachedValue, CachedKey> {
        let plain = if key::is_held_elsewhere(text) { PlainText::new(&text) } else { None };
        let Some(plain) = plain else { return self.store.insert(entry) };
        let mut plain = Some(plain);
        let keep = |bytes: &[u8]| plain.take().map_or_else(|| bytes.into(), CachedKey::Text);
        let inserted = self.store.insert_with(entry, keep);
        if let Some(plain) = plain {
            // There was a row, with a key of its own.
            self.store.keep_key(inserted.place, CachedKey::Text(plain)).release(text.py());
        }
        self.texts.remember(Hint::of_text(text.as_ptr()), inserted.place);
        inserted
    }

    /// Freezes and stores a value. `Ok(false)` where it was not stored, for a reason counted in
    /// the statistics.
    pub(super) fn store(
        &self,
        key: &[u8],
        value: &Bound<'_, PyAny>,
        about: &About,
    ) -> PyResult<bool> {
        let frozen = self.freeze(value)?;
        // Before, because what is replaced is dropped on the way, which may run Python code and let
        // a load store; and after, because a load may have begun meanwhile.
        self.loads.supersede(key);
        let outcome = self.store_frozen(value.py(), key, frozen, about)?;
        self.loads.supersede(key);
        Ok(outcome == Outcome::Stored)
    }

    #[inline(always)]
    pub(super) fn freeze(&self, value: &Bound<'_, PyAny>) -> PyResult<Frozen> {
        value::freeze(value, self.storage)
    }

    pub(super) fn store_frozen(
        &self,
        py: Python<'_>,
        key: &[u8],
        frozen: Frozen,
        about: &About,
    ) -> PyResult<Outcome> {
        self.check_open()?;
        if self.is_from_before(about) {
            return Ok(Outcome::Stale);
        }
        let inserted = self.store.insert(about.entry(key, frozen));
        Ok(self.after_insert(py, inserted))
    }

    /// Stores a value, and hands back the one that it replaces.
    pub(super) fn replace(
        &self,
        py: Python<'_>,
        key: &[u8],
        frozen: Frozen,
        about: &About,
    ) -> PyResult<(Outcome, Option<CachedValue>)> {
        self.check_open()?;
        // As in `store`.
        self.loads.supersede(key);
        if self.is_from_before(about) {
            return Ok((Outcome::Stale, None));
        }
        let mut inserted = self.store.insert(about.entry(key, frozen));
        // What was evicted leaves with its key, and what was refused is not stored.
        let replaced = inserted.garbage.iter().position(|(key, _)| key.is_none());
        let before = replaced
            .filter(|_| inserted.outcome == Outcome::Stored)
            .map(|at| inserted.garbage.swap_remove(at).1);
        let outcome = self.after_insert(py, inserted);
        self.loads.supersede(key);
        Ok((outcome, before))
    }

    /// As [`Self::store_frozen`] for a value that is kept past its end for so long.
    pub(super) fn store_lasting(
        &self,
        py: Python<'_>,
        key: &[u8],
        frozen: Frozen,
        about: &About,
        grace: Millis,
    ) -> PyResult<Outcome> {
        self.check_open()?;
        if self.is_from_before(about) {
            return Ok(Outcome::Stale);
        }
        let inserted = self.store.insert_lasting(about.entry(key, frozen), grace);
        Ok(self.after_insert(py, inserted))
    }

    /// For how long past its end a value may be kept: as asked for, cut to the longest life.
    pub(super) fn grace(&self, asked: Option<Seconds>) -> PyResult<Millis> {
        asked.map_or(Ok(0), |asked| self.life(Some(asked), Life::Default))
    }

    /// Whether a value was loaded before the cache was last opened.
    #[inline]
    fn is_from_before(&self, about: &About) -> bool {
        about.stamp < self.opened_at.load(Ordering::Acquire)
    }

    /// As [`Self::store_frozen`] for a value made of other entries, which rests on `basis`.
    pub(super) fn store_made_of(
        &self,
        py: Python<'_>,
        key: &[u8],
        frozen: Frozen,
        about: &About,
        basis: &Basis,
    ) -> PyResult<Outcome> {
        self.check_open()?;
        let opened_at = self.opened_at.load(Ordering::Acquire);
        let is_older = basis.slots.iter().any(|&(_, stamp)| stamp < opened_at);
        if is_older || self.is_from_before(about) {
            return Ok(Outcome::Stale);
        }
        let inserted = self.store.insert_made_of(about.entry(key, frozen), basis);
        Ok(self.after_insert(py, inserted))
    }

    /// Lets go of what made room.
    fn after_insert(&self, py: Python<'_>, inserted: Inserted<CachedValue, CachedKey>) -> Outcome {
        for (key, value) in inserted.garbage {
            if let Some(key) = key {
                key.release(py);
            }
            value.release(py);
        }
        self.after_store(inserted.outcome);
        inserted.outcome
    }

    /// A stop that came in between emptied the store before the entry was there.
    #[inline]
    fn after_store(&self, outcome: Outcome) {
        if outcome == Outcome::Stored && self.is_stopped() {
            self.empty();
        }
    }

    /// A stamp from the future would outlive every invalidation.
    pub(super) fn checked_stamp(&self, stamp: Option<Stamp>) -> PyResult<Stamp> {
        let now = self.store.snapshot();
        match stamp {
            Some(stamp) if stamp > now => Err(PyValueError::new_err(
                "stamp must come from snapshot() of this cache; this one is from the future",
            )),
            Some(stamp) => Ok(stamp),
            None => Ok(now),
        }
    }

    /// In a forked child. A table of the parent's alone is a copy here, which nobody tells of what
    /// the parent invalidates; one that is shared goes on.
    pub(super) fn after_fork(&self) -> PyResult<()> {
        self.store.table().part_from_parent();
        self.bus.forget();
        if self.is_stopped() { Ok(()) } else { self.bus.open_in_child(&self.store) }
    }

    /// How invalidations are shared between processes and hosts.
    pub(super) fn sharing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (table, figures) = (self.store.table(), PyDict::new(py));
        figures.set_item("state", table.sharing().name())?;
        figures.set_item("path", table.path().map(|path| path.display().to_string()))?;
        figures.set_item("not_shared_because", &self.not_shared)?;
        if let Some(report) = self.bus.report() {
            figures.set_item("log", pythonize::pythonize(py, &report)?)?;
        }
        Ok(figures)
    }

    /// Gives the memory of all entries back, here alone.
    pub(super) fn empty(&self) {
        Python::attach(|py| {
            let _guard = ExitGuard::hold();
            let (_, departed) = self.store.empty();
            let_go(py, departed);
        });
    }

    /// Invalidates what is named: on this host when this returns, elsewhere through the log. Returns
    /// how many live entries were dropped here, and a ticket for what becomes of it elsewhere.
    ///
    /// # Errors
    /// Somebody may not hear of it; all that could be done is done.
    pub(super) fn invalidate(&self, spoken: Spoken) -> PyResult<(usize, Ticket)> {
        let Spoken { named, record } = spoken;
        // Attached anew, not passed down: every caller is attached already.
        Python::attach(|py| {
            let _guard = ExitGuard::hold();
            let mut telling = self.bus.telling();
            let done = self
                .store
                .invalidate_telling(&named.names, |table, what| telling.tell(table, what));
            let sent = telling.publish(&named);
            self.note(record, done.live, done.unfinished);
            let_go(py, done.departed);
            if done.unfinished {
                self.call_for_sweep(py);
            }
            Ok((done.live, sent.ticket()?))
        })
    }

    /// Removes one entry and invalidates its key, as [`Self::invalidate`] does.
    pub(super) fn delete(
        &self,
        py: Python<'_>,
        key: &[u8],
        spoken: Spoken,
    ) -> PyResult<(bool, Ticket)> {
        let Spoken { named, record } = spoken;
        let _guard = ExitGuard::hold();
        let mut telling = self.bus.telling();
        let (live, removed) =
            self.store.delete_telling(key, |table, what| telling.tell(table, what));
        let sent = telling.publish(&named);
        self.note(record, usize::from(live), false);
        drop(removed);
        pair::forget(py);
        Ok((live, sent.ticket()?))
    }

    /// Writes down what was invalidated.
    fn note(&self, record: Record, dropped: usize, unfinished: bool) {
        let at = self.store.clock().now();
        self.store.journal().note(Record { at, dropped, unfinished, ..record });
    }

    /// Has the history note how things stand.
    pub(super) fn observe(&self) {
        self.store.observe(self.loads.begun());
    }

    /// Gives back the memory of what can never be served again, in small steps.
    pub(super) fn sweep(&self, py: Python<'_>) {
        let _guard = ExitGuard::hold();
        // A private table has no thread that looks.
        self.store.table().note_suspension(self.store.clock().suspended());
        let mut hand = Some(Hand::default());
        while let Some(from) = hand {
            let (departed, next) = self.store.sweep_some(from);
            let_go(py, departed);
            hand = next;
            if hand.is_some() {
                // For so long that somebody who waits for the GIL wakes up in time to get it. Given
                // up for a moment only, it would be taken back before, each time, for as long as
                // there is something to sweep.
                py.detach(|| std::thread::sleep(SWEEPER_RESTS));
            }
        }
    }

    /// Sets what is called when an invalidation leaves rows to be swept.
    pub(super) fn on_leftovers(&self, call: Option<Py<PyAny>>) {
        let before = std::mem::replace(&mut *self.on_leftovers.lock(), call);
        drop(before);
    }

    pub(super) fn visit_leftovers(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.on_leftovers.try_lock().map_or(Ok(()), |call| visit.call(&*call))
    }

    fn call_for_sweep(&self, py: Python<'_>) {
        let call = self.on_leftovers.lock().as_ref().map(|call| call.clone_ref(py));
        if let Some(call) = call
            && let Err(error) = call.call0(py)
        {
            error.write_unraisable(py, None);
        }
    }
}

/// The table that settings ask for; and why it is private, if it was to be shared if possible.
fn table(settings: &Settings) -> PyResult<(Arc<InvalidationTable>, Option<String>)> {
    let has_bus = settings.log.is_some();
    let private = || {
        let table = Arc::new(InvalidationTable::private(has_bus));
        if has_bus {
            // It has no file, but a lease.
            watch::watch(&table);
        }
        table
    };
    if settings.sharing == SharingWanted::Private {
        return Ok((private(), None));
    }
    let which = SharedTable {
        directory: settings.shared_memory_directory.clone(),
        name: settings.name.clone(),
        log: settings.log.as_ref().map_or(0, LogSettings::identity),
    };
    match InvalidationTable::shared(&which) {
        Ok(table) => {
            let table = Arc::new(table);
            watch::watch(&table);
            Ok((table, None))
        }
        Err(error @ TableError::System { .. }) if settings.sharing == SharingWanted::IfPossible => {
            Ok((private(), Some(error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Drops what has left the store, letting other threads run now and then: that many objects may go
/// that it takes a while.
fn let_go(py: Python<'_>, departed: Vec<Left>) {
    const AT_ONCE: usize = 2_048;
    let mut departed = departed.into_iter();
    loop {
        departed.by_ref().take(AT_ONCE).for_each(drop);
        if departed.len() == 0 {
            break;
        }
        let_others_run();
    }
    pair::forget(py);
}

#[cold]
fn bad_ttl(seconds: f64) -> PyErr {
    PyValueError::new_err(format!("ttl must be a number of seconds above 0, not {seconds}"))
}

/// Between two steps of a sweep; with what waking up takes on top.
const SWEEPER_RESTS: Duration = Duration::from_micros(20);

/// Gives the GIL up for a moment, in the middle of a walk over many entries.
fn let_others_run() {
    let _guard = ExitGuard::hold();
    Python::attach(|py| py.detach(|| {}));
}

#[cold]
pub(super) fn stopped_error() -> PyErr {
    CacheStoppedError::new_err("this cache was stopped; start() opens it again, empty")
}
