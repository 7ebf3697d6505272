//! One entry, in two parts: what a hit touches, and what it does not.

use super::analytics::explain::SetAt;
use super::analytics::lives::LifeClass;
use super::basis::{Basis, Heritage, InheritedKey};
use super::clock::Millis;
use super::keys::{self, Family};
use super::packed_slots::PackedSlots;
use super::policy::Usage;
use super::stored_key::StoredKey;
use crate::invalidation::slots::SlotList;
use crate::invalidation::{InvalidationTable, Slot, Stamp};

/// What an entry holds, how long, and how it was used: all that a hit reads and writes.
///
/// 64 bytes in one cache line: a hit on a table larger than the first-level cache costs about as
/// much as the lines it touches.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Row<V, K> {
    pub(super) key: K,
    pub(super) value: V,
    /// Clock of the table when the row was last found valid; valid while it has not moved.
    pub(super) checked_at: Stamp,
    /// What the policy notes about the uses of the row.
    pub(super) usage: Usage,
    pub(super) terms: Terms,
    /// Hash of the key.
    pub(super) hash: u32,
    /// Bytes this row counts for.
    pub(super) weight: u32,
}

/// On what the validity of an entry rests.
#[derive(Debug, Clone, Default)]
pub(super) struct Grounds {
    /// Clock of the invalidation table before the value was loaded.
    pub(super) stamp: Stamp,
    /// What it depends on. The slots of the key itself are added when they are first asked for:
    /// most entries live and die without an invalidation.
    slots: PackedSlots,
}

/// How long an entry may be served, what it is counted under, whether it needs a lease, how long it
/// was to live, and its weight on survival, in one word: from above, 48 bits of milliseconds, one of
/// the mark, 7 of the family, one of the lease, 3 of the class of its life, 4 of the priority.
///
/// The mark says that hits are to be told to [`super::analytics::what_if`]. It is part of the number
/// that hits are counted under, and makes it one that there is no counter for. So a hit that is not
/// to be told takes no check more: that there is a counter has to be checked anyway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms(u64);

impl Terms {
    /// Nearly nine thousand years.
    pub(super) const LONGEST: Millis = (1 << 48) - 1;

    const NEEDS_LEASE: u8 = 0x80;

    const LIFE_SHIFT: u8 = 4;

    const PRIORITY: u8 = 0x0F;

    const MARK: u64 = 0x8000;

    pub(super) fn new(
        deadline: Millis,
        family: Family,
        life: LifeClass,
        priority: u8,
        needs_lease: bool,
    ) -> Self {
        let deadline = deadline.min(Self::LONGEST);
        let lease = if needs_lease { Self::NEEDS_LEASE } else { 0 };
        let low = priority.min(Self::PRIORITY) | life.to_bits() << Self::LIFE_SHIFT | lease;
        Self(deadline << 16 | (family as u64) << 8 | u64::from(low))
    }

    /// Whether it is served only while this host hears from the log.
    #[inline]
    pub(super) fn needs_lease(self) -> bool {
        self.0 as u8 & Self::NEEDS_LEASE != 0
    }

    /// Never served from this time on.
    #[inline]
    pub(super) fn deadline(self) -> Millis {
        self.0 >> 16
    }

    /// Number of the counter of hits: that of the [`Family`], or, with a mark, one past all.
    #[inline]
    pub(super) fn counter(self) -> usize {
        usize::from((self.0 >> 8) as u8)
    }

    /// Number of the [`Family`].
    pub(super) fn family(self) -> usize {
        usize::from(((self.0 & !Self::MARK) >> 8) as u8)
    }

    /// Sets the mark, or takes it away.
    pub(super) fn mark(&mut self, is_marked: bool) {
        self.0 = self.0 & !Self::MARK | if is_marked { Self::MARK } else { 0 };
    }

    #[inline]
    pub(super) fn priority(self) -> u8 {
        self.0 as u8 & Self::PRIORITY
    }

    /// The class of the life it was given.
    pub(super) fn life(self) -> LifeClass {
        LifeClass::from_bits(self.0 as u8 >> Self::LIFE_SHIFT)
    }
}

