//! Keys as the store keeps them: bytes, or the Python text they came from.
//!
//! A text that somebody else holds on to is likely to be asked for again, as the same object.
//! Then comparing addresses is enough, and nothing is hashed or compared ([`super::memo`]).
#![allow(unsafe_code, reason = "reads the characters of a text in place; says why it is sound")]

use crate::engine::StoredKey;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// A key in the table.
#[derive(Debug)]
pub(super) enum CachedKey {
    Bytes(Box<[u8]>),
    Text(PlainText),
}

impl CachedKey {
    /// Whether it is this very object.
    #[inline]
    pub(super) fn is(&self, object: *mut ffi::PyObject) -> bool {
        matches!(self, Self::Text(text) if text.is(object))
    }

    /// Lets go of it. For where PyO3 does not know that we are attached; it would put the dropping
    /// off for as long as it does not.
    #[inline]
    pub(super) fn release(self, py: Python<'_>) {
        if let Self::Text(text) = self {
            drop(text.0.into_bound(py));
        }
    }
}

impl From<&[u8]> for CachedKey {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl StoredKey for CachedKey {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => text.bytes(),
        }
    }
}

/// An exact `str` of ASCII characters, whose bytes are its UTF-8.
#[derive(Debug)]
pub(super) struct PlainText(Py<PyString>);

impl PlainText {
    /// `None` for any other text.
    #[inline]
    pub(super) fn new(object: &Bound<'_, PyAny>) -> Option<Self> {
        let text = object.cast_exact::<PyString>().ok()?;
        ascii(object.as_borrowed())?;
        Some(Self(text.clone().unbind()))
    }

    /// Whether it is this very object.
    #[inline]
    pub(super) fn is(&self, object: *mut ffi::PyObject) -> bool {
        self.0.as_ptr() == object
    }

    /// Whether everybody else has let go of it.
    #[inline]
    pub(super) fn is_only_ours(&self, _: Python<'_>) -> bool {
        // SAFETY: a live object, and we are attached.
        unsafe { ffi::Py_REFCNT(self.0.as_ptr()) == 1 }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: `new` takes nothing but texts of ASCII characters, which do not change, and `self`
        // keeps this one alive.
        unsafe { characters(self.0.as_ptr()) }
    }
}

/// The bytes of a text of ASCII characters, in place.
#[inline(always)]
pub(super) fn ascii<'a>(object: Borrowed<'a, '_, PyAny>) -> Option<&'a [u8]> {
    let object = object.as_ptr();
    // SAFETY: `object` is a live object for `'a`; the second question is only asked of a text.
    unsafe {
        (ffi::PyUnicode_Check(object) != 0 && is_compact_ascii(object)).then(|| characters(object))
    }
}

/// # Safety
/// `text` is a text.
#[cfg(not(Py_3_14))]
#[inline(always)]
unsafe fn is_compact_ascii(text: *mut ffi::PyObject) -> bool {
    // SAFETY: as required of the caller.
    unsafe { ffi::PyUnicode_IS_COMPACT_ASCII(text) != 0 }
}

/// The bits that say so cannot be read from 3.14 on. A text whose UTF-8 is as long as itself has
/// ASCII characters alone, and lies in one piece unless its class was derived from `str`.
///
/// # Safety
/// `text` is a text.
#[cfg(Py_3_14)]
#[inline]
unsafe fn is_compact_ascii(text: *mut ffi::PyObject) -> bool {
    let mut bytes = 0;
    // SAFETY: as required of the caller; where there is no UTF-8, an exception is set, and cleared.
    unsafe {
        if ffi::PyUnicode_CheckExact(text) == 0 {
            return false;
        }
        if ffi::PyUnicode_AsUTF8AndSize(text, &raw mut bytes).is_null() {
            ffi::PyErr_Clear();
            return false;
        }
        bytes == ffi::PyUnicode_GET_LENGTH(text)
    }
}

/// # Safety
/// `text` is a compact ASCII text that lives for `'a`. Texts do not change.
#[inline(always)]
unsafe fn characters<'a>(text: *mut ffi::PyObject) -> &'a [u8] {
    // SAFETY: a compact ASCII text has as many bytes as characters, where PyUnicode_DATA says.
    unsafe {
        let len = ffi::PyUnicode_GET_LENGTH(text) as usize;
        std::slice::from_raw_parts(ffi::PyUnicode_DATA(text).cast::<u8>(), len)
    }
}

/// Whether somebody besides the caller seems to hold an object, so that it will live on.
///
/// While a method runs, a reference is the caller's variable and one, up to CPython 3.13, the
/// argument itself. Only a guess, and good enough: nothing depends on it but speed and a text of
/// memory.
#[inline]
pub(super) fn is_held_elsewhere(object: Borrowed<'_, '_, PyAny>) -> bool {
    const OURS: isize = if cfg!(Py_3_14) { 1 } else { 2 };
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) > OURS }
}
