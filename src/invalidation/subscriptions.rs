//! Names whose invalidations somebody wants to hear of, whichever process makes them.
//!
//! The table holds no messages, only words that grow. So a subscription remembers the words of its
//! slots, and whoever asks compares them with what they are now. That misses nothing, however long
//! nobody asked and whatever order things were written in: a word that was raised never comes
//! back. (A comparison with the *clock* would miss a slot that is written after its clock was
//! read.) Names that share a slot are told of each other's invalidations: more is told than is
//! needed, never less.
//!
//! Cost: one comparison while nothing at all was invalidated; otherwise one for each slot of each
//! subscription.

use super::memory::Words;
use super::pattern_ring;
use super::slots::Slot;
use super::table::{InvalidationTable, Stamp};
use super::words::{CLOCK, FLOOR, PATTERNS_NEWEST};
use crate::sync::Ordering;
use std::collections::BTreeMap;

/// What was invalidated since it was asked before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Something that these subscriptions are about, or may be; often none.
    Of(Vec<u64>),
    /// Everything, or the table was replaced by another one.
    Everything,
}

/// Names that somebody wants to hear of.
#[derive(Debug)]
pub struct Subscriptions {
    next: u64,
    seen: Moment,
    watched: BTreeMap<u64, Watched>,
}

/// What of a table is about all names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    table: u64,
    clock: Stamp,
    floor: Stamp,
    newest_wildcard: Stamp,
}

#[derive(Debug)]
struct Watched {
    /// With the words that were found there.
    slots: Box<[(Slot, Stamp)]>,
    /// For wildcards that no slot stands for.
    keys: Box<[Box<[u8]>]>,
    /// Forgotten wildcards that came before are of no interest.
    since: Stamp,
}

impl Moment {
    fn of(words: &impl Words) -> Self {
        // Acquire: what is read later is at least as new. The clock first: who finds it unmoved has
        // seen everything that ended before.
        let load = |at| words.head(at).load(Ordering::Acquire);
        Self {
            clock: load(CLOCK),
            table: words.identity(),
            floor: load(FLOOR),
            newest_wildcard: load(PATTERNS_NEWEST),
        }
    }
}

