//! The engine through its public interface, without Python.

#![allow(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

mod invalidation;
mod model;
mod policies;
mod support;
mod threads;
