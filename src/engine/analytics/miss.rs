//! Why a lookup was not answered from memory.

use serde::Serialize;

/// The cause of a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissReason {
    /// The key was not there before, or that is so long ago that nobody remembers.
    Cold,
    /// Its life was over.
    Expired,
    /// It had to go because room was needed.
    Evicted,
    /// It was invalidated or deleted.
    Invalidated,
    /// Its value was refused: something it depends on was invalidated while it was being loaded.
    Stale,
    /// Its value was refused: it is larger than the cache may hold.
    TooLarge,
    /// It is there and valid, but this host lacks news from the log.
    Lease,
}

impl MissReason {
    /// Its name in the statistics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Invalidated => "invalidated",
            Self::Stale => "stale",
            Self::TooLarge => "too_large",
            Self::Lease => "lease",
        }
    }
}

/// Misses by cause. Every miss has exactly one, so their sum is that of the misses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MissCounts {
    /// See [`MissReason::Cold`].
    pub cold: u64,
    /// See [`MissReason::Expired`].
    pub expired: u64,
    /// See [`MissReason::Evicted`].
    pub evicted: u64,
    /// See [`MissReason::Invalidated`].
    pub invalidated: u64,
    /// See [`MissReason::Stale`].
    pub stale: u64,
    /// See [`MissReason::TooLarge`].
    pub too_large: u64,
    /// See [`MissReason::Lease`].
    pub lease: u64,
}

impl MissCounts {
    pub(in crate::engine) fn count(&mut self, why: MissReason) {
        *self.of(why) += 1;
    }

    pub(in crate::engine) fn add(&mut self, other: &Self) {
        self.cold += other.cold;
        self.expired += other.expired;
        self.evicted += other.evicted;
        self.invalidated += other.invalidated;
        self.stale += other.stale;
        self.too_large += other.too_large;
        self.lease += other.lease;
    }

    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let left = self.cold + self.expired + self.evicted + self.invalidated;
        left + self.stale + self.too_large + self.lease
    }

    fn of(&mut self, why: MissReason) -> &mut u64 {
        match why {
            MissReason::Cold => &mut self.cold,
            MissReason::Expired => &mut self.expired,
            MissReason::Evicted => &mut self.evicted,
            MissReason::Invalidated => &mut self.invalidated,
            MissReason::Stale => &mut self.stale,
            MissReason::TooLarge => &mut self.too_large,
            MissReason::Lease => &mut self.lease,
        }
    }
}
