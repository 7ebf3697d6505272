//! What an entry is worth: a table over class and age.
//!
//! Idea: an entry occupies its place until it is used again or given up. If it will be given up
//! `h` ticks from now, it earns the chance of a use within `h`, and costs the time until the use
//! or `h`, whichever comes first. Its worth is the best ratio of the two over all `h`: a Gittins
//! index. So an entry whose use is due soon is kept although it has been idle for long, and one
//! that is mostly used at once or never is let go as soon as "at once" has passed.
//!
//! The chances come from the statistics as hazards: of those still waiting at an age, how many
//! were used in its cell. Where little was seen, a class leans on all classes of its interval,
//! these on all entries, and these on what the class itself suggests: an entry used `n` times in a
//! time `t` is taken to be used at a rate of `(n + 1) / (t + age)`. For an entry not used again
//! that is an LRU, for the others it is close to hyperbolic caching.
//!
//! Cost: `O(classes x ages)` for all of it, by one walk over the upper hull of each curve.

use super::scale::{AGES, INTERVALS, Scale};
use super::statistics::{Ages, CLASSES, COUNT_OF_LEVEL, LEVELS, Statistics, Table};

/// Chance of a use within half an octave in which idle time alone counts.
const BY_AGE: f32 = 0.3;
/// Entries that the prior counts for.
const PRIOR_WEIGHT: f32 = 4.0;
/// Entries that what is known of more general classes counts for.
const GENERAL_WEIGHT: f32 = 8.0;

/// Worth at the beginning of a cell, and what it gains until the end of it.
type Segment = [f32; 2];

#[derive(Debug)]
pub(super) struct Ranking {
    segments: Box<[[Segment; AGES]; CLASSES]>,
    /// First ages of the cells, and the end of the last one.
    starts: [f32; AGES + 1],
    /// Hazards of each class before anything is known.
    priors: Box<Table>,
}

impl Ranking {
    pub(super) fn new(scale: Scale) -> Self {
        let starts = std::array::from_fn(|cell| scale.start(cell));
        let mut priors = Box::new([[0.0; AGES]; CLASSES]);
        for (class, prior) in priors.iter_mut().enumerate() {
            *prior = prior_hazards(scale, class, &starts);
        }
        let mut ranking = Self { segments: Box::new([[[0.0; 2]; AGES]; CLASSES]), starts, priors };
        ranking.rank_by_age();
        ranking
    }

    /// Ranks by idle time alone, until the next lesson.
    pub(super) fn rank_by_age(&mut self) {
        self.segments.fill(best_rates(&[BY_AGE; AGES], &self.starts));
    }

    /// Uses per tick that can be had from keeping an entry, by the number of its cell in a flat
    /// table, and the part of the cell that has passed.
    #[inline]
    pub(super) fn rank(&self, cell: u32, part: f32) -> f32 {
        let segment = self.segments.as_flattened().get(cell as usize);
        segment.map_or(0.0, |[start, gain]| start + gain * part)
    }

    /// Learns from what became of entries, and from those that still wait.
    pub(super) fn learn(&mut self, seen: &Statistics, waiting: &Table) {
        let mut all = Outcomes::default();
        (0..CLASSES).for_each(|class| all.add(seen, waiting, class));
        let all = all.evidence(PRIOR_WEIGHT);
        for interval in 0..INTERVALS {
            let classes = interval * LEVELS..(interval + 1) * LEVELS;
            let mut alike = Outcomes::default();
            // Entries never used again are a class of their own among all.
            classes.clone().skip(1).for_each(|class| alike.add(seen, waiting, class));
            let alike = alike.evidence(GENERAL_WEIGHT);
            for class in classes {
                let mut own = Outcomes::default();
                own.add(seen, waiting, class);
                let mut hazards = all.hazards(&self.priors[class]);
                if class % LEVELS > 0 {
                    hazards = alike.hazards(&hazards);
                }
                hazards = own.evidence(GENERAL_WEIGHT).hazards(&hazards);
                self.segments[class] = best_rates(&hazards, &self.starts);
            }
        }
    }
}

fn prior_hazards(scale: Scale, class: usize, starts: &[f32; AGES + 1]) -> Ages {
    let (interval, count) = (class / LEVELS, COUNT_OF_LEVEL[class % LEVELS]);
    // An entry never used again has waited for the width of the first cell, say.
    let past = starts[1] + count as f32 * scale.middle_of_interval(interval);
    std::array::from_fn(|age| {
        1.0 - ((past + starts[age]) / (past + starts[age + 1])).powi(count + 1)
    })
}

#[derive(Debug, Default)]
struct Outcomes {
    reused: Ages,
    left: Ages,
}

impl Outcomes {
    fn add(&mut self, seen: &Statistics, waiting: &Table, class: usize) {
        let sum = |total: &mut Ages, part: &Ages| {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        };
        sum(&mut self.reused, &seen.reused[class]);
        sum(&mut self.left, &seen.left[class]);
        sum(&mut self.left, &waiting[class]);
    }

    /// What these say against a more general belief that counts for so many entries.
    fn evidence(&self, weight_of_belief: f32) -> Evidence {
        let mut share = [0.0; AGES];
        let mut older = 0.0;
        for age in (0..AGES).rev() {
            // Those that left in this cell were at risk for half of it.
            share[age] = older + self.reused[age] + 0.5 * self.left[age] + weight_of_belief;
            older += self.reused[age] + self.left[age];
        }
        share.iter_mut().for_each(|at_risk| *at_risk = 1.0 / *at_risk);
        let mut used = self.reused;
        used.iter_mut().zip(share).for_each(|(used, share)| *used *= share);
        share.iter_mut().for_each(|share| *share *= weight_of_belief);
        Evidence { used, belief: share }
    }
}

