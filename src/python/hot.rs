//! The lookups a service makes on every request, as raw C functions.
//!
//! Half the time of a hit through an ordinary binding goes into taking the call apart. These
//! methods are therefore plain `METH_FASTCALL` functions put on the class when the module
//! starts; the interpreter calls them without building a tuple. They do the same as a method
//! written with `#[pymethods]` would, and nothing else in this crate is done this way.
//!
//! Unsafe code of the binding is here, in [`super::pair`] and in [`super::gil_lock`], and nowhere
//! else. What every block here relies on:
//!
//! * the interpreter calls these functions with the GIL (or, without one, attached), with `slf`
//!   an instance of the class they were put on, and with `nargs` arguments followed by as many
//!   as `kwnames` has names — the contract of `METH_FASTCALL | METH_KEYWORDS`;
//! * no panic may cross into C: [`guard`] turns one into an exception;
//! * PyO3 does not know that we are attached, so no `Py<T>` is dropped here (it would be put off,
//!   not lost): owned objects are `Bound`, and what must be dropped is dropped under `attach`.
#![allow(
    unsafe_code,
    reason = "raw entry points of the hot path; every block says why it is sound"
)]

use super::cache::CacheCore;
use super::function::CachedCalls;
use super::hot_docs::*;
use super::inner::{Inner, stopped_error};
use super::pair::pair;
use super::text;
use super::value::CachedValue;
use crate::engine::ids::Text;
use crate::engine::keys::{self, KeyKind};
use pyo3::exceptions::{PyImportError, PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::raw::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// What a lookup found if not simply an object to hand out.
#[derive(Default)]
pub(super) enum Otherwise {
    /// A miss.
    #[default]
    Miss,
    /// A miss, and an outdated value that has left and is to be dropped.
    Outdated(CachedValue),
    /// A hit on a value of which a copy must be built.
    ToBuild(CachedValue),
    /// The cache was stopped.
    Stopped,
}

/// A new reference to the value of a hit, or null; then `otherwise` says what there is.
pub(super) type Found = *mut ffi::PyObject;

/// Looks a key up. Runs no Python code, so it may be called with a lock held.
#[inline(always)]
pub(super) fn look(py: Python<'_>, inner: &Inner, key: &[u8], otherwise: &mut Otherwise) -> Found {
    let other = Cell::new(None);
    let found = inner.store.get_with(
        key,
        |value| match value {
            CachedValue::Shared(object) => {
                let object = object.as_ptr();
                // SAFETY: the table holds a reference, and we hold its lock, so the object is
                // alive; we are attached.
                unsafe { ffi::Py_INCREF(object) };
                object
            }
            value => {
                other.set(Some(Otherwise::ToBuild(value.clone_ref(py))));
                ptr::null_mut()
            }
        },
        |outdated| {
            other.set(match outdated {
                Some(value) => Some(Otherwise::Outdated(value)),
                // A stopped store is empty, so a hit need not ask.
                None => inner.is_stopped().then_some(Otherwise::Stopped),
            });
            ptr::null_mut()
        },
    );
    if found.is_null()
        && let Some(other) = other.take()
    {
        *otherwise = other;
    }
    found
}

/// The answer, for callers that hold no lock. `None`: a miss.
#[inline]
pub(super) fn answer<'py>(
    py: Python<'py>,
    found: Found,
    otherwise: Otherwise,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: null, or the new reference made in `look`.
    match unsafe { Bound::from_owned_ptr_or_opt(py, found) } {
        Some(value) => Ok(Some(value)),
        None => answer_otherwise(py, otherwise),
    }
}

#[inline(never)]
fn answer_otherwise(py: Python<'_>, otherwise: Otherwise) -> PyResult<Option<Bound<'_, PyAny>>> {
    match otherwise {
        Otherwise::Miss => Ok(None),
        Otherwise::Outdated(value) => Python::attach(|_| {
            drop(value);
            Ok(None)
        }),
        Otherwise::ToBuild(value) => Python::attach(|_| value.into_python(py)).map(Some),
        Otherwise::Stopped => Err(stopped_error()),
    }
}

/// Looks a key up and answers. `None`: a miss.
#[inline(always)]
pub(super) fn lookup<'py>(
    py: Python<'py>,
    inner: &Inner,
    key: &[u8],
) -> Result<Option<Bound<'py, PyAny>>, Raised> {
    let mut otherwise = Otherwise::Miss;
    let found = look(py, inner, key, &mut otherwise);
    // SAFETY: null, or the new reference made in `look`.
    match unsafe { Bound::from_owned_ptr_or_opt(py, found) } {
        Some(value) => Ok(Some(value)),
        None => Ok(answer_otherwise(py, otherwise)?),
    }
}

