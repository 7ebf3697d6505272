//! Time in nanoseconds.
//!
//! Not the coarse clock of the engine: at a million requests per second its tick of some
//! milliseconds would be worth thousands of them, and who waits as long as told might still be a
//! tick too early.

use super::gcra::Nanos;
use crate::engine::clock::ManualClock;
use std::sync::Arc;

/// Where the time comes from.
#[derive(Debug, Clone, Default)]
pub enum NanoClock {
    /// The machine's monotonic clock.
    #[default]
    System,
    /// A clock that is moved by hand; for tests.
    Manual(Arc<ManualClock>),
}

impl NanoClock {
    /// The time now.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Nanos {
        match self {
            Self::System => system::now(),
            Self::Manual(clock) => clock.now().saturating_mul(1_000_000),
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::Nanos;
    use rustix::time::{ClockId, clock_gettime};

    #[inline]
    pub(super) fn now() -> Nanos {
        let time = clock_gettime(ClockId::Monotonic);
        (time.tv_sec as u64).wrapping_mul(1_000_000_000) + time.tv_nsec as u64
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Nanos;
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(super) fn now() -> Nanos {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as Nanos
    }
}
