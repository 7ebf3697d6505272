//! How one entry was used, in eight bytes of its row.

/// When an entry was last used, how often it was used again, and after how long on average.
///
/// Times are ticks of the policy's own clock, which advances with every new key. They wrap: an
/// entry that was idle for 2^32 ticks looks fresh again, and nothing worse happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Usage {
    last_access: u32,
    /// Upper 24 bits: mean interval between uses. Lower 8 bits: number of uses after the first.
    /// Both stop at the top.
    history: u32,
}

const COUNT_BITS: u32 = 8;
const MAX_COUNT: u32 = (1 << COUNT_BITS) - 1;
pub(super) const MAX_INTERVAL: u32 = (1 << (32 - COUNT_BITS)) - 1;

/// How far a use moves the mean, by the number of uses before it: all the way, a half, a
/// quarter, and from the seventh on an eighth. The early mean is then nearly the true one, and a
/// change of habit still shows after a few uses. A table, because branches on it would be
/// mispredicted on the hit path.
const STEP_SHIFT: [u8; MAX_COUNT as usize + 1] = {
    let mut shifts = [3; MAX_COUNT as usize + 1];
    (shifts[0], shifts[1], shifts[2], shifts[3], shifts[4], shifts[5]) = (0, 1, 2, 2, 2, 2);
    shifts
};

impl Usage {
    /// Of a key of which nothing is known.
    pub(super) fn first(now: u32) -> Self {
        Self { last_access: now, history: 0 }
    }

    #[inline]
    pub(super) fn new(last_access: u32, interval: u32, count: u32) -> Self {
        let history = (interval.min(MAX_INTERVAL) << COUNT_BITS) | count.min(MAX_COUNT);
        Self { last_access, history }
    }

    /// The same bits, for policies that have another use for them.
    #[inline]
    pub(in crate::engine) fn from_word(word: u64) -> Self {
        Self { last_access: (word >> 32) as u32, history: word as u32 }
    }

    #[inline]
    pub(in crate::engine) fn word(self) -> u64 {
        (u64::from(self.last_access) << 32) | u64::from(self.history)
    }

    /// Notes a use.
    #[inline]
    pub(super) fn touch(&mut self, now: u32) {
        if self.last_access == now {
            // An interval of nothing. Where nearly everything is a hit, this is nearly every hit,
            // so it goes without a table: an eighth of the mean, rounded up.
            self.history -= ((self.interval() + 7) >> 3) << COUNT_BITS;
            self.history += u32::from(self.count() < MAX_COUNT);
            return;
        }
        let age = self.age(now).min(MAX_INTERVAL);
        let count = self.history as u8;
        let shift = STEP_SHIFT[usize::from(count)];
        // Half a step more, so that rounding does not draw the mean downwards.
        let half_step = (1i32 << shift) >> 1;
        let step = (age as i32 - self.interval() as i32 + half_step) >> shift;
        // A mean of intervals is no longer than the longest.
        let interval = self.interval().wrapping_add_signed(step);
        self.history = (interval << COUNT_BITS) | u32::from(count.saturating_add(1));
        self.last_access = now;
    }

    /// Starts waiting for the next use anew, without counting one.
    pub(super) fn restart(&mut self, now: u32) {
        self.last_access = now;
    }

    /// Time since the last use.
    #[inline]
    pub(super) fn age(self, now: u32) -> u32 {
        now.wrapping_sub(self.last_access)
    }

    #[inline]
    pub(super) fn interval(self) -> u32 {
        self.history >> COUNT_BITS
    }

    #[inline]
    pub(super) fn count(self) -> u32 {
        self.history & MAX_COUNT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_interval_is_the_mean_from_the_first_return_on() {
        let mut usage = Usage::first(0);
        for number in 1..=20 {
            usage.touch(number * 100);
            assert_eq!((usage.interval(), usage.count()), (100, number));
        }
    }

    #[test]
    fn a_change_of_habit_shows_within_some_uses() {
        let mut usage = Usage::new(0, 100, 50);
        for number in 1..=16 {
            usage.touch(number * 1_000);
        }
        assert!(usage.interval() > 850, "{usage:?}");
    }

    #[test]
    fn time_wraps_and_everything_stops_at_the_top() {
        let mut usage = Usage::first(u32::MAX - 4);
        usage.touch(5);
        assert_eq!((usage.interval(), usage.age(6)), (10, 1));
        for number in 0..300u32 {
            usage.touch(6u32.wrapping_add(number.wrapping_mul(1 << 31)));
        }
        assert_eq!(usage.count(), MAX_COUNT);
        assert!(usage.interval() <= MAX_INTERVAL);
    }
}