/// A row to be set, checked and weighed.
pub(super) struct NewRow<'a, V> {
    pub(super) key: &'a [u8],
    /// Slots of the tags, and those of the key if `has_key_slots`.
    pub(super) slots: &'a [Slot],
    pub(super) has_key_slots: bool,
    pub(super) value: V,
    pub(super) weight: u32,
    pub(super) deadline: Millis,
    pub(super) life: LifeClass,
    pub(super) stamp: Stamp,
    pub(super) checked_at: Stamp,
    pub(super) priority: u8,
    pub(super) permissive: bool,
}

impl<V> NewRow<'_, V> {
    /// On what its validity rests.
    pub(super) fn grounds(&self) -> Grounds {
        Grounds { stamp: self.stamp, slots: PackedSlots::new(self.slots, self.has_key_slots) }
    }

    #[inline]
    fn terms(&self, family: Family) -> Terms {
        Terms::new(self.deadline, family, self.life, self.priority, self.permissive)
    }
}

impl<V, K> Row<V, K> {
    pub(super) fn new(key: K, new: NewRow<'_, V>, hash: u32, usage: Usage) -> (Self, Grounds) {
        let grounds = new.grounds();
        let row = Self {
            key,
            terms: new.terms(Family::of(new.key)),
            value: new.value,
            checked_at: new.checked_at,
            usage,
            hash,
            weight: new.weight,
        };
        (row, grounds)
    }

    /// Puts another value under the same key. Returns the one before.
    #[inline]
    pub(super) fn replace(&mut self, grounds: &mut Grounds, new: NewRow<'_, V>) -> V {
        grounds.stamp = new.stamp;
        grounds.slots.replace(new.slots, new.has_key_slots);
        self.checked_at = new.checked_at;
        self.weight = new.weight;
        // Family and mark stay: the key does.
        let others = self.terms.0 & 0xFF00;
        self.terms = Terms(others | new.terms(Family::Other).0);
        std::mem::replace(&mut self.value, new.value)
    }
}

impl Grounds {
    /// Whether the entry of this key, last found valid when the clock of the table was
    /// `checked_at`, is valid now. The answer holds as long as that clock is what it was before
    /// this call.
    #[cold]
    pub(super) fn hold(
        &mut self,
        key: &impl StoredKey,
        checked_at: Stamp,
        table: &InvalidationTable,
    ) -> bool {
        table.is_current(self.stamp, &self.slots(key))
            && !keys::is_covered(key.bytes(), self.stamp, checked_at, table)
            && self.heritage_holds(checked_at, table)
    }

