//! `CacheCore`: the store behind a Python object. Convert, call, convert back.
//!
//! The lookups that decide the speed of a service are in [`super::hot`]; everything else here.

use super::clock::PyManualClock;
use super::errors::ConfigError;
use super::exit_guard::{DroppedGuarded, ExitGuard};
use super::inner::{About, Inner, Seconds, Settings};
use super::int::{self, Side};
use super::prepared::PreparedEntry;
use super::raw::Raised;
use super::{lookup, pair, text};
use crate::engine::Store;
use crate::engine::clock::Clock;
use crate::engine::ids::{self, Text};
use crate::engine::keys::{self, KeyKind, Life};
use crate::invalidation::Stamp;
use crate::invalidation::slots::SlotList;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyMapping, PyString};
use pyo3::{PyTraverseError, PyVisit};
use std::sync::atomic::Ordering;

/// Priorities a caller may give.
const PRIORITIES: std::ops::RangeInclusive<i64> = 1..=10;

/// The compiled core of ``OptimizedCacheManager``; use that class.
#[pyclass(name = "CacheCore", module = "velro_cache._engine", subclass, frozen, weakref)]
#[derive(Debug)]
pub(super) struct CacheCore {
    pub(super) inner: Inner,
}

#[pymethods]
impl CacheCore {
    #[new]
    #[pyo3(signature = (settings, clock=None))]
    fn new(
        settings: &Bound<'_, PyDict>,
        clock: Option<&Bound<'_, PyManualClock>>,
    ) -> PyResult<Self> {
        let settings: Settings =
            pythonize::depythonize(settings).map_err(|e| ConfigError::new_err(e.to_string()))?;
        let clock = clock.map_or(Clock::System, |clock| clock.get().as_clock());
        super::digest::init()?;
        Ok(Self { inner: Inner::new(&settings, clock)? })
    }

    /// Store a value under a typed key; the compiled half of the ``set_...`` helpers.
    #[pyo3(signature = (kind, ids, value, ttl=None, stamp=None))]
    fn _set_typed(
        &self,
        kind: usize,
        ids: &Bound<'_, pyo3::types::PyTuple>,
        value: &Bound<'_, PyAny>,
        ttl: Option<Seconds>,
        stamp: Option<Stamp>,
    ) -> PyResult<bool> {
        let stamp = self.inner.checked_stamp(stamp)?;
        let kind = kind_at(kind)?;
        if ids.len() != kind.ids.len() {
            return Err(PyTypeError::new_err(format!("{} takes {:?}", kind.name, kind.ids)));
        }
        let ids: Vec<_> = ids.iter().collect();
        let (mut key, mut segments) = (Text::new(), Vec::new());
        for (at, id) in ids.iter().enumerate() {
            key.extend_from_slice(kind.literals[at].as_bytes());
            let from = key.len();
            super::typed::push_id(kind, at, id, &mut key)?;
            segments.push(from..key.len());
        }
        key.extend_from_slice(kind.literals[ids.len()].as_bytes());
        let segments: Vec<&[u8]> = segments.into_iter().map(|range| &key[range]).collect();
        let mut slots = SlotList::new();
        kind.push_tag_slots(&segments, &mut slots);
        let ttl = self.inner.life(ttl, kind.life)?;
        let about = About { ttl, priority: kind.priority, stamp, tag_slots: slots };
        self.inner.store(&key, value, &about)
    }

    /// Read the clock of invalidations, before reading what will be stored.
    ///
    /// Returns:
    ///     A stamp for ``set(..., stamp=)``. A value that was read before an invalidation of
    ///     anything it depends on is then refused instead of bringing the old state back.
    fn snapshot(&self) -> Stamp {
        self.inner.store.snapshot()
    }

    /// Check everything about an entry but its value, before the value is loaded.
    #[pyo3(signature = (key, ttl=None, tags=None, priority=1, refresh=false))]
    fn _prepare(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        ttl: Option<Seconds>,
        tags: Option<&Bound<'_, PyAny>>,
        priority: i64,
        refresh: bool,
    ) -> PyResult<PreparedEntry> {
        let inner = &slf.get().inner;
        inner.check_open()?;
        let mut tag_slots = SlotList::new();
        if let Some(tags) = tags {
            text::push_tag_slots(tags, &mut tag_slots)?;
        }
        let (ttl, priority) = (inner.life(ttl, Life::Default)?, checked_priority(priority)?);
        let key = text::key(key)?;
        if refresh {
            // Whoever refreshes must not be overtaken by a load that began before.
            inner.loads.supersede(&key);
        }
        let ticket = inner.loads.begin(&key);
        let cache = DroppedGuarded::new(slf.clone().unbind());
        Ok(PreparedEntry { cache, ticket, ttl, priority, tag_slots })
    }

