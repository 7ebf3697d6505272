//! One refresh of the API keys in a cache: rows in, in small steps, and then what is gone.
//!
//! All of it stands under one stamp from before the first row was read: what was revoked meanwhile
//! is neither kept nor brought back.

use super::api_key_memory::name_of;
use super::cache::CacheCore;
use super::exit_guard::{DroppedGuarded, ExitGuard};
use super::inner::{About, Inner, Seconds};
use super::kept_key::{Believed, KeptKey};
use super::value::{CachedValue, Frozen};
use crate::api_keys::{KeyRow, KeyRows, NoRows};
use crate::engine::Outcome;
use crate::engine::analytics::reports::Bookmark;
use crate::engine::keys::{self, Life};
use crate::invalidation::Stamp;
use crate::invalidation::slots::SlotList;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use pyo3::{PyTraverseError, PyVisit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After so long others have their turn.
const LONGEST_STEP: Duration = Duration::from_micros(50);

/// Entries that are looked at in one step of a search.
const LOOKED_AT_AT_ONCE: usize = 256;

/// What one refresh reads, on its way into a cache.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct ApiKeyGeneration {
    cache: DroppedGuarded<Py<CacheCore>>,
    prefix: Box<[u8]>,
    decode: DroppedGuarded<Py<PyAny>>,
    stamp: Stamp,
    number: u64,
    lives: Lives,
    refused: DroppedGuarded<Py<PyDict>>,
    is_refused_since: DroppedGuarded<Py<PyAny>>,
    updated: AtomicU64,
    total: AtomicU64,
}

/// How long what is read may be believed, in seconds.
#[derive(Debug, Clone, Copy)]
struct Lives {
    /// Answers without asking for so long.
    fresh: f64,
    /// Part of it by which lives differ.
    jitter: f64,
    /// Answers for so long more where the database cannot be asked.
    stale: f64,
    /// Weight on survival in a full cache.
    priority: u8,
}

#[pymethods]
impl ApiKeyGeneration {
    /// Args:
    ///     cache: Where keys are kept.
    ///     prefix: What their names begin with, before the digest.
    ///     decode: Makes a key of a row.
    ///     stamp: What ``snapshot()`` returned before anything was read.
    ///     number: Of this refresh; what older ones have read has a lower one.
    ///     fresh_seconds: How long what is read answers without asking.
    ///     jitter: Part of that by which lives differ.
    ///     stale_seconds: How long it answers after that where the database cannot be asked.
    ///     priority: Weight on survival in a full cache, 1 to 10.
    ///     refused: Digests of keys that were refused lately, a dict.
    ///     is_refused_since: Tells whether one of them was by what was read since a stamp; then it
    ///         is not kept.
    #[new]
    #[allow(clippy::too_many_arguments, reason = "named ones")]
    fn new(
        cache: Py<CacheCore>,
        prefix: &str,
        decode: Py<PyAny>,
        stamp: Stamp,
        number: u64,
        fresh_seconds: f64,
        jitter: f64,
        stale_seconds: f64,
        priority: u8,
        refused: Py<PyDict>,
        is_refused_since: Py<PyAny>,
    ) -> PyResult<Self> {
        let stamp = cache.get().inner.checked_stamp(Some(stamp))?;
        Ok(Self {
            cache: DroppedGuarded::new(cache),
            prefix: prefix.as_bytes().into(),
            decode: DroppedGuarded::new(decode),
            stamp,
            number,
            lives: Lives { fresh: fresh_seconds, jitter, stale: stale_seconds, priority },
            refused: DroppedGuarded::new(refused),
            is_refused_since: DroppedGuarded::new(is_refused_since),
            updated: AtomicU64::new(0),
            total: AtomicU64::new(0),
        })
    }

    /// Keys that were new, or of which anything had changed.
    #[getter]
    fn updated(&self) -> u64 {
        self.updated.load(Ordering::Relaxed)
    }

    /// Keys that were read.
    #[getter]
    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Keep some of what was read: as many rows as take about a twentieth of a millisecond.
    ///
    /// Args:
    ///     rows: Rows.
    ///     start: Where to go on in them.
    ///     now: The moment, in seconds since 1970.
    ///
    /// Returns:
    ///     Where to go on next, and ids of rows that are of no key; they are passed over.
    ///
    /// Raises:
    ///     ValueError: These are no rows; what stood before is kept.
    fn put(
        &self,
        py: Python<'_>,
        rows: &[u8],
        start: usize,
        now: f64,
    ) -> PyResult<(usize, Vec<String>)> {
        let _guard = ExitGuard::hold();
        let (began, mut not_keys) = (Instant::now(), Vec::new());
        let mut left = KeyRows::new(rows.get(start..).unwrap_or_default());
        for row in left.by_ref() {
            match row.map_err(no_rows)? {
                Ok(row) => self.put_row(py, &row, now)?,
                Err(id) => not_keys.push(String::from_utf8_lossy(id).into_owned()),
            }
            if began.elapsed() >= LONGEST_STEP {
                break;
            }
        }
        Ok((rows.len() - left.left(), not_keys))
    }

