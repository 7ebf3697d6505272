//! What hosts tell each other about revocations, as a model small enough to try everything that
//! can happen: every order of steps, crashes, restarts, lost and late messages, fail-overs.
//!
//! The promise that is checked in every state, see [`promise`]: once a revocation was committed
//! and acknowledged by the invalidation log, no lookup that begins later than `max_staleness`
//! after it, by its host's own clock, is answered by an older value that allows; on the revoking
//! host none that begins after the call returned; after `wait="fleet"` none anywhere.
//!
//! * [`world`] — what there is: the database, tables of hosts, workers, the log, an L2;
//! * [`action`] — what can happen next;
//! * [`rules`] — in which order each part does its steps: **the protocol**;
//! * [`mistake`] — one wrong rule each, which must break the promise;
//! * [`scenario`], [`worlds`] — how large a world, and how much may go wrong in it;
//! * [`steps`] — what each step does;
//! * [`tidy`] — what cannot matter any more is forgotten, so that the states are finitely many;
//! * [`promise`] — what must hold, and what must be possible;
//! * [`explore`] — goes through all states.
//!
//! Time has no end and loads and questions no number: only revocations, fail-overs, crashes and
//! the like are counted. A thread that is stopped, for however long, is one whose next step does not come; so a stop
//! between any two steps is among the orders tried. Memory is simple here: what one thread writes
//! the next one reads. What the memory model adds is checked on the product's own code by
//! `tests/interleaving`.

#![forbid(unsafe_code)]

pub mod action;
pub mod explore;
pub mod mistake;
pub mod promise;
pub mod rules;
pub mod scenario;
pub mod steps;
pub mod tidy;
pub mod world;
pub mod worlds;
