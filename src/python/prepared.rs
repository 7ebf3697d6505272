//! An entry whose value is being loaded.
//!
//! Everything else about it is checked before the load begins, so that a misspelt tag does not
//! cost a database trip and a load never ends in an error about its key. The loaded value is
//! frozen once; the cache keeps it, and everybody who waited for the load gets a copy.

use super::cache::CacheCore;
use super::exit_guard::{DroppedGuarded, ExitGuard};
use super::inner::{About, Inner, Seconds};
use super::loads::Ticket;
use super::value::CachedValue;
use crate::engine::clock::Millis;
use crate::engine::keys::Life;
use crate::invalidation::Stamp;
use crate::invalidation::slots::SlotList;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

/// An entry without its value.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct PreparedEntry {
    pub(super) cache: DroppedGuarded<Py<CacheCore>>,
    pub(super) ticket: Ticket,
    pub(super) ttl: Millis,
    pub(super) priority: u8,
    pub(super) tag_slots: SlotList,
}

impl PreparedEntry {
    fn inner(&self) -> &Inner {
        &self.cache.get().inner
    }
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
        slf: &Bound<'_, Self>,
        value: &Bound<'_, PyAny>,
        stamp: Stamp,
        ttl: Option<Seconds>,
    ) -> PyResult<LoadedValue> {
        let _guard = ExitGuard::hold();
        let entry = slf.get();
        let ttl = match ttl {
            Some(_) => entry.inner().life(ttl, Life::Default)?,
            None => entry.ttl,
        };
        let frozen = entry.inner().freeze(value)?;
        let copy = frozen.value.clone_ref(slf.py());
        if entry.ticket.is_valid() {
            let key = entry.ticket.key();
            let tag_slots = entry.tag_slots.clone();
            let about = About { ttl, priority: entry.priority, stamp, tag_slots };
            entry.inner().store_frozen(slf.py(), key, frozen, &about)?;
            // Something newer may have been set between the question and the answer.
            if !entry.ticket.is_valid() {
                drop(entry.inner().store.delete(key));
            }
        }
        Ok(LoadedValue::new(slf, copy, stamp))
    }

    /// Remove what the cache holds under this key: a load has found that nothing should be kept.
    fn discard(&self) {
        if self.ticket.is_valid() {
            let _guard = ExitGuard::hold();
            drop(self.inner().store.delete(self.ticket.key()));
        }
    }

    /// Freeze the value without storing it, for those who wait for it.
    ///
    /// Args:
    ///     value: What was loaded.
    ///     stamp: What `snapshot()` returned before the load began.
    fn pass_on(
        slf: &Bound<'_, Self>,
        value: &Bound<'_, PyAny>,
        stamp: Stamp,
    ) -> PyResult<LoadedValue> {
        let _guard = ExitGuard::hold();
        let value = slf.get().inner().freeze(value)?.value;
        Ok(LoadedValue::new(slf, value, stamp))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.cache)
    }
}

/// A loaded value, of which everybody who waited gets a copy of its own.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct LoadedValue {
    value: DroppedGuarded<CachedValue>,
    entry: DroppedGuarded<Py<PreparedEntry>>,
    stamp: Stamp,
}

impl LoadedValue {
    fn new(entry: &Bound<'_, PreparedEntry>, value: CachedValue, stamp: Stamp) -> Self {
        let entry = DroppedGuarded::new(entry.clone().unbind());
        Self { value: DroppedGuarded::new(value), entry, stamp }
    }
}

#[pymethods]
impl LoadedValue {
    /// Make a copy for one caller.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let _guard = ExitGuard::hold();
        self.value.clone_ref(py).into_python(py)
    }

    /// Whether nothing it depends on was invalidated since its load began, as of now. Only then
    /// may it be given to somebody who asked after an invalidation.
    #[getter]
    fn is_current(&self) -> bool {
        let entry = self.entry.get();
        entry.inner().store.is_current(entry.ticket.key(), &entry.tag_slots, self.stamp)
    }

    /// Whether something newer was set since its load began. Then it may be given to nobody but
    /// the caller whose load it was.
    #[getter]
    fn is_superseded(&self) -> bool {
        !self.entry.get().ticket.is_valid()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.entry)?;
        self.value.traverse(&visit)
    }
}
