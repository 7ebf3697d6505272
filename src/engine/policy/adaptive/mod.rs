//! The row that is worth least goes, as learned from what became of rows like it.
//!
//! Idea: the worth of keeping an entry is the best rate of uses per unit of time that it can
//! still earn from its present age on. How likely a use is at which age is not assumed but counted,
//! for classes of entries that were used alike so far. One policy then acts like an LRU where
//! recent use foretells the next, like an LFU where some keys are always popular, keeps part of
//! a loop that does not fit, and lets what is only scanned go at once. Priority multiplies the
//! worth; where bytes are short, it counts per byte.
//!
//! * [`usage`] — what an entry knows of its uses, eight bytes;
//! * [`scale`] — ages in logarithmic cells;
//! * [`statistics`] — classes of entries, and what became of them;
//! * [`ghosts`] — keys that were evicted, so that what is learned does not only confirm itself;
//! * [`ranking`] — from statistics to worth;
//! * [`judge`] — the worth of a row at a moment;
//! * [`search`] — a row that is worth little, without looking at all;
//! * [`drift`] — when all that was learned has become wrong.
//!
//! Time is counted in new keys, not in requests: as many new keys as fit are what an entry
//! must outlast, however many hits come between them.
//!
//! Sources: a Gittins index over classes of age is the idea of LHD (Beckmann, Chen, Cidon: NSDI
//! 2018). We count times in new keys, class by past intervals and number of uses, let evicted keys
//! stay under observation, and search in batches instead of drawing at random for every victim.
//! Ranking on demand instead of keeping an order follows hyperbolic caching (Blankstein, Sen,
//! Freedman: USENIX ATC 2017).
//!
//! Cost: a hit writes the eight bytes of its row, and about one in 16 a counter (all of them in
//! caches of a few hundred entries, which have little else to learn from). An eviction looks at
//! seven rows and one bucket of ghosts, a new key at another bucket. Each time as many new keys
//! have come as fit, the table is computed anew. Per shard 40 KiB of tables, and from the first
//! eviction on eight bytes of ghosts for each entry, but 8 KiB at least.
//!
//! When not to use it: where the order of eviction must be predictable, or where a shard sees
//! fewer misses than some times its entries in its life: then nothing is learned, and an LRU does
//! the same.

mod drift;
mod ghosts;
mod judge;
mod ranking;
mod scale;
mod search;
mod statistics;
mod usage;

use super::{Pressure, Residents, RowId};
use drift::Drift;
use ghosts::Ghosts;
use judge::Judge;
use ranking::Ranking;
use scale::{AGES, Scale};
use search::Search;
use statistics::{CLASSES, Statistics, add};
pub(in crate::engine) use usage::Usage;

/// New keys between two lessons: as many as fit, but not fewer than this, since a lesson costs
/// as much as a few hundred evictions.
const MIN_LESSON: u32 = 256;
/// The first lesson is this long, each next one twice as long as the one before.
const FIRST_LESSON: u32 = 64;
/// What statistics lose in a full lesson.
const FADING: f32 = 0.05;
/// Residents that are asked in a lesson how long they have been waiting.
const ASKED: usize = 128;
/// Looks at drift while as many new keys come as fit, and new keys that are enough for a look.
const DRIFT_LOOKS: u32 = 16;
const MIN_DRIFT_LOOK: u32 = 64;
/// At most one hit in 2^this is counted. In a cache of 2^8 entries all are, in larger ones
/// fewer, in step with the hits that come between two lessons.
const MAX_SAMPLE_BITS: u32 = 4;
const COUNT_ALL_BITS: u32 = 8;

#[derive(Debug)]
pub(in crate::engine) struct Adaptive {
    /// New keys so far.
    clock: u32,
    /// One hit in 2^this is counted: those whose mixed number is not above that.
    sample_bits: u32,
    sampled_below: u32,
    scale: Scale,
    statistics: Statistics,
    ranking: Ranking,
    ghosts: Ghosts,
    search: Search,
    drift: Drift,
    residents: usize,
    /// Entries that fit, as far as is known.
    capacity: usize,
    /// The lesson and the look at drift that are under way: when they end, and how long they are.
    lesson_ends: u32,
    lesson: u32,
    drift_look_ends: u32,
    drift_look: u32,
}

impl Adaptive {
    pub(in crate::engine) fn new(max_entries: usize) -> Self {
        let scale = Scale::of_capacity(max_entries);
        Self {
            clock: 0,
            sample_bits: sample_bits(max_entries),
            sampled_below: u32::MAX >> sample_bits(max_entries),
            scale,
            statistics: Statistics::new(),
            ranking: Ranking::new(scale),
            ghosts: Ghosts::none(),
            search: Search::new(),
            drift: Drift::default(),
            residents: 0,
            capacity: max_entries,
            lesson_ends: 0,
            lesson: 0,
            drift_look_ends: 0,
            drift_look: 0,
        }
    }

    /// An entry was read. `now` is any number that changes with every request.
    #[inline]
    pub(in crate::engine) fn on_hit(&mut self, usage: &mut Usage, now: u32) {
        // Multiplied by the golden ratio, so that no period in the requests is favoured.
        if now.wrapping_mul(0x9E37_79B1) <= self.sampled_below {
            self.note_hit(*usage);
        }
        usage.touch(self.clock);
    }

    #[inline(never)]
    fn note_hit(&mut self, usage: Usage) {
        let weight = self.sample_weight();
        self.drift.note(usage.count() == 0, weight);
        // Uses right after each other tell nothing of the time when the row could be a victim.
        if self.scale.position(usage.age(self.clock)).cell > 0 {
            self.statistics.note_reuse(self.scale, usage, self.clock, weight);
        }
    }

