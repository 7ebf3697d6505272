//! LRU, LFU and TTL: the row with the lowest rank goes, exactly.
//!
//! Idea: a min-heap of ranks that is only corrected when it matters. A hit raises a row's rank
//! but does not touch the heap, so a note in the heap can only be too low. The top note is
//! therefore either true, and then its row has the lowest rank of all, or too low, and then it
//! is put back with the true rank. Each such correction was paid for by a hit on that row.
//!
//! Cost: nothing per hit; `O(log n)` amortised per set and per eviction; 16 bytes per row, and
//! at most as much again for notes about rows that are gone.
//!
//! When not to use it: a scan over many keys used once empties an LRU, and an LFU keeps
//! what was popular long ago. [`super::adaptive`] minds both.

use super::{RowId, Rows};
use crate::engine::row::Row;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Debug, Clone, Copy)]
pub(in crate::engine) enum Order {
    Lru,
    Lfu,
    Ttl,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Note {
    rank: u64,
    id: RowId,
    version: u32,
}

#[derive(Debug)]
pub(in crate::engine) struct Ranked {
    order: Order,
    heap: BinaryHeap<Reverse<Note>>,
    /// What one level of priority is worth to an LRU: this many requests of being left alone.
    requests_per_level: u64,
}

/// What one level of priority is worth to a TTL policy: one more minute of life.
const MILLIS_PER_LEVEL: u64 = 60_000;

/// Bits of an LFU rank that hold the recency, which decides among equals. 2^40 requests last
/// 12 days at a million a second; after that, only ties among equals are affected.
const RECENCY_BITS: u32 = 40;

impl Ranked {
    pub(in crate::engine) fn new(order: Order, max_entries: usize) -> Self {
        Self { order, heap: BinaryHeap::new(), requests_per_level: (max_entries as u64 / 4).max(1) }
    }

    pub(in crate::engine) fn on_set<V>(&mut self, id: RowId, rows: &Rows<V>) {
        if self.heap.len() > 2 * rows.len() + 64 {
            self.rebuild(rows);
        }
        if let Some(row) = rows.get(id as usize).and_then(Option::as_ref) {
            let note = Note { rank: self.rank(row), id, version: row.version };
            self.heap.push(Reverse(note));
        }
    }

    pub(in crate::engine) fn victim<V>(&mut self, rows: &Rows<V>) -> Option<RowId> {
        while let Some(mut top) = self.heap.peek_mut() {
            let Reverse(note) = &mut *top;
            let row = rows.get(note.id as usize).and_then(Option::as_ref);
            match row.filter(|row| row.version == note.version) {
                Some(row) => {
                    let rank = rank(self.order, self.requests_per_level, row);
                    if rank == note.rank {
                        return Some(note.id);
                    }
                    // Sifts down when `top` is dropped.
                    note.rank = rank;
                }
                None => {
                    std::collections::binary_heap::PeekMut::pop(top);
                }
            }
        }
        None
    }

    pub(in crate::engine) fn clear(&mut self) {
        self.heap = BinaryHeap::new();
    }

    fn rank<V>(&self, row: &Row<V>) -> u64 {
        rank(self.order, self.requests_per_level, row)
    }

    /// Forgets notes about rows that are gone, which pile up when rows leave otherwise than by
    /// eviction.
    fn rebuild<V>(&mut self, rows: &Rows<V>) {
        let live = rows.iter().enumerate().filter_map(|(id, row)| {
            let row = row.as_ref()?;
            Some(Reverse(Note { rank: self.rank(row), id: id as RowId, version: row.version }))
        });
        self.heap = live.collect();
    }
}

/// May only grow while a row is hit; a row that is set again gets a new version and a new note.
fn rank<V>(order: Order, requests_per_level: u64, row: &Row<V>) -> u64 {
    let levels = u64::from(row.priority.saturating_sub(1));
    match order {
        Order::Lru => row.last_access + levels * requests_per_level,
        Order::Lfu => {
            let uses = (u64::from(row.hits) + 1) * u64::from(row.priority.max(1));
            let recency = row.last_access & ((1 << RECENCY_BITS) - 1);
            (uses.min((1 << (64 - RECENCY_BITS)) - 1) << RECENCY_BITS) | recency
        }
        Order::Ttl => row.deadline.saturating_add(levels * MILLIS_PER_LEVEL),
    }
}
