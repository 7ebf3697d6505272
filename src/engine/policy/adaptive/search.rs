//! Finds a bad row without looking at every row.
//!
//! Idea: rows are looked at in batches of neighbours, for several victims at once: the worst of
//! a batch go, one after the other. That is as good as looking at many rows for each victim, and
//! what it costs is shared. A batch also holds some of the newest rows, because among keys that
//! come only once these are the worst, and a hand that moves slowly would meet them late. They are
//! in the places of the latest victims.
//!
//! What was seen is compared without another look; only the row that is chosen is looked at once
//! more, and stands the comparison again if it has become better.
//!
//! Cost: six or seven rows looked at per victim, most of them neighbours in memory. A small table is
//! looked at whole.

use super::super::{Residents, RowId};
use super::judge::Judge;

/// Places of a batch; a table that is not larger is looked at whole.
const BATCH: usize = 64;
/// Victims taken from a batch. With fewer, hit rates are hardly better; with 12, they are worse.
const VICTIMS: usize = 10;
/// Rows of a table for each victim taken from a batch: from a small table, few are taken, since
/// they should be the worst of all.
const PLACES_PER_VICTIM: usize = 32;
/// Newest rows in a batch, taken evenly from the places of the latest victims.
const NEWEST: usize = 16;
const RECENT: usize = 64;
/// Free places that are passed over in search of rows.
const MAX_STEPS: usize = 8 * BATCH;

/// What the rank of a row must have grown by to be compared again.
const CLEARLY_BETTER: f32 = 1.5;

/// The key of a place that holds no candidate.
const SPENT: f32 = f32::INFINITY;

#[derive(Debug)]
pub(super) struct Search {
    /// Rank of each row looked at, with its number within the batch in the lowest bits.
    keys: [f32; BATCH],
    ids: [RowId; BATCH],
    /// What the ranks are computed from, field by field, so that several are computed at once.
    ages: [u32; BATCH],
    intervals: [u32; BATCH],
    counts: [u32; BATCH],
    factors: [f32; BATCH],
    seen: usize,
    /// Victims that may still be taken from this batch.
    victims_left: usize,
    hand: usize,
    /// Places of the latest victims, in a circle.
    recent: [RowId; RECENT],
    next_recent: usize,
}

impl Search {
    pub(super) fn new() -> Self {
        Self {
            keys: [SPENT; BATCH],
            ids: [0; BATCH],
            ages: [0; BATCH],
            intervals: [0; BATCH],
            counts: [0; BATCH],
            factors: [0.0; BATCH],
            seen: 0,
            victims_left: 0,
            hand: 0,
            recent: [0; RECENT],
            next_recent: 0,
        }
    }

    /// The row with the lowest rank among some, or `None` if there is no row at all.
    pub(super) fn victim(&mut self, rows: &impl Residents, judge: Judge<'_>) -> Option<RowId> {
        if self.victims_left == 0 {
            self.look(rows, judge);
        }
        self.victims_left = self.victims_left.saturating_sub(1);
        loop {
            let lowest = self.lowest();
            if lowest == SPENT {
                self.look(rows, judge);
                if self.seen == 0 {
                    return None;
                }
                continue;
            }
            let number = number_of(lowest);
            let id = self.ids[number];
            self.keys[number] = SPENT;
            let Some(row) = rows.get(id) else { continue };
            let key = key(judge.rank(&row), number);
            if key > lowest * CLEARLY_BETTER && key > self.lowest() {
                self.keys[number] = key;
                continue;
            }
            self.recent[self.next_recent] = id;
            self.next_recent = (self.next_recent + 1) % RECENT;
            return Some(id);
        }
    }

    /// The lowest key. In lanes, so that it is done with vector instructions.
    fn lowest(&self) -> f32 {
        const LANES: usize = 16;
        let lower = |a: f32, b: f32| if a < b { a } else { b };
        let mut lanes = [SPENT; LANES];
        for keys in self.keys.chunks_exact(LANES) {
            for (lane, &key) in lanes.iter_mut().zip(keys) {
                *lane = lower(key, *lane);
            }
        }
        lanes.into_iter().fold(SPENT, lower)
    }

