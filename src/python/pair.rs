//! The `(value, hit)` that a lookup returns, made of an old one where nobody needs that any more.
//!
//! Callers write `value, hit = cache.get(key)` and drop the tuple at once; making and freeing it
//! would be a third of the lookup. CPython itself does what is done here for `zip` and
//! `enumerate`: the tuple handed out last is kept, and if by the next lookup nobody else holds
//! it, it is filled anew.
//!
//! The value handed out last is therefore held until the next lookup, or until it leaves the cache.
//!
//! Only with a GIL, and up to CPython 3.13: later tuples remember their hash.
#![allow(unsafe_code, reason = "fills tuples in place; every block says why it is sound")]

use super::raw::Raised;
use pyo3::ffi;
use pyo3::prelude::*;

#[cfg(not(any(Py_GIL_DISABLED, Py_3_14)))]
pub(super) use kept::{forget, forget_value};

/// Nothing is kept, so there is nothing to forget.
#[cfg(any(Py_GIL_DISABLED, Py_3_14))]
pub(super) fn forget(_: Python<'_>) {}

#[cfg(any(Py_GIL_DISABLED, Py_3_14))]
pub(super) fn forget_value(_: &Bound<'_, PyAny>) {}

/// Makes the answer of a lookup.
#[inline]
pub(super) fn pair<'py>(value: Bound<'py, PyAny>, hit: bool) -> Result<Bound<'py, PyAny>, Raised> {
    let py = value.py();
    // SAFETY: gives pointers alone; True and False live as long as the interpreter.
    let flag = unsafe { if hit { ffi::Py_True() } else { ffi::Py_False() } };
    #[cfg(not(any(Py_GIL_DISABLED, Py_3_14)))]
    return kept::refill_or_make(py, value, flag);
    #[cfg(any(Py_GIL_DISABLED, Py_3_14))]
    make(py, value, flag)
}

fn make<'py>(
    py: Python<'py>,
    value: Bound<'py, PyAny>,
    flag: *mut ffi::PyObject,
) -> Result<Bound<'py, PyAny>, Raised> {
    // Up to CPython 3.11 the collector may run where something is made, and finalizers with it.
    #[cfg(not(Py_3_12))]
    let _guard = super::exit_guard::ExitGuard::hold();
    // SAFETY: `flag` is True or False. PyTuple_New returns a new tuple or null with an exception
    // set; both places are filled with references we own before anybody else sees the tuple.
    unsafe {
        let tuple = Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(2))?;
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 0, value.into_ptr());
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 1, ffi::Py_NewRef(flag));
        Ok(tuple)
    }
}

#[cfg(not(any(Py_GIL_DISABLED, Py_3_14)))]
mod kept {
    use super::make;
    use crate::python::exit_guard::let_go_of;
    use crate::python::raw::Raised;
    use pyo3::ffi;
    use pyo3::prelude::*;
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// The tuple handed out last, with a reference of ours, or null. The GIL guards it.
    static LAST: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

    #[inline]
    pub(super) fn refill_or_make<'py>(
        py: Python<'py>,
        value: Bound<'py, PyAny>,
        flag: *mut ffi::PyObject,
    ) -> Result<Bound<'py, PyAny>, Raised> {
        let last = LAST.load(Ordering::Relaxed);
        // SAFETY: `flag` is True or False; `last` is not null, so a live tuple of two that we hold a
        // reference to. If that is the
        // only one, nobody else can see the tuple, nor come to see it while we hold the GIL. The
        // new reference is taken before the old items go: what they do when they go may look
        // something up and come here again, and must then find the tuple taken. The garbage
        // collector may have given the tuple up as holding nothing it cares for.
        unsafe {
            if !last.is_null() && ffi::Py_REFCNT(last) == 1 {
                ffi::Py_INCREF(last);
                let old_value = ffi::PyTuple_GET_ITEM(last, 0);
                let old_flag = ffi::PyTuple_GET_ITEM(last, 1);
                if old_flag != flag {
                    ffi::PyTuple_SET_ITEM(last, 1, ffi::Py_NewRef(flag));
                    ffi::Py_DECREF(old_flag);
                }
                if old_value != value.as_ptr() {
                    let collectable = ffi::PyObject_IS_GC(value.as_ptr()) != 0;
                    ffi::PyTuple_SET_ITEM(last, 0, value.into_ptr());
                    if collectable && ffi::PyObject_GC_IsTracked(last) == 0 {
                        ffi::PyObject_GC_Track(last.cast());
                    }
                    let_go_of(py, old_value);
                }
                return Ok(Bound::from_owned_ptr(py, last));
            }
        }
        let made = make(py, value, flag)?;
        keep(py, made.clone().into_ptr());
        Ok(made)
    }

    /// Lets go of the kept tuple, and so of the value in it.
    pub(in crate::python) fn forget(py: Python<'_>) {
        keep(py, ptr::null_mut());
    }

    /// Lets go of the kept tuple if it is what would keep a value alive that leaves the table.
    #[inline]
    pub(in crate::python) fn forget_value(value: &Bound<'_, PyAny>) {
        // SAFETY: a live object.
        let ours_and_one_more = unsafe { ffi::Py_REFCNT(value.as_ptr()) } == 2;
        if ours_and_one_more {
            forget_if_it_holds(value);
        }
    }

    #[cold]
    fn forget_if_it_holds(value: &Bound<'_, PyAny>) {
        let last = LAST.load(Ordering::Relaxed);
        // SAFETY: not null, so a live tuple of two.
        let holds = !last.is_null() && unsafe { ffi::PyTuple_GET_ITEM(last, 0) } == value.as_ptr();
        if holds {
            forget(value.py());
        }
    }

    fn keep(py: Python<'_>, tuple: *mut ffi::PyObject) {
        let before = LAST.swap(tuple, Ordering::Relaxed);
        // SAFETY: the reference that `LAST` held is ours now, or it was null.
        drop(unsafe { Bound::from_owned_ptr_or_opt(py, before) });
    }
}
