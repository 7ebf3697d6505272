//! velro-cache: answers authorization checks from memory, and never with a permission that was
//! taken away.
//!
//! Reading order: [`invalidation`] says when an entry is too old to be believed, [`engine`]
//! stores entries and decides which one goes, [`log`] is how hosts tell each other what to
//! invalidate, [`rate_limit`] counts how often somebody asks, and the `python` module (feature `python`) hands all of it to Python. Dependencies
//! point in that direction only; without the feature this crate contains no Python at all, and
//! plain `cargo check` proves it.

pub mod api_keys;
pub mod engine;
mod fork_gate;
pub mod invalidation;
pub mod log;
#[cfg(feature = "logs")]
mod ofd_locks;
#[cfg(feature = "python")]
mod python;
pub mod rate_limit;
mod suspension;
mod sync;
