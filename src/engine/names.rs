//! What an invalidation names, and what that amounts to in the table.

use super::keys;
use crate::invalidation::pattern::{Pattern, Reach};
use crate::invalidation::slots::{self, SlotList};
use crate::invalidation::{Covered, Slot};

/// Things named by one invalidation.
#[derive(Debug, Default, Clone)]
pub struct Names {
    slots: SlotList,
    /// Wildcards that no slot stands for.
    scattered: Vec<Box<[u8]>>,
    all: bool,
}

impl Names {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whatever depends on these.
    #[must_use]
    pub fn of_slots(slots: &[Slot]) -> Self {
        Self { slots: SlotList::from_slice(slots), ..Self::default() }
    }

    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Every entry with a tag, as a caller writes it.
    pub fn add_tag(&mut self, tag: &[u8]) {
        keys::push_once(keys::slot_of_tag(tag), &mut self.slots);
    }

    /// One entry, whatever its key's UUIDs look like.
    pub fn add_key(&mut self, key: &[u8]) {
        keys::push_once(slots::of_key(key), &mut self.slots);
        if let Some(canonical) = super::ids::with_canonical_uuids(key) {
            keys::push_once(slots::of_key(&canonical), &mut self.slots);
        }
    }

    /// Every entry whose key fits a wildcard, as it is written and with its UUIDs in their one
    /// spelling.
    pub fn add_pattern(&mut self, pattern: &[u8]) {
        self.add_pattern_as_written(pattern);
        if let Some(canonical) = super::ids::with_canonical_uuids(pattern) {
            self.add_pattern_as_written(&canonical);
        }
    }

    fn add_pattern_as_written(&mut self, pattern: &[u8]) {
        let slot = match Pattern::new(pattern).reach() {
            Reach::Everything => {
                self.all = true;
                return;
            }
            Reach::Key(key) => Some(slots::of_key(&key)),
            Reach::Prefix(prefix) => slots::of_prefix(&prefix),
            Reach::Scattered => None,
        };
        match slot {
            Some(slot) => keys::push_once(slot, &mut self.slots),
            None => self.scattered.push(pattern.into()),
        }
    }

    /// Everything, whatever else is named.
    pub fn add_everything(&mut self) {
        self.all = true;
    }

    /// Whether nothing was named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.slots.is_empty() && self.scattered.is_empty()
    }

    /// Whether everything was named.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.all
    }

    /// Slots named.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Wildcards that have to be compared with keys.
    pub(super) fn patterns(&self) -> Vec<Pattern> {
        self.scattered.iter().map(|text| Pattern::new(text)).collect()
    }

    /// Runs something with what this amounts to in the table.
    pub fn with_covered<R>(&self, then: impl FnOnce(&Covered<'_>) -> R) -> R {
        let patterns: Vec<&[u8]> = self.scattered.iter().map(|text| &**text).collect();
        then(&Covered { slots: &self.slots, patterns: &patterns, all: self.all })
    }
}
