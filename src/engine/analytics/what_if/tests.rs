//! With all keys followed, estimates are not estimates: they are compared with plain models.

use super::measured::FADE_EVERY;
use super::*;
use crate::engine::clock::millis;
use proptest::prelude::*;

const LONG: Millis = 1 << 40;

/// A cache of which the key that was not used for longest leaves.
struct Lru {
    room: usize,
    /// Keys and when they end, the latest used at the end.
    held: Vec<(u32, Millis)>,
    misses: u64,
}

impl Lru {
    fn new(room: usize) -> Self {
        Self { room, held: Vec::new(), misses: 0 }
    }

    /// Looks a key up, and stores it if it is not there. Tells whether it was.
    fn serve(&mut self, key: u32, now: Millis, ttl: Millis) -> bool {
        let at = self.held.iter().position(|&(other, _)| other == key);
        let found = at.map(|at| self.held.remove(at)).filter(|&(_, deadline)| now < deadline);
        self.held.push(found.unwrap_or((key, now + ttl)));
        if self.held.len() > self.room {
            self.held.remove(0);
        }
        self.misses += u64::from(found.is_none());
        found.is_some()
    }
}

/// Five caches as they are and as they are simulated, and how the real one is told of requests.
struct Both {
    what_if: WhatIf,
    table: InvalidationTable,
    plain: [Lru; CHANGES.len()],
    ttl: Millis,
}

impl Both {
    fn new(room: usize, ttl: Millis) -> Self {
        let plain = CHANGES.map(|change| Lru::new((room as f64 * change.size) as usize));
        let what_if = WhatIf::following(PolicyKind::Lru, room, 1 << 30, 0);
        Self { what_if, table: InvalidationTable::new(), plain, ttl }
    }

    fn request(&mut self, key: u32, now: Millis) {
        let hash = key.wrapping_mul(0x85EB_CA6B);
        let before = self.plain[0].held.clone();
        let hits = [0, 1, 2, 3, 4].map(|number| {
            let ttl = (self.ttl as f64 * CHANGES[number].ttl) as Millis;
            self.plain[number].serve(key, now, ttl)
        });
        if hits[0] {
            let deadline = self.plain[0].held.last().map_or(0, |&(_, deadline)| deadline);
            self.what_if.hit(0, hash, (100, 1), deadline, now);
            return;
        }
        self.what_if.miss(hash, b"key", MissReason::Cold, now, &self.table);
        for (gone, _) in before {
            if self.plain[0].held.iter().all(|&(key, _)| key != gone) {
                self.what_if.left(gone.wrapping_mul(0x85EB_CA6B), false);
            }
        }
        let (stamp, deadline) = (self.table.now(), now + self.ttl);
        let mut grounds = Grounds::default();
        grounds.stamp = stamp;
        self.what_if.set(hash, grounds, (100, 1), now, deadline, stamp);
    }
}

proptest! {
    #[test]
    fn sizes_are_simulated_exactly(
        keys in prop::collection::vec(0u32..60, 1..600),
        half_room in 1usize..20,
    ) {
        let mut both = Both::new(2 * half_room, LONG);
        keys.into_iter().for_each(|key| both.request(key, 0));
        prop_assert_eq!(both.what_if.misses, both.plain.each_ref().map(|plain| plain.misses));
        for (cache, plain) in both.what_if.caches.iter().zip(&both.plain) {
            prop_assert_eq!(cache.len(), plain.held.len());
        }
    }

    #[test]
    fn lives_are_simulated_exactly(
        requests in prop::collection::vec((0u32..60, 0u64..50), 1..600),
        half_ttl in 1u64..200,
    ) {
        let mut both = Both::new(1000, 2 * half_ttl);
        let mut now = 0;
        for (key, pause) in requests {
            now += pause;
            both.request(key, now);
        }
        prop_assert_eq!(both.what_if.misses, both.plain.each_ref().map(|plain| plain.misses));
    }

    #[test]
    fn nothing_is_lost_track_of(
        requests in prop::collection::vec((0u32..60, 0u64..50, any::<bool>()), 1..600),
    ) {
        let mut both = Both::new(8, 400);
        let mut now = 0;
        for (key, pause, is_invalidated) in requests {
            now += pause;
            both.request(key, now);
            if is_invalidated {
                both.what_if.left(key.wrapping_mul(0x85EB_CA6B), true);
                both.plain.iter_mut().for_each(|plain| plain.held.retain(|held| held.0 != key));
            }
            let WhatIf { keys, caches, .. } = &both.what_if;
            for (number, cache) in caches.iter().enumerate() {
                let placed = keys.iter().filter(|(hash, key)| {
                    let place = key.places[number];
                    assert!(place == small_cache::NOWHERE || cache.holds(place, **hash));
                    place != small_cache::NOWHERE
                });
                prop_assert_eq!(placed.count(), cache.len());
            }
            prop_assert!(keys.values().all(|key| !key.is_unheld()));
        }
    }
}

#[test]
fn too_many_keys_are_followed_less() {
    let mut both = Both::new(1 << 20, LONG);
    // Without a model, which is slow.
    for key in 0..40_000u32 {
        let hash = key.wrapping_mul(0x85EB_CA6B);
        if is_followed(hash, both.what_if.followed_below()) {
            let grounds = Grounds::default();
            both.what_if.set(hash, grounds, (100, 1), 0, LONG, both.table.now());
        }
    }
    assert!(both.what_if.keys.len() <= MOST_KEYS);
    assert!(both.what_if.shift >= 4, "{}", both.what_if.shift);
    let below = both.what_if.followed_below();
    assert!(both.what_if.keys.keys().all(|&hash| is_followed(hash, below)));
    assert_eq!(both.what_if.caches[2].len(), both.what_if.keys.len());
}

#[test]
fn what_was_long_ago_counts_less() {
    let mut both = Both::new(1000, LONG);
    (0..2000).for_each(|key| both.request(key % 100, 0));
    let before = both.what_if.report(1900, 100).map(|report| report.measured_hit_rate);
    assert_eq!(before, Some(0.95));
    both.what_if.fade(millis(FADE_EVERY), 1900, 100);
    let report = both.what_if.report(1900 + 50, 100 + 950);
    let report = report.unwrap_or_else(|| panic!("enough is known"));
    assert_eq!(report.lookups, 2000);
    assert_eq!(report.measured_hit_rate, 0.5);
    assert_eq!(both.what_if.misses[0], 50);
}
