//! The 128 bits of a `uuid.UUID`.
//!
//! They are an integer in a slot of the object. Asking for the attribute takes three times as long
//! as looking where it lies, so where it lies is found out once.
#![allow(unsafe_code, reason = "reads a slot in place; every block says why it is sound")]

use super::exit_guard::ExitGuard;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyInt, PyType};

#[derive(Debug)]
struct UuidClass {
    class: Py<PyType>,
    /// Where in an instance the pointer to the integer lies, in pointers from its beginning.
    /// `None` where that cannot be told.
    slot: Option<usize>,
    /// Whether [`digits`] was seen to work with this interpreter.
    reads_digits: bool,
}

impl UuidClass {
    fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static CLASS: PyOnceLock<UuidClass> = PyOnceLock::new();
        CLASS.get_or_try_init(py, || Self::load(py))
    }

    fn load(py: Python<'_>) -> PyResult<Self> {
        let class = py.import("uuid")?.getattr("UUID")?.cast_into::<PyType>()?;
        let sample = class.call1(("0f8fad5b-d9cb-469f-a165-70867728950e",))?;
        let bits = sample.getattr(intern!(py, "int"))?;
        let size = class.getattr(intern!(py, "__basicsize__"))?.extract::<usize>()?;
        let words = size / size_of::<*mut ffi::PyObject>();
        let slot = (0..words).find(|&at| {
            // SAFETY: an instance has `__basicsize__` bytes, aligned for pointers, and those up to
            // `at` are among them. What is read is only compared.
            unsafe { *sample.as_ptr().cast::<*mut ffi::PyObject>().add(at) == bits.as_ptr() }
        });
        let samples = [0, 1, 1 << 30, (1 << 60) + 7, 1 << 64, (1 << 120) + 5, u128::MAX];
        let mut reads_digits = true;
        for sample in samples {
            let number = sample.into_pyobject(py)?;
            reads_digits &= digits(&number) == Some(sample);
        }
        Ok(Self { class: class.unbind(), slot, reads_digits })
    }
}

/// Sets up what [`bits`] needs.
pub(super) fn init(py: Python<'_>) -> PyResult<()> {
    UuidClass::get(py).map(|_| ())
}

/// The bits, if the object is a UUID.
#[inline]
pub(super) fn bits(object: &Bound<'_, PyAny>) -> PyResult<Option<u128>> {
    match exact_bits(object) {
        Some(bits) => Ok(Some(bits)),
        None => subclass_bits(object),
    }
}

/// The bits, if the object is of just the class `uuid.UUID`, and they can be read in place.
#[inline]
pub(super) fn exact_bits(object: &Bound<'_, PyAny>) -> Option<u128> {
    let py = object.py();
    let known = UuidClass::get(py).ok()?;
    let class = object.get_type_ptr();
    if class == known.class.as_ptr().cast()
        && let Some(at) = known.slot
    {
        // SAFETY: the object is an instance of just the class in whose instances this slot was
        // found; it holds a reference or null.
        let number = unsafe {
            let slot = *object.as_ptr().cast::<*mut ffi::PyObject>().add(at);
            Bound::from_borrowed_ptr_or_opt(py, slot)
        };
        if let Some(number) = number
            && let Ok(number) = number.cast_exact::<PyInt>()
        {
            return if known.reads_digits { digits(number) } else { number.extract().ok() };
        }
    }
    None
}

#[cold]
fn subclass_bits(object: &Bound<'_, PyAny>) -> PyResult<Option<u128>> {
    let py = object.py();
    let known = UuidClass::get(py)?;
    if !object.get_type().is_subclass(known.class.bind(py))? {
        return Ok(None);
    }
    let _guard = ExitGuard::hold();
    object.getattr(intern!(py, "int"))?.extract().map(Some)
}

/// A number that is not negative and has at most 128 bits, read where CPython keeps its digits: a
/// fifth of the time that the interpreter takes to write them into a buffer.
#[inline]
fn digits(number: &Bound<'_, PyInt>) -> Option<u128> {
    const BITS_PER_DIGIT: u32 = 30;
    const MOST_DIGITS: usize = 5;
    /// How an integer begins: see `_longobject` in CPython's `cpython/longintrepr.h`.
    #[repr(C)]
    struct Head {
        object: ffi::PyObject,
        /// Up to 3.11 the number of digits, negative for a negative number; from 3.12 on the number
        /// of digits times eight, and the sign.
        tag: isize,
    }
    // SAFETY: an integer begins with a head, whose address is the object's.
    let tag = unsafe { (*number.as_ptr().cast::<Head>()).tag };
    let (negative, count) =
        if cfg!(Py_3_12) { (tag & 3 == 2, tag as usize >> 3) } else { (tag < 0, tag as usize) };
    if negative || count > MOST_DIGITS {
        return None;
    }
    // SAFETY: the digits follow the head, as many as it says. Integers do not change.
    let digits = unsafe {
        let first = number.as_ptr().cast::<u8>().add(size_of::<Head>()).cast::<u32>();
        std::slice::from_raw_parts(first, count)
    };
    if let &[a, b, c, d, e] = digits {
        let [a, b, c, d, e] = [a, b, c, d, e].map(u64::from);
        let (low, high) = (a | (b << 30) | (c << 60), (c >> 4) | (d << 26) | (e << 56));
        // The fifth digit of a number of 128 bits has eight bits.
        return (e < 1 << 8).then_some((u128::from(high) << 64) | u128::from(low));
    }
    let fold = |bits, &digit: &u32| (bits << BITS_PER_DIGIT) | u128::from(digit);
    Some(digits.iter().rev().fold(0, fold))
}