/// Looks a key up, for callers that PyO3 knows to be attached.
pub(super) fn find<'py>(
    py: Python<'py>,
    inner: &Inner,
    key: &[u8],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let mut otherwise = Otherwise::Miss;
    let found = look(py, inner, key, &mut otherwise);
    answer(py, found, otherwise)
}

/// The bytes of a key, without a copy for a text of ASCII characters.
#[inline(always)]
fn with_key<R>(
    key: Argument<'_, '_>,
    then: impl Fn(&[u8]) -> Result<R, Raised>,
) -> Result<R, Raised> {
    let object = key.as_ptr();
    // SAFETY: `object` is a live object; the macros are only used on what the first one says is
    // a text, and a compact ASCII text has its bytes where PyUnicode_DATA points to. Texts do not
    // change.
    let ascii = unsafe {
        if ffi::PyUnicode_Check(object) != 0 && ffi::PyUnicode_IS_COMPACT_ASCII(object) != 0 {
            let len = ffi::PyUnicode_GET_LENGTH(object) as usize;
            Some(std::slice::from_raw_parts(ffi::PyUnicode_DATA(object).cast::<u8>(), len))
        } else {
            None
        }
    };
    match ascii {
        Some(bytes) if (1..=text::MOST_KEY_BYTES).contains(&bytes.len()) => then(bytes),
        _ => with_unusual_key(key, then),
    }
}

#[cold]
fn with_unusual_key<R>(
    key: Argument<'_, '_>,
    then: impl Fn(&[u8]) -> Result<R, Raised>,
) -> Result<R, Raised> {
    then(&text::key(&key)?)
}

/// One argument of a raw call.
type Argument<'a, 'py> = Borrowed<'a, 'py, PyAny>;

/// Arguments of a raw call; `'a` is the length of the call.
#[derive(Clone, Copy)]
struct Call<'a, 'py> {
    py: Python<'py>,
    call: PhantomData<&'a ()>,
    args: *const *mut ffi::PyObject,
    positional: usize,
    names: *mut ffi::PyObject,
}

