//! An entry whose value is being loaded.
//!
//! Everything else about it is checked before the load begins, so that a misspelt tag does not
//! cost a database trip and a load never ends in an error about its key. The loaded value is
//! frozen once; the cache keeps it, and everybody who waited for the load gets a copy.

use super::cache::CacheCore;
use super::exit_guard::{DroppedGuarded, ExitGuard};
use super::inner::{About, Inner, Seconds, ValueStore};
use super::loads::Ticket;
use super::nested::{self, Collector, Heritage, Obstacle};
use super::value::CachedValue;
use crate::engine::clock::Millis;
use crate::engine::keys::Life;
use crate::engine::{Basis, Outcome};
use crate::invalidation::Stamp;
use crate::invalidation::slots::SlotList;
use crate::sync::Mutex;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;

/// An entry without its value.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct PreparedEntry {
    pub(super) cache: DroppedGuarded<Py<CacheCore>>,
    pub(super) ticket: Ticket,
    pub(super) ttl: Millis,
    pub(super) priority: u8,
    /// For how long past its end the value is kept, if it allows nothing.
    pub(super) grace: Millis,
    pub(super) tag_slots: SlotList,
    /// That of the loader, once it runs.
    pub(super) collector: Mutex<Option<Arc<Collector>>>,
}

impl Drop for PreparedEntry {
    fn drop(&mut self) {
        self.end_collecting();
    }
}

impl PreparedEntry {
    fn inner(&self) -> &Inner {
        &self.cache.get().inner
    }

    fn heritage(&self) -> Heritage {
        let collector = self.collector.lock().clone();
        collector.map_or_else(Heritage::none, |collector| collector.heritage())
    }

    /// Whatever the loader started is none of its business any more.
    fn end_collecting(&self) {
        if let Some(collector) = &*self.collector.lock() {
            collector.end();
        }
    }

    /// Removes what is there already if the new value cannot take its place.
    fn discard_older(&self) {
        // Held, and not only served: without news from the log, an allow is neither and still here.
        if self.inner().store.holds(self.ticket.key()) {
            drop(self.inner().store.delete(self.ticket.key()));
        }
    }

    /// What a result inherits that is made of the value of this entry.
    fn basis(&self, stamp: Stamp, heritage: &Heritage, deadline: Millis) -> Basis {
        let mut basis = ValueStore::basis_of(self.ticket.key(), &self.tag_slots, stamp, deadline);
        basis.slots.extend_from_slice(&heritage.basis.slots);
        basis.keys.extend_from_slice(&heritage.basis.keys);
        basis
    }
}

