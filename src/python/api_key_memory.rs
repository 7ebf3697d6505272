//! Whose an API key is, if that is remembered: one call that looks at the shape of the key, digests it
//! and finds what was read of it, while that is fresh.
//!
//! As in [`super::token_memory`], whatever is unusual is "not from memory", and the whole way tells.

use super::cache::CacheCore;
use super::exit_guard::DroppedGuarded;
use super::kept_key::KeptKey;
use super::memo::{Hint, gist};
use super::token_memory::WallClock;
use super::value::CachedValue;
use super::{key, lookup};
use crate::api_keys::{Digest, KeyShape, Pepper};
use crate::engine::ids::{Text, hex_digits};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use pyo3::{PyTraverseError, PyVisit};
use std::sync::atomic::{AtomicU64, Ordering};

/// API keys in a cache, by what is stored of them.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct ApiKeyMemory {
    cache: DroppedGuarded<Py<CacheCore>>,
    prefix: Box<[u8]>,
    shape: KeyShape,
    peppers: Vec<Pepper>,
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
    ///     now: The wall clock, in seconds since 1970. None: the system's.
    #[new]
    #[pyo3(signature = (cache, prefix, start, peppers, now=None))]
    fn new(
        cache: Py<CacheCore>,
        prefix: &str,
        start: &str,
        peppers: Vec<Option<Vec<u8>>>,
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

    /// Say what is kept of an API key, be it fresh or not. Counts nothing.
    ///
    /// Args:
    ///     digest: What is stored of the key.
    ///
    /// Returns:
    ///     What is kept. None: nothing.
    fn kept<'py>(&self, py: Python<'py>, digest: &[u8]) -> Option<Bound<'py, KeptKey>> {
        let name = name_of(&self.prefix, digest.try_into().ok()?);
        let found = self.cache.get().inner.store.peek(&name, |value| match value {
            CachedValue::Shared(object) => Some(object.clone_ref(py)),
            _ => None,
        });
        found??.into_bound(py).cast_into_exact().ok()
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
        let name = name_of(&self.prefix, digest);
        let hint = Hint::of_parts([number as u64 ^ self.prefix.as_ptr() as u64, gist(digest)]);
        let found = lookup::recall_key(py, &self.cache.get().inner, hint, &name);
        let Some(kept) = found.and_then(|found| found.cast_into_exact::<KeptKey>().ok()) else {
            return Ok(None);
        };
        if !kept.get().answers(digest, self.now.seconds(py)?) {
            return Ok(None);
        }
        // What is no key answers nothing; who asks the database is told why.
        let Ok(key) = kept.get().key(py) else { return Ok(None) };
        self.hits.fetch_add(1, Ordering::Relaxed);
        Ok(Some(key))
    }
}

/// The name in a cache of a key with this digest.
// Apart from its callers, which are few and not what takes time.
#[inline(never)]
pub(super) fn name_of(prefix: &[u8], digest: &Digest) -> Text {
    let mut name = Text::from_slice(prefix);
    for word in digest.as_chunks::<4>().0 {
        name.extend_from_slice(&hex_digits(u32::from_be_bytes(*word)));
    }
    name
}

#[inline]
fn bytes_of<'a>(plain: &'a Bound<'_, PyAny>) -> Option<&'a [u8]> {
    if let Ok(bytes) = plain.cast_exact::<PyBytes>() {
        return Some(bytes.as_bytes());
    }
    plain.cast_exact::<PyString>().ok().and_then(|_| key::ascii(plain.as_borrowed()))
}
