//! The keys of a shard that are followed, to estimate hit rates of other sizes and lives.

use super::analytics::what_if::{self, WhatIf, WhatIfReport};
use super::clock::Millis;
use super::policy::{PolicyKind, RowId};
use super::row::{NewRow, Row, Terms};
use super::shard::Shard;
use super::stats::Counters;
use super::stored_key::StoredKey;

/// A hit on a row with a mark: counts it, tells of it, and takes the mark away for a while.
#[cold]
#[inline(never)]
pub(super) fn note_marked_hit<V, K>(
    what_if: &mut Option<Box<WhatIf>>,
    counters: &mut Counters,
    row: &mut Row<V, K>,
    id: RowId,
    now: Millis,
) {
    row.terms.mark(false);
    if let Some(count) = counters.family_hits.get_mut(row.terms.family()) {
        *count += 1;
    }
    if let Some(what_if) = what_if {
        let worth = (row.weight, row.terms.priority());
        what_if.hit(id, row.hash, worth, row.terms.deadline(), now);
    }
}

impl<V, K: StoredKey> Shard<V, K> {
    /// Has some keys followed, to estimate hit rates of other sizes and lives.
    pub(super) fn with_what_if(mut self, kind: PolicyKind) -> Self {
        let what_if = Box::new(WhatIf::new(kind, self.max_entries, self.max_bytes));
        self.followed_below = what_if.followed_below();
        self.what_if = Some(what_if);
        self
    }

    /// Estimates of hit rates; `None`: too few lookups, or not here.
    pub(super) fn what_if(&self) -> Option<WhatIfReport> {
        self.what_if.as_ref()?.report(self.counters.hits(), self.counters.misses())
    }

    #[inline]
    pub(super) fn is_followed(&self, hash: u32) -> bool {
        what_if::is_followed(hash, self.followed_below)
    }

    /// A value is stored under a key that is followed.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_set(&mut self, hash: u32, new: &NewRow<'_, V>, now: Millis) {
        let Some(what_if) = &mut self.what_if else { return };
        let worth = (new.weight, new.priority);
        let deadline = new.deadline.min(Terms::LONGEST);
        what_if.set(hash, new.grounds(), worth, now, deadline, new.checked_at);
        self.followed_below = what_if.followed_below();
    }

    /// Marks the rows of keys that are followed again.
    pub(super) fn look_at_followed_again(&mut self, now: Millis) {
        let Some(what_if) = &mut self.what_if else { return };
        what_if.fade(now, self.counters.hits(), self.counters.misses());
        for id in what_if.take_unmarked() {
            // Meanwhile another one may lie there.
            let Some((row, grounds)) = self.rows.with_grounds(id) else { continue };
            let is_followed = what_if::is_followed(row.hash, self.followed_below);
            row.terms.mark(is_followed);
            if is_followed {
                what_if.rest_on(row.hash, grounds, row.checked_at);
            }
        }
    }
}
