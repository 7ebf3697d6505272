//! The policy as a whole, over a plain table of rows.

use super::*;
use crate::engine::policy::Resident;
use std::collections::HashMap;

/// A cache of keys without values, as a shard would run it.
struct Cache {
    policy: Adaptive,
    rows: Rows,
    places: HashMap<u32, RowId>,
    free: Vec<RowId>,
    max_entries: usize,
    max_bytes: u64,
    bytes: u64,
    requests: u32,
}

#[derive(Default)]
struct Rows(Vec<Option<(u32, Resident)>>);

impl Residents for Rows {
    fn places(&self) -> usize {
        self.0.len()
    }

    fn get(&self, id: RowId) -> Option<Resident> {
        Some((*self.0.get(id as usize)?)?.1)
    }
}

fn hash(key: u32) -> u32 {
    let mixed = (u64::from(key) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32) as u32
}

impl Cache {
    fn new(max_entries: usize) -> Self {
        Self {
            policy: Adaptive::new(max_entries),
            rows: Rows::default(),
            places: HashMap::new(),
            free: Vec::new(),
            max_entries,
            max_bytes: u64::MAX,
            bytes: 0,
            requests: 0,
        }
    }

    /// Reads a key, or sets it if it is not there. Tells whether it was.
    fn request(&mut self, key: u32) -> bool {
        self.request_with(key, 1, 1)
    }

    fn request_with(&mut self, key: u32, priority: u8, weight: u32) -> bool {
        self.requests = self.requests.wrapping_add(1);
        if let Some(&place) = self.places.get(&key) {
            let (_, row) = self.rows.0[place as usize].as_mut().unwrap();
            self.policy.on_hit(&mut row.usage, self.requests);
            return true;
        }
        loop {
            let by_bytes = self.bytes + u64::from(weight) > self.max_bytes;
            if !by_bytes && self.places.len() < self.max_entries {
                break;
            }
            let pressure = Pressure { by_bytes };
            let place = self.policy.victim(&self.rows, pressure).expect("there are rows");
            let (key, row) = self.rows.0[place as usize].take().expect("it is a row");
            self.policy.on_evict(hash(key), row.usage);
            self.bytes -= u64::from(row.weight);
            self.places.remove(&key);
            self.free.push(place);
        }
        let usage = self.policy.on_insert(hash(key));
        self.bytes += u64::from(weight);
        let place = self.free.pop().unwrap_or_else(|| {
            self.rows.0.push(None);
            self.rows.0.len() as RowId - 1
        });
        self.rows.0[place as usize] =
            Some((key, Resident { usage, priority, weight, deadline: 0 }));
        self.places.insert(key, place);
        false
    }

    fn hits(&mut self, keys: impl IntoIterator<Item = u32>) -> usize {
        keys.into_iter().filter(|&key| self.request(key)).count()
    }

    fn holds(&self, key: u32) -> bool {
        self.places.contains_key(&key)
    }

    fn clear(&mut self) {
        self.policy.clear();
        self.rows = Rows::default();
        self.places.clear();
        self.free.clear();
        self.bytes = 0;
    }
}

/// Keys of which the first are asked for most: every number below the square of a uniform one.
fn skewed(keys: u32, requests: u32) -> impl Iterator<Item = u32> + Clone {
    (0..requests).map(move |number| {
        let uniform = f64::from(hash(number)) / f64::from(u32::MAX);
        (uniform.powi(4) * f64::from(keys - 1)) as u32
    })
}

#[test]
fn every_capacity_works_from_one_entry_on() {
    for capacity in [1, 2, 3, 16, 63, 64, 65, 66, 100, 300] {
        let mut cache = Cache::new(capacity);
        for key in skewed(2_000, 5_000) {
            cache.request(key);
            assert!(cache.holds(key) && cache.places.len() <= capacity);
        }
        assert_eq!(cache.places.len(), capacity);
    }
}

#[test]
fn the_same_requests_evict_the_same_entries() {
    let run = || {
        let mut cache = Cache::new(200);
        let hits: Vec<bool> = skewed(3_000, 20_000).map(|key| cache.request(key)).collect();
        hits
    };
    assert_eq!(run(), run());
}

#[test]
fn part_of_a_loop_that_does_not_fit_is_kept() {
    let mut cache = Cache::new(100);
    cache.hits((0..5_000).map(|number| number % 150));
    let hits = cache.hits((0..15_000).map(|number| number % 150));
    assert!(hits > 7_500, "{hits} of 15000, where an LRU has none and the best are 9900");
}

