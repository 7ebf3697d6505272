//! Whose an API key is, if that is remembered: one call that looks at the shape of the key, digests it
//! and finds what was read of it, while that is fresh.
//!
//! As in [`super::token_memory`], whatever is unusual is "not from memory", and the whole way tells.

use super::cache::CacheCore;
use super::exit_guard::DroppedGuarded;
use super::memo::{Hint, gist};
use super::token_memory::WallClock;
use super::{key, lookup};
use crate::api_keys::{Digest, KeyShape, Pepper, is_same};
use crate::engine::ids::{Text, hex_digits};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyType};
use pyo3::{PyTraverseError, PyVisit, intern};
use std::sync::atomic::{AtomicU64, Ordering};

/// API keys in a cache, by what is stored of them.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct ApiKeyMemory {
    cache: DroppedGuarded<Py<CacheCore>>,
    prefix: Box<[u8]>,
    shape: KeyShape,
    peppers: Vec<Pepper>,
    kept_type: DroppedGuarded<Py<PyType>>,
    now: WallClock,
    hits: AtomicU64,
}

#[pymethods]
impl ApiKeyMemory {
    /// Args:
    ///     cache: Where keys are kept.
    ///     prefix: What their names begin with, before the digest.
    ///     start: What API keys begin with, such as ``vk_live_``.
    ///     peppers: Secrets that digests are made with, the likeliest first. None: a plain SHA-256.
    ///     kept_type: The class of what is kept; its instances have ``digest``, ``fresh_until`` in
    ///         seconds since 1970, and ``key``, which is the answer.
    ///     now: The wall clock, in seconds since 1970. None: the system's.
    #[new]
    #[pyo3(signature = (cache, prefix, start, peppers, kept_type, now=None))]
    fn new(
        cache: Py<CacheCore>,
        prefix: &str,
        start: &str,
        peppers: Vec<Option<Vec<u8>>>,
        kept_type: Py<PyType>,
        now: Option<Py<PyAny>>,
    ) -> Self {
        let pepper = |secret: Option<Vec<u8>>| {
            secret.map_or(Pepper::Plain, |secret| Pepper::secret(&secret))
        };
        Self {
            cache: DroppedGuarded::new(cache),
            prefix: prefix.as_bytes().into(),
            shape: KeyShape::new(start),
            peppers: peppers.into_iter().map(pepper).collect(),
            kept_type: DroppedGuarded::new(kept_type),
            now: WallClock::new(now),
            hits: AtomicU64::new(0),
        }
    }

    /// Answers given.
    #[getter]
    fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Say what is known of an API key, if that is remembered and fresh.
    ///
    /// Args:
    ///     plain: The key, as text or bytes.
    ///
    /// Returns:
    ///     The ``key`` of what is kept. None: not from memory.
    fn recall<'py>(
        &self,
        py: Python<'py>,
        plain: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(plain) = bytes_of(plain) else { return Ok(None) };
        if !self.shape.matches(plain) {
            return Ok(None);
        }
        for (number, pepper) in self.peppers.iter().enumerate() {
            let digest = pepper.digest(plain);
            if let Some(found) = self.find(py, &digest, number)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Say whether a text can be an API key at all.
    ///
    /// Args:
    ///     plain: The text, or bytes.
    fn matches(&self, plain: &Bound<'_, PyAny>) -> bool {
        bytes_of(plain).is_some_and(|plain| self.shape.matches(plain))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.cache)?;
        visit.call(&*self.kept_type)?;
        self.now.traverse(&visit)
    }
}

impl ApiKeyMemory {
    #[inline]
    fn find<'py>(
        &self,
        py: Python<'py>,
        digest: &Digest,
        number: usize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut name = Text::from_slice(&self.prefix);
        for word in digest.as_chunks::<4>().0 {
            name.extend_from_slice(&hex_digits(u32::from_be_bytes(*word)));
        }
        let hint = Hint::of_parts([number as u64 ^ self.prefix.as_ptr() as u64, gist(digest)]);
        let found = lookup::recall_key(py, &self.cache.get().inner, hint, &name);
        let Some(kept) = found.filter(|found| found.get_type().is(&*self.kept_type)) else {
            return Ok(None);
        };
        let fresh_until: f64 = kept.getattr(intern!(py, "fresh_until"))?.extract()?;
        let stored = kept.getattr(intern!(py, "digest"))?;
        let is_it = stored.cast_exact::<PyBytes>().is_ok_and(|it| is_same(digest, it.as_bytes()));
        if !is_it || self.now.seconds(py)? >= fresh_until {
            return Ok(None);
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        kept.getattr(intern!(py, "key")).map(Some)
    }
}

#[inline]
fn bytes_of<'a>(plain: &'a Bound<'_, PyAny>) -> Option<&'a [u8]> {
    if let Ok(bytes) = plain.cast_exact::<PyBytes>() {
        return Some(bytes.as_bytes());
    }
    plain.cast_exact::<PyString>().ok().and_then(|_| key::ascii(plain.as_borrowed()))
}
