//! Counting checks that were answered from memory, without a lock.

use pyo3::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

const NANOS_PER_SECOND: f64 = 1e9;

/// What `read` returns: granted, refused, seconds in all, the fastest and the slowest.
type Reading = (u64, u64, f64, Option<f64>, Option<f64>);

/// Counts and times of answers from memory.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct HitCounts {
    granted: AtomicU64,
    refused: AtomicU64,
    nanos: AtomicU64,
    fastest_nanos: AtomicU64,
    slowest_nanos: AtomicU64,
}

#[pymethods]
impl HitCounts {
    #[new]
    fn new() -> Self {
        Self {
            granted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            fastest_nanos: AtomicU64::new(u64::MAX),
            slowest_nanos: AtomicU64::new(0),
        }
    }

    /// Count an answer.
    ///
    /// Args:
    ///     seconds: What the whole check took; less than 0 counts as 0.
    ///     granted: The answer.
    #[pyo3(name = "record")]
    fn record_seconds(&self, seconds: f64, granted: bool) {
        self.record((seconds * NANOS_PER_SECOND) as u64, granted);
    }

    /// What was counted so far.
    ///
    /// Returns:
    ///     How many were granted, how many refused, the seconds of all, of the fastest and of the
    ///     slowest (None, both, before the first one). What is recorded meanwhile may be in some of
    ///     them and not yet in others.
    fn read(&self) -> Reading {
        let granted = self.granted.load(Ordering::Relaxed);
        let refused = self.refused.load(Ordering::Relaxed);
        let seconds = |nanos: &AtomicU64| nanos.load(Ordering::Relaxed) as f64 / NANOS_PER_SECOND;
        let any = granted + refused > 0;
        let (fastest, slowest) = (seconds(&self.fastest_nanos), seconds(&self.slowest_nanos));
        (granted, refused, seconds(&self.nanos), any.then_some(fastest), any.then_some(slowest))
    }

    /// Add what another account has counted; that one stays as it is.
    fn add(&self, other: &Bound<'_, Self>) {
        let other = other.get();
        let add = |to: &AtomicU64, from: &AtomicU64| {
            to.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        add(&self.nanos, &other.nanos);
        self.fastest_nanos
            .fetch_min(other.fastest_nanos.load(Ordering::Relaxed), Ordering::Relaxed);
        self.slowest_nanos
            .fetch_max(other.slowest_nanos.load(Ordering::Relaxed), Ordering::Relaxed);
        add(&self.granted, &other.granted);
        add(&self.refused, &other.refused);
    }
}

impl HitCounts {
    /// Counts an answer that took so many nanoseconds.
    #[inline]
    pub(super) fn record(&self, nanos: u64, granted: bool) {
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        if nanos < self.fastest_nanos.load(Ordering::Relaxed) {
            self.fastest_nanos.fetch_min(nanos, Ordering::Relaxed);
        }
        if nanos > self.slowest_nanos.load(Ordering::Relaxed) {
            self.slowest_nanos.fetch_max(nanos, Ordering::Relaxed);
        }
        // Last: who reads a count finds its times there.
        let counter = if granted { &self.granted } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
