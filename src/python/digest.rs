//! A keyed digest, so that a secret can take part in a key without standing in it.
//!
//! SipHash-1-3 with 128 bits of output (Aumasson, Bernstein: INDOCRYPT 2012), keyed with a
//! secret drawn once per process. One round per word is enough where nobody sees a digest: the best
//! collision known for it needs 2^167 tries (Dobraunig, Mendel, Schläffer: SAC 2014), more than
//! its 128 bits could promise. Whoever does not know the secret can neither find two inputs
//! with one digest nor tell which input a digest belongs to. Digests mean nothing in another
//! process and must not be stored.

use crate::engine::ids::hex_digits;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use siphasher::sip128::SipHasher13;
use std::sync::OnceLock;

const DIGEST_BYTES: usize = 16;

/// A digest.
pub(super) type Digest = [u8; DIGEST_BYTES];

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
#[inline]
pub(super) fn keyed(data: &[u8]) -> PyResult<Digest> {
    Ok(SipHasher13::new_with_key(secret()?).hash(data).as_bytes())
}

/// A digest in hexadecimal.
#[inline]
pub(super) fn hex(digest: Digest) -> [u8; 2 * DIGEST_BYTES] {
    let mut hex = [0; 2 * DIGEST_BYTES];
    for (digits, bytes) in hex.as_chunks_mut::<8>().0.iter_mut().zip(digest.as_chunks::<4>().0) {
        *digits = hex_digits(u32::from_be_bytes(*bytes));
    }
    hex
}

/// Half of a digest, as a number.
#[inline]
pub(super) fn gist(digest: Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
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
