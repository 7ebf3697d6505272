//! Notices that other keys have become popular.
//!
//! Idea: what was learned holds for what was popular for some time. When all of that changes at
//! once, the table ranks the formerly popular, who will not come back, above the newly popular,
//! who have no history yet. Then an LRU does best until the old ones are gone. The sign is that
//! uses become rare while more entries than before are used for the first time; in a scan, uses
//! become rare but nothing new is used.
//!
//! Cost: two additions per counted use.

/// Uses per miss that count as few, as a share of the usual.
const FEW: f32 = 0.5;
/// First uses per miss that count as many, as a multiple of the usual.
const MANY: f32 = 2.0;
/// A cache that is used less often than this per miss is not worth watching.
const MIN_USES: f32 = 1.0;
/// Standard deviations by which uses must fall short, as far as they come independently.
const DEVIATIONS: f32 = 4.0;
/// How far one period moves what is usual.
const STEP: f32 = 0.06;

#[derive(Debug, Default)]
pub(super) struct Drift {
    uses: f32,
    first_uses: f32,
    usual_uses: Option<f32>,
    usual_first_uses: f32,
}

impl Drift {
    /// Notes a use that stands for `weight` uses.
    #[inline]
    pub(super) fn note(&mut self, is_first: bool, weight: f32) {
        self.uses += weight;
        self.first_uses += if is_first { weight } else { 0.0 };
    }

    /// Ends a period. Tells whether other keys have become popular in it.
    pub(super) fn is_sudden(&mut self, misses: u32, weight: f32) -> bool {
        let misses = misses.max(1) as f32;
        let (uses, first_uses) = (self.uses / misses, self.first_uses / misses);
        (self.uses, self.first_uses) = (0.0, 0.0);
        let Some(usual) = &mut self.usual_uses else {
            (self.usual_uses, self.usual_first_uses) = (Some(uses), first_uses);
            return false;
        };
        let missing = (*usual - uses) * misses;
        let is_sudden = *usual > MIN_USES
            && uses < *usual * FEW
            && missing > DEVIATIONS * (*usual * misses * weight).sqrt()
            && first_uses > self.usual_first_uses * MANY;
        if is_sudden {
            *usual = uses;
        } else {
            *usual += (uses - *usual) * STEP;
            self.usual_first_uses += (first_uses - self.usual_first_uses) * STEP;
        }
        is_sudden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch that has seen three uses per miss for a while, one in ten a first one.
    fn used_to_hits() -> Drift {
        let mut drift = Drift::default();
        for _ in 0..20 {
            assert!(!period(&mut drift, 2_700, 300));
        }
        drift
    }

    fn period(drift: &mut Drift, again: u32, first: u32) -> bool {
        (0..again).for_each(|_| drift.note(false, 1.0));
        (0..first).for_each(|_| drift.note(true, 1.0));
        drift.is_sudden(1_000, 1.0)
    }

    #[test]
    fn few_uses_but_many_first_ones_are_a_change() {
        let mut drift = used_to_hits();
        assert!(period(&mut drift, 300, 700));
        assert!(!period(&mut drift, 300, 700), "once is enough");
    }

    #[test]
    fn a_scan_is_none() {
        assert!(!period(&mut used_to_hits(), 100, 10));
    }

    #[test]
    fn neither_is_an_ordinary_fluctuation() {
        assert!(!period(&mut used_to_hits(), 2_000, 700));
    }
}