/// Hazards as a mean of what was seen and of a belief, by their weights.
#[derive(Debug)]
struct Evidence {
    used: Ages,
    belief: Ages,
}

impl Evidence {
    fn hazards(&self, belief: &Ages) -> Ages {
        std::array::from_fn(|age| self.used[age] + self.belief[age] * belief[age])
    }
}

/// For the start of each cell the best ratio of uses to time over all later ends of cells: the
/// steepest line from there to a later point of the curve (time spent, uses had), which leads to
/// the next corner of the curve's upper hull.
fn best_rates(hazards: &Ages, starts: &[f32; AGES + 1]) -> [Segment; AGES] {
    let mut curve = [(0.0f32, 0.0f32); AGES + 1];
    let (mut time, mut uses, mut waiting) = (0.0, 0.0, 1.0);
    for age in 0..AGES {
        let used = waiting * hazards[age];
        // In a small cache the first cells hold no whole tick.
        let width = (starts[age + 1] - starts[age]).max(0.5);
        time += width * (waiting - 0.5 * used);
        uses += used;
        waiting -= used;
        curve[age + 1] = (time, uses);
    }
    let mut rates = [0.0; AGES + 1];
    let mut hull = [AGES; AGES + 1];
    let mut corner = 0;
    for age in (0..AGES).rev() {
        let from_here = |end: usize| (curve[end].0 - curve[age].0, curve[end].1 - curve[age].1);
        let is_no_corner = |near: usize, far: usize| {
            let (near, far) = (from_here(near), from_here(far));
            far.1 * near.0 >= near.1 * far.0
        };
        while corner > 0 && is_no_corner(hull[corner], hull[corner - 1]) {
            corner -= 1;
        }
        let (time, uses) = from_here(hull[corner]);
        rates[age] = uses / time.max(f32::MIN_POSITIVE);
        corner += 1;
        hull[corner] = age;
    }
    // Within a cell worth can only be said to grow, towards a use that is due after it. Were it
    // let fall towards a next cell without uses, an entry would go just before its use.
    std::array::from_fn(|age| [rates[age], (rates[age + 1] - rates[age]).max(0.0)])
}

#[cfg(test)]
mod tests {
    use super::super::usage::Usage;
    use super::*;

    const CAPACITY: usize = 1_024;

    fn learned(seen: &Statistics) -> Ranking {
        let scale = Scale::of_capacity(CAPACITY);
        let mut ranking = Ranking::new(scale);
        ranking.learn(seen, &[[0.0; AGES]; CLASSES]);
        ranking
    }

    fn rank(ranking: &Ranking, age: u32) -> f32 {
        let at = Scale::of_capacity(CAPACITY).position(age);
        ranking.rank(at.cell, at.part)
    }

    /// Uses after intervals drawn from the quantiles of a distribution.
    fn renewals(interval: impl Fn(f64) -> f64) -> Statistics {
        let mut seen = Statistics::new();
        let scale = Scale::of_capacity(CAPACITY);
        for number in 0..100_000 {
            let age = interval((f64::from(number) + 0.5) / 100_000.0);
            seen.note_reuse(scale, Usage::first(0), age as u32, 1.0);
        }
        seen
    }

    #[test]
    fn without_memory_the_worth_is_the_rate_at_every_age() {
        let ranking = learned(&renewals(|share| -(1.0 - share).ln() * 500.0));
        for age in [1, 50, 200, 500, 1_000, 2_000] {
            let times_rate = rank(&ranking, age) * 500.0;
            assert!((0.85..1.15).contains(&times_rate), "{times_rate} at {age}");
        }
    }

    #[test]
    fn a_use_that_is_due_is_worth_waiting_for() {
        let ranking = learned(&renewals(|_| 1_000.0));
        let worths: Vec<f32> = [10, 300, 600, 900, 1_000].map(|age| rank(&ranking, age)).into();
        assert!(worths.is_sorted(), "{worths:?}");
        assert!(rank(&ranking, 1_000) > 3.0 * rank(&ranking, 10));
        assert!(rank(&ranking, 1_600) < 0.1 * rank(&ranking, 10), "the use did not come");
    }

    #[test]
    fn what_is_used_at_once_or_never_goes_when_at_once_has_passed() {
        let mut seen = renewals(|share| share * 20.0);
        let scale = Scale::of_capacity(CAPACITY);
        for _ in 0..50_000 {
            seen.note_leaving(scale, Usage::first(0), 5_000);
        }
        let ranking = learned(&seen);
        assert!(rank(&ranking, 100) < 0.01 * rank(&ranking, 2));
    }

    #[test]
    fn with_nothing_learned_the_longest_idle_is_worth_least() {
        let ranking = Ranking::new(Scale::of_capacity(CAPACITY));
        let worths = [3, 10, 100, 1_000, 10_000, 60_000].map(|age| rank(&ranking, age));
        assert!(worths.is_sorted_by(|earlier, later| earlier > later), "{worths:?}");
    }

    #[test]
    fn ranks_are_never_negative_nor_endless() {
        let mut seen = renewals(|share| share * 1e6);
        seen.fade(1e-30);
        for ranking in [learned(&seen), learned(&Statistics::new())] {
            for age in (0..32).map(|bit| 1 << bit) {
                assert!(rank(&ranking, age).is_finite() && rank(&ranking, age) >= 0.0);
            }
        }
    }
}
