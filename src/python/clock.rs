//! The clock that tests move by hand.

use crate::engine::clock::{Clock, ManualClock};
use crate::rate_limit::NanoClock;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// A clock that stands still until it is told to move.
///
/// Hand it to ``OptimizedCacheManager(config, clock=...)`` to test expiry without waiting.
#[pyclass(name = "ManualClock", module = "velro_cache._engine", frozen)]
#[derive(Debug, Default)]
pub(super) struct PyManualClock(Arc<ManualClock>);

impl PyManualClock {
    pub(super) fn as_clock(&self) -> Clock {
        Clock::Manual(Arc::clone(&self.0))
    }

    pub(super) fn as_nano_clock(&self) -> NanoClock {
        NanoClock::Manual(Arc::clone(&self.0))
    }
}

#[pymethods]
impl PyManualClock {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Move the clock forward.
    ///
    /// Args:
    ///     seconds: By how much, in seconds; whole milliseconds count.
    ///
    /// Raises:
    ///     ValueError: ``seconds`` is negative or not a finite number.
    fn advance(&self, seconds: f64) -> PyResult<()> {
        self.0.advance(duration(seconds)?);
        Ok(())
    }

    /// Let time pass that the clock does not show, as while a machine is suspended.
    ///
    /// Args:
    ///     seconds: For how long, in seconds; whole milliseconds count.
    ///
    /// Raises:
    ///     ValueError: ``seconds`` is negative or not a finite number.
    ///
    /// Consistency:
    ///     Who finds out is the connection with an invalidation log, before its next question, and
    ///     ``sweep()``.
    fn suspend(&self, seconds: f64) -> PyResult<()> {
        self.0.suspend(duration(seconds)?);
        Ok(())
    }

    /// Read the clock.
    ///
    /// Returns:
    ///     Seconds since it was made.
    fn now(&self) -> f64 {
        self.0.now() as f64 / 1000.0
    }
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err("seconds must be a number that is not negative"))
}
