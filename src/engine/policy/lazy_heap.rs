//! The entry with the lowest rank, exactly, without moving anything on a hit.
//!
//! Idea: a min-heap of ranks that is only corrected when it matters. A hit raises an entry's rank
//! but does not touch the heap, so every entry has a note in the heap that is not too high. The top
//! note is therefore either true, and then its entry has the lowest rank of all, or not, and then
//! it is put back with the true rank. Each such correction was paid for by a use of that entry.
//! An entry may have several notes; one that is too high comes to the top after it is gone.
//!
//! Cost: nothing per hit; `O(log n)` amortised per set and per eviction; 16 bytes per entry, and
//! at most as much again for notes about entries that are gone.

use super::{Resident, Residents, RowId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// An order of eviction.
pub(in crate::engine) trait Rank {
    /// The lowest goes first. May only grow while an entry is used; one that is set again gets a
    /// new note.
    fn rank(&self, entry: &Resident) -> u64;
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Note {
    rank: u64,
    id: RowId,
}

#[derive(Debug)]
pub(in crate::engine) struct LazyHeap<R> {
    order: R,
    heap: BinaryHeap<Reverse<Note>>,
}

impl<R: Rank> LazyHeap<R> {
    pub(super) fn new(order: R) -> Self {
        Self { order, heap: BinaryHeap::new() }
    }

    pub(super) fn on_set(&mut self, id: RowId, rows: &impl Residents) {
        if self.heap.len() > 2 * rows.places() + 64 {
            self.rebuild(rows);
        }
        if let Some(row) = rows.get(id) {
            self.heap.push(Reverse(self.note(id, &row)));
        }
    }

    pub(super) fn victim(&mut self, rows: &impl Residents) -> Option<RowId> {
        while let Some(mut top) = self.heap.peek_mut() {
            let Reverse(note) = &mut *top;
            match rows.get(note.id) {
                Some(row) => {
                    let rank = self.order.rank(&row);
                    if rank == note.rank {
                        return Some(note.id);
                    }
                    // Sifts down when `top` is dropped.
                    note.rank = rank;
                }
                None => {
                    PeekMut::pop(top);
                }
            }
        }
        None
    }

    pub(super) fn clear(&mut self) {
        self.heap = BinaryHeap::new();
    }

    fn note(&self, id: RowId, row: &Resident) -> Note {
        Note { rank: self.order.rank(row), id }
    }

    /// Forgets notes about entries that are gone, which pile up when entries leave otherwise than
    /// by eviction.
    fn rebuild(&mut self, rows: &impl Residents) {
        let live = (0..rows.places() as RowId)
            .filter_map(|id| rows.get(id).map(|row| Reverse(self.note(id, &row))));
        self.heap = live.collect();
    }
}
