//! From a key to the object a caller gets.
//!
//! Everything here may be called where PyO3 does not know that we are attached; see
//! [`super::raw`].
#![allow(unsafe_code, reason = "takes references under a lock; every block says why it is sound")]

use super::exit_guard::ExitGuard;
use super::inner::{Inner, Left, stopped_error};
use super::key;
use super::memo::Hint;
use super::nested;
use super::raw::{Argument, Raised};
use super::value::CachedValue;
use crate::engine::{Place, StoredKey as _};
use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::Cell;
use std::ptr;

/// What a lookup found if not simply an object to hand out.
#[derive(Default)]
pub(super) enum Otherwise {
    /// A miss.
    #[default]
    Miss,
    /// A miss, and an outdated entry that has left and is to be dropped.
    Outdated(Left),
    /// A hit on a value of which a copy must be built.
    ToBuild(CachedValue),
    /// The cache was stopped.
    Stopped,
    /// It could not be told whose loader runs here; an exception is set that says why.
    Failed,
}

/// What a lookup found.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// A new reference, or null; then [`Otherwise`] says what there is.
    object: *mut ffi::PyObject,
    /// Whether it is a dict of which the caller must get a copy.
    is_master: bool,
}

/// Nothing.
pub(super) const NOTHING: Found = Found { object: ptr::null_mut(), is_master: false };

impl Found {
    #[inline(always)]
    pub(super) fn is_nothing(self) -> bool {
        self.object.is_null()
    }

    /// The object for the caller; `None` for nothing.
    ///
    /// To be called once, with no lock held: copying may run Python code.
    #[inline(always)]
    pub(super) fn take<'py>(self, py: Python<'py>) -> Option<Result<Bound<'py, PyAny>, Raised>> {
        // SAFETY: null, or the new reference made in `hand_out`.
        let object = unsafe { Bound::from_owned_ptr_or_opt(py, self.object) }?;
        if !self.is_master {
            return Some(Ok(object));
        }
        // Comparing keys, and up to CPython 3.11 the collector, may run code of the caller's.
        let _guard = ExitGuard::hold();
        // SAFETY: masters are dicts; the copy is a new reference, or null with an exception set.
        let copy = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyDict_Copy(object.as_ptr())) };
        Some(copy.ok_or(Raised))
    }

    /// As the result of a raw method; not to be called on nothing.
    #[inline(always)]
    pub(super) fn into_ptr<'py>(
        self,
        py: Python<'py>,
        then: impl FnOnce(Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>, Raised>,
    ) -> *mut ffi::PyObject {
        let answer = self.take(py).map(|taken| taken.and_then(then));
        answer.and_then(Result::ok).map_or(ptr::null_mut(), Bound::into_ptr)
    }
}

/// Takes a reference to what a row holds. Called under its lock; runs no Python code.
#[inline(always)]
fn hand_out(py: Python<'_>, value: &CachedValue, other: &Cell<Option<Otherwise>>) -> Found {
    let (object, is_master) = match value {
        CachedValue::Shared(object) => (object.as_ptr(), false),
        CachedValue::FlatDict(master) => (master.as_ptr(), true),
        value => {
            other.set(Some(Otherwise::ToBuild(value.clone_ref(py))));
            return NOTHING;
        }
    };
    // SAFETY: the table holds a reference, and we hold its lock, so the object is alive; we are
    // attached.
    unsafe { ffi::Py_INCREF(object) };
    Found { object, is_master }
}

#[inline(always)]
fn missed(inner: &Inner, outdated: Option<Left>, other: &Cell<Option<Otherwise>>) -> Found {
    other.set(match outdated {
        Some(entry) => Some(Otherwise::Outdated(entry)),
        // A stopped store is empty, so a hit need not ask.
        None => inner.is_stopped().then_some(Otherwise::Stopped),
    });
    NOTHING
}

/// Looks a text up that was asked for before, by its address alone. Nothing found means nothing:
/// [`look_text`] will tell.
#[inline(always)]
pub(super) fn recall(inner: &Inner, text: Argument<'_, '_>) -> Found {
    let object = text.as_ptr();
    let place = inner.texts.place_of(Hint::of_text(object));
    // Asked once on every way: who finds nothing here asks again in `look_text`.
    if place == Place::NOWHERE || (nested::is_any_loader() && nested::is_in_loader(text.py())) {
        return NOTHING;
    }
    let other = Cell::new(None);
    let found = inner.store.get_at(
        place,
        |key, value| key.is(object) && value.is_one_object(),
        |value| hand_out(text.py(), value, &other),
    );
    found.unwrap_or(NOTHING)
}

/// Looks up a key that is not there in one piece, by where it was. `is_it` compares a key with
/// it. Nothing found means nothing: [`look_composite`] will tell.
#[inline(always)]
pub(super) fn recall_composite(
    py: Python<'_>,
    inner: &Inner,
    hint: Hint,
    is_it: impl FnOnce(&[u8]) -> bool,
) -> Found {
    let place = inner.composites.place_of(hint);
    if place == Place::NOWHERE || (nested::is_any_loader() && nested::is_in_loader(py)) {
        return NOTHING;
    }
    let other = Cell::new(None);
    let found = inner.store.get_at(
        place,
        |key, value| value.is_one_object() && is_it(key.bytes()),
        |value| hand_out(py, value, &other),
    );
    found.unwrap_or(NOTHING)
}

