//! What a caller may do: so many per minute with a burst, so many per day.

use super::gcra::{Nanos, Rate};
use thiserror::Error;

const SECOND: Nanos = 1_000_000_000;

/// Of the bucket that is refilled per minute.
pub const MINUTE: Nanos = 60 * SECOND;

/// Of the other one.
pub const DAY: Nanos = 86_400 * SECOND;

/// A million per second: up to here the nanoseconds lost to rounding are less than 0.1 %.
pub const MOST_PER_MINUTE: u64 = 60_000_000;

/// As many; more than a minute lets through.
pub const MOST_PER_DAY: u64 = 60_000_000 * 60 * 24;

/// Tokens beyond the first one.
pub const MOST_BURST: u64 = 60_000_000;

/// Two token buckets, of which both must have what a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// None: not limited by the minute.
    pub minute: Option<Rate>,
    /// None: not limited by the day.
    pub day: Option<Rate>,
}

/// A number that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LimitError {
    /// Requests per minute.
    #[error("requests_per_minute must be between 1 and {MOST_PER_MINUTE}, or None")]
    PerMinute,
    /// Requests per day.
    #[error("requests_per_day must be between 1 and {MOST_PER_DAY}, or None")]
    PerDay,
    /// Requests at once.
    #[error("burst must be between 0 and {MOST_BURST}")]
    Burst,
}

impl Limits {
    /// A bucket of `burst + 1` tokens that is refilled `per_minute`, and one of `per_day` that is
    /// refilled `per_day`.
    ///
    /// # Errors
    ///
    /// A number is out of range.
    pub fn new(
        per_minute: Option<u64>,
        burst: u64,
        per_day: Option<u64>,
    ) -> Result<Self, LimitError> {
        if burst > MOST_BURST {
            return Err(LimitError::Burst);
        }
        let rate = |count: Option<u64>, most, period, capacity, error| match count {
            None => Ok(None),
            Some(count) if count > most => Err(error),
            Some(count) => Rate::new(count, period, capacity).map(Some).ok_or(error),
        };
        Ok(Self {
            minute: rate(per_minute, MOST_PER_MINUTE, MINUTE, burst + 1, LimitError::PerMinute)?,
            day: rate(per_day, MOST_PER_DAY, DAY, per_day.unwrap_or(0), LimitError::PerDay)?,
        })
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.minute.is_none() && self.day.is_none()
    }

    /// The most that one request may cost.
    #[must_use]
    pub fn most(&self) -> u64 {
        let capacity = |rate: Option<Rate>| rate.map_or(u64::MAX, |rate| rate.capacity());
        capacity(self.minute).min(capacity(self.day))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_numbers_are_rates_and_larger_ones_errors() {
        let most = Limits::new(Some(1), MOST_BURST, Some(MOST_PER_DAY)).unwrap();
        assert_eq!(most.minute.unwrap().capacity(), MOST_BURST + 1);
        assert_eq!(most.day.unwrap().interval(), 1000);
        assert_eq!(Limits::new(Some(0), 0, None), Err(LimitError::PerMinute));
        assert_eq!(Limits::new(Some(MOST_PER_MINUTE + 1), 0, None), Err(LimitError::PerMinute));
        assert_eq!(Limits::new(None, MOST_BURST + 1, None), Err(LimitError::Burst));
        assert_eq!(Limits::new(None, 0, Some(0)), Err(LimitError::PerDay));
        assert_eq!(Limits::new(None, 0, Some(MOST_PER_DAY + 1)), Err(LimitError::PerDay));
        assert!(Limits::new(None, 5, None).unwrap().are_none());
    }
}
