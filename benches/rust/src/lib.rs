//! The engine beside other Rust caches.
//!
//! * [`engine`] — the one place that knows how velro-cache's engine is called;
//! * [`random`] — reproducible draws: uniform, shuffled, Zipf;
//! * [`hit_ratio`] — how much of a trace each policy answers, against the optimum;
//! * [`speed`] — what an operation costs, all contestants taking turns;
//! * [`page`] — where and when a run was made, and Markdown.
//!
//! The programs are `hit_ratio`, `engine_ratios` and the criterion bench `operations`.

pub mod engine;
pub mod hit_ratio;
pub mod page;
pub mod random;
pub mod speed;
