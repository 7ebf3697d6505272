//! What a loader looks up, its result rests on.
//!
//! While a loader runs, a context variable names its [`Collector`]; every cached value that is
//! handed out there (by a lookup, or by a load that was waited for) notes there what it depends on.
//! The result is stored with all of it, so that whoever invalidates the one invalidates the other.
//! Tasks and threads that a loader starts inherit its context; one that outlives it notes in vain.
//!
//! A lookup while no loader runs anywhere in the process pays one relaxed read for this.
#![allow(unsafe_code, reason = "reads a context variable; every block says why it is sound")]

use super::inner::Inner;
use crate::engine::clock::{Clock, Millis};
use crate::engine::{Basis, InheritedKey};
use crate::invalidation::{InvalidationTable, Slot, Stamp};
use crate::sync::Mutex;
use ahash::AHashMap;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use serde::Serialize;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots, and keys, that a result may inherit. Each is looked at whenever it is checked anew.
const MOST_INHERITED: usize = 256;

/// Loaders under way in this process.
static LOADERS: AtomicU32 = AtomicU32::new(0);

/// Counts forks on the way to this process; its parent's loaders are none of its own.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The context variable. Holds a [`LoaderContext`], always.
static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Why a result cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// It rests on an entry of a cache with another table of invalidations.
    OtherTable,
    /// It rests on too many names.
    TooMany,
    /// It rests on a value that was not to be kept, or not for so long.
    Ended,
}

/// Results that were not stored, by why. One for each [`Obstacle`].
#[derive(Debug, Default)]
pub(super) struct Refusals([AtomicU64; 3]);

/// The same, to be shown.
#[derive(Debug, Serialize)]
pub(super) struct RefusalCounts {
    other_cache: u64,
    too_many_names: u64,
    not_kept: u64,
}

impl Refusals {
    pub(super) fn count(&self, why: Obstacle) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> RefusalCounts {
        let [other_cache, too_many_names, not_kept] =
            self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        RefusalCounts { other_cache, too_many_names, not_kept }
    }
}

/// What a loader has looked up so far.
#[derive(Debug)]
pub(super) struct Collector {
    table: Arc<InvalidationTable>,
    clock: Clock,
    /// The loader within which this one runs.
    outer: Option<Arc<Self>>,
    generation: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    has_ended: bool,
    slots: AHashMap<Slot, Stamp>,
    /// Keys with their stamps, and the clock when they were last compared with wildcards.
    keys: AHashMap<Box<[u8]>, (Stamp, Stamp)>,
    deadline: Millis,
    obstacle: Option<Obstacle>,
}

/// What a loaded value inherits from what its loader looked up.
#[derive(Debug, Clone)]
pub(super) struct Heritage {
    /// Slots with their stamps, and the earliest end.
    pub(super) basis: Arc<Basis>,
    /// Why what was made of it cannot be stored, if so.
    pub(super) obstacle: Option<Obstacle>,
}

impl Heritage {
    /// That of a value whose loader looked nothing up.
    pub(super) fn none() -> Self {
        let basis = Basis { deadline: Millis::MAX, ..Basis::default() };
        Self { basis: Arc::new(basis), obstacle: None }
    }

    /// Whether its loader looked nothing up.
    pub(super) fn is_none(&self) -> bool {
        self.basis.slots.is_empty() && self.obstacle.is_none()
    }
}

