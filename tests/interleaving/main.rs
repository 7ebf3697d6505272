//! Threads in every order, or in very many: the product's own code under a model checker that
//! decides at each step who goes on. `make test-interleavings` runs it, once per checker.
//!
//! Under `--cfg loom` every order of steps is tried, and every value that an atomic may give
//! under the memory model: for the table without locks, and for the store at its smallest. Under
//! `--cfg shuttle` memory is simple and orders are drawn at random: for whole stores with many
//! operations.

#![cfg(any(loom, shuttle))]
#![allow(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

mod shard_lock;

#[cfg(loom)]
mod exploring;
#[cfg(loom)]
mod hosts;
#[cfg(loom)]
mod hosts_mistakes;
#[cfg(loom)]
mod mistakes;
#[cfg(loom)]
mod orders;
#[cfg(loom)]
mod store_orders;
#[cfg(loom)]
mod wildcards;

#[cfg(shuttle)]
mod store_schedules;