    /// Looks at the next batch of rows.
    fn look(&mut self, rows: &impl Residents, judge: Judge<'_>) {
        let places = rows.places();
        self.seen = 0;
        if places <= BATCH {
            (0..places).for_each(|place| self.read(place as RowId, rows, judge));
            self.victims_left = 1;
        } else {
            for number in 0..NEWEST {
                let at = (self.next_recent + number * (RECENT / NEWEST)) % RECENT;
                self.read(self.recent[at], rows, judge);
            }
            let mut steps = 0;
            while self.seen < BATCH && steps < places && (steps < MAX_STEPS || self.seen == 0) {
                self.hand = if self.hand + 1 < places { self.hand + 1 } else { 0 };
                self.read(self.hand as RowId, rows, judge);
                steps += 1;
            }
            let victims = (places / PLACES_PER_VICTIM).min(self.seen * VICTIMS / BATCH);
            self.victims_left = victims.clamp(1, VICTIMS);
        }
        self.rank_all(judge);
    }

    #[inline]
    fn read(&mut self, id: RowId, rows: &impl Residents, judge: Judge<'_>) {
        if let Some(row) = rows.get(id) {
            let number = self.seen % BATCH;
            self.ids[number] = id;
            self.ages[number] = judge.age(&row);
            self.intervals[number] = row.usage.interval();
            self.counts[number] = row.usage.count();
            self.factors[number] = judge.factor(&row);
            self.seen += 1;
        }
    }

    fn rank_all(&mut self, judge: Judge<'_>) {
        let mut cells = [0; BATCH];
        let mut parts = [0.0; BATCH];
        for number in 0..BATCH {
            let (age, interval) = (self.ages[number], self.intervals[number]);
            (cells[number], parts[number]) = judge.place(age, interval, self.counts[number]);
        }
        for number in 0..BATCH {
            let rank = judge.rank_at(cells[number], parts[number]) * self.factors[number];
            self.keys[number] = if number < self.seen { key(rank, number) } else { SPENT };
        }
    }
}

/// Ranks are not negative, so their order is the order of their bits, and the lowest few of these
/// make no difference.
#[inline]
fn key(rank: f32, number: usize) -> f32 {
    f32::from_bits((rank.to_bits() & !(BATCH as u32 - 1)) | number as u32)
}

#[inline]
fn number_of(key: f32) -> usize {
    key.to_bits() as usize % BATCH
}

#[cfg(test)]
mod tests {
    use super::super::ranking::Ranking;
    use super::super::scale::Scale;
    use super::super::usage::Usage;
    use super::*;
    use crate::engine::policy::Resident;

    /// Rows last used at these times; `None` is a free place.
    struct Table(Vec<Option<u32>>);

    impl Residents for Table {
        fn places(&self) -> usize {
            self.0.len()
        }

        fn get(&self, id: RowId) -> Option<Resident> {
            let last_access = (*self.0.get(id as usize)?)?;
            Some(Resident { usage: Usage::first(last_access), priority: 1, weight: 1, deadline: 0 })
        }
    }

    const NOW: u32 = 1_000_000;

    /// The ages of victims taken one after the other, the longest idle being the worst.
    fn victims(table: &mut Table, count: usize) -> Vec<u32> {
        let scale = Scale::of_capacity(table.places());
        let ranking = Ranking::new(scale);
        let judge = Judge { scale, ranking: &ranking, clock: NOW, by_bytes: false };
        let mut search = Search::new();
        let mut victim = || {
            let id = search.victim(table, judge)?;
            table.0.get_mut(id as usize)?.take().map(|last_access| NOW - last_access)
        };
        (0..count).map_while(|_| victim()).collect()
    }

    #[test]
    fn a_small_table_is_looked_at_whole() {
        let mut table =
            Table((0..40).map(|number| Some(NOW - 3 * (number * 17 % 40) - 1)).collect());
        let ages = victims(&mut table, 40);
        assert_eq!(ages.len(), 40);
        // Within an octave all ages are alike to a policy that has learned nothing.
        assert!(ages.iter().zip(&ages[1..]).all(|(&age, &next)| next < 2 * age), "{ages:?}");
    }

    #[test]
    fn of_a_large_table_bad_rows_go() {
        let mut table =
            Table((0..10_000).map(|number| Some(NOW - number * 7_919 % 10_000)).collect());
        let ages = victims(&mut table, 500);
        let bad = ages.iter().filter(|&&age| age > 8_000).count();
        assert!(bad > 450, "{bad} of 500 were among the worst fifth");
    }

    #[test]
    fn few_rows_among_many_free_places_are_all_found() {
        let mut places = vec![None; 20_000];
        for place in [3, 7_000, 19_999] {
            places[place] = Some(NOW - 10);
        }
        assert_eq!(victims(&mut Table(places), 5).len(), 3);
    }

    #[test]
    fn without_rows_there_is_no_victim() {
        assert!(victims(&mut Table(Vec::new()), 1).is_empty());
        assert!(victims(&mut Table(vec![None; 300]), 1).is_empty());
    }
}
