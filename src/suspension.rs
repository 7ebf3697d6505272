//! For how long the machine was suspended: the time that its monotonic clock does not count.
//!
//! Lives and leases are told by that clock, since no other is as cheap to read. What it leaves
//! out is found by those who wake up often anyway; see
//! [`crate::invalidation::lease`].

use std::time::Duration;

/// Milliseconds since the machine was started during which it was suspended. Never too much, and
/// the same for all processes, give or take one. 0 where the system has no clock that tells.
#[cfg(target_os = "linux")]
pub(crate) fn so_far() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| {
        let now = clock_gettime(clock);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    // What passes between the readings must not look like a suspension: the later one is taken
    // off, so that a thread that loses its processor here finds less, never more.
    let mut most = 0;
    for _ in 0..ATTEMPTS {
        let all = read(ClockId::Boottime);
        let awake = read(ClockId::Monotonic);
        let found = all.saturating_sub(awake).as_millis();
        most = most.max(u64::try_from(found).unwrap_or(u64::MAX));
    }
    most
}

/// Readings of which one at least is not interrupted.
#[cfg(target_os = "linux")]
const ATTEMPTS: usize = 3;

/// See the one for Linux.
#[cfg(not(target_os = "linux"))]
pub(crate) fn so_far() -> u64 {
    0
}

/// Rests for about so long, and no longer where the machine is suspended meanwhile: then this
/// returns as soon as it wakes up.
#[cfg_attr(any(loom, shuttle), allow(dead_code, reason = "no thread watches a model"))]
pub(crate) fn rest(pause: Duration) {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{ClockId, NanosleepRelativeResult, clock_nanosleep_relative};
        use rustix::time::Timespec;
        let time = Timespec {
            tv_sec: pause.as_secs() as i64,
            tv_nsec: i64::from(pause.subsec_nanos()) as _,
        };
        match clock_nanosleep_relative(ClockId::Boottime, &time) {
            NanosleepRelativeResult::Err(_) => {}
            // A signal may end it early, which harms nobody.
            _ => return,
        }
    }
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_between_readings_is_no_suspension() {
        let first = so_far();
        let more = (0..1_000).map(|_| so_far()).max().unwrap_or_default();
        assert!(more <= first + 1, "{first} {more}");
    }
}
