//! Logarithmic cells of time, placed around the number of entries that fit.
//!
//! What an age means depends on the size of the cache: by the time as many new keys have come as
//! fit, an LRU would have thrown an unused entry out. The cells therefore begin some octaves
//! below the capacity and end some above it.

/// Cells of age, two to an octave.
pub(super) const AGES: usize = 32;
/// Cells of the mean interval, one to an octave.
pub(super) const INTERVALS: usize = 12;

/// Octaves from the first cell of age to the capacity. What is used more often than that is
/// never a victim, and need not be told apart.
const OCTAVES_BELOW: u32 = 9;
/// Octaves from the first cell of age to the first cell of interval.
const FIRST_INTERVAL: u32 = 2;

/// In the bits of an `f32`, exponent and fraction make up a piecewise linear logarithm.
pub(super) const OCTAVE: u32 = 1 << 23;
const HALF_OCTAVE: u32 = OCTAVE / 2;
const EXPONENT_OF_ONE: u32 = 127;

/// An age as a cell and the part of the cell that has passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) cell: u32,
    pub(super) part: f32,
}

/// Where the cells lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    first_octave: u32,
    /// First and last time within the cells of age, and of interval.
    ages: [f32; 2],
    intervals: [f32; 2],
}

impl Scale {
    pub(super) fn of_capacity(entries: usize) -> Self {
        let first_octave = entries.max(1).ilog2().saturating_sub(OCTAVES_BELOW);
        let first_bits = (EXPONENT_OF_ONE + first_octave) * OCTAVE;
        let within = |first_bits: u32, length: u32| {
            [f32::from_bits(first_bits), f32::from_bits(first_bits + length - 1)]
        };
        Self {
            first_octave,
            ages: within(first_bits, AGES as u32 * HALF_OCTAVE),
            intervals: within(first_bits + FIRST_INTERVAL * OCTAVE, INTERVALS as u32 * OCTAVE),
        }
    }

    /// Octaves by which this scale begins later than another.
    pub(super) fn octaves_above(self, other: Self) -> i32 {
        self.first_octave as i32 - other.first_octave as i32
    }

    #[inline]
    pub(super) fn position(self, age: u32) -> Position {
        let log = log_within(age, self.ages);
        // As i32, for which processors have an instruction.
        let part = (log % HALF_OCTAVE) as i32 as f32 * (1.0 / HALF_OCTAVE as f32);
        Position { cell: log / HALF_OCTAVE, part }
    }

    #[inline]
    pub(super) fn interval_cell(self, interval: u32) -> u32 {
        log_within(interval, self.intervals) / OCTAVE
    }

    pub(super) fn middle_of_interval(self, cell: usize) -> f32 {
        let [first, _] = self.intervals;
        f32::from_bits(first.to_bits() + cell as u32 * OCTAVE + HALF_OCTAVE)
    }

    /// First age of a cell, or the end of the last one.
    pub(super) fn start(self, cell: usize) -> f32 {
        if cell == 0 {
            return 0.0;
        }
        let log = (EXPONENT_OF_ONE + self.first_octave) * OCTAVE + cell as u32 * HALF_OCTAVE;
        f32::from_bits(log)
    }

    /// An interval in half-octaves, for the memory of evicted keys.
    pub(super) fn half_octaves(self, interval: u32) -> u32 {
        let base = (EXPONENT_OF_ONE + self.first_octave) * OCTAVE;
        (interval as f32).to_bits().saturating_sub(base) / HALF_OCTAVE
    }

    /// The middle of a half-octave.
    pub(super) fn middle_of_half_octave(self, half_octaves: u32) -> u32 {
        let base = (EXPONENT_OF_ONE + self.first_octave) * OCTAVE;
        f32::from_bits(base + half_octaves * HALF_OCTAVE + HALF_OCTAVE / 2) as u32
    }
}

/// Logarithm of a time after the first one, in bits.
///
/// Without a branch: the times of neighbouring rows have nothing in common, so branches on them
/// would be mispredicted. As it is, the compiler even does several rows at once.
#[inline]
pub(super) fn log_within(time: u32, [first, last]: [f32; 2]) -> u32 {
    // The sign is dropped, as processors convert signed numbers: 2^31 ticks idle look like none.
    let time = (time & i32::MAX as u32) as i32 as f32;
    let time = if time > first { time } else { first };
    let time = if time < last { time } else { last };
    time.to_bits().wrapping_sub(first.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITIES: [usize; 6] = [0, 1, 16, 1_000, 10_000, usize::MAX];

    #[test]
    fn cells_begin_where_they_say() {
        for capacity in CAPACITIES {
            let scale = Scale::of_capacity(capacity);
            for cell in 0..AGES {
                let age = scale.start(cell).ceil();
                if age >= scale.start(cell + 1) || age > i32::MAX as f32 {
                    continue;
                }
                let position = scale.position(age as u32);
                assert_eq!(position.cell, cell as u32, "age {age} at capacity {capacity}");
                assert!((0.0..1.0).contains(&position.part));
            }
        }
    }

    #[test]
    fn ages_never_leave_the_cells_and_never_go_backwards() {
        for capacity in CAPACITIES {
            let scale = Scale::of_capacity(capacity);
            let mut latest = 0.0;
            for age in (0..31).flat_map(|bit| [1u32 << bit, (1 << bit) + (1 << bit) / 3]) {
                let position = scale.position(age);
                let here = position.cell as f32 + position.part;
                assert!(here >= latest && position.cell < AGES as u32);
                assert!(scale.interval_cell(age) < INTERVALS as u32);
                latest = here;
            }
        }
    }

    #[test]
    fn an_interval_survives_as_half_octaves_within_a_quarter() {
        let scale = Scale::of_capacity(10_000);
        for interval in [40, 100, 777, 10_000, 123_456] {
            let back = f64::from(scale.middle_of_half_octave(scale.half_octaves(interval)));
            assert!((back / f64::from(interval) - 1.0).abs() < 0.25, "{interval} became {back}");
        }
    }
}
