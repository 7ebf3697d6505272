//! Calls of decorated functions without a tuple of arguments.
//!
//! A class that says where in its instances a function pointer lies is called through it with
//! the arguments as they lie on the interpreter's stack (PEP 590). That halves what a call costs.
//! PyO3 has no way to say so; what is done here is what CPython does for its own functions.
//!
//! Relies on what [`super::raw`] says of raw methods; a call that does not fit the fast way is
//! answered by `CachedFunction.__call__`.
#![allow(
    unsafe_code,
    reason = "raw entry point of decorated functions; every block says why it is sound"
)]

use super::exit_guard::ExitGuard;
use super::function::CachedFunction;
use super::raw::guard;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::ptr;

/// The function pointer in an instance.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Entry(ffi::vectorcallfunc);

impl Entry {
    pub(super) const fn new() -> Self {
        Self(call)
    }
}

unsafe extern "C" fn call(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this with an instance of a class that `install` was given, and
    // with as many arguments as it says, all of them alive for the length of the call.
    let (function, positional, named) = unsafe {
        let py = Python::assume_attached();
        let function = Borrowed::from_ptr(py, callable).cast_unchecked::<CachedFunction>();
        let count = ffi::PyVectorcall_NARGS(nargsf) as usize;
        // Null is allowed where there are none.
        let first = if count == 0 { ptr::NonNull::dangling().as_ptr() } else { args.cast_mut() };
        // `Borrowed` is a pointer to an object, and nothing else.
        let positional = std::slice::from_raw_parts(first.cast::<Borrowed<'_, '_, PyAny>>(), count);
        (function, positional, args.wrapping_add(count))
    };
    let py = function.py();
    guard(|| {
        let (calls, load) = function.get().parts()?;
        let plain = names.is_null() && calls.takes_just(positional.len());
        if plain && let Some(value) = calls.find_positional(py, positional)? {
            return Ok(value);
        }
        let _guard = ExitGuard::hold();
        let args = PyTuple::new(py, positional)?;
        let kwargs = PyDict::new(py);
        if !names.is_null() {
            // SAFETY: a tuple of texts, and a value for each of them after the others.
            let names = unsafe { Bound::from_borrowed_ptr(py, names) };
            for (at, name) in names.cast::<PyTuple>().map_err(PyErr::from)?.iter().enumerate() {
                // SAFETY: as above.
                let value = unsafe { Bound::from_borrowed_ptr(py, *named.add(at)) };
                kwargs.set_item(name, value)?;
            }
        }
        if plain {
            // Looked up already.
            let _guard = ExitGuard::hold();
            return Ok(load.bind(py).call1((args, kwargs))?);
        }
        Ok(function.get().__call__(py, &args, Some(&kwargs))?)
    })
}

/// Has instances of a class be called through their [`Entry`].
///
/// Not done by inheritance: up to CPython 3.11, a class made in Python does not inherit it.
///
/// Args:
///     cls: `CachedFunction` or a subclass that does not define `__call__`.
#[pyfunction]
pub(super) fn call_directly(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let py = cls.py();
    if !cls.is_subclass_of::<CachedFunction>()? {
        return Err(PyTypeError::new_err("only for subclasses of CachedFunction"));
    }
    // An instance tells where in all of them the pointer lies.
    let sample = CachedFunction::sample(py)?;
    let entry = ptr::from_ref(sample.get().entry()) as usize;
    let offset = entry - sample.as_ptr() as usize;
    // SAFETY: a type object, alive; its instances begin like those of `CachedFunction`, with a
    // function pointer at this offset. Nobody calls an instance yet: the class was just made.
    unsafe {
        let class = cls.as_type_ptr();
        (*class).tp_vectorcall_offset = offset as ffi::Py_ssize_t;
        #[cfg(not(Py_GIL_DISABLED))]
        {
            (*class).tp_flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL;
        }
        #[cfg(Py_GIL_DISABLED)]
        (*class)
            .tp_flags
            .fetch_or(ffi::Py_TPFLAGS_HAVE_VECTORCALL, std::sync::atomic::Ordering::Relaxed);
        ffi::PyType_Modified(class);
    }
    Ok(())
}
