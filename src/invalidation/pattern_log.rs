//! The last few invalidations by wildcard, for loads that were under way when they came.
//!
//! A wildcard in the middle of a key has no slot. Stored entries are searched and removed when
//! such an invalidation comes; a load that is still running is not stored yet, so its key is
//! compared with this log when it wants to be. The log is short: what falls off its end raises a
//! horizon, and loads older than the horizon are refused unseen. That costs such a load one
//! repetition and can never let it through.

use super::pattern::Pattern;
use super::table::Stamp;
use std::collections::VecDeque;

/// Wildcards remembered. A load would have to last longer than this many wildcard
/// invalidations to be refused without cause.
const CAPACITY: usize = 64;

#[derive(Debug)]
pub(super) struct PatternLog {
    recent: VecDeque<(Stamp, Pattern)>,
    horizon: Stamp,
}

impl PatternLog {
    pub(super) fn new() -> Self {
        Self { recent: VecDeque::new(), horizon: 0 }
    }

    pub(super) fn push(&mut self, at: Stamp, pattern: &[u8]) {
        if self.recent.len() == CAPACITY
            && let Some((dropped, _)) = self.recent.pop_front()
        {
            self.horizon = self.horizon.max(dropped);
        }
        self.recent.push_back((at, Pattern::new(pattern)));
    }

    /// Whether a wildcard newer than `stamp` covers `key`, or may have.
    pub(super) fn covers(&self, key: &[u8], stamp: Stamp) -> bool {
        stamp < self.horizon
            || self.recent.iter().rev().any(|(at, pattern)| *at > stamp && pattern.matches(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_wildcards_refuse_every_load_older_than_them() {
        let mut log = PatternLog::new();
        log.push(10, b"only*this");
        for at in 0..CAPACITY as Stamp {
            log.push(100 + at, b"x*y");
        }
        assert!(log.covers(b"unrelated", 9));
        assert!(!log.covers(b"unrelated", 10));
    }
}
