//! What a store tells operators.

use super::explain::Explanation;
use super::history::{Levels, Point, Totals};
use super::journal::Journal;
use super::tag_names::TagNames;
use super::top::Hot;
use super::what_if::WhatIfReport;
use crate::engine::clock::Millis;
use crate::engine::shard::Shard;
use crate::engine::store::Store;
use crate::engine::stored_key::StoredKey;
use crate::invalidation::InvalidationTable;
use lock_api::RawMutexTimed;
use std::time::Duration;

/// Rows that one page of a listing looks at, at the most: about a millisecond.
const ROWS_FOR_A_PAGE: usize = 16_384;

/// Rows that are looked at with a lock held.
const ROWS_AT_ONCE: usize = 1_024;

/// Where a listing is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bookmark(u64);

impl Bookmark {
    const ROW_BITS: u32 = 32;

    /// The bookmark with this number.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A number for it; never 0, which is where every listing begins.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    const fn at(shard: usize, row: usize) -> Self {
        Self((shard as u64) << Self::ROW_BITS | row as u64)
    }

    const fn shard_and_row(self) -> (usize, usize) {
        ((self.0 >> Self::ROW_BITS) as usize, self.0 as u32 as usize)
    }
}

impl<V, L: RawMutexTimed<Duration = Duration>, K: StoredKey> Store<V, L, K> {
    /// Up to `limit` keys that were asked for most in the last five to ten minutes.
    pub fn top_keys(&self, limit: usize) -> Vec<Hot> {
        self.samples.top_keys(self.clock.now(), limit)
    }

    /// Up to `limit` tags whose entries were asked for most, as far as their names are known.
    pub fn top_tags(&self, limit: usize) -> Vec<Hot> {
        self.samples.top_tags(self.clock.now(), limit)
    }

    /// What tags are called: to be told by whoever sets entries, since those hold slots alone.
    pub fn tag_names(&self) -> &TagNames {
        &self.samples.tag_names
    }

    /// What was invalidated lately: to be told by whoever knows the names, since a store is given
    /// slots alone.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Adds a point to the history, unless there is one for this second. `loads`: how many were
    /// begun so far, which the store does not see. `O(shards)`, at most once a second.
    pub fn observe(&self, loads: u64) {
        let mut history = self.history.lock();
        let now = self.clock.now();
        if !history.is_due(now) {
            return;
        }
        let (mut totals, mut levels) = (Totals { loads, ..Totals::default() }, Levels::default());
        for shard in &self.shards {
            let shard = shard.lock();
            totals.hits += shard.counters.hits();
            totals.misses += shard.counters.misses();
            totals.evictions += shard.counters.evictions;
            totals.expirations += shard.counters.expirations;
            totals.invalidations += shard.counters.invalidations;
            levels.entries += shard.len() as u64;
            levels.bytes += shard.bytes() as u64;
        }
        let times = self.samples.take_recent_latency();
        (levels.samples, levels.p50_ns, levels.p99_ns) =
            (times.samples, times.p50_ns, times.p99_ns);
        history.note(now, totals, levels);
    }

    /// The points of the last so many seconds, oldest first. Seconds in which nobody called
    /// [`Self::observe`] have none.
    pub fn history(&self, seconds: u64) -> Vec<Point> {
        self.history.lock().last(self.clock.now(), seconds)
    }

    /// What the hit rate would be at other sizes and with other lives; `None`: too few lookups to
    /// tell. Of several shards, the first stands for all.
    pub fn what_if(&self) -> Option<WhatIfReport> {
        let mut report = self.shards.first()?.lock().what_if()?;
        report.sampling_rate /= self.shards.len() as f64;
        Some(report)
    }

    /// What is known of a key. Leaves no trace in statistics or policy.
    pub fn explain(&self, key: &[u8]) -> Explanation {
        let hash = self.hash(key);
        let shard = self.shard(hash).lock();
        shard.explain(hash as u32, key, self.clock.now(), &self.table)
    }

    /// Some keys of live entries that begin with a prefix, and where to go on; `None` after the
    /// last one. Looks at a bounded number of entries, so there may be no key and more to come.
    ///
    /// An entry that is there from the first page to the last is listed once; one that is set or
    /// leaves meanwhile may be or not.
    pub fn keys_with_prefix(
        &self,
        prefix: &[u8],
        limit: usize,
        after: Bookmark,
    ) -> (Vec<Box<[u8]>>, Option<Bookmark>) {
        let mut keys = Vec::new();
        let next = self.live_with_prefix(prefix, ROWS_FOR_A_PAGE, after, |key, _| {
            keys.push(key.into());
            keys.len() < limit
        });
        (keys, next)
    }

    /// Looks at so many entries, and has `read` see those that are live and whose key begins with a
    /// prefix, until it says that it has seen enough. Returns where to go on, as
    /// [`Self::keys_with_prefix`]. `read` is called under the lock: it must be quick and must not
    /// call back.
    pub fn live_with_prefix(
        &self,
        prefix: &[u8],
        most: usize,
        after: Bookmark,
        mut read: impl FnMut(&[u8], &V) -> bool,
    ) -> Option<Bookmark> {
        let (mut number, mut row) = after.shard_and_row();
        let (now, mut left, mut wants_more) = (self.clock.now(), most, true);
        while let Some(shard) = self.shards.get(number) {
            if left == 0 || !wants_more {
                return Some(Bookmark::at(number, row));
            }
            let shard = shard.lock();
            let places = shard.places();
            let to = row.saturating_add(ROWS_AT_ONCE.min(left)).min(places);
            while row < to && wants_more {
                if let Some(found) = shard.live_at(row, prefix, now, &self.table) {
                    wants_more = read(found.key.bytes(), &found.value);
                }
                (row, left) = (row + 1, left - 1);
            }
            if row >= places {
                (number, row) = (number + 1, 0);
            }
        }
        None
    }
}

impl<V, K: StoredKey> Shard<V, K> {
    fn explain(
        &self,
        hash: u32,
        key: &[u8],
        now: Millis,
        table: &InvalidationTable,
    ) -> Explanation {
        let held = self.find(hash, key).and_then(|id| self.held(id, now, table));
        held.map_or_else(|| Explanation::NotHeld(self.last_departure(hash)), Explanation::Held)
    }
}