    /// Whether these are of one value, which inherits from others in both or in neither.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.stamp == other.stamp
            && self.slots.heritage().is_some() == other.slots.heritage().is_some()
    }

    /// As [`Self::hold`], without leaving a trace.
    pub(super) fn would_hold(
        &self,
        key: &impl StoredKey,
        checked_at: Stamp,
        table: &InvalidationTable,
    ) -> bool {
        table.is_current(self.stamp, &self.all_slots(key))
            && !keys::is_covered(key.bytes(), self.stamp, checked_at, table)
            && self.heritage_holds(checked_at, table)
    }

    fn heritage_holds(&self, checked_at: Stamp, table: &InvalidationTable) -> bool {
        self.slots.heritage().is_none_or(|heritage| heritage.holds(checked_at, table))
    }

    /// Whether one of these slots is one that the entry of this key depends on, or a key that it
    /// depends on fits.
    pub(super) fn are_named(
        &mut self,
        key: &impl StoredKey,
        slots: &[Slot],
        fits: impl Fn(&[u8]) -> bool,
    ) -> bool {
        self.slots(key).iter().any(|slot| slots.contains(slot))
            || fits(key.bytes())
            || self.slots.heritage().is_some_and(|heritage| {
                heritage.slots.iter().any(|(slot, _)| slots.contains(slot))
                    || heritage.keys.iter().any(|key| fits(key))
            })
    }

    /// Has the entry, whose slots are complete, inherit as well what it was made of.
    pub(super) fn inherit(&mut self, basis: &Basis) {
        self.slots = PackedSlots::inheriting(&self.slots.unpack(), basis);
    }

    /// What a result inherits that is made of the entry of this key, which was found valid when
    /// the clock was `checked_at`.
    pub(super) fn basis(&self, key: &impl StoredKey, checked_at: Stamp, terms: Terms) -> Basis {
        let own = self.all_slots(key);
        let mut slots: Vec<_> = own.iter().map(|&slot| (slot, self.stamp)).collect();
        let inherited = |key: Box<[u8]>, stamp| InheritedKey { key, stamp, checked_at };
        let mut keys = vec![inherited(key.bytes().into(), self.stamp)];
        if let Some(Heritage { slots: others, keys: of_others, oldest, .. }) = self.slots.heritage()
        {
            slots.extend_from_slice(others);
            keys.extend(of_others.iter().map(|key| inherited(key.clone(), *oldest)));
        }
        Basis { slots, keys, deadline: terms.deadline() }
    }

    /// Slots of tags that the entry of this key was given, and perhaps of those its key implies.
    pub(super) fn tags(&self, key: &[u8]) -> SlotList {
        let mut all = self.slots.unpack();
        if self.slots.is_complete() {
            let mut of_key = SlotList::new();
            keys::push_slots_of_key_alone(key, &mut of_key);
            all.retain(|slot| !of_key.contains(slot));
        }
        all
    }

    /// Everything the entry of this key depends on by itself.
    pub(super) fn slots(&mut self, key: &impl StoredKey) -> SlotList {
        let all = self.all_slots(key);
        if !self.slots.is_complete() {
            self.slots = PackedSlots::new(&all, true);
        }
        all
    }

    pub(super) fn all_slots(&self, key: &impl StoredKey) -> SlotList {
        let mut all = self.slots.unpack();
        if !self.slots.is_complete() {
            keys::push_slots_of_key(key.bytes(), &mut all);
        }
        all
    }
}

/// Bytes an entry counts for: the row, its key and value, its number in the index, which is some
/// two thirds full, what the allocator rounds up for the key, and slots that find no room in the
/// row.
#[must_use]
pub(super) fn weigh<V, K>(key: &[u8], tag_slots: &[Slot], value_bytes: usize) -> usize {
    const IN_INDEX: usize = 8;
    const ROUNDED_UP: usize = 16;
    const MOST_KEY_SLOTS: usize = 6;
    let slots = tag_slots.len() + MOST_KEY_SLOTS;
    // A list elsewhere has room for some at its head, and for many elsewhere again.
    let outside = if slots > PackedSlots::FEW { 2 * size_of::<Slot>() * slots } else { 0 };
    (size_of::<Row<V, K>>()
        + size_of::<Grounds>()
        + size_of::<SetAt>()
        + IN_INDEX
        + ROUNDED_UP
        + outside)
        .saturating_add(key.len())
        .saturating_add(value_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_cache_line_and_a_half() {
        assert_eq!(size_of::<Row<u64, Box<[u8]>>>(), 64);
        assert_eq!(size_of::<Option<Row<u64, Box<[u8]>>>>(), 64);
        assert_eq!(size_of::<Grounds>(), 32);
    }

    #[test]
    fn terms_say_what_they_were_told() {
        let life = LifeClass::of(300_000);
        let terms = Terms::new(123_456_789, Family::Session, life, 10, true);
        assert_eq!(terms.deadline(), 123_456_789);
        assert_eq!(terms.family(), Family::Session as usize);
        assert_eq!(terms.counter(), terms.family());
        let mut marked = terms;
        marked.mark(true);
        assert_eq!(marked.priority(), 10);
        assert!(marked.needs_lease());
        assert!(marked.counter() >= keys::FAMILIES);
        assert_eq!((marked.family(), marked.deadline()), (terms.family(), terms.deadline()));
        marked.mark(false);
        assert_eq!(marked.counter(), terms.family());
        assert_eq!(terms.priority(), 10);
        assert!(terms.needs_lease());
        assert_eq!(terms.life(), life);
        assert!(!Terms::new(1, Family::Other, life, 10, false).needs_lease());
        let longest = Terms::new(u64::MAX, Family::Other, LifeClass::of(u64::MAX), 1, false);
        assert_eq!((longest.deadline(), longest.priority()), (Terms::LONGEST, 1));
    }
}
