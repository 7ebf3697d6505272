//! A token bucket as one point in time: when it will be full again.
//!
//! Idea: the generic cell rate algorithm, GCRA (ITU-T Recommendation I.371, annex A, "virtual
//! scheduling"; the same as a token bucket, as is shown there). A token comes back every
//! `interval`. What is missing in a bucket is told by how far the moment lies ahead at which it
//! will be full (the "theoretical arrival time"); a request that costs `n` moves that moment by
//! `n * interval`, and is refused if it would then lie further ahead than an empty bucket takes to
//! fill.
//!
//! Where we depart from it: the interval is kept beside the moment, so that what is missing can be
//! told in tokens when the rate changes.
//!
//! Cost: a few integer operations; 16 bytes for a bucket. All of it saturates.

/// Nanoseconds, as a length of time or since some start.
pub type Nanos = u64;

/// How fast tokens come back, and how many there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Nanos,
    capacity: u64,
    length: Nanos,
}

impl Rate {
    /// `count` tokens come back in each `period`, of at most `capacity`.
    ///
    /// The time for one token is rounded up to a nanosecond, so that never more come back. `None`
    /// if a number is 0, or an empty bucket would take longer to fill than can be told.
    #[must_use]
    pub fn new(count: u64, period: Nanos, capacity: u64) -> Option<Self> {
        if count == 0 || period == 0 || capacity == 0 {
            return None;
        }
        let interval = period.div_ceil(count);
        let length = interval.checked_mul(capacity)?;
        (length <= Nanos::MAX / 4).then_some(Self { interval, capacity, length })
    }

    /// How long one token takes to come back.
    #[must_use]
    pub fn interval(&self) -> Nanos {
        self.interval
    }

    /// Tokens in a full bucket: the most that one request may cost.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How long an empty bucket takes to fill.
    #[must_use]
    pub fn length(&self) -> Nanos {
        self.length
    }

    /// What a bucket holds that will be full after so long.
    #[inline]
    #[must_use]
    pub fn state(&self, full_in: Nanos) -> State {
        let full_in = full_in.min(self.length);
        let left = (self.length - full_in) / self.interval;
        let with_one_more = self.price(left.saturating_add(1)).saturating_add(full_in);
        let next_in =
            if left >= self.capacity { 0 } else { with_one_more.saturating_sub(self.length) };
        State { left, next_in, full_in }
    }

    #[inline]
    fn price(&self, cost: u64) -> Nanos {
        self.interval.saturating_mul(cost)
    }
}

/// A bucket; at first a full one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: Nanos,
    /// Of the rate by which `full_at` was reckoned; 0 while nothing was ever taken.
    interval: Nanos,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Whole tokens.
    pub left: u64,
    /// Until there is one more; 0 if it is full.
    pub next_in: Nanos,
    /// Until it is full.
    pub full_in: Nanos,
}

impl Bucket {
    /// When it will be full.
    #[inline]
    #[must_use]
    pub fn full_at(&self) -> Nanos {
        self.full_at
    }

    /// Goes on at another rate, if it is another one: what was taken stays taken, as a number of
    /// tokens. What does not fit into the new bucket is forgiven, so that nobody waits for longer
    /// than an empty one takes to fill.
    #[inline]
    pub fn follow(&mut self, rate: &Rate, now: Nanos) {
        let mut missing = self.full_at.saturating_sub(now);
        if self.interval != rate.interval {
            missing = rescaled(missing, self.interval, rate.interval);
            self.interval = rate.interval;
        }
        self.full_at = now.saturating_add(missing.min(rate.length));
    }

    /// Takes tokens, if so many are there. To be called after [`Bucket::follow`].
    ///
    /// Returns how long to wait until they are; 0 if they were taken.
    #[inline]
    pub fn take(&mut self, rate: &Rate, now: Nanos, cost: u64) -> Nanos {
        let missing = self.full_at.saturating_sub(now);
        let after = missing.saturating_add(rate.price(cost));
        let too_far = after.saturating_sub(rate.length);
        if too_far == 0 {
            self.full_at = now.saturating_add(after);
        }
        too_far
    }

    /// What it holds.
    #[inline]
    #[must_use]
    pub fn state(&self, rate: &Rate, now: Nanos) -> State {
        rate.state(self.full_at.saturating_sub(now))
    }
}

/// The time that as many tokens take at another rate, rounded up.
#[inline]
fn rescaled(missing: Nanos, from: Nanos, to: Nanos) -> Nanos {
    if missing == 0 || from == 0 {
        return 0;
    }
    let exactly = (u128::from(missing) * u128::from(to)).div_ceil(u128::from(from));
    Nanos::try_from(exactly).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    /// Takes one token.
    fn take(bucket: &mut Bucket, rate: &Rate, now: Nanos) -> bool {
        bucket.follow(rate, now);
        bucket.take(rate, now, 1) == 0
    }

    #[test]
    fn a_full_bucket_holds_its_capacity_and_one_comes_back_each_interval() {
        let rate = Rate::new(60, 60 * SECOND, 11).unwrap();
        let mut bucket = Bucket::default();
        assert_eq!((0..100).filter(|_| take(&mut bucket, &rate, 0)).count(), 11);
        assert!(!take(&mut bucket, &rate, SECOND - 1));
        assert!(take(&mut bucket, &rate, SECOND));
        assert!(!take(&mut bucket, &rate, SECOND));
        assert_eq!(
            bucket.state(&rate, SECOND),
            State { left: 0, next_in: SECOND, full_in: 11 * SECOND }
        );
    }

    #[test]
    fn who_waits_as_long_as_told_is_let_in_and_not_a_nanosecond_sooner() {
        let rate = Rate::new(7, 60 * SECOND, 3).unwrap();
        let mut bucket = Bucket::default();
        bucket.follow(&rate, 5);
        assert_eq!(bucket.take(&rate, 5, 3), 0);
        let wait = bucket.take(&rate, 5, 2);
        assert!(wait > 0);
        assert_ne!(bucket.take(&rate, 5 + wait - 1, 2), 0);
        assert_eq!(bucket.take(&rate, 5 + wait, 2), 0);
    }

    #[test]
    fn another_rate_keeps_what_was_taken_as_a_number_of_tokens() {
        let slow = Rate::new(60, 60 * SECOND, 11).unwrap();
        let fast = Rate::new(600, 60 * SECOND, 101).unwrap();
        let mut bucket = Bucket::default();
        bucket.follow(&slow, 0);
        bucket.take(&slow, 0, 10);
        bucket.follow(&fast, 0);
        assert_eq!(bucket.state(&fast, 0).left, 91);
        bucket.take(&fast, 0, 90);
        bucket.follow(&slow, 0);
        let state = bucket.state(&slow, 0);
        assert_eq!((state.left, state.full_in), (0, slow.length()));
    }

    #[test]
    fn numbers_without_sense_or_measure_are_no_rate() {
        assert_eq!(Rate::new(0, 1, 1), None);
        assert_eq!(Rate::new(1, 0, 1), None);
        assert_eq!(Rate::new(1, 1, 0), None);
        assert_eq!(Rate::new(1, SECOND, u64::MAX), None);
    }

    #[test]
    fn nothing_overflows() {
        let rate = Rate::new(1, 60 * SECOND, 1_000_000).unwrap();
        let mut bucket = Bucket::default();
        for now in [0, u64::MAX / 2, u64::MAX, 1] {
            bucket.follow(&rate, now);
            bucket.take(&rate, now, u64::MAX);
            bucket.take(&rate, now, 1);
            assert!(bucket.state(&rate, now).left <= rate.capacity());
        }
    }
}
