//! How entries leave a store before their time: deleted, invalidated, swept.

use super::clock::Millis;
use super::ids;
use super::names::Names;
use super::row::{Grounds, Row};
use super::shard::Leaving;
use super::store::{Departed, Store};
use super::stored_key::StoredKey;
use crate::invalidation::pattern::Pattern;
use crate::invalidation::{Covered, InvalidationTable, Slot};
use lock_api::RawMutexTimed;
use std::time::Duration;

/// What became of an invalidation, which was in effect before any row was looked at.
#[derive(Debug)]
pub struct Invalidated<V, K> {
    /// Live entries that have left.
    pub live: usize,
    /// All that have left.
    pub departed: Vec<Departed<V, K>>,
    /// Whether there may be more that never will be served again. [`Store::sweep_some`] finds them.
    pub unfinished: bool,
}

/// Where a sweep is to go on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hand {
    shard: usize,
    row: usize,
}

/// So often the clock advances for one invalidation.
const ADVANCES: u64 = 2;

/// A walk lets others in after this many rows: about a tenth of a millisecond.
const ROWS_BETWEEN_PAUSES: usize = 2_048;

/// Rows that are swept in one step: a fraction of a millisecond, where each is in memory far away.
const ROWS_SWEPT_AT_ONCE: usize = 256;

/// A store of so many entries at the most is looked through by an invalidation itself, to count
/// what it drops: about a millisecond.
const MOST_LOOKED_THROUGH: usize = 16_384;

/// Of a larger store it looks at so many rows; a sweep looks at the others.
const ROWS_LOOKED_AT: usize = 1_024;

impl<V, L: RawMutexTimed<Duration = Duration>, K: StoredKey> Store<V, L, K> {
    /// Removes one key and keeps loads of it that are under way from storing it. Returns
    /// whether it could still have been served, and its value.
    pub fn delete(&self, key: &[u8]) -> (bool, Option<Departed<V, K>>) {
        self.delete_telling(key, InvalidationTable::invalidate)
    }

