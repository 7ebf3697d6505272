//! Many threads at once: no lost update, no stale answer, nothing corrupted.

use crate::support::{Fixture, POLICIES};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use velro_cache::engine::EngineConfig;
use velro_cache::engine::policy::PolicyKind;

#[test]
fn no_lookup_that_begins_after_an_invalidation_sees_what_it_covered() {
    let mut config = EngineConfig::new(10_000, 1 << 30, PolicyKind::Adaptive);
    config.shards = 4;
    let cache = Fixture::new(&config);
    // The state of the world, and what the cache may not lag behind.
    let (truth, revoked) = (AtomicU64::new(0), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    let served = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let oldest_allowed = revoked.load(Ordering::Acquire);
                    match cache.get("auth:user:1:profile") {
                        Some(version) => {
                            assert!(version >= oldest_allowed, "{version} < {oldest_allowed}");
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        None => {
                            let stamp = cache.store.snapshot();
                            let version = truth.load(Ordering::Acquire);
                            // A slow loader: time for an invalidation to come in between.
                            thread::yield_now();
                            cache.set_tagged("auth:user:1:profile", version, &[], stamp);
                        }
                    }
                }
            });
        }
        for version in 1..=2_000 {
            truth.store(version, Ordering::Release);
            match version % 4 {
                0 => _ = cache.store.delete(b"auth:user:1:profile"),
                1 => _ = cache.store.invalidate_pattern(b"auth:user:1:*"),
                2 => _ = cache.store.invalidate_pattern(b"*:profile"),
                _ => _ = cache.invalidate_tag("user:1"),
            }
            revoked.store(version, Ordering::Release);
            if version % 16 == 0 {
                // Let the readers fill the cache and be answered from it; bounded, should one of
                // them have failed.
                let before = served.load(Ordering::Relaxed);
                let answered = || served.load(Ordering::Relaxed) > before;
                (0..100_000).take_while(|_| !answered()).for_each(|_| thread::yield_now());
            }
        }
        done.store(true, Ordering::Release);
    });
    assert!(served.load(Ordering::Relaxed) >= 100, "the check looked at next to nothing");
    cache.store.validate();
}

#[test]
fn shards_stay_whole_under_load() {
    for policy in POLICIES {
        let mut config = EngineConfig::new(2_000, 1 << 30, policy);
        config.shards = 4;
        let cache = Fixture::new(&config);
        thread::scope(|scope| {
            for thread in 0..4u64 {
                let cache = &cache;
                scope.spawn(move || {
                    for number in 0..4_000u64 {
                        let key = format!(
                            "k{}",
                            (number.wrapping_mul(2_654_435_761) >> 7) % 3_000 + thread
                        );
                        match number % 5 {
                            0 | 1 => _ = cache.set(&key, number),
                            2 => _ = cache.store.delete(key.as_bytes()),
                            3 if number % 500 == 3 => _ = cache.store.sweep(),
                            _ => _ = cache.get(&key),
                        }
                    }
                });
            }
        });
        cache.store.validate();
        let counters = cache.store.stats().counters;
        assert!(counters.sets() > 0 && counters.hits() > 0 && counters.misses() > 0, "{policy:?}");
    }
}
