//! How often somebody may ask: token buckets by name, in bounded memory.
//!
//! * [`gcra`] — one bucket as two numbers, and what of it is left;
//! * [`limits`] — what a caller may do: so many per minute with a burst, so many per day;
//! * [`table`] — the buckets of all names, plain `&mut self`;
//! * [`by_idleness`] — who goes when there is no room: whoever is closest to a full bucket;
//! * [`clock`] — nanoseconds;
//! * [`limiter`] — all of it behind one lock, names hashed with a secret.
//!
//! **Invariant:** what is charged, is charged to all buckets of a check or to none.
//!
//! **Invariant:** no more than `max_names` rows are held, whatever names there are.

pub mod by_idleness;
pub mod clock;
pub mod gcra;
pub mod limiter;
pub mod limits;
pub mod table;

pub use clock::NanoClock;
pub use gcra::{Nanos, Rate, State};
pub use limiter::{Counts, RateLimiter, Request};
pub use limits::{LimitError, Limits};
pub use table::{Answer, Answers, Charge, Outcome};
