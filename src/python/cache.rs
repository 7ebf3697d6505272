//! `CacheCore`: the store behind a Python object. Convert, call, convert back.
//!
//! The lookups that decide the speed of a service are in [`super::hot`]; everything else here.

use super::analytics::{self, HotName, Invalidation, Page};
use super::bus::Ticket;
use super::clock::PyManualClock;
use super::errors::ConfigError;
use super::exit_guard::{DroppedGuarded, ExitGuard};
use super::inner::{About, Inner, Seconds, Settings};
use super::int::{self, Side};
use super::prepared::PreparedEntry;
use super::raw::Raised;
use super::spoken::{Said, Spoken};
use super::{lookup, nested, text};
use crate::engine::Basis;
use crate::engine::clock::{Clock, Millis};
use crate::engine::ids::Text;
use crate::engine::keys::{self, KeyKind, Life};
use crate::invalidation::Stamp;
use crate::invalidation::slots::SlotList;
use crate::sync::Mutex;
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
    #[pyo3(signature = (kind, ids, value, ttl=None, stamp=None, permissive=true))]
    fn _set_typed(
        &self,
        kind: usize,
        ids: &Bound<'_, pyo3::types::PyTuple>,
        value: &Bound<'_, PyAny>,
        ttl: Option<Seconds>,
        stamp: Option<Stamp>,
        permissive: bool,
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
        kind.name_tags(&segments, &slots, self.inner.store.tag_names());
        let ttl = self.inner.life(ttl, kind.life)?;
        let about = About { ttl, priority: kind.priority, stamp, tag_slots: slots, permissive };
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

    /// Has what the loader that runs here returns depend on tags, too: those that only what was
    /// loaded tells. Without effect where no loader runs.
    ///
    /// Args:
    ///     tags: As for ``set``.
    ///     stamp: What ``snapshot()`` returned before that was read.
    fn _depend_on(&self, tags: &Bound<'_, PyAny>, stamp: Stamp) -> PyResult<()> {
        let _guard = ExitGuard::hold();
        let mut slots = SlotList::new();
        text::push_tag_slots(tags, &mut slots)?;
        if let Some(collector) = nested::current(tags.py())? {
            let slots = slots.iter().map(|&slot| (slot, stamp)).collect();
            let basis = Basis { slots, keys: Vec::new(), deadline: Millis::MAX };
            collector.note(&self.inner, &basis, None);
        }
        Ok(())
    }

    /// Check everything about an entry but its value, before the value is loaded.
    ///
    /// ``grace``: for how many seconds past its end it is kept for `_past_end`, if it allows nothing.
    #[pyo3(signature = (key, ttl=None, tags=None, priority=1, refresh=false, grace=None))]
    fn _prepare(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        ttl: Option<Seconds>,
        tags: Option<&Bound<'_, PyAny>>,
        priority: i64,
        refresh: bool,
        grace: Option<Seconds>,
    ) -> PyResult<PreparedEntry> {
        let inner = &slf.get().inner;
        inner.check_open()?;
        let mut tag_slots = SlotList::new();
        if let Some(tags) = tags {
            text::push_named_slots(tags, slf.get().inner.store.tag_names(), &mut tag_slots)?;
        }
        let (ttl, priority) = (inner.life(ttl, Life::Default)?, checked_priority(priority)?);
        let grace = inner.grace(grace)?;
        let key = text::key(key)?;
        if refresh {
            // Whoever refreshes must not be overtaken by a load that began before.
            inner.loads.supersede(&key);
        }
        let ticket = inner.loads.begin(&key);
        let cache = DroppedGuarded::new(slf.clone().unbind());
        let collector = Mutex::new(None);
        Ok(PreparedEntry { cache, ticket, ttl, priority, grace, tag_slots, collector })
    }

    /// Remove one entry, on every worker and host.
    ///
    /// Args:
    ///     key: Name of the entry.
    ///     wait: What to wait for; see ``invalidate_by_tags``.
    ///     reason: As for ``invalidate_by_tags``.
    ///     actor: As for ``invalidate_by_tags``.
    ///
    /// Returns:
    ///     Whether there was one here that could still have been served.
    ///
    /// Raises:
    ///     InvalidationNotAcknowledged, SharedTableError: See ``invalidate_by_tags``.
    ///
    /// Consistency: as for ``invalidate_by_tags``.
    #[pyo3(signature = (key, *, wait=None, reason=None, actor=None))]
    fn delete(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        wait: Option<&str>,
        reason: Said<'_, '_>,
        actor: Said<'_, '_>,
    ) -> PyResult<bool> {
        self.inner.check_open()?;
        let wait = self.inner.bus.wait_for(wait)?;
        let bytes = text::key(key)?;
        let spoken = Spoken::key(&bytes).because(reason, actor)?;
        let (live, ticket) = self.inner.delete(py, &bytes, spoken)?;
        self.inner.bus.wait(py, ticket, wait)?;
        Ok(live)
    }

    /// Remove everything, on every worker and host, and give the memory back here. `O(entries)`.
    ///
    /// Args:
    ///     wait: What to wait for; see ``invalidate_by_tags``.
    ///     reason: As for ``invalidate_by_tags``.
    ///     actor: As for ``invalidate_by_tags``.
    ///
    /// Raises:
    ///     InvalidationNotAcknowledged, SharedTableError: See ``invalidate_by_tags``.
    ///
    /// Consistency: as for ``invalidate_by_tags``; it covers everything.
    #[pyo3(signature = (*, wait=None, reason=None, actor=None))]
    fn clear(
        &self,
        py: Python<'_>,
        wait: Option<&str>,
        reason: Said<'_, '_>,
        actor: Said<'_, '_>,
    ) -> PyResult<()> {
        self.invalidate(py, Spoken::everything().because(reason, actor)?, wait)?;
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
    ///     permissive: As for ``set``.
    ///
    /// Returns:
    ///     How many were stored. A bad key is found before anything is stored; a value that
    ///     cannot be copied stops the rest.
    #[pyo3(signature = (mapping, ttl=None, tags=None, priority=1, *, stamp=None, permissive=true))]
    #[allow(clippy::too_many_arguments, reason = "those of `set`")]
    fn set_many(
        &self,
        mapping: &Bound<'_, PyAny>,
        ttl: Option<Seconds>,
        tags: Option<&Bound<'_, PyAny>>,
        priority: i64,
        stamp: Option<Stamp>,
        permissive: bool,
    ) -> PyResult<usize> {
        let _guard = ExitGuard::hold();
        let stamp = self.inner.checked_stamp(stamp)?;
        let ttl = self.inner.life(ttl, Life::Default)?;
        let priority = checked_priority(priority)?;
        let mut slots = SlotList::new();
        if let Some(tags) = tags {
            text::push_named_slots(tags, self.inner.store.tag_names(), &mut slots)?;
        }
        let items = mapping.cast::<PyMapping>()?.items()?;
        let pairs: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)> =
            items.iter().map(|pair| pair.extract()).collect::<PyResult<_>>()?;
        for (key, _) in &pairs {
            text::key(key)?;
        }
        let about = About { ttl, priority, stamp, tag_slots: slots, permissive };
        let mut stored = 0;
        for (key, value) in &pairs {
            let key = text::key(key)?;
            stored += usize::from(self.inner.store(&key, value, &about)?);
        }
        Ok(stored)
    }

    /// Invalidate every entry that carries one of these tags, on every worker and host.
    ///
    /// Args:
    ///     tags: A list, tuple or set of texts.
    ///     wait: ``"host"``: nothing; it holds on this host when this returns. ``"bus"``: until the
    ///         invalidation log has acknowledged it. ``"fleet"``: until every other host has applied
    ///         it, or no longer serves what it knew. None: as configured. Without a log there is
    ///         nothing to wait for.
    ///     reason: Why, for ``get_recent_invalidations`` of this process; its first 256 bytes are
    ///         kept.
    ///     actor: Who asks for it; likewise.
    ///
    /// Returns:
    ///     How many live entries were dropped here before this returned. In a cache of more than
    ///     16,384 entries the rest follows in the background and is not counted.
    ///
    /// Raises:
    ///     InvalidationNotAcknowledged: What was waited for did not come about within
    ///         ``log_timeout_seconds``. It holds on this host all the same, and is sent to the
    ///         others as soon as the log can be reached. With every ``wait`` also if this process
    ///         could not start the threads that tell others.
    ///     SharedTableError: The file of the table was taken away and no other one can be made. It
    ///         holds in this process, and other processes of this host may not know; it is sent to
    ///         the log, if there is one, and not waited for.
    ///
    /// Consistency: no lookup that starts after the return, in any process of this host, is
    /// answered by an entry that carried one of the tags when this was called, and loads under
    /// way will not be stored. Other hosts follow as soon as they hear of it, and serve nothing
    /// permissive after ``max_staleness_seconds`` without news.
    /// Cost: does not depend on how many entries there are, nor how many are covered.
    #[pyo3(signature = (tags, *, wait=None, reason=None, actor=None))]
    fn invalidate_by_tags(
        &self,
        py: Python<'_>,
        tags: &Bound<'_, PyAny>,
        wait: Option<&str>,
        reason: Said<'_, '_>,
        actor: Said<'_, '_>,
    ) -> PyResult<usize> {
        self.inner.check_open()?;
        let mut spoken = Spoken::default();
        text::for_each_tag(tags, &mut |tag| spoken.add_tag(tag))?;
        self.invalidate(py, spoken.because(reason, actor)?, wait)
    }

    /// Invalidate every entry whose key fits a wildcard, on every worker and host.
    ///
    /// Args:
    ///     pattern: As for Python's ``fnmatch.fnmatchcase``: ``*`` any text, ``?`` one
    ///         character, ``[a-z]`` one of a set, ``[!a-z]`` one not in it. Ids stand in keys
    ///         escaped; ``escape_id`` gives the form to put into a pattern. One of more than
    ///         1,000 bytes with a wildcard before its end invalidates everything, everywhere.
    ///     wait: As for ``invalidate_by_tags``.
    ///     reason: As for ``invalidate_by_tags``.
    ///     actor: As for ``invalidate_by_tags``.
    ///
    /// Returns:
    ///     As for ``invalidate_by_tags``.
    ///
    /// Raises:
    ///     InvalidationNotAcknowledged, SharedTableError: See ``invalidate_by_tags``.
    ///
    /// Consistency and cost: as for ``invalidate_by_tags``.
    #[pyo3(signature = (pattern, *, wait=None, reason=None, actor=None))]
    fn invalidate_by_pattern(
        &self,
        py: Python<'_>,
        pattern: &Bound<'_, PyString>,
        wait: Option<&str>,
        reason: Said<'_, '_>,
        actor: Said<'_, '_>,
    ) -> PyResult<usize> {
        self.inner.check_open()?;
        let pattern = text::utf8(pattern)?;
        text::check_key(&pattern)?;
        let mut spoken = Spoken::default();
        spoken.add_pattern(&pattern);
        self.invalidate(py, spoken.because(reason, actor)?, wait)
    }

    /// Invalidate everything that is about one user, on every worker and host.
    ///
    /// Args:
    ///     user_id: A text, a UUID or an integer.
    ///     wait: As for ``invalidate_by_tags``.
    ///     reason: As for ``invalidate_by_tags``.
    ///     actor: As for ``invalidate_by_tags``.
    ///
    /// Returns:
    ///     As for ``invalidate_by_tags``: entries tagged ``user:{id}`` and those whose key names
    ///     the user (``...user:{id}...``, ``session:{id}:...``).
    ///
    /// Raises:
    ///     InvalidationNotAcknowledged, SharedTableError: See ``invalidate_by_tags``.
    ///
    /// Consistency and cost: as for ``invalidate_by_tags``.
    #[pyo3(signature = (user_id, *, wait=None, reason=None, actor=None))]
    fn invalidate_user_data(
        &self,
        py: Python<'_>,
        user_id: &Bound<'_, PyAny>,
        wait: Option<&str>,
        reason: Said<'_, '_>,
        actor: Said<'_, '_>,
    ) -> PyResult<usize> {
        self.inner.check_open()?;
        let mut spoken = Spoken::default();
        spoken.add_user(user_id)?;
        self.invalidate(py, spoken.because(reason, actor)?, wait)
    }

    /// Invalidate everything that is about one generation, on every worker and host.
    ///
    /// Args:
    ///     generation_id: A text, a UUID or an integer.
    ///     wait: As for ``invalidate_by_tags``.
    ///     reason: As for ``invalidate_by_tags``.
    ///     actor: As for ``invalidate_by_tags``.
    ///
    /// Returns:
    ///     As for ``invalidate_by_tags``: entries tagged ``generation:{id}`` and those whose key
    ///     names the generation.
    ///
    /// Raises:
    ///     InvalidationNotAcknowledged, SharedTableError: See ``invalidate_by_tags``.
    ///
    /// Consistency and cost: as for ``invalidate_by_tags``.
    #[pyo3(signature = (generation_id, *, wait=None, reason=None, actor=None))]
    fn invalidate_generation_data(
        &self,
        py: Python<'_>,
        generation_id: &Bound<'_, PyAny>,
        wait: Option<&str>,
        reason: Said<'_, '_>,
        actor: Said<'_, '_>,
    ) -> PyResult<usize> {
        self.inner.check_open()?;
        let mut spoken = Spoken::default();
        spoken.add_generation(generation_id)?;
        self.invalidate(py, spoken.because(reason, actor)?, wait)
    }

    /// Invalidate several things as one operation; returns what was dropped and a ticket.
    #[pyo3(signature = (tags, keys, patterns, users, generations, *, reason=None, actor=None))]
    #[allow(clippy::too_many_arguments, reason = "those of `revoking`")]
    fn _invalidate(
        &self,
        tags: &Bound<'_, PyAny>,
        keys: &Bound<'_, PyAny>,
        patterns: &Bound<'_, PyAny>,
        users: &Bound<'_, PyAny>,
        generations: &Bound<'_, PyAny>,
        reason: Said<'_, '_>,
        actor: Said<'_, '_>,
    ) -> PyResult<(usize, Ticket)> {
        self.inner.check_open()?;
        let spoken = spoken(tags, keys, patterns, users, generations)?;
        self.inner.invalidate(spoken.because(reason, actor)?)
    }

    /// Find out whether ``_invalidate`` would understand its arguments, and whether they name
    /// anything.
    #[staticmethod]
    fn _check_names(
        tags: &Bound<'_, PyAny>,
        keys: &Bound<'_, PyAny>,
        patterns: &Bound<'_, PyAny>,
        users: &Bound<'_, PyAny>,
        generations: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        Ok(!spoken(tags, keys, patterns, users, generations)?.named.names.is_empty())
    }

    /// Invalidate one call of a function: here by its own tag, elsewhere all calls of the function.
    ///
    /// Its tag is a digest of its arguments, among which may be a secret; it leaves no host.
    fn _invalidate_call(
        &self,
        call_tag: &str,
        pattern: &Bound<'_, PyString>,
        is_shared: bool,
    ) -> PyResult<usize> {
        self.inner.check_open()?;
        let (mut spoken, pattern) = (Spoken::default(), text::utf8(pattern)?);
        if is_shared && self.inner.bus.shares_values() {
            // Values that other hosts have stored do not bear the tag.
            spoken.add_pattern(&pattern);
        } else {
            spoken.add_call(call_tag.as_bytes(), &pattern);
        }
        Ok(self.inner.invalidate(spoken)?.0)
    }

    /// Wait, without the GIL, until a ticket of ``_invalidate`` is where it is wanted.
    #[pyo3(signature = (ticket, wait=None))]
    fn _wait_published(&self, py: Python<'_>, ticket: Ticket, wait: Option<&str>) -> PyResult<()> {
        let wait = self.inner.bus.wait_for(wait)?;
        self.inner.bus.wait(py, ticket, wait)
    }

    /// How far this host is in the log: a generation and the number of an entry; None: there is
    /// no log, or nothing is known of it yet.
    fn _position(&self) -> Option<(String, u64)> {
        let known = self.inner.store.table().known();
        let place = || (format!("{:016x}", known.generation), known.position.sequence());
        (known.generation != 0).then(place)
    }

    /// Whether a value that was loaded at a position of the log may be believed here and now. One
    /// that allows something may not while there is no news from the log: it would be older than
    /// what may be served from here.
    #[pyo3(signature = (key, tags, generation, sequence, permissive=true))]
    fn _admits(
        &self,
        key: &Bound<'_, PyAny>,
        tags: &Bound<'_, PyAny>,
        generation: &str,
        sequence: u64,
        permissive: bool,
    ) -> PyResult<bool> {
        if permissive && !self.inner.bus.is_heard(&self.inner.store) {
            return Ok(false);
        }
        let key = text::key(key)?;
        let mut slots = SlotList::new();
        keys::push_slots_of_key(&key, &mut slots);
        text::push_tag_slots(tags, &mut slots)?;
        let Ok(generation) = u64::from_str_radix(generation, 16) else { return Ok(false) };
        // News first, then what they say.
        let is_known = self.inner.bus.vouches();
        Ok(is_known && self.inner.store.table().admits(&slots, generation, sequence))
    }

    /// Whether loads should be held back: this host has lost touch with the log, or has just found
    /// it again and believes nothing from before.
    fn _is_refilling(&self) -> bool {
        self.inner.bus.is_refilling()
    }

    /// Wait, without the GIL and at most ``log_timeout_seconds``, until the log has acknowledged
    /// everything; return whether it has.
    fn _drain(&self, py: Python<'_>) -> bool {
        self.inner.bus.drain(py)
    }

    /// Set what is called, without arguments, when an invalidation leaves entries to be swept.
    fn _on_leftovers(&self, call: Option<Py<PyAny>>) {
        self.inner.on_leftovers(call);
    }

    /// In a forked child: connect with the log anew, and forget what cannot be judged here.
    fn _after_fork(&self) -> PyResult<()> {
        self.inner.after_fork()
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
        self.inner.sweep(py);
    }

    /// The keys or tags asked for most: names, requests, hits, error.
    fn _top(&self, py: Python<'_>, of_tags: bool, limit: usize) -> PyResult<Vec<HotName>> {
        analytics::top(py, &self.inner, of_tags, limit)
    }

    /// Have the history note how things stand, unless it has for this second.
    fn _observe(&self) {
        self.inner.observe();
    }

    /// The clock of the history in seconds, and its points of the last so many.
    fn _history<'py>(&self, py: Python<'py>, seconds: u64) -> PyResult<(f64, Bound<'py, PyAny>)> {
        analytics::history(py, &self.inner, seconds)
    }

    fn _what_if<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        analytics::what_if(py, &self.inner)
    }

    /// The last invalidations, newest first.
    fn _recent_invalidations(&self, py: Python<'_>, limit: usize) -> PyResult<Vec<Invalidation>> {
        analytics::recent_invalidations(py, &self.inner, limit)
    }

    /// What is known of a key.
    fn _explain<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        analytics::explain(key.py(), &self.inner, &text::key(key)?)
    }

    /// A value past its end that may be asked for all the same.
    ///
    /// Args:
    ///     key: Name of the entry.
    ///     longest: By how many seconds it may be over at the most.
    ///
    /// Returns:
    ///     A copy of the value and by how many seconds it is over; None: there is none, or it was
    ///     invalidated. Never one that allows something.
    fn _past_end<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        longest: Seconds,
    ) -> PyResult<Option<(Bound<'py, PyAny>, f64)>> {
        let py = key.py();
        let found = self.inner.store.past_end(
            &text::key(key)?,
            self.inner.grace(Some(longest))?,
            |value, over| (value.clone_ref(py), over),
        );
        let Some(((value, over), basis)) = found else { return Ok(None) };
        let _guard = ExitGuard::hold();
        if nested::is_any_loader()
            && let Some(collector) = nested::current(py)?
        {
            // What is made of it is over as well, and so not kept.
            collector.note(&self.inner, &basis, None);
        }
        Ok(Some((value.into_python(py)?, over as f64 / 1000.0)))
    }

    /// The clock that lives are counted on, in seconds.
    fn _clock_seconds(&self) -> f64 {
        self.inner.store.clock().now() as f64 / 1000.0
    }

    /// Some keys that begin with a prefix, and where to go on.
    fn _keys_by_prefix(
        &self,
        prefix: &Bound<'_, PyString>,
        limit: usize,
        after: u64,
    ) -> PyResult<Page> {
        analytics::keys_by_prefix(prefix, &self.inner, limit, after)
    }

    /// Counters and sizes as plain data.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stats = pythonize::pythonize(py, &self.inner.store.stats())?;
        let refusals = pythonize::pythonize(py, &self.inner.refusals.counts())?;
        stats.set_item("nested_rejects", refusals)?;
        Ok(stats)
    }

    /// How invalidations are shared between processes and hosts, as plain data.
    fn _sharing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.inner.sharing(py)
    }

    /// Empty the cache and refuse further use.
    fn _close(&self, py: Python<'_>) {
        self.inner.stopped.store(true, Ordering::Release);
        self.inner.bus.close(py);
        self.inner.empty();
    }

    /// Allow use again.
    fn _reopen(&self) -> PyResult<()> {
        self.inner.reopen()
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
        self.inner.visit_leftovers(&visit)?;
        self.inner.store.try_each(|value| value.traverse(&visit))
    }

    fn __clear__(&self) {
        self.inner.on_leftovers(None);
        self.inner.empty();
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.inner.stopped.load(Ordering::Acquire)
    }
}

