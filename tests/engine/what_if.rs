//! Estimates of hit rates at other sizes and lives, against what such caches really do.

use crate::support::{Fixture, POLICIES, entry};
use std::time::Duration;
use velro_cache::engine::analytics::what_if::WhatIfReport;
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{EngineConfig, NewEntry};

/// Requests for keys that are as unevenly popular as names and pages are (Zipf, exponent 0.9).
fn popular(requests: usize, keys: usize) -> impl Iterator<Item = u32> {
    let weights = (1..=keys).map(|rank| (rank as f64).powf(-0.9));
    let sums: Vec<f64> = weights
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
    (0..requests).map(move |_| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let at = (dice >> 11) as f64 / (1u64 << 53) as f64 * sums[keys - 1];
        sums.partition_point(|&sum| sum < at) as u32
    })
}

/// Looks up, and loads what is missing, as services do. A request takes a millisecond.
fn serve(fixture: &Fixture, ttl: u64, requests: impl Iterator<Item = u32>) -> f64 {
    let (mut hits, mut all) = (0_u64, 0_u64);
    for number in requests {
        fixture.clock.advance(Duration::from_millis(1));
        let key = format!("key:{number}");
        all += 1;
        if fixture.get(&key).is_some() {
            hits += 1;
        } else {
            let stamp = fixture.store.snapshot();
            fixture.store.insert(NewEntry { ttl, ..entry(&key, 1, stamp) });
        }
    }
    hits as f64 / all as f64
}

const LONG: u64 = 1 << 40;

/// Estimates, and what caches of such sizes and with such lives have reached.
fn beside_the_truth(
    policy: PolicyKind,
    room: usize,
    ttl: u64,
    requests: &[u32],
) -> (Option<WhatIfReport>, [f64; 5]) {
    let reached = |room, ttl| {
        let fixture = Fixture::with_room(policy, room);
        (serve(&fixture, ttl, requests.iter().copied()), fixture)
    };
    let (as_it_is, fixture) = reached(room, ttl);
    let others = [(room / 2, ttl), (room * 2, ttl), (room, ttl / 2), (room, ttl * 2)];
    let [half, double, short, long] = others.map(|(room, ttl)| reached(room, ttl).0);
    (fixture.store.what_if(), [half, as_it_is, double, short, long])
}

/// Differences of estimates from the truth, in points: half, as it is, double, short and long lives.
fn errors(report: &WhatIfReport, truth: [f64; 5]) -> Vec<f64> {
    let [half, same, double] = report.by_size;
    let [short, _, long] = report.by_ttl;
    let estimates = [half, same, double, short, long];
    let both = estimates.into_iter().zip(truth);
    both.filter_map(|(estimate, truth)| Some(100.0 * (estimate? - truth).abs())).collect()
}

#[test]
fn estimates_are_near_what_such_caches_reach() {
    let requests: Vec<u32> = popular(300_000, 60_000).collect();
    for policy in POLICIES {
        let (report, truth) = beside_the_truth(policy, 8_000, 40_000, &requests);
        let report = report.unwrap();
        let errors = errors(&report, truth);
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        assert_eq!(errors.len(), 5);
        assert!(mean < 3.0, "{policy:?}: {errors:?}, {report:?}, {truth:?}");
    }
}

#[test]
fn nothing_is_told_before_there_is_enough() {
    let fixture = Fixture::with_room(PolicyKind::Adaptive, 100_000);
    serve(&fixture, LONG, 0..200);
    assert_eq!(fixture.store.what_if(), None);
    // Many lookups of few keys.
    serve(&fixture, LONG, (0..50_000).map(|number| number % 10));
    assert_eq!(fixture.store.what_if(), None);
}

#[test]
fn a_cache_that_is_large_enough_gains_nothing() {
    let fixture = Fixture::with_room(PolicyKind::Adaptive, 100_000);
    serve(&fixture, LONG, popular(100_000, 3_000));
    let report = fixture.store.what_if().unwrap();
    assert_eq!(report.by_size[1], report.by_size[2]);
    assert_eq!(report.by_size[0], report.by_size[1]);
    assert_eq!(report.by_ttl[1], report.by_ttl[2]);
    assert!((report.by_size[1].unwrap() - report.measured_hit_rate).abs() < 0.02, "{report:?}");
}

