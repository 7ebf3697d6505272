//! How much of a trace each policy answers.
//!
//! A request looks a key up and, on a miss, stores it. What counts is the share of hits, and how
//! far it stays below the best that anybody could reach who knew the future.
//!
//! * [`trace`] — requests read from files;
//! * [`scenarios`] — requests drawn from Zipf distributions;
//! * [`optimal`] — the best that is possible;
//! * [`contestants`] — our policies and other crates, each made exact and repeatable;
//! * [`run`] — everybody over everything, on several threads;
//! * [`results`], [`report`], [`chart`] — figures, Markdown, SVG.

pub mod chart;
pub mod contestants;
pub mod optimal;
pub mod report;
pub mod results;
pub mod run;
pub mod scenarios;
pub mod trace;