    /// A key comes that is not there.
    pub(in crate::engine) fn on_insert(&mut self, hash: u32) -> Usage {
        self.clock = self.clock.wrapping_add(1);
        self.residents += 1;
        let Some(mut usage) = self.ghosts.recall(hash, self.clock) else {
            return Usage::first(self.clock);
        };
        self.statistics.note_reuse(self.scale, usage, self.clock, 1.0);
        usage.touch(self.clock);
        usage
    }

    /// A key that is there gets a new value. That is not a use, but starts the waiting for one.
    pub(in crate::engine) fn on_overwrite(&mut self, usage: &mut Usage) {
        usage.restart(self.clock);
    }

    /// A row left because it was the victim.
    pub(in crate::engine) fn on_evict(&mut self, hash: u32, usage: Usage) {
        self.residents = self.residents.saturating_sub(1);
        if let Some(forgotten) = self.ghosts.remember(hash, usage, self.clock) {
            self.statistics.note_leaving(self.scale, forgotten, self.clock);
        }
    }

    /// A row left for another reason, from which nothing can be learned.
    pub(in crate::engine) fn on_remove(&mut self) {
        self.residents = self.residents.saturating_sub(1);
    }

    /// The row that should go, or `None` if there is none.
    pub(in crate::engine) fn victim(
        &mut self,
        rows: &impl Residents,
        pressure: Pressure,
    ) -> Option<RowId> {
        self.keep_up(rows);
        let (scale, ranking, clock) = (self.scale, &self.ranking, self.clock);
        self.search.victim(rows, Judge { scale, ranking, clock, by_bytes: pressure.by_bytes })
    }

    /// All rows have left. What was learned stays.
    pub(in crate::engine) fn clear(&mut self) {
        self.ghosts = Ghosts::none();
        self.search = Search::new();
        self.residents = 0;
    }

    /// Learns when it is time to.
    #[inline]
    fn keep_up(&mut self, rows: &impl Residents) {
        if self.ghosts.is_none() {
            self.fit_to_capacity();
        }
        if is_over(self.drift_look_ends, self.clock) {
            self.look_for_drift();
        }
        if is_over(self.lesson_ends, self.clock) {
            self.learn(rows);
        }
    }

    /// Evictions have begun, or entries have become much larger or smaller: as many as are there
    /// now are what fits.
    fn fit_to_capacity(&mut self) {
        self.capacity = self.residents.max(1);
        let scale = Scale::of_capacity(self.capacity);
        if scale != self.scale {
            self.statistics.rescale(self.scale, scale);
            self.scale = scale;
            self.ranking = Ranking::new(scale);
            self.lesson_ends = self.clock;
        }
        self.sample_bits = sample_bits(self.capacity);
        self.sampled_below = u32::MAX >> self.sample_bits;
        self.ghosts = Ghosts::for_capacity(self.capacity, scale);
    }

    fn look_for_drift(&mut self) {
        let is_first = self.drift_look == 0;
        let misses = self.drift_look.wrapping_add(self.clock.wrapping_sub(self.drift_look_ends));
        let misses = if is_first { self.clock } else { misses };
        if self.drift.is_sudden(misses, self.sample_weight()) {
            // Until those that are there now are gone.
            self.ranking.rank_by_age();
            self.lesson_ends = self.clock.wrapping_add(self.ticks_of_capacity());
        }
        self.drift_look = (self.ticks_of_capacity() / DRIFT_LOOKS).max(MIN_DRIFT_LOOK);
        self.drift_look_ends = self.clock.wrapping_add(self.drift_look);
    }

    fn learn(&mut self, rows: &impl Residents) {
        let is_first = self.lesson == 0;
        let fits = self.capacity / 2 <= self.residents && self.residents / 2 <= self.capacity;
        if !fits {
            self.fit_to_capacity();
        }
        let mut waiting = [[0.0; AGES]; CLASSES];
        let places = rows.places();
        let asked = places.min(ASKED);
        let weight = places as f32 / asked.max(1) as f32;
        for number in 0..asked {
            let place = (number as u64 * places as u64 / asked as u64) as RowId;
            if let Some(row) = rows.get(place) {
                add(&mut waiting, self.scale, row.usage, self.clock, weight);
            }
        }
        self.ranking.learn(&self.statistics, &waiting);
        let full = self.ticks_of_capacity();
        self.statistics.fade(1.0 - FADING * (self.lesson as f32 / full.max(1) as f32).min(1.0));
        let next = if is_first { FIRST_LESSON } else { self.lesson.saturating_mul(2) };
        self.lesson = next.min(full.max(MIN_LESSON));
        self.lesson_ends = self.clock.wrapping_add(self.lesson);
    }

    fn sample_weight(&self) -> f32 {
        (1u32 << self.sample_bits) as f32
    }

    /// What fits, as a time that can be added to the clock.
    fn ticks_of_capacity(&self) -> u32 {
        self.capacity.min(1 << 30) as u32
    }
}

fn sample_bits(capacity: usize) -> u32 {
    capacity.max(1).ilog2().saturating_sub(COUNT_ALL_BITS).min(MAX_SAMPLE_BITS)
}

/// Whether a time has come, on a clock that wraps.
fn is_over(ends: u32, now: u32) -> bool {
    (now.wrapping_sub(ends) as i32) >= 0
}

#[cfg(test)]
mod tests;
