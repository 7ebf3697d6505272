//! What is known of one key. Never its value.

use super::miss::MissReason;
use crate::engine::clock::Millis;

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explanation {
    /// There is an entry, which may be over.
    Held(Held),
    /// There is none; why it left last, [`MissReason::Cold`] if nobody remembers one.
    NotHeld(MissReason),
}

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Since its key came in, in milliseconds, give or take eight. Setting a value over another one
    /// does not count: it would have to write one word more each time.
    pub age: Millis,
    /// Until it ends, in milliseconds; 0: it is over.
    pub left: Millis,
    /// How many tags it has, those that its key implies among them.
    pub tags: usize,
    /// Bytes it counts for.
    pub bytes: u32,
    /// Whether it is served only while this host hears from the log.
    pub permissive: bool,
    /// Weight on survival.
    pub priority: u8,
    /// Why a lookup would not be answered by it; `None`: it would.
    pub why_not: Option<MissReason>,
}

/// When keys came in: in steps of eight milliseconds, which start over after 397 days.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::engine) struct SetAt(u32);

impl SetAt {
    const STEP_BITS: u32 = 3;

    #[inline]
    pub(in crate::engine) const fn new(now: Millis) -> Self {
        Self((now >> Self::STEP_BITS) as u32)
    }

    pub(in crate::engine) fn age(self, now: Millis) -> Millis {
        Millis::from(Self::new(now).0.wrapping_sub(self.0)) << Self::STEP_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_right_when_the_count_starts_over() {
        let turn = 1u64 << (32 + SetAt::STEP_BITS);
        let set = SetAt::new(turn - 4_000);
        assert_eq!(set.age(turn - 4_000), 0);
        assert_eq!(set.age(turn + 2_000), 6_000);
    }
}
