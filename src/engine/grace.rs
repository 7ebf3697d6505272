//! Rows that are kept for a while past their end, for whoever asks for an old value and says so.
//!
//! A lookup never serves such a row; it only does not throw it away. Few rows have a grace, so it
//! lies beside the rows and not in them: a hit, and whoever has none, pays nothing. Sorted by end,
//! so that the one that ended first is the first to go when room is needed.

use super::clock::Millis;
use super::policy::RowId;
use std::collections::BTreeMap;

/// Bytes a grace counts for, room in half-full nodes included.
pub(super) const GRACE_BYTES: usize = 64;

/// By end and number of a row, until when it is kept.
///
/// Cost: `O(log n)` with `n` rows that have one.
#[derive(Debug, Default)]
pub(super) struct Graces(BTreeMap<(Millis, RowId), Millis>);

impl Graces {
    /// Has a row with this end kept until then.
    pub(super) fn put(&mut self, deadline: Millis, id: RowId, until: Millis) {
        self.0.insert((deadline, id), until);
    }

    /// The row is gone, or holds another value.
    #[inline]
    pub(super) fn forget(&mut self, deadline: Millis, id: RowId) {
        if !self.0.is_empty() {
            self.0.remove(&(deadline, id));
        }
    }

    /// Until when a row with this end is kept: its end, if it has no grace.
    #[inline]
    pub(super) fn end(&self, deadline: Millis, id: RowId) -> Millis {
        if self.0.is_empty() {
            return deadline;
        }
        self.0.get(&(deadline, id)).map_or(deadline, |&until| until.max(deadline))
    }

    /// The row that is kept past its end for longest.
    #[inline]
    pub(super) fn first_over(&self, now: Millis) -> Option<RowId> {
        let (&(deadline, id), _) = self.0.first_key_value()?;
        (now >= deadline).then_some(id)
    }

    /// How many rows have one.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_ended_first_is_the_first_to_go() {
        let mut graces = Graces::default();
        graces.put(2_000, 7, 9_000);
        graces.put(1_000, 8, 9_000);
        assert_eq!(graces.first_over(999), None);
        assert_eq!(graces.first_over(5_000), Some(8));
        graces.forget(1_000, 8);
        assert_eq!(graces.first_over(1_500), None);
        assert_eq!(graces.first_over(2_000), Some(7));
    }

    #[test]
    fn the_grace_of_a_row_is_not_that_of_the_next_one_in_its_place() {
        let mut graces = Graces::default();
        graces.put(2_000, 7, 9_000);
        assert_eq!(graces.end(2_000, 7), 9_000);
        assert_eq!(graces.end(2_001, 7), 2_001);
        assert_eq!(graces.end(2_000, 6), 2_000);
        graces.clear();
        assert_eq!(graces.end(2_000, 7), 2_000);
    }
}
