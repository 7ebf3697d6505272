//! Double-entry bookkeeping for a store: what goes in must be inside or have come out, once.

use std::collections::HashSet;
use std::sync::Mutex;
use velro_cache::engine::stats::Snapshot;
use velro_cache::engine::{Inserted, Outcome};

/// A value that can be told from every other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receipt {
    pub(super) number: u64,
    pub(super) key: usize,
    /// What the database said when it was loaded.
    pub(super) version: u64,
}

/// Not a lock of the checker: whoever holds it is never stopped meanwhile.
#[derive(Default)]
pub(super) struct Books(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    issued: u64,
    inside: HashSet<u64>,
    lookups: u64,
    stored: u64,
    replaced: u64,
    stale: u64,
    oversize: u64,
    busy: u64,
}

impl Books {
    pub(super) fn issue(&self, key: usize, version: u64) -> Receipt {
        let mut pages = self.0.lock().unwrap();
        pages.issued += 1;
        let number = pages.issued;
        // Others may find it before whoever put it in gets to know.
        pages.inside.insert(number);
        Receipt { number, key, version }
    }

    pub(super) fn looked_up<K>(&self, left: Option<(K, Receipt)>) {
        self.0.lock().unwrap().lookups += 1;
        self.left(left);
    }

    pub(super) fn overwrote(&self, left: Receipt) {
        let mut pages = self.0.lock().unwrap();
        pages.stored += 1;
        pages.replaced += 1;
        drop(pages);
        self.left([((), left)]);
    }

    pub(super) fn inserted(&self, key: usize, inserted: Inserted<Receipt>) {
        let mut pages = self.0.lock().unwrap();
        let refused = match inserted.outcome {
            Outcome::Stored => {
                pages.stored += 1;
                0
            }
            Outcome::Stale => {
                pages.stale += 1;
                1
            }
            Outcome::TooLarge => {
                pages.oversize += 1;
                1
            }
            Outcome::Busy => {
                pages.busy += 1;
                1
            }
        };
        let of_same_key = inserted.garbage.iter().filter(|(_, left)| left.key == key).count();
        pages.replaced += (of_same_key - refused) as u64;
        drop(pages);
        self.left(inserted.garbage);
    }

    pub(super) fn left<K>(&self, entries: impl IntoIterator<Item = (K, Receipt)>) {
        let mut pages = self.0.lock().unwrap();
        for (_, value) in entries {
            assert!(pages.inside.remove(&value.number), "a value came out twice");
        }
    }

    /// Compares with what the store says of itself.
    pub(super) fn balance(&self, stats: &Snapshot) {
        let pages = self.0.lock().unwrap();
        let counters = &stats.counters;
        assert_eq!(stats.entries, pages.inside.len(), "values went missing");
        assert_eq!(counters.sets(), pages.stored);
        assert_eq!(counters.stale_rejects, pages.stale);
        assert_eq!(counters.oversize_rejects, pages.oversize);
        // A wait given up is a lookup that was not counted, or a value that was not stored.
        let answered = counters.hits() + counters.misses();
        assert_eq!(answered + stats.lock_timeouts, pages.lookups + pages.busy);
        let counted_out = counters.evictions + counters.expirations + counters.invalidations;
        assert_eq!(pages.stored, stats.entries as u64 + counted_out + pages.replaced);
    }
}