#[pymethods]
impl PreparedEntry {
    /// Has what runs in this context from here on count as the loader of this entry: what it looks
    /// up, the value depends on.
    ///
    /// Returns:
    ///     What :meth:`end_loading` is to be given, in the same context.
    fn begin_loading<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner().loads.count_loader();
        let (collector, token) = nested::enter(py, self.inner())?;
        let before = self.collector.lock().replace(collector);
        if let Some(before) = before {
            before.end();
        }
        Ok(token)
    }

    /// The loader has ended.
    fn end_loading(&self, token: &Bound<'_, PyAny>) -> PyResult<()> {
        let _guard = ExitGuard::hold();
        self.end_collecting();
        nested::leave(token.py(), token)
    }

    /// The loader has failed, and the loader that runs here is told so: what it makes of that
    /// depends on what the failed one has looked up.
    ///
    /// Args:
    ///     stamp: What `snapshot()` returned before the load began.
    fn hand_on(&self, py: Python<'_>, stamp: Stamp) -> PyResult<()> {
        if nested::is_any_loader()
            && let Some(collector) = nested::current(py)?
        {
            let heritage = self.heritage();
            let basis = self.basis(stamp, &heritage, heritage.basis.deadline);
            collector.note(self.inner(), &basis, heritage.obstacle);
        }
        Ok(())
    }

    /// Store the value.
    ///
    /// Args:
    ///     value: What was loaded.
    ///     stamp: What `snapshot()` returned before the load began.
    ///     ttl: Life in seconds, instead of the one given before; None: that one.
    ///     permissive: Whether the value allows something.
    ///
    /// Returns:
    ///     The value for everybody who waits for it, and what became of it in the cache.
    #[pyo3(signature = (value, stamp, ttl=None, permissive=true))]
    fn store(
        slf: &Bound<'_, Self>,
        value: &Bound<'_, PyAny>,
        stamp: Stamp,
        ttl: Option<Seconds>,
        permissive: bool,
    ) -> PyResult<LoadedValue> {
        let _guard = ExitGuard::hold();
        let entry = slf.get();
        let ttl = match ttl {
            Some(_) => entry.inner().life(ttl, Life::Default)?,
            None => entry.ttl,
        };
        let inner = entry.inner();
        let frozen = inner.freeze(value)?;
        let heritage = entry.heritage();
        let deadline = inner.store.deadline(ttl).min(heritage.basis.deadline);
        let copy = frozen.value.clone_ref(slf.py());
        if entry.ticket.is_valid() {
            let key = entry.ticket.key();
            let tag_slots = entry.tag_slots.clone();
            let about = About { ttl, priority: entry.priority, stamp, tag_slots, permissive };
            match heritage.obstacle {
                // What is made of others ends with them, and some of them may allow something.
                None if heritage.is_none() && entry.grace > 0 && !permissive => {
                    inner.store_lasting(slf.py(), key, frozen, &about, entry.grace)?
                }
                None if heritage.is_none() => inner.store_frozen(slf.py(), key, frozen, &about)?,
                None => inner.store_made_of(slf.py(), key, frozen, &about, &heritage.basis)?,
                Some(why) => {
                    inner.check_open()?;
                    inner.refusals.count(why);
                    entry.discard_older();
                    Outcome::Stale
                }
            };
            // Something newer may have been set between the question and the answer.
            if !entry.ticket.is_valid() {
                drop(inner.store.delete(key));
            }
        }
        Ok(LoadedValue::new(slf, copy, stamp, heritage, deadline))
    }

    /// Remove what the cache holds under this key: a load has found that nothing should be kept.
    ///
    /// Where this process holds nothing, nothing is invalidated, unless ``everywhere``: names share
    /// slots, so that whoever makes up keys would bring down entries of others.
    ///
    /// Args:
    ///     everywhere: Whether other processes must not serve what they hold either.
    fn discard(&self, everywhere: bool) {
        let store = &self.inner().store;
        if self.ticket.is_valid() && (everywhere || store.holds(self.ticket.key())) {
            let _guard = ExitGuard::hold();
            drop(store.delete(self.ticket.key()));
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
        let entry = slf.get();
        let value = entry.inner().freeze(value)?.value;
        let mut heritage = entry.heritage();
        // What is not kept, nothing that is made of it may be.
        heritage.obstacle = heritage.obstacle.or(Some(Obstacle::Ended));
        let deadline = heritage.basis.deadline;
        Ok(LoadedValue::new(slf, value, stamp, heritage, deadline))
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
    /// What its loader looked up.
    heritage: Heritage,
    /// Its own end.
    deadline: Millis,
}

impl LoadedValue {
    fn new(
        entry: &Bound<'_, PreparedEntry>,
        value: CachedValue,
        stamp: Stamp,
        heritage: Heritage,
        deadline: Millis,
    ) -> Self {
        let entry = DroppedGuarded::new(entry.clone().unbind());
        Self { value: DroppedGuarded::new(value), entry, stamp, heritage, deadline }
    }
}

#[pymethods]
impl LoadedValue {
    /// Make a copy for one caller, and tell the loader that runs here, if any, what it rests on.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let _guard = ExitGuard::hold();
        if nested::is_any_loader()
            && let Some(collector) = nested::current(py)?
        {
            let entry = self.entry.get();
            let basis = entry.basis(self.stamp, &self.heritage, self.deadline);
            // Older than what was set by hand.
            let superseded = (!entry.ticket.is_valid()).then_some(Obstacle::Ended);
            collector.note(entry.inner(), &basis, self.heritage.obstacle.or(superseded));
        }
        self.value.clone_ref(py).into_python(py)
    }

    /// Whether nothing it depends on was invalidated since its load began, as of now. Only then
    /// may it be given to somebody who asked after an invalidation.
    #[getter]
    fn is_current(&self) -> bool {
        let entry = self.entry.get();
        let store = &entry.inner().store;
        store.is_current(entry.ticket.key(), &entry.tag_slots, self.stamp)
            && self.heritage.basis.holds(store.table())
    }

    /// Whether this host knows of everything that was invalidated elsewhere, but for the last
    /// moments; then `is_current` says everything there is to say.
    #[getter]
    fn is_vouched_for(&self) -> bool {
        self.entry.get().inner().bus.vouches()
    }

    /// Whether it was made of values of other entries, so that its own tags do not say everything
    /// it depends on.
    #[getter]
    fn is_made_of_others(&self) -> bool {
        !self.heritage.is_none()
    }

    /// Whether nobody can tell if something it depends on was invalidated: that is known to
    /// another cache alone. Then it may be given to nobody but the caller whose load it was.
    #[getter]
    fn is_unfollowed(&self) -> bool {
        self.heritage.obstacle == Some(Obstacle::OtherTable)
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
