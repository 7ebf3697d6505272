//! Which entry goes when a shard is full.
//!
//! A hit does the same little work under every policy: it notes when the row was used and how
//! often. All thinking happens when room is needed.
//!
//! * [`ranked`] — LRU, LFU and TTL: exact, by a heap that catches up lazily;
//! * [`adaptive`] — the lowest expected use among a sample.

pub(super) mod adaptive;
pub(super) mod ranked;

use super::row::Row;
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

/// The rows of a shard as a policy sees them. Freed places are `None`.
pub(super) type Rows<V> = [Option<Row<V>>];

/// What a victim is chosen for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pressure {
    /// Number of the current request.
    pub(super) now: u64,
    /// Whether bytes are short, not just entries: then a heavy row is a better victim.
    pub(super) by_bytes: bool,
}

/// The policy of one shard.
#[derive(Debug)]
pub(super) enum Policy {
    Ranked(ranked::Ranked),
    Adaptive(adaptive::Adaptive),
}

impl Policy {
    pub(super) fn new(kind: PolicyKind, max_entries: usize) -> Self {
        match kind {
            PolicyKind::Lru => Self::Ranked(ranked::Ranked::new(ranked::Order::Lru, max_entries)),
            PolicyKind::Lfu => Self::Ranked(ranked::Ranked::new(ranked::Order::Lfu, max_entries)),
            PolicyKind::Ttl => Self::Ranked(ranked::Ranked::new(ranked::Order::Ttl, max_entries)),
            PolicyKind::Adaptive => Self::Adaptive(adaptive::Adaptive::new()),
        }
    }

    /// A row was set, under a new or an old number.
    pub(super) fn on_set<V>(&mut self, id: RowId, rows: &Rows<V>) {
        match self {
            Self::Ranked(policy) => policy.on_set(id, rows),
            Self::Adaptive(_) => {}
        }
    }

    /// The row that should go, or `None` if there is none.
    pub(super) fn victim<V>(&mut self, rows: &Rows<V>, pressure: Pressure) -> Option<RowId> {
        match self {
            Self::Ranked(policy) => policy.victim(rows),
            Self::Adaptive(policy) => policy.victim(rows, pressure),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Ranked(policy) => policy.clear(),
            Self::Adaptive(_) => {}
        }
    }
}
