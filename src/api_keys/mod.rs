//! API keys: what one looks like, and what is stored of it. No Python, no I/O.
//!
//! * [`KeyShape`] — whether a text can be a key at all;
//! * [`Pepper`] — from a key to the digest by which it is found;
//! * [`KeyRows`] — what is known of many keys, as a database sends it.

#![forbid(unsafe_code)]

mod pepper;
mod row;
mod shape;

pub use pepper::{Digest, Pepper, is_same};
pub use row::{KeyRow, KeyRows, NoRows};
pub use shape::KeyShape;
