//! Raw C functions as methods: taking a call apart, and putting the method on its class.
//!
//! Half the time of a hit through an ordinary binding goes into taking the call apart. The
//! methods that decide the speed of a service ([`super::hot`]) are therefore plain `METH_FASTCALL`
//! functions put on the class when the module starts; the interpreter calls them without building
//! a tuple. They do the same as a method written with `#[pymethods]` would.
//!
//! What every unsafe block of the two files relies on:
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

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};
use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::raw::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

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
pub(super) fn guard<'py>(
    body: impl FnOnce() -> Result<Bound<'py, PyAny>, Raised>,
) -> *mut ffi::PyObject {
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

/// One argument of a raw call; `'a` is the length of the call.
pub(super) type Argument<'a, 'py> = Borrowed<'a, 'py, PyAny>;

/// Arguments of a raw call; `'a` is the length of the call.
#[derive(Clone, Copy)]
pub(super) struct Call<'a, 'py> {
    pub(super) py: Python<'py>,
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
    #[inline(always)]
    unsafe fn at(&self, at: usize) -> Argument<'a, 'py> {
        // SAFETY: the interpreter passes that many valid pointers.
        unsafe { Borrowed::from_ptr(self.py, *self.args.add(at)) }
    }

    /// The arguments, if there are exactly `N`, none of them by name.
    #[inline(always)]
    pub(super) fn exactly<const N: usize>(&self) -> Option<[Argument<'a, 'py>; N]> {
        (self.names.is_null() && self.positional == N)
            // SAFETY: there are N arguments.
            .then(|| std::array::from_fn(|at| unsafe { self.at(at) }))
    }

    /// Sorts arguments into parameters. The first `required` must be there; those from number
    /// `by_position` on can only be given by name.
    #[inline]
    pub(super) fn bind<const N: usize>(
        &self,
        function: &str,
        parameters: &[&str],
        required: usize,
        by_position: usize,
    ) -> PyResult<[Option<Argument<'a, 'py>>; N]> {
        let mut bound = [None; N];
        if self.positional > by_position {
            return Err(self.too_many(function, by_position));
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
    fn too_many(&self, function: &str, most: usize) -> PyErr {
        PyTypeError::new_err(format!(
            "{function}() takes at most {most} arguments by position, {} were given",
            self.positional
        ))
    }

    fn bind_names(
        &self,
        function: &str,
        parameters: &[&str],
        bound: &mut [Option<Argument<'a, 'py>>],
    ) -> PyResult<()> {
        // SAFETY: not null, so a tuple of texts, alive for the length of the call.
        let names = unsafe { Bound::from_borrowed_ptr(self.py, self.names) };
        for (at, name) in names.cast::<PyTuple>()?.iter_borrowed().enumerate() {
            let name = name.cast::<PyString>()?;
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

/// `self` and the arguments of a raw method, as what they are.
///
/// # Safety
/// The interpreter calls a method that was put on the class `T`, with these.
#[inline(always)]
pub(super) unsafe fn entered<'a, T>(
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

/// A method table that threads may share: it is never written to.
pub(super) struct Methods<const N: usize>(pub(super) [ffi::PyMethodDef; N]);

// SAFETY: immutable, and its pointers lead to static text.
unsafe impl<const N: usize> Sync for Methods<N> {}

pub(super) const fn method(
    name: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

pub(super) fn put_on(
    class: &Bound<'_, PyType>,
    definition: &'static ffi::PyMethodDef,
) -> PyResult<()> {
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