impl Subscriptions {
    /// None yet, on a table.
    #[must_use]
    pub fn new(table: &InvalidationTable) -> Self {
        Self { next: 0, seen: Moment::of(&table.memory.words()), watched: BTreeMap::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Begins to watch names. What is invalidated after this returned is told; something that was
    /// under way may be, and so may a wildcard that came after the last poll.
    pub fn add(&mut self, table: &InvalidationTable, slots: &[Slot], keys: Vec<Box<[u8]>>) -> u64 {
        let words = table.memory.words();
        // Not the clock of now: what `state` says of wildcards is what the last poll saw, so that
        // those in between must be told.
        let since = self.seen.clock;
        let slots = slots.iter().map(|&slot| (slot, word(&words, slot))).collect();
        self.next += 1;
        self.watched.insert(self.next, Watched { slots, keys: keys.into(), since });
        self.next
    }

    /// Ends a subscription. Says whether there was one.
    pub fn remove(&mut self, number: u64) -> bool {
        self.watched.remove(&number).is_some()
    }

    /// What was invalidated since this was called before.
    pub fn poll(&mut self, table: &InvalidationTable) -> News {
        let words = table.memory.words();
        let before = std::mem::replace(&mut self.seen, Moment::of(&words));
        let now = self.seen;
        if (now.table, now.clock) == (before.table, before.clock) {
            return News::Of(Vec::new());
        }
        if (now.table, now.floor) != (before.table, before.floor) {
            for watched in self.watched.values_mut() {
                watched.reread(&words);
                watched.since = now.clock;
            }
            return News::Everything;
        }
        let wildcards = pattern_ring::published_after(&words, before.clock);
        let told = self.watched.iter_mut().filter_map(|(&number, watched)| {
            // Both, always: what was told must not be told again.
            let by_name = watched.reread(&words);
            (by_name || wildcards.covers(&watched.keys, watched.since)).then_some(number)
        });
        News::Of(told.collect())
    }

    /// What was seen of some subscriptions, as numbers: if another time, in another process, the
    /// same names give the same numbers, they were not invalidated in between. `None`: there is no
    /// such subscription.
    #[must_use]
    pub fn state(&self, numbers: &[u64]) -> Option<Vec<u64>> {
        let mut state = vec![self.seen.floor, self.seen.newest_wildcard];
        for number in numbers {
            let words = self.watched.get(number)?.slots.iter().map(|&(_, seen)| seen);
            state.extend(words);
        }
        Some(state)
    }

    /// Which table it was that was seen; see [`InvalidationTable::identity`].
    #[must_use]
    pub fn table(&self) -> u64 {
        self.seen.table
    }
}

impl Watched {
    /// Takes note of the words as they are now. Says whether one is another than before.
    fn reread(&mut self, words: &impl Words) -> bool {
        let mut changed = false;
        for (slot, seen) in &mut self.slots {
            let now = word(words, *slot);
            changed |= *seen != now;
            *seen = now;
        }
        changed
    }
}

fn word(words: &impl Words, slot: Slot) -> Stamp {
    // Acquire: pairs with the fetch_max of an invalidation.
    words.slot(slot).map_or(0, |word| word.load(Ordering::Acquire))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::super::slots;
    use super::*;
    use proptest::prelude::*;

    fn of_tag(tag: &str) -> Vec<Slot> {
        vec![slots::of_tag(tag.as_bytes())]
    }

    fn of_key(key: &str) -> (Vec<Slot>, Vec<Box<[u8]>>) {
        let mut slots = slots::SlotList::new();
        slots::push_key(key.as_bytes(), &mut slots);
        (slots.to_vec(), vec![key.as_bytes().into()])
    }

    #[test]
    fn each_invalidation_is_told_once() {
        let table = InvalidationTable::new();
        let mut all = Subscriptions::new(&table);
        let ada = all.add(&table, &of_tag("user:ada"), Vec::new());
        all.add(&table, &of_tag("user:bob"), Vec::new());
        assert_eq!(all.poll(&table), News::Of(vec![]));
        table.invalidate_slots(&of_tag("user:ada"));
        table.invalidate_slots(&of_tag("user:ada"));
        assert_eq!(all.poll(&table), News::Of(vec![ada]));
        assert_eq!(all.poll(&table), News::Of(vec![]));
    }

    #[test]
    fn slot_that_is_written_after_its_clock_was_read_is_told() {
        // Half of an invalidation by a process that is not scheduled just then.
        let table = InvalidationTable::new();
        let mut all = Subscriptions::new(&table);
        let ada = all.add(&table, &of_tag("user:ada"), Vec::new());
        let words = table.memory.words();
        let at = words.head(CLOCK).fetch_add(1, Ordering::AcqRel) + 1;
        assert_eq!(all.poll(&table), News::Of(vec![]));
        words.slot(of_tag("user:ada")[0]).unwrap().fetch_max(at, Ordering::AcqRel);
        words.head(CLOCK).fetch_add(1, Ordering::AcqRel);
        assert_eq!(all.poll(&table), News::Of(vec![ada]));
    }

    #[test]
    fn wildcards_are_told_to_those_they_cover() {
        let table = InvalidationTable::new();
        table.invalidate_pattern(b"a:*:before");
        let mut all = Subscriptions::new(&table);
        let (slots, keys) = of_key("a:b:before");
        let one = all.add(&table, &slots, keys);
        let (slots, keys) = of_key("a:b:after");
        all.add(&table, &slots, keys);
        table.invalidate_slots(&of_tag("something:else"));
        assert_eq!(all.poll(&table), News::Of(vec![]));
        table.invalidate_pattern(b"a:*:before");
        assert_eq!(all.poll(&table), News::Of(vec![one]));
        assert_eq!(all.poll(&table), News::Of(vec![]));
    }

    #[test]
    fn wildcard_between_the_last_poll_and_the_beginning_is_told() {
        // Whoever comes again compares states, and `state` knows the wildcards of the last poll.
        let table = InvalidationTable::new();
        let mut all = Subscriptions::new(&table);
        let add = |all: &mut Subscriptions| {
            let (slots, keys) = of_key("a:b:c");
            all.add(&table, &slots, keys)
        };
        let before = add(&mut all);
        let state = all.state(&[before]);
        all.remove(before);
        table.invalidate_pattern(b"a:*:c");
        let after = add(&mut all);
        assert!(all.state(&[after]) != state || all.poll(&table) == News::Of(vec![after]));
        assert_eq!(all.poll(&table), News::Of(vec![]));
        assert_ne!(all.state(&[after]), state);
    }

    #[test]
    fn wildcard_that_was_under_way_at_the_last_poll_is_told_to_who_came_after() {
        let table = InvalidationTable::new();
        let mut all = Subscriptions::new(&table);
        let words = table.memory.words();
        let at = words.head(CLOCK).fetch_add(1, Ordering::AcqRel) + 1;
        assert_eq!(all.poll(&table), News::Of(vec![]));
        let pushed = pattern_ring::push(&words, at, b"a:*:c").unwrap();
        let at = words.head(CLOCK).fetch_add(1, Ordering::AcqRel) + 1;
        pattern_ring::publish(&words, &pushed, at);
        let (slots, keys) = of_key("a:b:c");
        let one = all.add(&table, &slots, keys);
        assert_eq!(all.poll(&table), News::Of(vec![one]));
        assert_eq!(all.poll(&table), News::Of(vec![]));
    }

    #[test]
    fn wildcards_that_were_forgotten_are_told_to_all() {
        let table = InvalidationTable::new();
        let mut all = Subscriptions::new(&table);
        let (slots, keys) = of_key("a:b:c");
        let one = all.add(&table, &slots, keys);
        (0..200).for_each(|_| table.invalidate_pattern(b"x*y"));
        assert_eq!(all.poll(&table), News::Of(vec![one]));
    }

    #[test]
    fn wildcards_that_were_forgotten_before_the_beginning_are_told_if_no_poll_saw_them() {
        let table = InvalidationTable::new();
        let mut all = Subscriptions::new(&table);
        (0..200).for_each(|_| table.invalidate_pattern(b"x*y"));
        let (slots, keys) = of_key("a:b:c");
        let one = all.add(&table, &slots, keys);
        assert_eq!(all.poll(&table), News::Of(vec![one]));
        let (slots, keys) = of_key("a:b:d");
        all.add(&table, &slots, keys);
        assert_eq!(all.poll(&table), News::Of(vec![]));
    }

    #[test]
    fn everything_is_everything() {
        let table = InvalidationTable::new();
        let mut all = Subscriptions::new(&table);
        all.add(&table, &of_tag("user:ada"), Vec::new());
        table.invalidate_all();
        assert_eq!(all.poll(&table), News::Everything);
        assert_eq!(all.poll(&table), News::Of(vec![]));
    }

    #[test]
    fn another_table_is_everything() {
        let (table, other) = (InvalidationTable::new(), InvalidationTable::new());
        let mut all = Subscriptions::new(&table);
        all.add(&table, &of_tag("user:ada"), Vec::new());
        assert_eq!(all.poll(&other), News::Everything);
    }

    #[test]
    fn state_is_the_same_elsewhere_until_something_is_invalidated() {
        let table = InvalidationTable::new();
        table.invalidate_slots(&of_tag("user:ada"));
        let mut here = Subscriptions::new(&table);
        let ada = here.add(&table, &of_tag("user:ada"), Vec::new());
        let state = || {
            let mut there = Subscriptions::new(&table);
            there.add(&table, &of_tag("user:bob"), Vec::new());
            let ada = there.add(&table, &of_tag("user:ada"), Vec::new());
            there.state(&[ada])
        };
        table.invalidate_slots(&of_tag("user:bob"));
        assert_eq!(here.state(&[ada]), state());
        table.invalidate_slots(&of_tag("user:ada"));
        assert_ne!(here.state(&[ada]), state());
        here.poll(&table);
        assert_eq!(here.state(&[ada]), state());
        assert!(here.remove(ada) && !here.remove(ada));
        assert_eq!(here.state(&[ada]), None);
    }

    proptest! {
        // Against a plain model: whoever watches a name that was invalidated is told, once.
        #[test]
        fn nobody_misses_anything(steps in prop::collection::vec((0..3_u8, 0..12_usize), 0..60)) {
            let table = InvalidationTable::new();
            let mut all = Subscriptions::new(&table);
            let numbers: Vec<u64> = (0..12)
                .map(|name| all.add(&table, &of_tag(&format!("user:{name}")), Vec::new()))
                .collect();
            let mut expected = std::collections::BTreeSet::new();
            for (what, name) in steps {
                if what < 2 {
                    table.invalidate_slots(&of_tag(&format!("user:{name}")));
                    expected.insert(numbers[name]);
                    continue;
                }
                let told = all.poll(&table);
                prop_assert_eq!(told, News::Of(std::mem::take(&mut expected).into_iter().collect()));
            }
        }
    }
}
