//! What is kept in a cache of one API key.
//!
//! Most keys that are read are never asked for. So a key stays the bytes it was read as until
//! somebody asks for it, and what is kept is no object that Python's collector walks over: a million
//! of them cost it nothing.

use super::exit_guard::{DroppedGuarded, ExitGuard};
use crate::api_keys::{Digest, is_same};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyAny, PyBytes};
use std::mem::size_of;

/// A key as it was read, and how long that may be believed.
#[pyclass(module = "velro_cache._engine", frozen)]
pub(super) struct KeptKey {
    digest: Digest,
    row: Option<Row>,
    key: DroppedGuarded<PyOnceLock<Py<PyAny>>>,
    fresh_until: f64,
    stale_until: f64,
    generation: u64,
}

/// The bytes a key was read as, and what makes a key of them.
struct Row {
    bytes: Box<[u8]>,
    decode: DroppedGuarded<Py<PyAny>>,
}

impl Row {
    fn key(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let _guard = ExitGuard::hold();
        self.decode.call1(py, (PyBytes::new(py, &self.bytes),))
    }
}

/// How long something may be believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Believed {
    /// Answers without asking until then, in seconds since 1970.
    pub(super) fresh_until: f64,
    /// Answers until then where the database cannot be asked.
    pub(super) stale_until: f64,
    /// Of the cache, when the database was asked.
    pub(super) generation: u64,
}

#[pymethods]
impl KeptKey {
    /// Args:
    ///     digest: The one it is kept under; compared as a whole before it counts.
    ///     key: What is known of the key.
    ///     fresh_until: Answers without asking until then, in seconds since 1970.
    ///     stale_until: Answers until then where the database cannot be asked.
    ///     generation: Of the cache, when the database was asked.
    #[new]
    fn new(
        py: Python<'_>,
        digest: &[u8],
        key: Py<PyAny>,
        fresh_until: f64,
        stale_until: f64,
        generation: u64,
    ) -> PyResult<Self> {
        let digest = digest.try_into().map_err(|_| {
            PyValueError::new_err(format!("digest must be {} bytes", size_of::<Digest>()))
        })?;
        let known = PyOnceLock::new();
        let _ = known.set(py, key);
        let key = DroppedGuarded::new(known);
        Ok(Self { digest, row: None, key, fresh_until, stale_until, generation })
    }

    /// The digest it is kept under.
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.digest)
    }

    /// What is known of the key; made of what was read when it is first asked for.
    ///
    /// Raises:
    ///     AuthorizationUnavailable: What was read is no key.
    #[getter]
    pub(super) fn key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(key) = self.key.get(py) {
            return Ok(key.bind(py).clone());
        }
        let made = self.key.get_or_try_init(py, || match &self.row {
            Some(row) => row.key(py),
            None => Err(PyValueError::new_err("there is no key")),
        })?;
        Ok(made.bind(py).clone())
    }

    #[getter]
    fn fresh_until(&self) -> f64 {
        self.fresh_until
    }

    #[getter]
    fn stale_until(&self) -> f64 {
        self.stale_until
    }

    #[getter]
    fn generation(&self) -> u64 {
        self.generation
    }

    /// It cannot be changed, so it may be shared.
    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __sizeof__(&self) -> usize {
        // A key that somebody asks for, with its texts.
        const OF_KEY: usize = 600;
        self.bytes() + if self.row.is_none() { OF_KEY } else { 0 }
    }

    fn __repr__(&self) -> String {
        format!("<KeptKey of generation {}>", self.generation)
    }
}

impl std::fmt::Debug for KeptKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeptKey")
    }
}

impl KeptKey {
    /// A key that is made of these bytes if it is ever asked for.
    pub(super) fn of_row(
        digest: Digest,
        row: &[u8],
        decode: Py<PyAny>,
        believed: Believed,
    ) -> Self {
        let Believed { fresh_until, stale_until, generation } = believed;
        let row = Row { bytes: row.into(), decode: DroppedGuarded::new(decode) };
        let key = DroppedGuarded::new(PyOnceLock::new());
        Self { digest, row: Some(row), key, fresh_until, stale_until, generation }
    }

    /// Whether what was kept before is the same key. Then takes it over, so that those who have it
    /// and those who get it have one object.
    pub(super) fn take_over(&self, py: Python<'_>, before: &Self) -> bool {
        let known = before.key.get(py);
        let is_same = match (&self.row, &before.row, known) {
            (Some(row), Some(before), _) => row.bytes == before.bytes,
            // One that was asked for by itself came as something else than bytes.
            (Some(row), None, Some(known)) => {
                let key = row.key(py);
                key.is_ok_and(|key| key.bind(py).eq(known.bind(py)).unwrap_or(false))
            }
            _ => false,
        };
        if is_same && let Some(known) = known {
            let _ = self.key.set(py, known.clone_ref(py));
        }
        is_same
    }

    /// Whether it is kept under this digest, and answers at this moment.
    #[inline]
    pub(super) fn answers(&self, digest: &Digest, now: f64) -> bool {
        is_same(digest, &self.digest) && now < self.fresh_until
    }

    /// The generation it is of.
    pub(super) fn is_older_than(&self, generation: u64) -> bool {
        self.generation < generation
    }

    /// Bytes it takes, without a key that was made of it.
    pub(super) fn bytes(&self) -> usize {
        const OBJECT: usize = 16;
        OBJECT + size_of::<Self>() + self.row.as_ref().map_or(0, |row| row.bytes.len())
    }
}