#[test]
fn the_popular_survive_keys_that_come_once() {
    let mut cache = Cache::new(1_000);
    let mix = |from: u32| {
        (from..from + 100_000).map(|number| match number % 2 {
            0 => hash(number) % 800,
            _ => 1_000_000 + number,
        })
    };
    cache.hits(mix(0));
    let hits = cache.hits(mix(100_000));
    assert!(hits > 48_500, "{hits} of 50000 requests for popular keys");
}

#[test]
fn other_popular_keys_are_learned_soon() {
    let mut cache = Cache::new(1_000);
    cache.hits(skewed(20_000, 200_000));
    // A third of a capacity of requests for each entry.
    let hits = cache.hits(skewed(20_000, 30_000).map(|key| 1_000_000 + key));
    let usual = cache.hits(skewed(20_000, 30_000).map(|key| 1_000_000 + key));
    assert!(hits * 10 > usual * 8, "{hits} right after, {usual} later");
}

#[test]
fn priority_makes_an_equal_entry_survive_longer() {
    let mut cache = Cache::new(300);
    cache.hits(skewed(5_000, 20_000));
    let (mut low, mut high) = (0u32, 0u32);
    for round in 0..20 {
        let base = 1_000_000 + round * 10_000;
        cache.request_with(base, 1, 1);
        cache.request_with(base + 1, 10, 1);
        for number in 0..2_000 {
            cache.request(base + 2 + number);
            low += u32::from(cache.holds(base));
            high += u32::from(cache.holds(base + 1));
        }
    }
    assert!(high > 3 * low, "kept for {high} and for {low} requests");
}

#[test]
fn priority_counts_before_anything_is_learned() {
    let mut cache = Cache::new(20);
    cache.request_with(1_000, 10, 1);
    cache.hits(0..30);
    assert!(cache.holds(1_000));
}

#[test]
fn a_scan_leaves_the_popular_even_before_much_is_learned() {
    let mut cache = Cache::new(100);
    (0..21).for_each(|_| _ = cache.hits(0..50));
    cache.hits(1_000..1_200);
    let kept = (0..50).filter(|&key| cache.holds(key)).count();
    assert!(kept >= 45, "{kept} of 50 popular entries survived");
}

#[test]
fn under_pressure_of_bytes_heavy_entries_go_first() {
    let mut cache = Cache::new(1_000);
    cache.max_bytes = 10_000;
    for key in 0..3_000 {
        cache.request_with(key, 1, if key % 10 == 0 { 500 } else { 20 });
        assert!(cache.bytes <= 10_000);
    }
    let heavy = cache.places.keys().filter(|&&key| key % 10 == 0).count();
    assert!(heavy <= 5 && cache.places.len() > 300, "{heavy} of {}", cache.places.len());
}

#[test]
fn it_learns_for_the_number_of_entries_that_fit_the_bytes() {
    let mut cache = Cache::new(1_000_000);
    cache.max_bytes = 30_000;
    for key in skewed(5_000, 20_000) {
        cache.request_with(key, 1, 100);
    }
    assert_eq!(cache.places.len(), 300);
    assert_eq!(cache.policy.capacity, 300);
    assert_eq!(cache.policy.scale, Scale::of_capacity(300));
    cache.max_bytes = 300_000;
    for key in skewed(50_000, 100_000) {
        cache.request_with(key, 1, 100);
    }
    assert!(cache.policy.capacity > 1_500, "{}", cache.policy.capacity);
}

#[test]
fn after_clear_it_begins_again() {
    let mut cache = Cache::new(200);
    cache.hits(skewed(3_000, 10_000));
    for _ in 0..3 {
        cache.clear();
        assert_eq!(cache.hits(0..200), 0);
        assert_eq!(cache.hits(0..200), 200, "all fit, nothing was evicted");
        cache.hits(skewed(3_000, 10_000));
        assert_eq!(cache.places.len(), 200);
    }
}

#[test]
fn the_clock_may_wrap() {
    let mut cache = Cache::new(200);
    cache.hits(skewed(3_000, 20_000));
    let before = cache.hits(skewed(3_000, 20_000));
    let mut cache = Cache::new(200);
    cache.policy.clock = u32::MAX - 5_000;
    cache.requests = u32::MAX - 10_000;
    cache.hits(skewed(3_000, 20_000));
    let across = cache.hits(skewed(3_000, 20_000));
    assert!(before.abs_diff(across) < before / 20, "{before} and {across}");
}

#[test]
fn what_was_removed_or_written_over_is_no_use() {
    let mut policy = Adaptive::new(10);
    let mut usage = policy.on_insert(1);
    policy.on_insert(2);
    policy.on_overwrite(&mut usage);
    assert_eq!((usage.count(), usage.age(policy.clock)), (0, 0));
    policy.on_remove();
    policy.on_remove();
    policy.on_remove();
    assert_eq!(policy.residents, 0);
}
