//! Integers as numbers, without the exception that the interpreter raises for large ones.
//!
//! An exception costs more than the answer, and one that is dropped where PyO3 does not know that
//! we are attached piles up until it does.
#![allow(unsafe_code, reason = "asks the interpreter for a number; says why it is sound")]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyInt;

/// The number, or on which side of all numbers of 64 bits it lies.
#[inline]
pub(super) fn to_i64(number: &Bound<'_, PyInt>) -> Result<i64, Side> {
    let mut overflow = 0;
    // SAFETY: an integer, alive; for one, the function sets no exception.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &raw mut overflow) };
    match overflow {
        0 => Ok(value),
        side if side > 0 => Err(Side::Above),
        _ => Err(Side::Below),
    }
}

/// Where a number lies that has more than 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Above,
    Below,
}
