//! The engine beside other Rust caches.
//!
//! * [`engine`] — the one place that knows how velro-cache's engine is called;
//! * [`random`] — reproducible draws: uniform, shuffled, Zipf;
//! * [`hit_ratio`] — how much of a trace each policy answers, against the optimum;
//! * [`page`] — where and when a run was made, and Markdown.
//!
//! The program is `hit_ratio`.

pub mod engine;
pub mod hit_ratio;
pub mod page;
pub mod random;