#[test]
fn what_was_invalidated_is_missed_at_any_size() {
    let fixture = Fixture::with_room(PolicyKind::Lru, 2_000);
    // Twice as many keys as fit; they are asked for in turn and all belong to one tag.
    for _ in 0..10 {
        for number in 0..4_000 {
            let key = format!("key:{number}");
            if fixture.get(&key).is_none() {
                fixture.set_tagged(&key, 1, &["all"], fixture.store.snapshot());
            }
        }
        fixture.invalidate_tag("all");
    }
    let report = fixture.store.what_if().unwrap();
    // Twice the size would hold all of them, was nothing invalidated.
    assert!(report.by_size[2].unwrap() < 0.02, "{report:?}");
}

#[test]
fn a_loop_that_fits_into_twice_the_size_is_seen() {
    let fixture = Fixture::with_room(PolicyKind::Lru, 2_000);
    serve(&fixture, LONG, (0..60_000).map(|number| number % 3_000));
    let report = fixture.store.what_if().unwrap();
    assert!(report.measured_hit_rate < 0.01, "{report:?}");
    assert!(report.by_size[2].unwrap() > 0.9, "{report:?}");
}

#[test]
fn memory_is_bounded_whatever_is_asked_for() {
    let fixture = Fixture::with_room(PolicyKind::Adaptive, 1_000_000);
    serve(&fixture, LONG, 0..400_000);
    let report = fixture.store.what_if().unwrap();
    assert!(report.sampled_keys <= 4_096, "{report:?}");
    assert!(report.sampling_rate < 1.0 / 64.0, "{report:?}");
    assert!(report.measured_hit_rate < 0.001 && report.by_size[1].unwrap() < 0.05);
}

/// The same over recorded requests: files of little-endian 32-bit key numbers in the folder that
/// `VELRO_TRACES` names. Prints a row for each trace and size, and the mean.
#[test]
#[ignore = "needs recorded requests"]
#[allow(clippy::print_stdout, reason = "the table is what it is run for")]
fn accuracy_over_recorded_requests() {
    let folder = std::env::var("VELRO_TRACES").unwrap();
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let (mut all, mut same) = (Vec::new(), Vec::new());
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "u32")) {
        let bytes = std::fs::read(file).unwrap();
        let requests: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|four| u32::from_le_bytes(four.try_into().unwrap()))
            .take(500_000)
            .collect();
        let keys = requests.iter().collect::<std::collections::HashSet<_>>().len();
        for percent in [5, 10, 25] {
            let room = (keys * percent / 100).max(16);
            let ttl = (requests.len() / 10) as u64;
            let (report, truth) = beside_the_truth(PolicyKind::Adaptive, room, ttl, &requests);
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let Some(report) = report else {
                println!("{name:20} {room:>7} too few lookups");
                continue;
            };
            let found = errors(&report, truth);
            if report.by_size[1].is_some() {
                same.push(100.0 * (report.by_size[1].unwrap() - report.measured_hit_rate).abs());
            }
            let told: Vec<String> = found.iter().map(|error| format!("{error:5.1}")).collect();
            println!(
                "{name:20} {room:>7} 1 in {:<4} {:5.1} %  errors {}",
                1.0 / report.sampling_rate,
                100.0 * truth[1],
                told.join(" ")
            );
            all.extend(found);
        }
    }
    let mean = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len() as f64;
    println!("mean absolute error {:.2} points of {} estimates", mean(&all), all.len());
    println!("as it is, beside what was measured: {:.2} points", mean(&same));
}

#[test]
fn one_of_several_shards_stands_for_all() {
    // Several shards: one of them stands for all.
    let mut config = EngineConfig::new(64_000, 1 << 30, PolicyKind::Lru);
    config.shards = 8;
    let fixture = Fixture::new(&config);
    serve(&fixture, LONG, popular(300_000, 20_000));
    let report = fixture.store.what_if().unwrap();
    assert!((report.by_size[1].unwrap() - report.measured_hit_rate).abs() < 0.03, "{report:?}");
    assert!(report.sampling_rate <= 1.0 / 128.0);
}