    /// Remove one entry.
    ///
    /// Args:
    ///     key: Name of the entry.
    ///
    /// Returns:
    ///     Whether there was one that could still have been served.
    ///
    /// Consistency: loads of this key that are under way will not be stored.
    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.inner.check_open()?;
        let _guard = ExitGuard::hold();
        let bytes = text::key(key)?;
        let (live, removed) = self.inner.store.delete(&bytes);
        drop(removed);
        pair::forget(key.py());
        Ok(live)
    }

    /// Remove everything and give the memory back. `O(entries)`.
    ///
    /// Consistency: loads that are under way will not be stored.
    fn clear(&self) -> PyResult<()> {
        self.inner.check_open()?;
        self.inner.invalidate(Store::clear);
        Ok(())
    }

    fn __len__(&self) -> usize {
        self.inner.store.len()
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.inner.store.contains(&text::key(key)?))
    }

    /// Look several keys up.
    ///
    /// Args:
    ///     keys: Any iterable of keys.
    ///
    /// Returns:
    ///     A dict of those found, in the order asked for.
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        refuse_bare_text(keys, "keys")?;
        let _guard = ExitGuard::hold();
        let found = PyDict::new(py);
        for key in keys.try_iter()? {
            let key = key?;
            let bytes = text::key(&key)?;
            if let Some(value) =
                lookup::find(py, &self.inner, &bytes).map_err(|Raised| PyErr::fetch(py))?
            {
                found.set_item(&key, value)?;
            }
        }
        Ok(found)
    }

    /// Store several values with the same life, tags and priority.
    ///
    /// Args:
    ///     mapping: Values by key.
    ///     ttl: As for ``set``.
    ///     tags: As for ``set``.
    ///     priority: As for ``set``.
    ///     stamp: As for ``set``.
    ///
    /// Returns:
    ///     How many were stored. A bad key is found before anything is stored; a value that
    ///     cannot be copied stops the rest.
    #[pyo3(signature = (mapping, ttl=None, tags=None, priority=1, *, stamp=None))]
    fn set_many(
        &self,
        mapping: &Bound<'_, PyAny>,
        ttl: Option<Seconds>,
        tags: Option<&Bound<'_, PyAny>>,
        priority: i64,
        stamp: Option<Stamp>,
    ) -> PyResult<usize> {
        let _guard = ExitGuard::hold();
        let stamp = self.inner.checked_stamp(stamp)?;
        let ttl = self.inner.life(ttl, Life::Default)?;
        let priority = checked_priority(priority)?;
        let mut slots = SlotList::new();
        if let Some(tags) = tags {
            text::push_tag_slots(tags, &mut slots)?;
        }
        let items = mapping.cast::<PyMapping>()?.items()?;
        let pairs: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)> =
            items.iter().map(|pair| pair.extract()).collect::<PyResult<_>>()?;
        for (key, _) in &pairs {
            text::key(key)?;
        }
        let about = About { ttl, priority, stamp, tag_slots: slots };
        let mut stored = 0;
        for (key, value) in &pairs {
            let key = text::key(key)?;
            stored += usize::from(self.inner.store(&key, value, &about)?);
        }
        Ok(stored)
    }

    /// Invalidate every entry that carries one of these tags.
    ///
    /// Args:
    ///     tags: A list, tuple or set of texts.
    ///
    /// Returns:
    ///     How many live entries were dropped.
    ///
    /// Consistency: no lookup that starts after the return is answered by an entry that carried
    /// one of the tags when this was called, and loads under way will not be stored.
    /// Cost: the effect is `O(tags)`; giving the memory back walks over all entries, letting
    /// other threads run now and then.
    fn invalidate_by_tags(&self, tags: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.inner.check_open()?;
        let mut slots = SlotList::new();
        text::push_tag_slots(tags, &mut slots)?;
        if slots.is_empty() {
            return Ok(0);
        }
        Ok(self.inner.invalidate_slots(&slots))
    }

    /// Invalidate every entry whose key fits a wildcard.
    ///
    /// Args:
    ///     pattern: As for Python's ``fnmatch.fnmatchcase``: ``*`` any text, ``?`` one
    ///         character, ``[a-z]`` one of a set, ``[!a-z]`` one not in it. Ids stand in keys
    ///         escaped; ``escape_id`` gives the form to put into a pattern.
    ///
    /// Returns:
    ///     How many live entries were dropped.
    ///
    /// Consistency: as for ``invalidate_by_tags``. Cost: `O(entries)`.
    fn invalidate_by_pattern(&self, pattern: &Bound<'_, PyString>) -> PyResult<usize> {
        self.inner.check_open()?;
        let pattern = text::utf8(pattern)?;
        text::check_key(&pattern)?;
        let mut count = self.inner.invalidate_pattern(&pattern);
        // Keys hold UUIDs in one spelling; a pattern may have been written with another.
        if let Some(canonical) = ids::with_canonical_uuids(&pattern) {
            count += self.inner.invalidate_pattern(&canonical);
        }
        Ok(count)
    }

    /// Invalidate everything that is about one user.
    ///
    /// Args:
    ///     user_id: A text, a UUID or an integer.
    ///
    /// Returns:
    ///     How many live entries were dropped: those tagged ``user:{id}`` and those whose key
    ///     names the user (``...user:{id}...``, ``session:{id}:...``).
    ///
    /// Consistency and cost: as for ``invalidate_by_tags``.
    fn invalidate_user_data(&self, user_id: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.invalidate_id("user", user_id)
    }

    /// Invalidate everything that is about one generation.
    ///
    /// Args:
    ///     generation_id: A text, a UUID or an integer.
    ///
    /// Returns:
    ///     How many live entries were dropped: those tagged ``generation:{id}`` and those whose
    ///     key names the generation.
    ///
    /// Consistency and cost: as for ``invalidate_by_tags``.
    fn invalidate_generation_data(&self, generation_id: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.invalidate_id("generation", generation_id)
    }

    /// List keys of live entries.
    ///
    /// Args:
    ///     pattern: As for ``invalidate_by_pattern``.
    ///     limit: Most keys to return.
    ///
    /// Returns:
    ///     Keys in no particular order. Cost: `O(entries)`.
    #[pyo3(signature = (pattern=None, limit=1000))]
    fn keys<'py>(
        &self,
        py: Python<'py>,
        pattern: Option<&Bound<'py, PyString>>,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let pattern = pattern.map_or_else(|| Ok(b"*"[..].into()), text::utf8)?;
        let keys = PyList::empty(py);
        for key in self.inner.store.keys(&pattern, limit) {
            keys.append(text::to_python(py, &key)?)?;
        }
        Ok(keys)
    }

    /// Drop what has expired or was invalidated. Called by the sweeper. Cost: `O(entries)`.
    fn sweep(&self, py: Python<'_>) {
        let _guard = ExitGuard::hold();
        drop(self.inner.store.sweep());
        pair::forget(py);
    }

    /// Counters and sizes as plain data.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(pythonize::pythonize(py, &self.inner.store.stats())?)
    }

    /// Empty the cache and refuse further use.
    fn _close(&self) {
        self.inner.stopped.store(true, Ordering::Release);
        self.inner.invalidate(Store::clear);
    }

    /// Allow use again.
    fn _reopen(&self) {
        self.inner.stopped.store(false, Ordering::Release);
    }

    /// Asked by ``pickle`` and ``copy``, of every protocol.
    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "cannot pickle or copy {}: a cache belongs to the process it was made in; make one \
             there, from the same settings",
            text::type_name(slf.as_any())
        )))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // A shard in use is passed over: what it holds then counts as held from outside.
        self.inner.store.try_each(|value| value.traverse(&visit))
    }

    fn __clear__(&self) {
        self.inner.invalidate(Store::clear);
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.inner.stopped.load(Ordering::Acquire)
    }
}

