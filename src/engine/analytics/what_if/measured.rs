//! What the real cache has done while keys were followed, so that old lookups count less.

use crate::engine::clock::{Millis, millis};
use std::time::Duration;

/// What was counted is halved so often, so that what was long ago counts less.
pub(super) const FADE_EVERY: Duration = Duration::from_secs(3600);

/// Lookups of the real cache, older ones less.
#[derive(Debug, Default)]
pub(super) struct Measured {
    hits: u64,
    misses: u64,
    /// Counters when they were added.
    hits_before: u64,
    misses_before: u64,
    fade_at: Millis,
}

impl Measured {
    /// Starts the time after which it fades first.
    pub(super) fn begin(&mut self, now: Millis) {
        self.fade_at = now.saturating_add(millis(FADE_EVERY));
    }

    /// Whether it is time to fade.
    pub(super) const fn is_due(&self, now: Millis) -> bool {
        now >= self.fade_at
    }

    /// With what was counted since it was added last.
    pub(super) const fn with(&self, hits: u64, misses: u64) -> (u64, u64) {
        (self.hits + hits - self.hits_before, self.misses + misses - self.misses_before)
    }

    /// Lets what was counted so far count half.
    pub(super) fn fade(&mut self, now: Millis, hits: u64, misses: u64) {
        let (all_hits, all_misses) = self.with(hits, misses);
        *self = Self {
            hits: all_hits / 2,
            misses: all_misses / 2,
            hits_before: hits,
            misses_before: misses,
            fade_at: now.saturating_add(millis(FADE_EVERY)),
        };
    }
}
