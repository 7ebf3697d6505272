//! The lookups a service makes on every request, and the store, as raw C functions ([`super::raw`]
//! says why and on what their unsafe blocks rely).
#![allow(
    unsafe_code,
    reason = "raw entry points of the hot path; every block says why it is sound"
)]

use super::cache::{self, CacheCore};
use super::function::CachedCalls;
use super::hot_docs::*;
use super::inner::{About, Inner};
use super::key;
use super::lookup::{self, Otherwise};
use super::pair::pair;
use super::raw::{Argument, Call, Methods, Raised, entered, guard, method, put_on};
use super::{text, typed};
use crate::engine::keys::{self, KeyKind, Life};
use crate::invalidation::slots::SlotList;
use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

/// Runs `then` with the bytes of a key, without a copy for a text of ASCII characters.
#[inline(always)]
fn with_key<R>(
    key: Argument<'_, '_>,
    then: impl FnOnce(&[u8]) -> Result<R, Raised>,
) -> Result<R, Raised> {
    match key::ascii(key) {
        Some(bytes) if (1..=text::MOST_KEY_BYTES).contains(&bytes.len()) => then(bytes),
        _ => with_unusual_key(key, then),
    }
}

#[cold]
fn with_unusual_key<R>(
    key: Argument<'_, '_>,
    then: impl FnOnce(&[u8]) -> Result<R, Raised>,
) -> Result<R, Raised> {
    then(&text::key(&key)?)
}

/// The value of a key that could not be recalled. `None`: a miss.
#[inline(always)]
fn find<'py>(inner: &Inner, key: Argument<'_, 'py>) -> Result<Option<Bound<'py, PyAny>>, Raised> {
    with_key(key, |bytes| {
        let mut otherwise = Otherwise::Miss;
        let found = lookup::look_text(inner, key, bytes, &mut otherwise);
        lookup::answer(key.py(), found, otherwise)
    })
}

/// A missing default is None.
fn or_none<'py>(py: Python<'py>, default: Option<Argument<'_, 'py>>) -> Bound<'py, PyAny> {
    default.map_or_else(|| py.None().into_bound(py), |default| default.to_owned())
}

/// The arguments of a lookup.
#[inline(always)]
fn key_and_default<'a, 'py>(
    call: &Call<'a, 'py>,
    function: &str,
) -> Result<(Argument<'a, 'py>, Option<Argument<'a, 'py>>), Raised> {
    if let Some([key]) = call.exactly() {
        return Ok((key, None));
    }
    if let Some([key, default]) = call.exactly() {
        return Ok((key, Some(default)));
    }
    let [key, default] = call.bind(function, &["key", "default"], 1, 2)?;
    Ok((key.ok_or(Raised)?, default))
}

/// None stands for an argument that was not given.
fn given<'a, 'py>(argument: Option<Argument<'a, 'py>>) -> Option<Argument<'a, 'py>> {
    argument.filter(|given| !given.is_none())
}

/// `get(key, default=None) -> (value, hit)`
unsafe extern "C" fn get(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, see `raw`.
    let (this, call) = unsafe { entered::<CacheCore>(slf, args, nargs, names) };
    let (py, inner) = (call.py, &this.get().inner);
    // First, and outside of what catches panics: nothing in it can panic.
    let recalled = call.exactly().map_or(lookup::NOTHING, |[key]| lookup::recall(inner, key));
    if !recalled.is_nothing() {
        return recalled.into_ptr(py, |value| pair(value, true));
    }
    guard(|| {
        let (key, default) = key_and_default(&call, "get")?;
        match find(inner, key)? {
            Some(value) => pair(value, true),
            None => pair(or_none(py, default), false),
        }
    })
}

/// `get_value(key, default=None) -> value`
unsafe extern "C" fn get_value(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, see `raw`.
    let (this, call) = unsafe { entered::<CacheCore>(slf, args, nargs, names) };
    let (py, inner) = (call.py, &this.get().inner);
    // As in `get`.
    let recalled = call.exactly().map_or(lookup::NOTHING, |[key]| lookup::recall(inner, key));
    if !recalled.is_nothing() {
        return recalled.into_ptr(py, Ok);
    }
    guard(|| {
        let (key, default) = key_and_default(&call, "get_value")?;
        match find(inner, key)? {
            Some(value) => Ok(value),
            None => Ok(or_none(py, default)),
        }
    })
}

