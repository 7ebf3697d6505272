//! A keyed digest, so that a secret can take part in a key without standing in it.
//!
//! SipHash-2-4 with 128 bits of output (Aumasson, Bernstein: INDOCRYPT 2012), keyed with a
//! secret drawn once per process. Whoever does not know the secret can neither find two inputs
//! with one digest nor tell which input a digest belongs to. Digests mean nothing in another
//! process and must not be stored.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher as _;
use std::sync::OnceLock;

/// Size of a digest.
pub(super) const DIGEST_BYTES: usize = 16;

/// Draws the secret; to be called once before any digest.
pub(super) fn init() -> PyResult<()> {
    secret().map(|_| ())
}

fn secret() -> PyResult<&'static [u8; 16]> {
    static SECRET: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(secret) = SECRET.get() {
        return Ok(secret);
    }
    let mut fresh = [0; 16];
    getrandom::fill(&mut fresh).map_err(|error| {
        pyo3::exceptions::PyOSError::new_err(format!("no randomness for the cache: {error}"))
    })?;
    Ok(SECRET.get_or_init(|| fresh))
}

/// Digest of some bytes.
pub(super) fn keyed(data: &[u8]) -> PyResult<[u8; DIGEST_BYTES]> {
    let mut hasher = SipHasher24::new_with_key(secret()?);
    hasher.write(data);
    Ok(hasher.finish128().as_bytes())
}

/// Digest of some bytes, in hexadecimal.
pub(super) fn keyed_hex(data: &[u8]) -> PyResult<[u8; 2 * DIGEST_BYTES]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = keyed(data)?;
    Ok(std::array::from_fn(|at| {
        let byte = digest[at / 2];
        DIGITS[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 })]
    }))
}

/// Digest some bytes with a secret of this process.
///
/// Use it to let a token or another secret take part in a cache key: equal inputs have equal
/// digests, and nobody can tell the input from the digest or find another one that shares it.
///
/// Args:
///     data: What to digest, of any length.
///
/// Returns:
///     16 bytes, meaningful in this process only; do not store them.
#[pyfunction]
pub(super) fn keyed_digest<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &keyed(data)?))
}
