//! velro-cache: answers authorization checks from memory, and never with a permission that was
//! taken away.
//!
//! Reading order: [`invalidation`] says when an entry is too old to be believed, [`engine`]
//! stores entries and decides which one goes, and the `python` module (feature `python`) hands
//! both to Python. Dependencies point in that direction only; without the feature this crate
//! contains no Python at all, and plain `cargo check` proves it.

pub mod engine;
pub mod invalidation;
#[cfg(feature = "python")]
mod python;
mod sync;
