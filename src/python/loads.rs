//! Loads under way, so that a value set by hand wins over one that was being loaded meanwhile.
//!
//! A load reads its value some time before it stores it. Whoever calls `set` in between knows
//! something newer, and no invalidation need have told the load so. Every load therefore holds a
//! [`Ticket`]; `set` takes the tickets of its key away, and a load without one does not store.

use crate::sync::Mutex;
use ahash::AHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The loads of one cache that are under way.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// How many; lets `set` skip the rest while there are none.
    count: AtomicUsize,
    /// Loaders that were called.
    begun: AtomicU64,
    by_key: Mutex<AHashMap<Box<[u8]>, Vec<Flag>>>,
}

/// True until something newer was set.
type Flag = Arc<AtomicBool>;

impl Loads {
    /// Takes note of a loader that is called.
    pub(super) fn count_loader(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Loaders that were called so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Takes note of a load that begins.
    pub(super) fn begin(self: &Arc<Self>, key: &[u8]) -> Ticket {
        let valid = Arc::new(AtomicBool::new(true));
        self.count.fetch_add(1, Ordering::AcqRel);
        self.by_key.lock().entry(key.into()).or_default().push(Arc::clone(&valid));
        Ticket { loads: Arc::clone(self), key: key.into(), valid }
    }

    /// A value was set by hand: what is being loaded for this key is older.
    #[inline]
    pub(super) fn supersede(&self, key: &[u8]) {
        if self.count.load(Ordering::Acquire) != 0 {
            self.supersede_some(key);
        }
    }

    #[cold]
    fn supersede_some(&self, key: &[u8]) {
        if let Some(tickets) = self.by_key.lock().get(key) {
            tickets.iter().for_each(|valid| valid.store(false, Ordering::Release));
        }
    }
}

/// The right of a load to store what it loaded. Given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    loads: Arc<Loads>,
    key: Box<[u8]>,
    valid: Flag,
}

impl Ticket {
    /// The key it is for.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether nothing newer was set since the load began.
    pub(super) fn is_valid(&self) -> bool {
        self.valid.load(Ordering::Acquire)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut by_key = self.loads.by_key.lock();
        if let Some(tickets) = by_key.get_mut(&self.key) {
            tickets.retain(|valid| !Arc::ptr_eq(valid, &self.valid));
            if tickets.is_empty() {
                by_key.remove(&self.key);
            }
        }
        drop(by_key);
        self.loads.count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_set_by_hand_takes_the_tickets_of_its_key_alone() {
        let loads = Arc::new(Loads::default());
        let (first, second, other) = (loads.begin(b"k"), loads.begin(b"k"), loads.begin(b"o"));
        loads.supersede(b"k");
        assert_eq!([first.is_valid(), second.is_valid(), other.is_valid()], [false, false, true]);
        assert!(loads.begin(b"k").is_valid());
    }

    #[test]
    fn ended_loads_leave_nothing_behind() {
        let loads = Arc::new(Loads::default());
        drop((loads.begin(b"k"), loads.begin(b"k")));
        assert!(loads.by_key.lock().is_empty());
        assert_eq!(loads.count.load(Ordering::Relaxed), 0);
    }
}
