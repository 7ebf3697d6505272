//! API keys: what one looks like, and what is stored of it. No Python, no I/O.
//!
//! * [`KeyShape`] — whether a text can be a key at all;
//! * [`Pepper`] — from a key to the digest by which it is found.

#![forbid(unsafe_code)]

mod pepper;
mod shape;

pub use pepper::{Digest, Pepper, is_same};
pub use shape::KeyShape;