impl<'a, 'py> Call<'a, 'py> {
    /// Argument number `at`. The interpreter keeps it alive for the length of the call.
    ///
    /// # Safety
    /// `at` is below the number of positional and named arguments.
    #[inline]
    unsafe fn at(&self, at: usize) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: the interpreter passes that many valid pointers.
        unsafe { Borrowed::from_ptr(self.py, *self.args.add(at)) }
    }

    /// The arguments of `get` and its like. The two usual ways to call it come first.
    #[inline(always)]
    fn key_and_default(
        &self,
        function: &str,
    ) -> Result<(Argument<'a, 'py>, Option<Argument<'a, 'py>>), Raised> {
        if self.names.is_null() {
            if self.positional == 1 {
                // SAFETY: there is one argument.
                return Ok((unsafe { self.at(0) }, None));
            }
            if self.positional == 2 {
                // SAFETY: there are two arguments.
                return Ok(unsafe { (self.at(0), Some(self.at(1))) });
            }
        }
        self.unusual_key_and_default(function)
    }

    #[cold]
    fn unusual_key_and_default(
        &self,
        function: &str,
    ) -> Result<(Argument<'a, 'py>, Option<Argument<'a, 'py>>), Raised> {
        match self.bind(function, &["key", "default"], 1)? {
            [Some(key), default] => Ok((key, default)),
            // `bind` has checked that the first one is there.
            [None, _] => Err(PyTypeError::new_err(format!("{function}() needs a key")).into()),
        }
    }

    /// Sorts arguments into parameters; the first `required` must be there.
    fn bind(
        &self,
        function: &str,
        parameters: &[&str],
        required: usize,
    ) -> PyResult<[Option<Argument<'a, 'py>>; 2]> {
        let mut bound = [None; 2];
        if self.positional > parameters.len() {
            return Err(PyTypeError::new_err(format!(
                "{function}() takes at most {} arguments, {} were given",
                parameters.len(),
                self.positional
            )));
        }
        for (at, place) in bound.iter_mut().enumerate().take(self.positional) {
            // SAFETY: `at` is below the number of positional arguments.
            *place = Some(unsafe { self.at(at) });
        }
        if !self.names.is_null() {
            self.bind_names(function, parameters, &mut bound)?;
        }
        match bound.iter().take(required).position(Option::is_none) {
            Some(missing) => Err(PyTypeError::new_err(format!(
                "{function}() is missing the argument '{}'",
                parameters[missing]
            ))),
            None => Ok(bound),
        }
    }

    #[cold]
    fn bind_names(
        &self,
        function: &str,
        parameters: &[&str],
        bound: &mut [Option<Argument<'a, 'py>>],
    ) -> PyResult<()> {
        // SAFETY: not null, so a tuple of texts, alive for the length of the call.
        let names = unsafe { Bound::from_borrowed_ptr(self.py, self.names) };
        for (at, name) in names.cast::<PyTuple>()?.iter().enumerate() {
            let name = name.cast_into::<PyString>()?;
            let name = name.to_str()?;
            let Some(place) = parameters.iter().position(|parameter| *parameter == name) else {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got an unexpected keyword argument '{name}'"
                )));
            };
            if bound[place].is_some() {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got multiple values for argument '{name}'"
                )));
            }
            // SAFETY: a value for each name follows the positional arguments.
            bound[place] = Some(unsafe { self.at(self.positional + at) });
        }
        Ok(())
    }
}

/// An exception is set. Takes no room in a result, unlike a `PyErr`, so that what a raw method
/// passes on to its caller stays in registers.
#[derive(Debug)]
pub(super) struct Raised;

impl From<PyErr> for Raised {
    #[cold]
    fn from(error: PyErr) -> Self {
        Python::attach(|py| error.restore(py));
        Self
    }
}

/// Runs the body of a raw method: no panic gets out, an error becomes the current exception.
#[inline(always)]
fn guard<'py>(body: impl FnOnce() -> Result<Bound<'py, PyAny>, Raised>) -> *mut ffi::PyObject {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value.into_ptr(),
        Ok(Err(Raised)) => ptr::null_mut(),
        Err(_) => panicked(),
    }
}

#[cold]
fn panicked() -> *mut ffi::PyObject {
    let error = PyRuntimeError::new_err("internal error in velro_cache; please report it");
    let Raised = Raised::from(error);
    ptr::null_mut()
}

/// `self` and the arguments of a raw method, as what they are.
///
/// # Safety
/// The interpreter calls a method that was put on the class `T`, with these.
#[inline(always)]
unsafe fn entered<'a, T>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> (Borrowed<'a, 'a, T>, Call<'a, 'a>) {
    // SAFETY: as required of the caller; all of it stays as it is for the length of the call.
    unsafe {
        let py = Python::assume_attached();
        let call = Call { py, call: PhantomData, args, positional: nargs as usize, names };
        (Borrowed::from_ptr(py, slf).cast_unchecked::<T>(), call)
    }
}

fn or_none<'py>(py: Python<'py>, default: Option<Argument<'_, 'py>>) -> Bound<'py, PyAny> {
    default.map_or_else(|| py.None().into_bound(py), |default| default.to_owned())
}

