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
//! these on all entries, and these on a hazard that is equal in every logarithmic cell: the
//! longer idle, the later again. Alone, that last rule is an LRU.
//!
//! Cost: `O(classes x ages)` for all of it, by one walk over the upper hull of each curve.

use super::scale::{AGES, Scale};
use super::statistics::{Ages, CLASSES, LEVELS, Statistics, Table};

/// Chance of a use within half an octave before anything is known.
const PRIOR: f32 = 0.3;
/// Entries that the prior counts for.
const PRIOR_WEIGHT: f32 = 4.0;
/// Entries that what is known of more general classes counts for.
const GENERAL_WEIGHT: f32 = 8.0;

/// Entries, faded as they are, that need no curve of their own.
const NEGLIGIBLE: f32 = 0.1;

/// Worth at the beginning of a cell, and what it gains until the end of it.
type Segment = [f32; 2];

#[derive(Debug)]
pub(super) struct Ranking {
    segments: Box<[[Segment; AGES]; CLASSES]>,
}

impl Ranking {
    /// Ranks by idle time alone.
    pub(super) fn by_age(scale: Scale) -> Self {
        let by_age = best_rates(&[PRIOR; AGES], &starts(scale));
        Self { segments: Box::new([by_age; CLASSES]) }
    }

    /// Uses per tick that can be had from keeping an entry, by the number of its cell in a flat
    /// table, and the part of the cell that has passed.
    #[inline]
    pub(super) fn rank(&self, cell: u32, part: f32) -> f32 {
        let segment = self.segments.as_flattened().get(cell as usize);
        segment.map_or(0.0, |[start, gain]| start + gain * part)
    }

    /// Learns from what became of entries, and from those that still wait.
    pub(super) fn learn(&mut self, seen: &Statistics, waiting: &Table, scale: Scale) {
        let starts = starts(scale);
        let mut all = Outcomes::default();
        for class in 0..CLASSES {
            all.add(seen, waiting, class);
        }
        let of_all = all.hazards(&[PRIOR; AGES], PRIOR_WEIGHT);
        for (interval, segments) in self.segments.chunks_exact_mut(LEVELS).enumerate() {
            let classes = interval * LEVELS..(interval + 1) * LEVELS;
            let mut general = Outcomes::default();
            // Entries never used again are a class of their own among all.
            classes.clone().skip(1).for_each(|class| general.add(seen, waiting, class));
            let of_interval = general.hazards(&of_all, GENERAL_WEIGHT);
            let unseen = best_rates(&of_interval, &starts);
            for (class, segments) in classes.zip(segments) {
                let mut outcomes = Outcomes::default();
                outcomes.add(seen, waiting, class);
                let general = if class % LEVELS == 0 { &of_all } else { &of_interval };
                *segments = if outcomes.is_empty() {
                    unseen
                } else {
                    best_rates(&outcomes.hazards(general, GENERAL_WEIGHT), &starts)
                };
            }
        }
    }
}

fn starts(scale: Scale) -> [f32; AGES + 1] {
    std::array::from_fn(|cell| scale.start(cell))
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

    fn is_empty(&self) -> bool {
        self.reused.iter().chain(&self.left).sum::<f32>() < NEGLIGIBLE
    }

    /// The chance of a use in each cell for an entry that has reached it.
    fn hazards(&self, general: &Ages, weight: f32) -> Ages {
        let mut hazards = [0.0; AGES];
        let mut older = 0.0;
        for age in (0..AGES).rev() {
            // Those that left in this cell were at risk for half of it.
            let at_risk = older + self.reused[age] + 0.5 * self.left[age];
            hazards[age] = (self.reused[age] + weight * general[age]) / (at_risk + weight);
            older += self.reused[age] + self.left[age];
        }
        hazards
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
        let slope_to = |end: usize| {
            (curve[end].1 - curve[age].1) / (curve[end].0 - curve[age].0).max(f32::MIN_POSITIVE)
        };
        while corner > 0 && slope_to(hull[corner - 1]) >= slope_to(hull[corner]) {
            corner -= 1;
        }
        rates[age] = slope_to(hull[corner]);
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
        let mut ranking = Ranking::by_age(scale);
        ranking.learn(seen, &[[0.0; AGES]; CLASSES], scale);
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
        let ranking = Ranking::by_age(Scale::of_capacity(CAPACITY));
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