impl CacheCore {
    fn invalidate(&self, py: Python<'_>, spoken: Spoken, wait: Option<&str>) -> PyResult<usize> {
        self.inner.check_open()?;
        // Found out before anything is done.
        let wait = self.inner.bus.wait_for(wait)?;
        if spoken.named.names.is_empty() {
            return Ok(0);
        }
        let (live, ticket) = self.inner.invalidate(spoken)?;
        self.inner.bus.wait(py, ticket, wait)?;
        Ok(live)
    }
}

/// Names as callers give them.
fn spoken(
    tags: &Bound<'_, PyAny>,
    keys: &Bound<'_, PyAny>,
    patterns: &Bound<'_, PyAny>,
    users: &Bound<'_, PyAny>,
    generations: &Bound<'_, PyAny>,
) -> PyResult<Spoken> {
    let mut spoken = Spoken::default();
    text::for_each_tag(tags, &mut |tag| spoken.add_tag(tag))?;
    for user in users.try_iter()? {
        spoken.add_user(&user?)?;
    }
    for generation in generations.try_iter()? {
        spoken.add_generation(&generation?)?;
    }
    refuse_bare_text(keys, "keys")?;
    for key in keys.try_iter()? {
        spoken.add_key(&text::key(&key?)?);
    }
    refuse_bare_text(patterns, "patterns")?;
    for pattern in patterns.try_iter()? {
        let pattern = pattern?;
        let pattern = text::utf8(pattern.cast::<PyString>()?)?;
        text::check_key(&pattern)?;
        spoken.add_pattern(&pattern);
    }
    Ok(spoken)
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
