//! Which entry goes when a shard is full.
//!
//! A hit does the same little work under every policy: it writes one word of the row. All
//! thinking happens when room is needed.
//!
//! * [`lru`], [`lfu`], [`ttl`] — exact, over a heap that catches up lazily ([`lazy_heap`]);
//! * [`adaptive`] — learns from what became of entries what is worth keeping.

pub(super) mod adaptive;
mod lazy_heap;
mod lfu;
mod lru;
mod ttl;

use adaptive::Adaptive;
pub(super) use adaptive::Usage;
use lazy_heap::LazyHeap;
use serde::Deserialize;

/// The choice of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyKind {
    /// The entry not used for longest goes first.
    Lru,
    /// The entry used least often goes first; among equals, the one not used for longest.
    Lfu,
    /// The entry that expires first goes first.
    Ttl,
    /// The entry with the lowest expected use goes first.
    Adaptive,
}

/// Number of a row within its shard.
pub(super) type RowId = u32;

/// What a policy is told about an entry that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident {
    /// What the policy noted in its row. Every policy has its own idea of what the bits mean.
    pub(super) usage: Usage,
    /// Weight on survival, 1 to 10.
    pub(super) priority: u8,
    /// Bytes.
    pub(super) weight: u32,
    /// Milliseconds on the engine's clock.
    pub(super) deadline: u64,
}

/// The entries of a shard, in numbered places of which some are free.
pub(super) trait Residents {
    /// One past the highest number in use.
    fn places(&self) -> usize;
    /// `None`: a free place.
    fn get(&self, id: RowId) -> Option<Resident>;
}

/// What a victim is chosen for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pressure {
    /// Whether bytes are short, not just entries: then a heavy entry is a better victim.
    pub(super) by_bytes: bool,
}

/// The policy of one shard.
#[derive(Debug)]
pub(super) enum Policy {
    Lru(LazyHeap<lru::Lru>),
    Lfu(LazyHeap<lfu::Lfu>),
    Ttl(LazyHeap<ttl::Ttl>),
    Adaptive(Box<Adaptive>),
}

impl Policy {
    pub(super) fn new(kind: PolicyKind, max_entries: usize) -> Self {
        match kind {
            PolicyKind::Lru => Self::Lru(LazyHeap::new(lru::Lru::new(max_entries))),
            PolicyKind::Lfu => Self::Lfu(LazyHeap::new(lfu::Lfu)),
            PolicyKind::Ttl => Self::Ttl(LazyHeap::new(ttl::Ttl)),
            PolicyKind::Adaptive => Self::Adaptive(Box::new(Adaptive::new(max_entries))),
        }
    }

    /// An entry was used.
    #[inline]
    pub(super) fn on_hit(&mut self, usage: &mut Usage, now: u64) {
        match self {
            Self::Adaptive(policy) => policy.on_hit(usage, now as u32),
            Self::Lru(_) => lru::on_use(usage, now),
            Self::Lfu(_) => lfu::on_use(usage, now),
            Self::Ttl(_) => {}
        }
    }

    /// An entry is about to be set under a key that is not there.
    pub(super) fn on_insert(&mut self, hash: u32, now: u64) -> Usage {
        let mut usage = Usage::from_word(0);
        match self {
            Self::Adaptive(policy) => usage = policy.on_insert(hash),
            Self::Lru(_) => lru::on_use(&mut usage, now),
            Self::Lfu(_) => lfu::on_use(&mut usage, now),
            Self::Ttl(_) => {}
        }
        usage
    }

    /// An entry is about to be set under a key that is there.
    pub(super) fn on_overwrite(&mut self, usage: &mut Usage, now: u64) {
        match self {
            Self::Adaptive(policy) => policy.on_overwrite(usage),
            Self::Lru(_) => lru::on_use(usage, now),
            Self::Lfu(_) => lfu::on_overwrite(usage, now),
            Self::Ttl(_) => {}
        }
    }

    /// An entry was set and has its place.
    #[inline(always)]
    pub(super) fn on_set(&mut self, id: RowId, rows: &impl Residents) {
        if !matches!(self, Self::Adaptive(_)) {
            self.note(id, rows);
        }
    }

    fn note(&mut self, id: RowId, rows: &impl Residents) {
        match self {
            Self::Adaptive(_) => {}
            Self::Lru(heap) => heap.on_set(id, rows),
            Self::Lfu(heap) => heap.on_set(id, rows),
            Self::Ttl(heap) => heap.on_set(id, rows),
        }
    }

    /// The entry that should go, or `None` if there is none.
    pub(super) fn victim(&mut self, rows: &impl Residents, pressure: Pressure) -> Option<RowId> {
        match self {
            Self::Adaptive(policy) => policy.victim(rows, pressure),
            Self::Lru(heap) => heap.victim(rows),
            Self::Lfu(heap) => heap.victim(rows),
            Self::Ttl(heap) => heap.victim(rows),
        }
    }

    /// An entry left because the policy chose it.
    pub(super) fn on_evict(&mut self, hash: u32, usage: Usage) {
        if let Self::Adaptive(policy) = self {
            policy.on_evict(hash, usage);
        }
    }

    /// An entry left for another reason.
    pub(super) fn on_remove(&mut self) {
        if let Self::Adaptive(policy) = self {
            policy.on_remove();
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Adaptive(policy) => policy.clear(),
            Self::Lru(heap) => heap.clear(),
            Self::Lfu(heap) => heap.clear(),
            Self::Ttl(heap) => heap.clear(),
        }
    }
}
