//! The names that occur most in a stream, in bounded memory.
//!
//! Idea: a fixed number of counters; a name without one takes over the smallest counter and its
//! count, which is then noted as its possible error. Source: Metwally, Agrawal, El Abbadi,
//! "Efficient computation of frequent and top-k elements in data streams", ICDT 2005
//! (Space-Saving). Here occurrences have weights, since each sampled lookup stands for several.
//!
//! With `m` counters and a total weight of `W`, every name of more than `W / m` has a counter, and
//! no count is too large by more than its error, nor too small at all.
//!
//! Cost: one look into an index; a name without a counter also costs a walk over the counters.

use hashbrown::HashTable;

/// One name and what was counted for it.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    pub(super) hash: u64,
    pub(super) name: Box<[u8]>,
    /// Never less than what occurred.
    pub(super) count: u64,
    /// By so much the count may be too large.
    pub(super) error: u64,
    /// Of what occurred since it has this counter, what was answered from memory.
    pub(super) hits: u64,
}

/// The counters.
#[derive(Debug)]
pub(super) struct SpaceSaving {
    counters: Vec<Counter>,
    index: HashTable<u16>,
    capacity: u16,
}

impl SpaceSaving {
    pub(super) const fn new(capacity: u16) -> Self {
        Self { counters: Vec::new(), index: HashTable::new(), capacity }
    }

    /// Counts an occurrence of the name with a hash; `name` is asked where it is new.
    pub(super) fn add(
        &mut self,
        hash: u64,
        weight: u64,
        is_hit: bool,
        name: impl FnOnce() -> Box<[u8]>,
    ) {
        let hits = if is_hit { weight } else { 0 };
        let counters = &mut self.counters;
        let found = self.index.find(hash, |&at| hash_at(counters, at) == hash);
        if let Some(counter) = found.and_then(|&at| counters.get_mut(usize::from(at))) {
            counter.count = counter.count.saturating_add(weight);
            counter.hits = counter.hits.saturating_add(hits);
            return;
        }
        let (at, error) = if counters.len() < usize::from(self.capacity) {
            (counters.len(), 0)
        } else {
            let least = counters.iter().enumerate().min_by_key(|(_, counter)| counter.count);
            let Some((at, count, old)) = least.map(|(at, least)| (at, least.count, least.hash))
            else {
                return;
            };
            if let Ok(entry) = self.index.find_entry(old, |&other| usize::from(other) == at) {
                entry.remove();
            }
            (at, count)
        };
        let count = error.saturating_add(weight);
        let counter = Counter { hash, name: name(), count, error, hits };
        match counters.get_mut(at) {
            Some(place) => *place = counter,
            None => counters.push(counter),
        }
        self.index.insert_unique(hash, at as u16, |&at| hash_at(counters, at));
    }

    pub(super) fn counters(&self) -> &[Counter] {
        &self.counters
    }

    /// A name without a counter may have occurred so often.
    pub(super) fn floor(&self) -> u64 {
        if self.counters.len() < usize::from(self.capacity) {
            return 0;
        }
        self.counters.iter().map(|counter| counter.count).min().unwrap_or(0)
    }
}

fn hash_at(counters: &[Counter], at: u16) -> u64 {
    counters.get(usize::from(at)).map_or(0, |counter| counter.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Few bits, so that hashes share their places in the index.
    fn hash(name: u8) -> u64 {
        u64::from(name).wrapping_mul(0x0100_0000_0000_0001)
    }

    proptest! {
        #[test]
        fn bounds_hold_against_exact_counts(
            stream in prop::collection::vec((0u8..40, 1u64..300, any::<bool>()), 0..400),
            capacity in 1u16..20,
        ) {
            let mut sketch = SpaceSaving::new(capacity);
            let (mut exact, mut total) = (HashMap::<u8, (u64, u64)>::new(), 0);
            for (name, weight, is_hit) in stream {
                sketch.add(hash(name), weight, is_hit, || Box::new([name]));
                let counts = exact.entry(name).or_default();
                counts.0 += weight;
                counts.1 += if is_hit { weight } else { 0 };
                total += weight;
            }
            prop_assert!(sketch.counters().len() <= usize::from(capacity));
            prop_assert_eq!(sketch.counters().iter().map(|c| c.count).sum::<u64>(), total);
            for counter in sketch.counters() {
                let (count, hits) = exact[&counter.name[0]];
                prop_assert_eq!(counter.hash, hash(counter.name[0]));
                prop_assert!(counter.count >= count && counter.count - counter.error <= count);
                prop_assert!(counter.hits <= hits && counter.hits <= counter.count - counter.error);
            }
            for (name, (count, _)) in exact {
                let found = sketch.counters().iter().filter(|counter| *counter.name == [name]);
                match found.count() {
                    0 => prop_assert!(count <= sketch.floor()),
                    found => prop_assert_eq!(found, 1),
                }
            }
        }
    }
}