/// `set(key, value, ttl=None, tags=None, priority=1, *, stamp=None, permissive=True) -> bool`
unsafe extern "C" fn set(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, see `raw`.
    let (this, call) = unsafe { entered::<CacheCore>(slf, args, nargs, names) };
    let (py, inner) = (call.py, &this.get().inner);
    guard(|| {
        const PARAMETERS: [&str; 7] =
            ["key", "value", "ttl", "tags", "priority", "stamp", "permissive"];
        let [key, value, ttl, tags, priority, stamp, permissive] = match call.exactly() {
            Some([key, value, ttl]) => [Some(key), Some(value), Some(ttl), None, None, None, None],
            None => match call.exactly() {
                Some([key, value, ttl, tags]) => {
                    [Some(key), Some(value), Some(ttl), Some(tags), None, None, None]
                }
                None => call.bind("set", &PARAMETERS, 2, 5)?,
            },
        };
        let (key, value) = (key.ok_or(Raised)?, value.ok_or(Raised)?);
        let stamp = match given(stamp) {
            Some(stamp) => inner.checked_stamp(Some(cache::stamp(&stamp)?))?,
            None => inner.store.snapshot(),
        };
        let ttl = match given(ttl) {
            Some(ttl) => inner.life(Some(ttl.extract()?), Life::Default)?,
            None => inner.life(None, Life::Default)?,
        };
        let priority = match priority {
            Some(priority) => cache::checked_priority(cache::number(&priority)?)?,
            None => 1,
        };
        let permissive = match permissive {
            Some(permissive) => permissive.extract()?,
            None => true,
        };
        let stored = with_key(key, |bytes| {
            let mut slots = SlotList::new();
            if let Some(tags) = given(tags) {
                text::push_named_slots(&tags, inner.store.tag_names(), &mut slots)?;
            }
            Ok(inner.store_text(
                key,
                bytes,
                value,
                &About { ttl, priority, stamp, tag_slots: slots, permissive },
            )?)
        })?;
        Ok(PyBool::new(py, stored).to_owned().into_any())
    })
}

/// `get_user_profile(user_id) -> (value, hit)` and its seven sisters.
unsafe extern "C" fn get_typed<const KIND: usize>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, see `raw`.
    let (this, call) = unsafe { entered::<CacheCore>(slf, args, nargs, names) };
    let (py, inner) = (call.py, &this.get().inner);
    guard(|| {
        let kind = const { keys::KINDS[KIND] };
        let ids = match kind.ids.len() {
            1 => call.exactly().map(|[first]| [Some(first), None]),
            _ => call.exactly().map(|[first, second]| [Some(first), Some(second)]),
        };
        let ids = match ids {
            Some(ids) => ids,
            None => bind_ids(&call, kind)?,
        };
        match typed::find::<KIND>(inner, ids)? {
            Some(value) => pair(value, true),
            None => pair(or_none(py, None), false),
        }
    })
}

#[cold]
fn bind_ids<'a, 'py>(
    call: &Call<'a, 'py>,
    kind: &KeyKind,
) -> PyResult<[Option<Argument<'a, 'py>>; 2]> {
    let (parameters, count) = (typed::parameters(kind), kind.ids.len());
    call.bind(kind.name, &parameters[..count], count, count)
}

/// `CachedCalls.probe(args, kwargs)`: what a decorated coroutine function asks first.
unsafe extern "C" fn probe(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, see `raw`.
    let (calls, call) = unsafe { entered::<CachedCalls>(slf, args, nargs, names) };
    let py = call.py;
    guard(|| {
        let [args, kwargs] = call.bind("probe", &["args", "kwargs"], 1, 2)?;
        let args = or_none(py, args);
        let kwargs = kwargs.as_ref().map(|kwargs| kwargs.cast::<PyDict>()).transpose();
        let kwargs = kwargs.map_err(PyErr::from)?;
        let calls = calls.get();
        let args = args.cast::<PyTuple>().map_err(PyErr::from)?;
        let found = calls.find(py, args, kwargs.as_deref())?;
        Ok(found.unwrap_or_else(|| calls.miss(py)))
    })
}

static METHODS: Methods<11> = Methods([
    method(c"get", get, GET_DOC),
    method(c"get_value", get_value, GET_VALUE_DOC),
    method(c"set", set, SET_DOC),
    method(c"get_user_profile", get_typed::<0>, GET_USER_PROFILE_DOC),
    method(c"get_user_permissions", get_typed::<1>, GET_USER_PERMISSIONS_DOC),
    method(c"get_generation_access", get_typed::<2>, GET_GENERATION_ACCESS_DOC),
    method(c"get_project_access", get_typed::<3>, GET_PROJECT_ACCESS_DOC),
    method(c"get_team_role", get_typed::<4>, GET_TEAM_ROLE_DOC),
    method(c"get_uuid_validation", get_typed::<5>, GET_UUID_VALIDATION_DOC),
    method(c"get_session_data", get_typed::<6>, GET_SESSION_DATA_DOC),
    method(c"get_rate_limit", get_typed::<7>, GET_RATE_LIMIT_DOC),
]);

static CALL_METHODS: Methods<1> = Methods([method(c"probe", probe, PROBE_DOC)]);

/// Puts the raw methods on their classes.
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    // SAFETY: attached, so there is a current interpreter, and a main one.
    let main = unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() };
    if !main {
        return Err(PyImportError::new_err(
            "velro_cache does not work in sub-interpreters; use processes or threads",
        ));
    }
    METHODS.0.iter().try_for_each(|method| put_on(&py.get_type::<CacheCore>(), method))?;
    CALL_METHODS.0.iter().try_for_each(|method| put_on(&py.get_type::<CachedCalls>(), method))
}
