//! The cache itself, in plain Rust: no Python, no I/O, no thread of its own.
//!
//! A [`Store`] hashes a key to a shard; a shard is a table of rows with an eviction policy;
//! values are opaque. Everything here may be called from any thread. No value is dropped and no
//! foreign code runs while a lock is held: whatever leaves the store is handed back to the
//! caller as [`Garbage`].
//!
//! * [`config`] — sizes and limits;
//! * [`clock`] — time, coarse and cheap, or set by hand;
//! * [`ids`] — how ids become parts of keys and tags without being able to forge others;
//! * [`keys`] — the eight kinds of authorization keys; [`names`] — what an invalidation names;
//! * `row`, `packed_slots`, `rows`, `shard`, [`store`] — one entry, one locked table, all of them;
//!   [`stored_key`] — what keys are kept as;
//! * `invalidating` — how entries leave a store before their time;
//! * `sampled`, `following`, `known` — what analytics are told of lookups, and ask of a shard;
//! * [`Basis`] — on what an entry rests, for results that are made of it;
//! * `grace` — entries that are kept past their end, out of reach of lookups;
//! * [`policy`] — which entry goes when the store is full;
//! * [`stats`], [`latency`] — what happened, and how long it took;
//! * [`analytics`] — why lookups miss, what is asked for most, how the last minutes were;
//! * [`compress`] — large values as fewer bytes.

#![forbid(unsafe_code)]

pub mod analytics;
mod basis;
pub mod clock;
pub mod compress;
pub mod config;
mod following;
mod grace;
pub mod ids;
mod invalidating;
pub mod keys;
mod known;
pub mod latency;
pub mod names;
mod packed_slots;
pub mod policy;
mod row;
mod rows;
mod sampled;
mod shard;
pub mod stats;
pub mod store;
pub mod stored_key;

pub use basis::{Basis, Inherited, InheritedKey};
pub use config::{EngineConfig, Lease};
pub use invalidating::{Hand, Invalidated};
pub use names::Names;
pub use store::{Departed, Garbage, Inserted, NewEntry, Outcome, Place, Store};
pub use stored_key::StoredKey;