    /// Look for what was read before this refresh and not by it.
    ///
    /// Args:
    ///     after: Where to go on; 0: at the beginning.
    ///
    /// Returns:
    ///     What was found, and where to go on; None: that was all.
    fn absent(&self, py: Python<'_>, after: u64) -> PyResult<(Vec<Py<PyAny>>, Option<u64>)> {
        let mut found = Vec::new();
        let next = self.inner().store.live_with_prefix(
            &self.prefix,
            LOOKED_AT_AT_ONCE,
            Bookmark::from_bits(after),
            |_, value| {
                if let CachedValue::Shared(object) = value
                    && let Ok(kept) = object.bind(py).cast_exact::<KeptKey>()
                    && kept.get().is_older_than(self.number)
                {
                    found.push(object.clone_ref(py));
                }
                true
            },
        );
        Ok((found, next.map(Bookmark::to_bits)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.cache)?;
        visit.call(&*self.decode)?;
        visit.call(&*self.refused)?;
        visit.call(&*self.is_refused_since)
    }
}

/// The id of the last of some rows.
#[pyfunction]
pub(super) fn last_key_id(rows: &[u8]) -> PyResult<String> {
    let last = KeyRows::new(rows).last().unwrap_or(Err(NoRows)).map_err(no_rows)?;
    Ok(String::from_utf8_lossy(last.map_or_else(|id| id, |row| row.id)).into_owned())
}

fn no_rows(NoRows: NoRows) -> PyErr {
    PyValueError::new_err(NoRows.to_string())
}

impl ApiKeyGeneration {
    fn inner(&self) -> &Inner {
        &self.cache.get().inner
    }

    /// Keeps one key.
    fn put_row(&self, py: Python<'_>, row: &KeyRow<'_>, now: f64) -> PyResult<()> {
        self.total.fetch_add(1, Ordering::Relaxed);
        let end = row.ends_at;
        let fresh_until = now + self.lives.fresh * (1.0 - self.lives.jitter * self.chance(row));
        let stale_until = (fresh_until + self.lives.stale).min(end);
        if stale_until <= now || self.was_refused(py, row)? {
            return Ok(());
        }
        let (inner, kept) = (
            self.inner(),
            Believed { fresh_until: fresh_until.min(end), stale_until, generation: self.number },
        );
        let ttl = inner.life(Some(Seconds::Exact(stale_until - now)), Life::Default)?;
        let kept = KeptKey::of_row(row.digest, row.bytes, self.decode.clone_ref(py), kept);
        let bytes = kept.bytes();
        let kept = Py::new(py, kept)?;
        let frozen = Frozen { value: CachedValue::Shared(kept.clone_ref(py).into_any()), bytes };
        let about = About {
            ttl,
            priority: self.lives.priority,
            stamp: self.stamp,
            tag_slots: self.tags_of(row),
            permissive: true,
        };
        let name = name_of(&self.prefix, &row.digest);
        let (outcome, before) = inner.replace(py, &name, frozen, &about)?;
        let is_known = match &before {
            Some(CachedValue::Shared(before)) => match before.bind(py).cast_exact::<KeptKey>() {
                Ok(before) => kept.get().take_over(py, before.get()),
                Err(_) => false,
            },
            _ => false,
        };
        if let Some(before) = before {
            before.release(py);
        }
        if outcome == Outcome::Stored && !is_known {
            self.updated.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether it is known by now that a key lets nobody in: a deny wins.
    fn was_refused(&self, py: Python<'_>, row: &KeyRow<'_>) -> PyResult<bool> {
        let refused = self.refused.bind(py);
        if refused.is_empty() {
            return Ok(false);
        }
        let digest = PyBytes::new(py, &row.digest);
        if !refused.contains(&digest)? {
            return Ok(false);
        }
        self.is_refused_since.bind(py).call1((digest, self.stamp))?.extract()
    }

    /// What invalidates a key: itself, its organization, all keys.
    fn tags_of(&self, row: &KeyRow<'_>) -> SlotList {
        let (names, mut slots, mut tag) =
            (self.inner().store.tag_names(), SlotList::new(), Vec::with_capacity(64));
        let tags: [(&[u8], &[u8]); 3] =
            [(b"api_key:", row.id), (b"organization:", row.organization_id), (b"api_keys", b"")];
        for (kind, id) in tags {
            tag.clear();
            tag.extend_from_slice(kind);
            tag.extend_from_slice(id);
            let slot = keys::slot_of_tag(&tag);
            names.learn(slot, &tag);
            keys::push_once(slot, &mut slots);
        }
        slots
    }

    /// From 0 to 1, another one for each key and refresh.
    fn chance(&self, row: &KeyRow<'_>) -> f64 {
        let [a, b, c, d, e, f, g, h, ..] = row.digest;
        // SplitMix64 (Steele, Lea, Flood: OOPSLA 2014).
        let mut bits = u64::from_le_bytes([a, b, c, d, e, f, g, h])
            .wrapping_add(self.number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
