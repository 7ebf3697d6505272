//! What became of entries, by class and age: were they used again, or not?

use super::scale::{AGES, INTERVALS, OCTAVE, Scale, log_within};
use super::usage::Usage;

/// Levels of how often an entry was used again: never, once, 2-3, 4-7, 8 times and more.
pub(super) const LEVELS: usize = 5;
/// A count for each level.
pub(super) const COUNT_OF_LEVEL: [i32; LEVELS] = [0, 1, 2, 5, 16];
/// Mean interval by level. Without a use there is no interval: such entries are in class 0.
pub(super) const CLASSES: usize = INTERVALS * LEVELS;

/// One number for every age.
pub(super) type Ages = [f32; AGES];
/// One number for every class and age.
pub(super) type Table = [Ages; CLASSES];

/// The class of an entry: below [`CLASSES`].
#[inline]
pub(super) fn class(scale: Scale, interval: u32, count: u32) -> u32 {
    // The octave of the count, never used being the one before one.
    let level = log_within(count, [0.5, 8.0]) / OCTAVE;
    scale.interval_cell(interval) * LEVELS as u32 + level
}

/// Weighted counts of entries by the class and the age they had when their waiting ended.
#[derive(Debug)]
pub(super) struct Statistics {
    /// They were used again.
    pub(super) reused: Box<Table>,
    /// They were given up.
    pub(super) left: Box<Table>,
}

impl Statistics {
    pub(super) fn new() -> Self {
        Self { reused: Box::new([[0.0; AGES]; CLASSES]), left: Box::new([[0.0; AGES]; CLASSES]) }
    }

    #[inline]
    pub(super) fn note_reuse(&mut self, scale: Scale, usage: Usage, now: u32, weight: f32) {
        add(&mut self.reused, scale, usage, now, weight);
    }

    #[inline]
    pub(super) fn note_leaving(&mut self, scale: Scale, usage: Usage, now: u32) {
        add(&mut self.left, scale, usage, now, 1.0);
    }

    /// Lets everything count for less than what is still to come.
    pub(super) fn fade(&mut self, keep: f32) {
        for cells in self.reused.iter_mut().chain(self.left.iter_mut()) {
            cells.iter_mut().for_each(|cell| *cell *= keep);
        }
    }

    /// Moves everything to the cells of another scale.
    pub(super) fn rescale(&mut self, from: Scale, to: Scale) {
        let octaves = to.octaves_above(from);
        for table in [&mut self.reused, &mut self.left] {
            let mut moved = Box::new([[0.0; AGES]; CLASSES]);
            for (class, ages) in table.iter().enumerate() {
                let interval = (class / LEVELS) as i32 - octaves;
                let class =
                    interval.clamp(0, INTERVALS as i32 - 1) as usize * LEVELS + class % LEVELS;
                for (age, count) in ages.iter().enumerate() {
                    let age = (age as i32 - 2 * octaves).clamp(0, AGES as i32 - 1) as usize;
                    moved[class][age] += count;
                }
            }
            // Never used again means no interval on every scale.
            for interval in 1..INTERVALS {
                let strays = std::mem::replace(&mut moved[interval * LEVELS], [0.0; AGES]);
                moved[0].iter_mut().zip(strays).for_each(|(to, from)| *to += from);
            }
            *table = moved;
        }
    }
}

#[inline]
pub(super) fn add(table: &mut Table, scale: Scale, usage: Usage, now: u32, weight: f32) {
    let cell = class(scale, usage.interval(), usage.count()) as usize * AGES
        + scale.position(usage.age(now)).cell as usize;
    if let Some(cell) = table.as_flattened_mut().get_mut(cell) {
        *cell += weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_tell_apart_how_often_and_after_how_long() {
        let scale = Scale::of_capacity(10_000);
        let of = |interval, count| class(scale, interval, count);
        assert_eq!(of(0, 0), 0);
        assert_ne!(of(1_000, 1), of(1_000, 2));
        assert_eq!(of(1_100, 4), of(1_900, 7));
        assert_ne!(of(1_000, 4), of(2_100, 4));
        assert!(of(u32::MAX, 255) < CLASSES as u32);
    }

    #[test]
    fn nothing_is_lost_when_the_scale_changes() {
        let (small, large) = (Scale::of_capacity(1_000), Scale::of_capacity(16_000));
        let mut statistics = Statistics::new();
        for number in 0..1_000 {
            let usage = Usage::new(0, number * 50, number % 20);
            statistics.note_reuse(small, usage, number * 77, 1.0);
            statistics.note_leaving(small, Usage::first(0), number * 31);
        }
        statistics.note_reuse(small, Usage::new(0, 5_000, 9), 9_000, 500.0);
        statistics.rescale(small, large);
        let sum = |table: &Table| table.iter().flatten().sum::<f32>();
        assert_eq!(sum(&statistics.reused), 1_500.0);
        assert_eq!(statistics.left[0].iter().sum::<f32>(), 1_000.0);
        let cell = large.position(9_000).cell as usize;
        let class = class(large, 5_000, 9) as usize;
        assert!(statistics.reused[class][cell] >= 500.0);
    }
}