/// `get(key, default=None) -> (value, hit)`
unsafe extern "C" fn get(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, see the top of this file.
    let (this, call) = unsafe { entered::<CacheCore>(slf, args, nargs, names) };
    let (py, inner) = (call.py, &*this.get().inner);
    guard(|| {
        let (key, default) = call.key_and_default("get")?;
        match with_key(key, |key| lookup(py, inner, key))? {
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
    // SAFETY: called by the interpreter, see the top of this file.
    let (this, call) = unsafe { entered::<CacheCore>(slf, args, nargs, names) };
    let (py, inner) = (call.py, &*this.get().inner);
    guard(|| {
        let (key, default) = call.key_and_default("get_value")?;
        match with_key(key, |key| lookup(py, inner, key))? {
            Some(value) => Ok(value),
            None => Ok(or_none(py, default)),
        }
    })
}

/// `get_user_profile(user_id) -> (value, hit)` and its seven sisters.
unsafe extern "C" fn get_typed<const KIND: usize>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, see the top of this file.
    let (this, call) = unsafe { entered::<CacheCore>(slf, args, nargs, names) };
    let (py, inner) = (call.py, &*this.get().inner);
    guard(|| {
        let kind = keys::KINDS[KIND];
        let parameters = typed_parameters(kind);
        let ids = call.bind(kind.name, &parameters[..kind.ids.len()], kind.ids.len())?;
        let mut key = Text::new();
        for (at, id) in ids.iter().flatten().enumerate() {
            key.extend_from_slice(kind.literals[at].as_bytes());
            push_typed_id(kind, at, id, &mut key)?;
        }
        key.extend_from_slice(kind.literals[kind.ids.len()].as_bytes());
        match lookup(py, inner, &key)? {
            Some(value) => pair(value, true),
            None => pair(or_none(py, None), false),
        }
    })
}

/// `CachedCalls.probe(args, kwargs)`: what a decorated coroutine function asks first.
unsafe extern "C" fn probe(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, see the top of this file.
    let (calls, call) = unsafe { entered::<CachedCalls>(slf, args, nargs, names) };
    let py = call.py;
    guard(|| {
        let [args, kwargs] = call.bind("probe", &["args", "kwargs"], 1)?;
        let args = or_none(py, args);
        let kwargs = kwargs.as_ref().map(|kwargs| kwargs.cast::<PyDict>()).transpose();
        let kwargs = kwargs.map_err(PyErr::from)?;
        let calls = calls.get();
        let args = args.cast::<PyTuple>().map_err(PyErr::from)?;
        let found = calls.find(py, args, kwargs.as_deref())?;
        Ok(found.unwrap_or_else(|| calls.miss(py)))
    })
}

/// Names of the parameters of a typed helper: those of the ids, except that a UUID to validate
/// is given as it came and hashed here.
fn typed_parameters(kind: &KeyKind) -> [&'static str; 2] {
    let name = |at: usize| match kind.ids.get(at) {
        Some(&"uuid_hash") => "uuid_str",
        Some(name) => name,
        None => "",
    };
    [name(0), name(1)]
}

/// Appends one id of a typed key.
pub(super) fn push_typed_id(
    kind: &KeyKind,
    at: usize,
    id: &Bound<'_, PyAny>,
    key: &mut Text,
) -> PyResult<()> {
    match kind.ids[at] {
        "uuid_hash" => super::typed::push_uuid_hash(id, key),
        name => text::push_id(name, id, key),
    }
}

const FLAGS: i32 = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;

/// A method table that threads may share: it is never written to.
struct Methods<const N: usize>([ffi::PyMethodDef; N]);

// SAFETY: immutable, and its pointers lead to static text.
unsafe impl<const N: usize> Sync for Methods<N> {}

const fn method(
    name: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: FLAGS,
        ml_doc: doc.as_ptr(),
    }
}

static METHODS: Methods<10> = Methods([
    method(c"get", get, GET_DOC),
    method(c"get_value", get_value, GET_VALUE_DOC),
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

fn put_on(class: &Bound<'_, PyType>, definition: &'static ffi::PyMethodDef) -> PyResult<()> {
    // SAFETY: the class is a type object; the definition is static, as CPython keeps a pointer
    // to it, and its flags match the signature of its function. CPython only reads it, though
    // the parameter is not const.
    let descriptor = unsafe {
        let definition = ptr::from_ref(definition).cast_mut();
        let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(class.py(), descriptor)?
    };
    // SAFETY: `ml_name` is static C text, written above.
    let name = unsafe { CStr::from_ptr::<'static>(definition.ml_name.cast::<c_char>()) };
    class.setattr(name.to_str()?, descriptor)
}
