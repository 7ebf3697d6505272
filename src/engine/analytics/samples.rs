//! What is noted of the lookups that are sampled: one in about 128.
//!
//! The lookup after a random number of others is taken, not each 128th: callers that ask for
//! several things in turn would always be met at the same one. It stands for all lookups since the
//! one before, so that weights add up to what was asked.

use super::lives::{LIFE_CLASSES, LifeClass};
use super::tag_names::TagNames;
use super::top::{Hot, Top, kept};
use crate::engine::clock::Millis;
use crate::engine::latency::{Latency, LatencySummary, SAMPLE_EVERY};
use crate::invalidation::Slot;
// Not one of a model checker's: no decision depends on what it guards.
use parking_lot::Mutex;
use std::time::Duration;

/// Tags are counted for one sampled lookup in this many, because there are several of them.
const TAGS_EVERY: u64 = 4;

/// A sampled lookup.
#[derive(Debug)]
pub(in crate::engine) struct Sample<'a> {
    pub(in crate::engine) key: &'a [u8],
    pub(in crate::engine) hash: u64,
    pub(in crate::engine) is_hit: bool,
    /// The class of the life of what was found; `None`: nothing was.
    pub(in crate::engine) life: Option<LifeClass>,
    /// Lookups it stands for.
    pub(in crate::engine) weight: u64,
    pub(in crate::engine) time: Duration,
    pub(in crate::engine) now: Millis,
}

/// What was seen of all sampled lookups.
#[derive(Debug)]
pub(in crate::engine) struct Samples {
    inside: Mutex<Inside>,
    pub(in crate::engine) tag_names: TagNames,
}

#[derive(Debug)]
struct Inside {
    latency: Latency,
    /// Of those since somebody took it.
    recent: Latency,
    /// Since the store was made.
    life_hits: [u64; LIFE_CLASSES],
    keys: Top,
    tags: Top,
    count: u64,
    /// Lookups since tags were counted last.
    weight_for_tags: u64,
}

impl Samples {
    pub(in crate::engine) fn new() -> Self {
        Self {
            inside: Mutex::new(Inside {
                latency: Latency::new(),
                recent: Latency::new(),
                life_hits: [0; LIFE_CLASSES],
                keys: Top::new(),
                tags: Top::new(),
                count: 0,
                weight_for_tags: 0,
            }),
            tag_names: TagNames::default(),
        }
    }

    /// Takes note of a lookup; `tags` gives the slots of all tags the entry has, if it is there.
    pub(in crate::engine) fn note<S: AsRef<[Slot]>>(
        &self,
        sample: &Sample<'_>,
        tags: impl FnOnce(&TagNames) -> S,
    ) {
        let inside = &mut *self.inside.lock();
        let &Sample { key, hash, is_hit, life, weight, time, now } = sample;
        inside.latency.record(time);
        inside.recent.record(time);
        if let Some(hits) = life.and_then(|life| inside.life_hits.get_mut(life.index())) {
            *hits += if is_hit { weight } else { 0 };
        }
        inside.keys.add(now, hash, weight, is_hit, || kept(key));
        inside.weight_for_tags += weight;
        inside.count += 1;
        if inside.count.is_multiple_of(TAGS_EVERY) {
            let weight = std::mem::take(&mut inside.weight_for_tags);
            for &slot in tags(&self.tag_names).as_ref() {
                let name = || self.tag_names.get(slot).unwrap_or_default();
                inside.tags.add(now, spread(slot), weight, is_hit, name);
            }
        }
    }

    /// Times since the store was made.
    pub(in crate::engine) fn latency(&self) -> LatencySummary {
        self.inside.lock().latency.summary()
    }

    /// Hits by the life of what answered, since the store was made.
    pub(in crate::engine) fn life_hits(&self) -> [u64; LIFE_CLASSES] {
        self.inside.lock().life_hits
    }

    /// Times since this was asked last.
    pub(in crate::engine) fn take_recent_latency(&self) -> LatencySummary {
        self.inside.lock().recent.take()
    }

    pub(in crate::engine) fn top_keys(&self, now: Millis, limit: usize) -> Vec<Hot> {
        self.inside.lock().keys.list(now, limit, |_| None)
    }

    pub(in crate::engine) fn top_tags(&self, now: Millis, limit: usize) -> Vec<Hot> {
        let name_of = |hash| self.tag_names.get(slot_of(hash));
        self.inside.lock().tags.list(now, limit, name_of)
    }
}

/// When a shard samples next.
#[derive(Debug)]
pub(in crate::engine) struct Sampling {
    next: u64,
    /// Requests and sets at the last sample: what lies between and is no set was a lookup.
    requests: u64,
    sets: u64,
    dice: u64,
}

impl Sampling {
    pub(in crate::engine) const fn new() -> Self {
        Self { next: 0, requests: 0, sets: 0, dice: 0x9E37_79B9_7F4A_7C15 }
    }

    #[inline(always)]
    pub(in crate::engine) const fn is_due(&self, requests: u64) -> bool {
        requests >= self.next
    }

    /// A lookup was due, which is among the requests. Returns how many lookups there were since
    /// the last sample, with this one.
    ///
    /// `None`, and another one is drawn, where a set came in its place: then this is the first
    /// lookup after a set, and those would be met too often.
    pub(in crate::engine) fn take(&mut self, requests: u64, sets: u64) -> Option<u64> {
        if requests > self.next + 1 {
            self.draw(requests);
            return None;
        }
        let lookups = (requests - self.requests).saturating_sub(sets - self.sets);
        (self.requests, self.sets) = (requests, sets);
        self.draw(requests);
        Some(lookups)
    }

    fn draw(&mut self, requests: u64) {
        // xorshift64 (Marsaglia, 2003): enough to fall out of step with any caller.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        // 0 to twice as many less two, so that every sample comes after as many on average.
        self.next = requests + self.dice % (2 * SAMPLE_EVERY - 1);
    }
}

/// A slot as a hash, from which it can be told.
const fn spread(slot: Slot) -> u64 {
    (slot as u64).wrapping_mul(0x9E37_79B9_0000_0000) | slot as u64
}

const fn slot_of(hash: u64) -> Slot {
    hash as Slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_to_the_lookups_and_no_rhythm_is_kept() {
        let mut sampling = Sampling::new();
        let (mut requests, mut sets, mut weight, mut last) = (0, 0, 0, 0);
        let mut by_turn = [0u64; 4];
        for turn in 0..1_000_000 {
            // Three lookups and a set, again and again.
            if turn % 4 == 3 {
                (requests, sets) = (requests + 1, sets + 1);
                continue;
            }
            let is_due = sampling.is_due(requests);
            requests += 1;
            if is_due && let Some(lookups) = sampling.take(requests, sets) {
                weight += lookups;
                by_turn[turn % 4] += lookups;
                last = requests - sets;
            }
        }
        assert_eq!(weight, last);
        for counted in &by_turn[..3] {
            assert!(counted.abs_diff(250_000) < 40_000, "{by_turn:?}");
        }
    }

    #[test]
    fn one_lookup_in_many_is_sampled() {
        let mut sampling = Sampling::new();
        let mut samples = 0;
        for requests in 0..1_280_000 {
            if sampling.is_due(requests) {
                samples += u64::from(sampling.take(requests + 1, 0).is_some());
            }
        }
        assert!((9_500..10_500).contains(&samples), "{samples}");
    }

    #[test]
    fn a_slot_can_be_told_from_its_hash() {
        (0..1 << 18).step_by(77).for_each(|slot| assert_eq!(slot_of(spread(slot)), slot));
    }
}
