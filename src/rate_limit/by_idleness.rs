//! The row that is closest to a full bucket, exactly, without moving anything on a check.
//!
//! Idea: a min-heap of the moments at which rows will be idle, with one note for each row, that is
//! only corrected when it matters. A check moves that moment ahead and does not touch the heap, so
//! a note is never too late. The top note is therefore either true, or it is put back with the
//! true moment; each such correction was paid for by a check of that row. (A note may be too late
//! after limits were changed or somebody was forgotten; then a row stays for longer than it need.)
//!
//! Cost: nothing per check; `O(log n)` amortised per new name; 16 bytes per row.

use super::gcra::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Number of a row.
pub type RowId = u32;

/// All rows, the one first that is idle soonest.
#[derive(Debug, Default)]
pub struct ByIdleness(BinaryHeap<Reverse<(Nanos, RowId)>>);

impl ByIdleness {
    /// Takes up a new row.
    pub fn add(&mut self, row: RowId, idle_at: Nanos) {
        self.0.push(Reverse((idle_at, row)));
    }

    /// The row that is idle soonest, and when. `None` if there is none.
    pub fn soonest(&mut self, idle_at: impl Fn(RowId) -> Nanos) -> Option<(RowId, Nanos)> {
        loop {
            let mut top = self.0.peek_mut()?;
            let Reverse((noted, row)) = *top;
            let moment = idle_at(row);
            if moment <= noted {
                return Some((row, moment));
            }
            // Goes down to where it belongs, as the borrow ends.
            *top = Reverse((moment, row));
        }
    }
}
