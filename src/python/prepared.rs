//! An entry whose value is being loaded.
//!
//! Everything else about it is checked before the load begins, so that a misspelt tag does not
//! cost a database trip and a load never ends in an error about its key. The loaded value is
//! frozen once; the cache keeps it, and everybody who waited for the load gets a copy.

use super::cache::Inner;
use super::value::CachedValue;
use crate::engine::Outcome;
use crate::engine::keys::Life;
use crate::invalidation::Stamp;
use crate::invalidation::slots::SlotList;
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// An entry without its value.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct PreparedEntry {
    pub(super) inner: Arc<Inner>,
    pub(super) key: Vec<u8>,
    pub(super) ttl: Duration,
    pub(super) priority: u8,
    pub(super) tag_slots: SlotList,
}

#[pymethods]
impl PreparedEntry {
    /// Store the value.
    ///
    /// Args:
    ///     value: What was loaded.
    ///     stamp: What `snapshot()` returned before the load began.
    ///     ttl: Life in seconds, instead of the one given before; None: that one.
    ///
    /// Returns:
    ///     The value for everybody who waits for it, and what became of it in the cache.
    #[pyo3(signature = (value, stamp, ttl=None))]
    fn store(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        stamp: Stamp,
        ttl: Option<f64>,
    ) -> PyResult<LoadedValue> {
        let ttl = match ttl {
            Some(_) => self.inner.life(ttl, Life::Default)?,
            None => self.ttl,
        };
        let frozen = self.inner.freeze(value)?;
        let copy = frozen.value.clone_ref(py);
        let outcome = self.inner.store_frozen(
            &self.key,
            frozen,
            ttl,
            self.priority,
            stamp,
            &self.tag_slots,
        )?;
        Ok(LoadedValue { value: copy, outcome: Some(outcome) })
    }

    /// Freeze the value without storing it, for those who wait for it.
    fn pass_on(&self, value: &Bound<'_, PyAny>) -> PyResult<LoadedValue> {
        Ok(LoadedValue { value: self.inner.freeze(value)?.value, outcome: None })
    }
}

/// A loaded value, of which everybody who waited gets a copy of its own.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct LoadedValue {
    value: CachedValue,
    outcome: Option<Outcome>,
}

#[pymethods]
impl LoadedValue {
    /// Make a copy for one caller.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.value.clone_ref(py).into_python(py)
    }

    /// Whether nothing it depends on had been invalidated when it was stored. False where that
    /// is not known.
    #[getter]
    fn is_current(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Stored | Outcome::TooLarge))
    }
}
