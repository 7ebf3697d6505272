//! The worth of a row at a moment.

use super::super::Resident;
use super::ranking::Ranking;
use super::scale::{AGES, Scale};
use super::statistics::class;

#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) scale: Scale,
    pub(super) ranking: &'a Ranking,
    pub(super) clock: u32,
    /// Whether bytes are short, not just entries.
    pub(super) by_bytes: bool,
}

impl Judge<'_> {
    #[inline]
    pub(super) fn age(self, row: &Resident) -> u32 {
        row.usage.age(self.clock)
    }

    /// What the worth of a row is multiplied by.
    #[inline]
    pub(super) fn factor(self, row: &Resident) -> f32 {
        let priority = f32::from(row.priority.max(1));
        if self.by_bytes { priority / row.weight.max(1) as f32 } else { priority }
    }

    #[inline]
    pub(super) fn place(self, age: u32, interval: u32, count: u32) -> (u32, f32) {
        let at = self.scale.position(age);
        (class(self.scale, interval, count) * AGES as u32 + at.cell, at.part)
    }

    #[inline]
    pub(super) fn rank_at(self, cell: u32, part: f32) -> f32 {
        self.ranking.rank(cell, part)
    }

    #[inline]
    pub(super) fn rank(self, row: &Resident) -> f32 {
        let (cell, part) = self.place(self.age(row), row.usage.interval(), row.usage.count());
        self.rank_at(cell, part) * self.factor(row)
    }
}