    /// The same; the table is told by the caller.
    pub fn delete_telling(
        &self,
        key: &[u8],
        tell: impl FnOnce(&InvalidationTable, &Covered<'_>),
    ) -> (bool, Option<Departed<V, K>>) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash).lock();
        // Counted before the slot is raised: afterwards the row is invalid in any case.
        let deleted = shard.delete(hash as u32, key, self.clock.now(), &self.table);
        drop(shard);
        let mut names = Names::new();
        names.add_key(key);
        names.with_covered(|covered| tell(&self.table, covered));
        deleted
    }

    /// Invalidates everything that is named. In effect at once and for all who share the table,
    /// in the same time however many entries that are; then a bounded number of rows is looked at,
    /// to count what was dropped and give its memory back.
    pub fn invalidate(&self, names: &Names) -> Invalidated<V, K> {
        self.invalidate_telling(names, InvalidationTable::invalidate)
    }

    /// The same; the table is told by the caller.
    pub fn invalidate_telling(
        &self,
        names: &Names,
        tell: impl FnOnce(&InvalidationTable, &Covered<'_>),
    ) -> Invalidated<V, K> {
        let live_before = self.table.now();
        names.with_covered(|covered| tell(&self.table, covered));
        if names.is_everything() {
            let (live, departed) = self.empty();
            return Invalidated { live, departed, unfinished: false };
        }
        // What was valid just before and is not named is valid still, unless somebody else
        // invalidated something meanwhile.
        let valid_at = Some(self.table.now()).filter(|&at| at == live_before + ADVANCES);
        let patterns = names.patterns();
        let (now, mut departed) = (self.clock.now(), Vec::new());
        let (live, hand) = self.remove_some(
            Hand::default(),
            if self.len() > MOST_LOOKED_THROUGH { ROWS_LOOKED_AT } else { usize::MAX },
            |row, grounds, _| {
                let named = grounds.are_named(&row.key, names.slots(), |key| {
                    patterns.iter().any(|pattern| fits(pattern, key))
                });
                if !named && row.checked_at == live_before {
                    row.checked_at = valid_at.unwrap_or(live_before);
                }
                let was_live = now < row.terms.deadline() && grounds.stamp <= live_before;
                let why = if was_live { Leaving::Invalidated } else { Leaving::Expired };
                (named && !grounds.hold(&row.key, row.checked_at, &self.table)).then_some(why)
            },
            &mut departed,
        );
        Invalidated { live, departed, unfinished: hand.is_some() }
    }

    /// Invalidates everything that depends on one of these slots; see [`Self::invalidate`].
    /// Returns how many live entries that were, and the values.
    pub fn invalidate_slots(&self, slots: &[Slot]) -> (usize, Vec<Departed<V, K>>) {
        let done = self.invalidate(&Names::of_slots(slots));
        (done.live, done.departed)
    }

    /// Invalidates every key that fits a wildcard (see [`crate::invalidation::pattern`]) in any
    /// spelling; see [`Self::invalidate`]. Returns how many live entries that were, and the values.
    pub fn invalidate_pattern(&self, pattern: &[u8]) -> (usize, Vec<Departed<V, K>>) {
        let mut names = Names::new();
        names.add_pattern(pattern);
        let done = self.invalidate(&names);
        (done.live, done.departed)
    }

    /// Invalidates everything and gives the memory back. Returns how many live entries that were,
    /// and the values. `O(entries)`.
    pub fn clear(&self) -> (usize, Vec<Departed<V, K>>) {
        self.table.invalidate_all();
        self.empty()
    }

    /// Gives the memory of all entries back. Nothing is invalidated: whoever shares the table goes
    /// on, and loads under way may be stored. Returns how many live entries that were. `O(entries)`.
    pub fn empty(&self) -> (usize, Vec<Departed<V, K>>) {
        let now = self.clock.now();
        let (mut live, mut values) = (0, Vec::new());
        for shard in &self.shards {
            // One statement: the lock is gone before a key or a list is freed.
            let rows = shard.lock().clear();
            for row in rows.into_iter().flatten() {
                live += usize::from(now < row.terms.deadline());
                values.push((row.key, row.value));
            }
        }
        (live, values)
    }

    /// Looks at the next rows and removes those that can never be served again. Returns what was
    /// removed, and where to go on; `None` after the last row.
    pub fn sweep_some(&self, from: Hand) -> (Vec<Departed<V, K>>, Option<Hand>) {
        let (now, mut departed) = (self.clock.now(), Vec::new());
        let (_, hand) = self.remove_some(
            from,
            ROWS_SWEPT_AT_ONCE,
            |row, grounds, end| {
                if now >= end {
                    return Some(Leaving::Expired);
                }
                // Before the check, as for a lookup.
                let checked_at = self.table.now();
                if row.checked_at != checked_at
                    && !grounds.hold(&row.key, row.checked_at, &self.table)
                {
                    let was_over = now >= row.terms.deadline();
                    return Some(if was_over { Leaving::Expired } else { Leaving::Invalidated });
                }
                row.checked_at = checked_at;
                None
            },
            &mut departed,
        );
        (departed, hand)
    }

    /// Removes what can never be served again. Returns the values. `O(entries)`.
    pub fn sweep(&self) -> Vec<Departed<V, K>> {
        let (mut all, mut hand) = (Vec::new(), Some(Hand::default()));
        while let Some(from) = hand {
            let (departed, next) = self.sweep_some(from);
            all.extend(departed);
            hand = next;
        }
        all
    }

    /// Walks over some rows, `batch_size` of them per lock hold, and removes those for which `why`
    /// gives a reason. Returns how many of them were invalidated, and where to go on.
    fn remove_some(
        &self,
        from: Hand,
        rows: usize,
        why: impl Fn(&mut Row<V, K>, &mut Grounds, Millis) -> Option<Leaving>,
        departed: &mut Vec<Departed<V, K>>,
    ) -> (usize, Option<Hand>) {
        let (mut removed, mut left, mut pause_at) =
            (0, rows, rows.saturating_sub(ROWS_BETWEEN_PAUSES));
        let mut hand = from;
        while let Some(shard) = self.shards.get(hand.shard) {
            let mut shard = shard.lock();
            if hand.row >= shard.places() {
                hand = Hand { shard: hand.shard + 1, row: 0 };
                continue;
            }
            if left == 0 {
                return (removed, Some(hand));
            }
            let to = hand.row.saturating_add(self.batch_size.min(left)).min(shard.places());
            removed += shard.remove_where(hand.row, to, &why, departed);
            drop(shard);
            left -= to - hand.row;
            hand.row = to;
            if left <= pause_at && left > 0 {
                (self.between_batches)();
                pause_at = pause_at.saturating_sub(ROWS_BETWEEN_PAUSES);
            }
        }
        (removed, None)
    }
}

/// Whether a wildcard covers a key as it is, or with its UUIDs in their one spelling.
fn fits(pattern: &Pattern, key: &[u8]) -> bool {
    pattern.matches(key)
        || ids::with_canonical_uuids(key).is_some_and(|canonical| pattern.matches(&canonical))
}
