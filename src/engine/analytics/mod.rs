//! What operators ask: why lookups miss, what is asked for most, how the last minutes were.
//!
//! Everything here has a bound that does not depend on traffic, and nothing of it runs on a hit,
//! but for one in about 128 that is timed anyway.
//!
//! * [`miss`] — why a lookup was not answered; `departures` — why a key that is not held left;
//! * `samples` — the lookups that are timed; [`top`] — what they ask for most, on `space_saving`;
//!   [`tag_names`] — what tags are called;
//! * [`lives`] — hits and sets by how long values were to live;
//! * [`history`] — the last 15 minutes by the second; [`journal`] — what was invalidated lately;
//! * [`what_if`] — hit rates at other sizes and lives;
//! * [`explain`] — what is known of one key; [`reports`] — all of it, asked of a store.

pub(super) mod departures;
pub mod explain;
pub mod history;
pub mod journal;
pub mod lives;
pub mod miss;
pub mod reports;
pub(super) mod samples;
mod space_saving;
pub mod tag_names;
pub mod top;
pub mod what_if;
