//! Time as the engine sees it: milliseconds since some start, never going back.
//!
//! The system clock is read at the kernel's tick (`CLOCK_MONOTONIC_COARSE`, 1 to 10 ms), because
//! a precise reading costs as much as a whole lookup. [`Clock::deadline`] takes one tick off, so
//! an entry can expire a tick early and never late.

use crate::suspension;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Milliseconds on the engine's clock.
pub type Millis = u64;

/// A length of time on it.
#[must_use]
pub fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

/// Where the time comes from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's monotonic clock.
    #[default]
    System,
    /// A clock that stands still until it is told to move; for tests.
    Manual(Arc<ManualClock>),
}

/// A clock moved by hand. Starts at zero.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicU64,
    /// Suspensions besides those of the machine.
    suspended: AtomicU64,
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let millis = millis(by);
        // Stops at the end of time instead of starting over.
        let _ = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            Some(now.saturating_add(millis))
        });
    }

    /// The time it shows.
    pub fn now(&self) -> Millis {
        self.now.load(Ordering::Relaxed)
    }

    /// Lets time pass that the clock does not show, as while a machine is suspended.
    pub fn suspend(&self, time: Duration) {
        self.suspended.fetch_add(millis(time), Ordering::Relaxed);
    }
}

impl Clock {
    /// The time now.
    #[inline(always)]
    #[must_use]
    pub fn now(&self) -> Millis {
        match self {
            Self::System => system::now(),
            Self::Manual(clock) => clock.now(),
        }
    }

    /// For how long the machine has been suspended, which the clock does not show; to be read
    /// *before* the time.
    #[must_use]
    pub fn suspended(&self) -> Millis {
        let machine = suspension::so_far();
        match self {
            Self::System => machine,
            Self::Manual(clock) => machine.saturating_add(clock.suspended.load(Ordering::Relaxed)),
        }
    }

    /// A time on another clock, told by this one; never later than it is.
    #[must_use]
    pub fn translate(&self, time: Millis, of: &Self) -> Millis {
        match (self, of) {
            (Self::System, Self::System) => time,
            (Self::Manual(mine), Self::Manual(theirs)) if Arc::ptr_eq(mine, theirs) => time,
            _ => {
                let now = self.now();
                now.saturating_add(time.saturating_sub(of.now()))
            }
        }
    }

    /// When something that begins now and may last `ttl` must end.
    #[inline]
    #[must_use]
    pub fn deadline(&self, now: Millis, ttl: Millis) -> Millis {
        let tick = match self {
            Self::System => system::tick(),
            Self::Manual(_) => 0,
        };
        now.saturating_add(ttl.saturating_sub(tick))
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::Millis;
    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};
    use std::sync::OnceLock;

    fn millis(time: Timespec) -> Millis {
        (time.tv_sec as u64).wrapping_mul(1000) + time.tv_nsec as u64 / 1_000_000
    }

    #[inline]
    pub(super) fn now() -> Millis {
        millis(clock_gettime(ClockId::MonotonicCoarse))
    }

    /// Largest amount by which a reading may lag behind, rounded up.
    pub(super) fn tick() -> Millis {
        static TICK: OnceLock<Millis> = OnceLock::new();
        *TICK.get_or_init(|| millis(clock_getres(ClockId::MonotonicCoarse)) + 1)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Millis;
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(super) fn now() -> Millis {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_millis() as Millis
    }

    pub(super) fn tick() -> Millis {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_does_not_go_back() {
        let clock = Clock::System;
        let first = clock.now();
        assert!((0..10_000).all(|_| clock.now() >= first));
    }

    #[test]
    fn deadline_errs_on_the_early_side() {
        let clock = Clock::System;
        let ttl = 1000;
        let deadline = clock.deadline(5_000, ttl);
        assert!((5_900..6_000).contains(&deadline), "{deadline}");
        assert_eq!(clock.deadline(5_000, 0), 5_000);
    }

    #[test]
    fn times_are_told_by_another_clock() {
        let (one, other) = (Arc::new(ManualClock::default()), Arc::new(ManualClock::default()));
        one.advance(Duration::from_millis(100));
        other.advance(Duration::from_millis(1000));
        let (one, other) = (Clock::Manual(one), Clock::Manual(other));
        assert_eq!(one.translate(1500, &other), 600);
        assert_eq!(one.translate(500, &other), 100);
        assert_eq!(one.translate(500, &one), 500);
        assert_eq!(one.translate(Millis::MAX, &other), Millis::MAX - 900);
        assert_eq!(Clock::System.translate(500, &Clock::System), 500);
    }

    #[test]
    fn manual_clock_moves_only_by_hand() {
        let hand = Arc::new(ManualClock::default());
        let clock = Clock::Manual(Arc::clone(&hand));
        assert_eq!(clock.now(), 0);
        hand.advance(Duration::from_millis(1500));
        assert_eq!(clock.now(), 1500);
        assert_eq!(clock.deadline(1500, 1000), 2500);
    }
}
