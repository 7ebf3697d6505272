//! The last 15 minutes, one point a second.
//!
//! Nobody counts by the second: whoever looks, or sweeps, has the totals read, and the difference
//! to those before becomes a point. Where nobody looked for some seconds there is a gap, and the
//! point after it says how many seconds it is about. Nothing is spread over seconds of which nothing
//! is known.
//!
//! Memory: 900 points of 96 bytes. Cost: that of reading the totals, at most once a second.

use crate::engine::clock::Millis;
use serde::Serialize;
use std::collections::VecDeque;

/// Seconds that are kept.
pub const SECONDS: u64 = 900;

const SECOND: Millis = 1000;

/// What has happened since the store was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Lookups answered from memory.
    pub hits: u64,
    /// Lookups that were not.
    pub misses: u64,
    /// Loads that were begun.
    pub loads: u64,
    /// Entries that left because room was needed.
    pub evictions: u64,
    /// Entries that left because their time was over.
    pub expirations: u64,
    /// Entries that left because they were invalidated.
    pub invalidations: u64,
}

impl Totals {
    fn since(&self, before: &Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(before.hits),
            misses: self.misses.saturating_sub(before.misses),
            loads: self.loads.saturating_sub(before.loads),
            evictions: self.evictions.saturating_sub(before.evictions),
            expirations: self.expirations.saturating_sub(before.expirations),
            invalidations: self.invalidations.saturating_sub(before.invalidations),
        }
    }
}

/// How things stand, and times since they were last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Levels {
    /// Entries held.
    pub entries: u64,
    /// Bytes they count for.
    pub bytes: u64,
    /// Lookups that were timed.
    pub samples: u64,
    /// Their median, in nanoseconds; 0 without samples.
    pub p50_ns: u64,
    /// Their 99th percentile, in nanoseconds; 0 without samples.
    pub p99_ns: u64,
}

/// A second in which somebody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Seconds on the clock of the store.
    pub second: u64,
    /// So many seconds it is about: those since the point before.
    pub seconds: u64,
    /// What happened in them.
    pub counts: Totals,
    /// How things stood at their end.
    pub levels: Levels,
}

/// The points.
#[derive(Debug)]
pub(in crate::engine) struct History {
    points: VecDeque<Point>,
    second: u64,
    totals: Totals,
}

impl History {
    pub(in crate::engine) fn since(now: Millis) -> Self {
        Self { points: VecDeque::new(), second: now / SECOND, totals: Totals::default() }
    }

    /// Whether there is no point yet for the second that it is.
    pub(in crate::engine) fn is_due(&self, now: Millis) -> bool {
        now / SECOND > self.second
    }

    /// Adds a point, unless there is one for this second.
    pub(in crate::engine) fn note(&mut self, now: Millis, totals: Totals, levels: Levels) {
        if !self.is_due(now) {
            return;
        }
        let second = now / SECOND;
        let counts = totals.since(&self.totals);
        self.points.push_back(Point { second, seconds: second - self.second, counts, levels });
        (self.second, self.totals) = (second, totals);
        while self.points.front().is_some_and(|point| point.second + SECONDS <= second) {
            self.points.pop_front();
        }
    }

    /// The points of the last so many seconds, oldest first. Seconds without one are left out.
    pub(in crate::engine) fn last(&self, now: Millis, seconds: u64) -> Vec<Point> {
        let after = (now / SECOND).saturating_sub(seconds.min(SECONDS));
        let is_young = |point: &&Point| {
            // At the start of a clock, all is young.
            point.second > after || now / SECOND < seconds.min(SECONDS)
        };
        self.points.iter().filter(is_young).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_or_counted_twice(
            steps in prop::collection::vec((0u64..5_000, 0u64..100), 1..200),
        ) {
            let (mut now, mut hits) = (12_345, 0);
            let mut history = History::since(now);
            // Seconds, and the hits until the first reading in each of them.
            let mut read: Vec<(u64, u64)> = vec![(now / SECOND, 0)];
            for (time, more) in steps {
                now += time;
                hits += more;
                history.note(now, Totals { hits, ..Totals::default() }, Levels::default());
                if read.last().is_some_and(|&(second, _)| second < now / SECOND) {
                    read.push((now / SECOND, hits));
                }
            }
            let points = history.last(now, SECONDS);
            let expected: Vec<_> = read
                .windows(2)
                .map(|pair| (pair[1].0, pair[1].0 - pair[0].0, pair[1].1 - pair[0].1))
                .filter(|&(second, ..)| second + SECONDS > now / SECOND)
                .collect();
            let found: Vec<_> = points.iter().map(|p| (p.second, p.seconds, p.counts.hits)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn there_are_never_more_than_so_many_points() {
        let mut history = History::since(0);
        for second in 1..3_000 {
            history.note(second * SECOND, Totals::default(), Levels::default());
        }
        assert_eq!(history.points.len(), SECONDS as usize);
        assert_eq!(history.last(2_999 * SECOND, 10).len(), 10);
        assert_eq!(history.last(2_999 * SECOND, u64::MAX).len(), SECONDS as usize);
        // Nobody looked for so long that all of it is old.
        assert_eq!(history.last(9_999 * SECOND, 900), []);
        history.note(9_999 * SECOND, Totals::default(), Levels::default());
        let points = history.last(9_999 * SECOND, 900);
        assert_eq!((points.len(), points[0].seconds), (1, 7_000));
    }
}
