//! On what a value rests, for results that are made of it.
//!
//! A result made of other entries may be believed for as long as all of them may. It therefore
//! inherits everything they depend on, with *their* stamps: its own may be newer, and an
//! invalidation that came between the two must still be seen. Its own slots keep its own stamp; the
//! smallest of all for all of them would be safe too, but would refuse a result that was made after
//! an invalidation of its own name, because something else it rests on was loaded before.

use super::clock::Millis;
use super::keys;
use crate::invalidation::slots::SlotList;
use crate::invalidation::{InvalidationTable, Slot, Stamp};

/// A slot something depends on, and the clock of the table before that was loaded.
pub type Inherited = (Slot, Stamp);

/// A key that a wildcard may cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritedKey {
    /// Bytes of the key.
    pub key: Box<[u8]>,
    /// The clock of the table before its value was loaded.
    pub stamp: Stamp,
    /// The clock when it was last compared with all wildcards; 0: never.
    pub checked_at: Stamp,
}

/// What a value depends on, and how long it may be believed at the most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// Slots.
    pub slots: Vec<Inherited>,
    /// Keys, for wildcards that no slot stands for.
    pub keys: Vec<InheritedKey>,
    /// Never to be believed from this time on.
    pub deadline: Millis,
}

impl Basis {
    /// Whether nothing was invalidated that this is about.
    #[must_use]
    pub fn holds(&self, table: &InvalidationTable) -> bool {
        all_current(&self.slots, table)
            && !self
                .keys
                .iter()
                .any(|one| keys::is_covered(&one.key, one.stamp, one.checked_at, table))
    }
}

/// What an entry inherits, as it is kept.
#[derive(Debug, Clone)]
pub(super) struct Heritage {
    /// The slots of the entry itself, those of its key among them.
    pub(super) own: SlotList,
    pub(super) slots: Box<[Inherited]>,
    pub(super) keys: Box<[Box<[u8]>]>,
    /// The smallest stamp of the keys.
    pub(super) oldest: Stamp,
}

impl Heritage {
    pub(super) fn new(own: &[Slot], basis: &Basis) -> Self {
        Self {
            own: SlotList::from_slice(own),
            slots: basis.slots.as_slice().into(),
            keys: basis.keys.iter().map(|one| one.key.clone()).collect(),
            oldest: basis.keys.iter().map(|one| one.stamp).min().unwrap_or(Stamp::MAX),
        }
    }

    /// Whether nothing was invalidated that the entry inherits, which was last found valid when
    /// the clock was `checked_at`.
    pub(super) fn holds(&self, checked_at: Stamp, table: &InvalidationTable) -> bool {
        all_current(&self.slots, table)
            && !(table.has_wildcards_after(self.oldest)
                && self
                    .keys
                    .iter()
                    .any(|key| keys::is_covered(key, self.oldest, checked_at, table)))
    }
}

fn all_current(slots: &[Inherited], table: &InvalidationTable) -> bool {
    slots.iter().all(|&(slot, stamp)| table.is_current(stamp, &[slot]))
}

/// Bytes of what an entry inherits.
#[must_use]
pub(super) fn weigh(basis: &Basis) -> usize {
    const ROUNDED_UP: usize = 16;
    let keys = basis.keys.iter().map(|one| size_of::<Box<[u8]>>() + ROUNDED_UP + one.key.len());
    size_of::<Heritage>() + ROUNDED_UP + size_of_val(&*basis.slots) + keys.sum::<usize>()
}
