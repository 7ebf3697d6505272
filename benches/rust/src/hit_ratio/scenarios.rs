//! Three situations drawn from a Zipf distribution, each hard in another way.
//!
//! *Static*: popularity never changes, so whoever counts best wins. *Reshuffled*: all keys swap
//! their popularity, and what was counted is wrong. *One-hit keys*: part of the requests is for
//! keys that never come again, and whoever lets them in pays.

use super::trace::Trace;
use crate::random::{Random, Zipf};

const KEYS: usize = 100_000;
const SKEW: f64 = 0.99;
const CAPACITY: usize = 10_000;
const SEED: u64 = 20_240_607;

/// Requests before the first that counts: every policy has reached its steady state.
const WARM_UP: usize = 1_000_000;
/// Requests that count where nothing changes.
const STEADY: usize = 1_000_000;
/// Requests that count after popularity was reshuffled: ten for each entry there is room for.
const RECOVERY: usize = 100_000;
/// Share of requests, in percent, for keys that never come again.
const ONE_HIT_PERCENT: usize = 30;

/// All three.
#[must_use]
pub fn all() -> Vec<Trace> {
    let zipf = Zipf::new(KEYS, SKEW);
    vec![unchanging(&zipf), reshuffled(&zipf), with_one_hit_keys(&zipf)]
}

fn unchanging(zipf: &Zipf) -> Trace {
    let mut random = Random::seeded(SEED);
    let requests = (0..WARM_UP + STEADY).map(|_| zipf.draw(&mut random) as u32).collect();
    scenario("Zipf, static", requests, KEYS)
}

fn reshuffled(zipf: &Zipf) -> Trace {
    let mut random = Random::seeded(SEED + 1);
    let mut key_of_rank: Vec<u32> = (0..KEYS as u32).collect();
    let mut requests = Vec::with_capacity(WARM_UP + RECOVERY);
    for number in 0..WARM_UP + RECOVERY {
        if number == WARM_UP {
            random.shuffle(&mut key_of_rank);
        }
        requests.push(key_of_rank[zipf.draw(&mut random)]);
    }
    scenario("Zipf, just reshuffled", requests, KEYS)
}

fn with_one_hit_keys(zipf: &Zipf) -> Trace {
    let mut random = Random::seeded(SEED + 2);
    let mut fresh = KEYS as u32;
    let requests: Vec<u32> = (0..WARM_UP + STEADY)
        .map(|_| {
            if random.below(100) < ONE_HIT_PERCENT {
                fresh += 1;
                fresh - 1
            } else {
                zipf.draw(&mut random) as u32
            }
        })
        .collect();
    scenario("Zipf, 30 % one-hit keys", requests, fresh as usize)
}

fn scenario(name: &str, requests: Vec<u32>, keys: usize) -> Trace {
    let capacities = vec![CAPACITY];
    Trace { name: name.to_owned(), requests, keys, measured_from: WARM_UP, capacities }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn scenarios_are_the_same_every_time_and_number_their_keys() {
        for (one, other) in all().iter().zip(all()) {
            assert_eq!(one.requests, other.requests);
            assert!(one.requests.iter().all(|&key| (key as usize) < one.keys));
        }
    }

    #[test]
    fn one_hit_keys_come_once_and_make_up_their_share() {
        let trace = with_one_hit_keys(&Zipf::new(KEYS, SKEW));
        let mut seen: HashMap<u32, u32> = HashMap::new();
        trace.requests.iter().for_each(|&key| *seen.entry(key).or_default() += 1);
        let fresh: Vec<_> = seen.iter().filter(|&(&key, _)| key as usize >= KEYS).collect();
        assert!(fresh.iter().all(|&(_, &times)| times == 1));
        let share = fresh.len() as f64 / trace.requests.len() as f64;
        assert!((0.298..0.302).contains(&share), "{share}");
    }

    #[test]
    fn reshuffling_changes_who_is_popular() {
        let trace = reshuffled(&Zipf::new(KEYS, SKEW));
        let times = |requests: &[u32], key| requests.iter().filter(|&&other| other == key).count();
        let (before, after) = trace.requests.split_at(trace.measured_from);
        assert!(times(before, 0) > 50_000, "the most popular key of the first part");
        assert!(times(after, 0) < 250, "it is an ordinary one afterwards");
    }
}
