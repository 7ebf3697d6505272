//! Hits and sets by how long values were to live.
//!
//! A lookup that misses has no life; the value that is stored because of it has. So a class is
//! judged by its hits beside its sets: 9 hits for each set are what a hit rate of 90 % is.

use crate::engine::clock::Millis;
use serde::Serialize;

/// How many classes there are.
pub const LIFE_CLASSES: usize = 7;

/// The longest life of each class but the last, in seconds.
pub const LONGEST_SECONDS: [u64; LIFE_CLASSES - 1] = [10, 60, 300, 900, 3_600, 86_400];

/// The class of a life: a number below [`LIFE_CLASSES`], which takes three bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct LifeClass(u8);

impl LifeClass {
    #[inline]
    pub(in crate::engine) fn of(life: Millis) -> Self {
        // Without a branch: what comes next is not to be guessed.
        Self(LONGEST_SECONDS.iter().map(|&longest| u8::from(life > longest * 1_000)).sum())
    }

    #[inline]
    pub(in crate::engine) const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b111)
    }

    #[inline]
    pub(in crate::engine) const fn to_bits(self) -> u8 {
        self.0
    }

    #[inline]
    pub(in crate::engine) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What became of values that were to live about as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LifeCounts {
    /// The longest life of this class, in seconds; `None`: there is no longest.
    pub at_most_seconds: Option<u64>,
    /// Values stored.
    pub sets: u64,
    /// Lookups answered by one of them, from those that are sampled.
    pub estimated_hits: u64,
}

/// One row for each class, the shortest lives first.
pub(in crate::engine) fn counts(
    sets: &[u64; LIFE_CLASSES],
    hits: &[u64; LIFE_CLASSES],
) -> Vec<LifeCounts> {
    let longest = LONGEST_SECONDS.into_iter().map(Some).chain([None]);
    let row = |((at_most_seconds, &sets), &estimated_hits)| LifeCounts {
        at_most_seconds,
        sets,
        estimated_hits,
    };
    longest.zip(sets).zip(hits).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_belongs_to_the_class_whose_longest_it_does_not_exceed() {
        for (index, seconds) in LONGEST_SECONDS.into_iter().enumerate() {
            assert_eq!(LifeClass::of(seconds * 1_000).index(), index);
            assert_eq!(LifeClass::of(seconds * 1_000 + 1).index(), index + 1);
        }
        assert_eq!(LifeClass::of(0).index(), 0);
        assert_eq!(LifeClass::of(Millis::MAX).index(), LIFE_CLASSES - 1);
    }

    #[test]
    fn a_class_survives_its_bits() {
        for index in 0..LIFE_CLASSES as u8 {
            assert_eq!(LifeClass::from_bits(LifeClass(index).to_bits()), LifeClass(index));
        }
    }
}