impl CacheCore {
    fn invalidate_id(&self, kind: &str, id: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.inner.check_open()?;
        let tag = text::tag_of_id(kind, id)?;
        let mut slots = SlotList::new();
        slots.push(keys::slot_of_tag(&tag));
        Ok(self.inner.invalidate_slots(&slots))
    }
}

/// An integer as a caller gives it; one that is too large is as wrong as the largest.
pub(super) fn number(object: &Bound<'_, PyAny>) -> PyResult<i64> {
    match object.cast_exact::<PyInt>() {
        Ok(number) => Ok(int::to_i64(number).unwrap_or_else(|side| match side {
            Side::Above => i64::MAX,
            Side::Below => i64::MIN,
        })),
        Err(_) => {
            let _guard = ExitGuard::hold();
            object.extract()
        }
    }
}

/// A stamp as a caller gives it; none is negative.
pub(super) fn stamp(object: &Bound<'_, PyAny>) -> PyResult<Stamp> {
    Stamp::try_from(number(object)?).map_err(|_| {
        PyValueError::new_err("stamp must come from snapshot() of this cache; this one is negative")
    })
}

pub(super) fn checked_priority(priority: i64) -> PyResult<u8> {
    u8::try_from(priority).ok().filter(|_| PRIORITIES.contains(&priority)).ok_or_else(|| {
        PyValueError::new_err(format!(
            "priority must be {} to {}, not {priority}",
            PRIORITIES.start(),
            PRIORITIES.end()
        ))
    })
}

fn refuse_bare_text(keys: &Bound<'_, PyAny>, what: &str) -> PyResult<()> {
    if keys.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!("{what} must be several texts, not one")));
    }
    Ok(())
}

pub(super) fn kind_at(number: usize) -> PyResult<&'static KeyKind> {
    keys::KINDS.get(number).copied().ok_or_else(|| PyValueError::new_err("no such kind of key"))
}
