//! The engine through its public interface, without Python.

#![allow(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

mod invalidation;
mod made_of_others;
mod miss_reasons;
mod model;
mod policies;
mod rate_limit;
mod reports;
mod shared_table;
mod support;
mod threads;
mod what_if;
