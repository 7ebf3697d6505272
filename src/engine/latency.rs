//! How long lookups take, measured on a few of them.
//!
//! Reading a precise clock twice costs more than the lookup it would time, so about one lookup in
//! [`SAMPLE_EVERY`] is timed, from having the lock to having the answer. The percentiles are those of
//! the timed ones.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// One lookup in this many is timed, on average.
pub const SAMPLE_EVERY: u64 = 128;

/// Longest time told apart, in nanoseconds: ten seconds.
const MOST_NANOS: u64 = 10_000_000_000;

/// Percentiles of the timed lookups, in nanoseconds; zero while there are none.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct LatencySummary {
    /// Lookups timed.
    pub samples: u64,
    /// Arithmetic mean.
    pub mean_ns: f64,
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p999_ns: u64,
    /// Longest.
    pub max_ns: u64,
}

/// Collects times.
#[derive(Debug)]
pub struct Latency {
    histogram: Option<Histogram<u64>>,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// An empty collection.
    #[must_use]
    pub fn new() -> Self {
        // Two significant digits. The bounds are constants the constructor accepts; should it
        // ever not, lookups go untimed rather than unanswered.
        Self { histogram: Histogram::new_with_bounds(1, MOST_NANOS, 2).ok() }
    }

    /// Notes the time of one lookup.
    pub fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(MOST_NANOS);
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(nanos);
        }
    }

    /// What was seen so far, and begins anew.
    pub fn take(&mut self) -> LatencySummary {
        let summary = self.summary();
        if summary.samples > 0
            && let Some(histogram) = &mut self.histogram
        {
            histogram.reset();
        }
        summary
    }

    /// What was seen so far.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        self.histogram.as_ref().filter(|h| !h.is_empty()).map_or_else(
            LatencySummary::default,
            |histogram| LatencySummary {
                samples: histogram.len(),
                mean_ns: histogram.mean(),
                p50_ns: histogram.value_at_quantile(0.5),
                p99_ns: histogram.value_at_quantile(0.99),
                p999_ns: histogram.value_at_quantile(0.999),
                max_ns: histogram.max(),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_recorded() {
        let mut latency = Latency::new();
        assert_eq!(latency.summary().samples, 0);
        for nanos in 1..=1000 {
            latency.record(Duration::from_nanos(nanos));
        }
        let summary = latency.summary();
        assert_eq!(summary.samples, 1000);
        assert!((495..=510).contains(&summary.p50_ns), "{summary:?}");
        assert!((985..=1000).contains(&summary.p99_ns), "{summary:?}");
        latency.record(Duration::from_secs(100));
        assert!(latency.summary().max_ns >= MOST_NANOS / 2);
    }
}