impl Collector {
    fn begin(inner: &Inner, outer: Option<Arc<Self>>) -> Arc<Self> {
        LOADERS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            table: Arc::clone(inner.store.table()),
            clock: inner.store.clock().clone(),
            outer,
            generation: GENERATION.load(Ordering::Relaxed),
            state: Mutex::new(State {
                has_ended: false,
                slots: AHashMap::new(),
                keys: AHashMap::new(),
                deadline: Millis::MAX,
                obstacle: None,
            }),
        })
    }

    /// Takes no more notes. Without effect if it has ended before.
    pub(super) fn end(&self) {
        let had_ended = std::mem::replace(&mut self.state.lock().has_ended, true);
        if !had_ended && self.is_of_this_process() {
            LOADERS.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn is_of_this_process(&self) -> bool {
        self.generation == GENERATION.load(Ordering::Relaxed)
    }

    /// Notes that the loader was given a value of `inner` that rests on this.
    pub(super) fn note(&self, inner: &Inner, basis: &Basis, obstacle: Option<Obstacle>) {
        let is_other = !is_same(&self.table, inner.store.table());
        let mut state = self.state.lock();
        if is_other {
            // Its invalidations cannot be seen from here.
            state.obstacle = Some(Obstacle::OtherTable);
            return;
        }
        state.obstacle = state.obstacle.or(obstacle);
        let deadline = self.clock.translate(basis.deadline, inner.store.clock());
        state.deadline = state.deadline.min(deadline);
        state.note(basis);
    }

    /// Everything noted so far.
    pub(super) fn heritage(&self) -> Heritage {
        let state = self.state.lock();
        let obstacle = match state.obstacle {
            None if !self.is_of_this_process() => Some(Obstacle::Ended),
            None if state.deadline <= self.clock.now() => Some(Obstacle::Ended),
            obstacle => obstacle,
        };
        let slots = state.slots.iter().map(|(&slot, &stamp)| (slot, stamp)).collect();
        let keys = state.keys.iter().map(|(key, &(stamp, checked_at))| {
            let key = key.clone();
            InheritedKey { key, stamp, checked_at }
        });
        let basis = Basis { slots, keys: keys.collect(), deadline: state.deadline };
        Heritage { basis: Arc::new(basis), obstacle }
    }
}

impl State {
    fn note(&mut self, basis: &Basis) {
        if self.obstacle == Some(Obstacle::TooMany) {
            return;
        }
        for &(slot, stamp) in &basis.slots {
            let oldest = self.slots.entry(slot).or_insert(stamp);
            *oldest = stamp.min(*oldest);
        }
        for InheritedKey { key, stamp, checked_at } in &basis.keys {
            match self.keys.get_mut(key) {
                Some((oldest, earliest)) => {
                    (*oldest, *earliest) = (*stamp.min(oldest), *checked_at.min(earliest));
                }
                None => _ = self.keys.insert(key.clone(), (*stamp, *checked_at)),
            }
        }
        if self.slots.len().max(self.keys.len()) > MOST_INHERITED {
            self.obstacle = self.obstacle.or(Some(Obstacle::TooMany));
        }
    }
}

/// Whether what is invalidated in one table is invalidated in the other.
fn is_same(one: &Arc<InvalidationTable>, other: &Arc<InvalidationTable>) -> bool {
    let identity = one.identity();
    Arc::ptr_eq(one, other) || (identity != 0 && identity == other.identity())
}

/// What the context variable holds.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
struct LoaderContext(Arc<Collector>);

/// Whether a loader runs anywhere in the process. A loader's own thread sees that it does, and so
/// do those that it has started.
#[inline(always)]
pub(super) fn is_any_loader() -> bool {
    LOADERS.load(Ordering::Relaxed) != 0
}

/// Whether what runs here is, or was started by, a loader. Runs no Python code.
#[cold]
#[inline(never)]
pub(super) fn is_in_loader(py: Python<'_>) -> bool {
    // An error is told by those who look again.
    match current(py) {
        Ok(collector) => collector.is_some(),
        Err(error) => {
            drop(error);
            true
        }
    }
}

/// The collector of the innermost loader that runs here and has not ended. Runs no Python code.
#[cold]
#[inline(never)]
pub(super) fn current(py: Python<'_>) -> PyResult<Option<Arc<Collector>>> {
    let Some(variable) = VARIABLE.get(py) else { return Ok(None) };
    let mut value = ptr::null_mut();
    // SAFETY: attached; a context variable, alive for ever; null: there is no default. `value`
    // becomes a new reference or null.
    let context = unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), ptr::null_mut(), &raw mut value) != 0 {
            return Err(PyErr::fetch(py));
        }
        // The context holds another reference, so that giving this one back ends nothing.
        Bound::from_owned_ptr_or_opt(py, value)
    };
    let Some(context) = context else { return Ok(None) };
    let mut collector = Some(&context.cast::<LoaderContext>()?.get().0);
    while let Some(one) = collector {
        if !one.state.lock().has_ended {
            return Ok(Some(Arc::clone(one)));
        }
        collector = one.outer.as_ref();
    }
    Ok(None)
}

/// Has what runs in this context from here on count as a loader of `inner`.
///
/// Returns its collector, and the token to be given to [`leave`].
pub(super) fn enter<'py>(
    py: Python<'py>,
    inner: &Inner,
) -> PyResult<(Arc<Collector>, Bound<'py, PyAny>)> {
    let variable = variable(py)?;
    let collector = Collector::begin(inner, current(py)?);
    let context = Bound::new(py, LoaderContext(Arc::clone(&collector)))
        .inspect_err(|_| collector.end())?
        .into_any();
    // SAFETY: attached; a context variable and an object. The result is a new reference, or null
    // with an exception set.
    let token = unsafe {
        let token = ffi::PyContextVar_Set(variable.as_ptr(), context.as_ptr());
        Bound::from_owned_ptr_or_err(py, token)
    };
    token.inspect_err(|_| collector.end()).map(|token| (collector, token))
}

/// Puts the context back to what it was before [`enter`].
pub(super) fn leave(py: Python<'_>, token: &Bound<'_, PyAny>) -> PyResult<()> {
    let variable = variable(py)?;
    // SAFETY: attached; a context variable, and any object: what is no token of it is refused.
    match unsafe { ffi::PyContextVar_Reset(variable.as_ptr(), token.as_ptr()) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(py)),
    }
}

fn variable(py: Python<'_>) -> PyResult<&Py<PyAny>> {
    VARIABLE.get_or_try_init(py, || {
        // SAFETY: attached; a text that ends with a zero, and no default. The result is a new
        // reference, or null with an exception set.
        unsafe {
            let name = c"velro_cache_loader".as_ptr();
            let variable = ffi::PyContextVar_New(name, ptr::null_mut());
            Ok(Bound::from_owned_ptr_or_err(py, variable)?.unbind())
        }
    })
}

/// Makes the context variable.
pub(super) fn init(py: Python<'_>) -> PyResult<()> {
    variable(py).map(|_| ())
}

/// Forget the loaders of the parent process; to be called in a forked child.
#[pyfunction]
pub(super) fn forget_loaders() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    LOADERS.store(0, Ordering::Relaxed);
}
