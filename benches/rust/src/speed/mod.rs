//! What an operation costs, all contestants taking turns.
//!
//! * [`contestants`] — the caches, each as its documentation shows it;
//! * [`workload`] — keys like the real ones, and who asks for which;
//! * [`operations`] — hit, miss, the kinds of stores, reading through; on one thread or several;
//! * [`race`] — short rounds in turns, the smallest counts;
//! * [`report`] — Markdown.

pub mod contestants;
pub mod operations;
pub mod race;
pub mod report;
pub mod workload;