/// What a key stands for, if it can be handed out at once; then it was counted as a hit. `None` says
/// nothing and counted nothing: a lookup of the usual kind will tell.
#[inline]
pub(super) fn recall_key<'py>(
    py: Python<'py>,
    inner: &Inner,
    hint: Hint,
    key: &[u8],
) -> Option<Bound<'py, PyAny>> {
    let is_it = |kept: &[u8]| kept == key;
    let mut found = recall_composite(py, inner, hint, is_it);
    if found.is_nothing() {
        let place = inner.store.place_of(key);
        if place == Place::NOWHERE {
            return None;
        }
        inner.composites.remember(hint, place);
        found = recall_composite(py, inner, hint, is_it);
    }
    match found.take(py)? {
        Ok(value) => Some(value),
        Err(Raised) => {
            drop(PyErr::take(py));
            None
        }
    }
}

/// Looks a key up, and remembers under `hint` where it was.
#[inline]
pub(super) fn look_composite(
    py: Python<'_>,
    inner: &Inner,
    key: &[u8],
    hint: Option<Hint>,
    otherwise: &mut Otherwise,
) -> Found {
    if nested::is_any_loader()
        && let Some(found) = look_nested(py, inner, key, otherwise)
    {
        return found;
    }
    let (other, found_at) = (Cell::new(None), Cell::new(None));
    let found = inner.store.get_with(
        key,
        |place, _, value| {
            found_at.set(Some(place));
            hand_out(py, value, &other)
        },
        |outdated| missed(inner, outdated, &other),
    );
    if let Some(other) = other.take() {
        *otherwise = other;
    }
    if let (Some(hint), Some(place)) = (hint, found_at.get()) {
        inner.composites.remember(hint, place);
    }
    found
}

/// Looks a text up, and remembers where it was if it is likely to be asked for again.
#[inline(always)]
pub(super) fn look_text(
    inner: &Inner,
    text: Argument<'_, '_>,
    key: &[u8],
    otherwise: &mut Otherwise,
) -> Found {
    if nested::is_any_loader()
        && let Some(found) = look_nested(text.py(), inner, key, otherwise)
    {
        return found;
    }
    let (py, other, remember) = (text.py(), Cell::new(None), Cell::new(None));
    let found = inner.store.get_with(
        key,
        |place, kept, value| {
            if key::is_held_elsewhere(text) && inner.should_keep(kept, text) {
                remember.set(Some(place));
            }
            hand_out(py, value, &other)
        },
        |outdated| missed(inner, outdated, &other),
    );
    if let Some(other) = other.take() {
        *otherwise = other;
    }
    if let Some(place) = remember.get() {
        inner.keep(text, place);
    }
    found
}

/// Looks a key up for a loader, which is told what the value rests on. `None`: no loader runs
/// here.
#[cold]
#[inline(never)]
fn look_nested(
    py: Python<'_>,
    inner: &Inner,
    key: &[u8],
    otherwise: &mut Otherwise,
) -> Option<Found> {
    let collector = match nested::current(py) {
        Ok(collector) => collector?,
        Err(error) => {
            error.restore(py);
            *otherwise = Otherwise::Failed;
            return Some(NOTHING);
        }
    };
    let other = Cell::new(None);
    let (found, basis) = inner.store.get_with_basis(
        key,
        |_, _, value| hand_out(py, value, &other),
        |outdated| missed(inner, outdated, &other),
    );
    if let Some(other) = other.take() {
        *otherwise = other;
    }
    if let Some(basis) = basis {
        collector.note(inner, &basis, None);
    }
    Some(found)
}

/// The answer, for callers that hold no lock. `None`: a miss.
#[inline(always)]
pub(super) fn answer<'py>(
    py: Python<'py>,
    found: Found,
    otherwise: Otherwise,
) -> Result<Option<Bound<'py, PyAny>>, Raised> {
    match found.take(py) {
        Some(value) => value.map(Some),
        None => Ok(answer_otherwise(py, otherwise)?),
    }
}

#[inline(never)]
fn answer_otherwise(py: Python<'_>, otherwise: Otherwise) -> PyResult<Option<Bound<'_, PyAny>>> {
    match otherwise {
        Otherwise::Miss => Ok(None),
        Otherwise::Outdated((key, value)) => {
            key.release(py);
            value.release(py);
            Ok(None)
        }
        Otherwise::ToBuild(value) => {
            let _guard = ExitGuard::hold();
            Python::attach(|_| value.into_python(py)).map(Some)
        }
        Otherwise::Stopped => Err(stopped_error()),
        Otherwise::Failed => Err(PyErr::fetch(py)),
    }
}

/// Looks a key up and answers. `None`: a miss.
#[inline(always)]
pub(super) fn find<'py>(
    py: Python<'py>,
    inner: &Inner,
    key: &[u8],
) -> Result<Option<Bound<'py, PyAny>>, Raised> {
    let mut otherwise = Otherwise::Miss;
    let found = look_composite(py, inner, key, None, &mut otherwise);
    answer(py, found, otherwise)
}
