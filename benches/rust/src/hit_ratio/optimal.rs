//! The best hit rate that is possible: whoever is needed furthest in the future goes.
//!
//! Belady (IBM Systems Journal 1966), with the right to refuse: if the new key itself is needed
//! later than all that is held, it is not stored. Caches with an admission policy may do so, too,
//! and would otherwise be measured against less than what they can reach.
//!
//! Cost: `O(log capacity)` per request, by a heap in which notes of past requests sink: each
//! note names the next request of a key, and one in the past is smaller than all others.

use super::trace::Trace;
use std::collections::BinaryHeap;

/// Place of a request; this one never comes.
const NEVER: u32 = u32::MAX;

/// Hits among the requests that count.
#[must_use]
pub fn hits(trace: &Trace, capacity: usize) -> u64 {
    let next_request = next_requests(&trace.requests, trace.keys);
    let mut held = vec![false; trace.keys];
    let (mut held_count, mut hits) = (0, 0);
    // Next request and key of everything held, and notes of requests that are over.
    let mut furthest: BinaryHeap<(u32, u32)> = BinaryHeap::with_capacity(2 * capacity + 1024);
    for (now, (&key, &next)) in trace.requests.iter().zip(&next_request).enumerate() {
        if held[key as usize] {
            hits += u64::from(now >= trace.measured_from);
        } else if capacity == 0 || next == NEVER {
            continue;
        } else if held_count < capacity {
            held[key as usize] = true;
            held_count += 1;
        } else {
            let Some(&(last, leaving)) = furthest.peek() else { continue };
            if last <= next {
                continue;
            }
            furthest.pop();
            held[leaving as usize] = false;
            held[key as usize] = true;
        }
        furthest.push((next, key));
        if furthest.len() > 2 * capacity + 1023 {
            furthest.retain(|&(request, _)| request > now as u32);
        }
    }
    hits
}

/// For each request, the next one of the same key.
fn next_requests(requests: &[u32], keys: usize) -> Vec<u32> {
    let mut upcoming = vec![NEVER; keys];
    let mut next: Vec<u32> = requests
        .iter()
        .enumerate()
        .rev()
        .map(|(now, &key)| std::mem::replace(&mut upcoming[key as usize], now as u32))
        .collect();
    next.reverse();
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::HashMap;

    fn trace(requests: Vec<u32>, measured_from: usize) -> Trace {
        let keys = requests.iter().max().map_or(0, |&key| key as usize + 1);
        Trace { name: String::new(), requests, keys, measured_from, capacities: Vec::new() }
    }

    /// The most hits of any sequence of decisions: all of them are tried. `held` is a set of bits.
    fn tried(
        requests: &[u32],
        now: usize,
        held: u32,
        capacity: u32,
        known: &mut HashMap<(usize, u32), u64>,
    ) -> u64 {
        let Some(&key) = requests.get(now) else { return 0 };
        if let Some(&best) = known.get(&(now, held)) {
            return best;
        }
        let bit = 1 << key;
        let best = if held & bit != 0 {
            1 + tried(requests, now + 1, held, capacity, known)
        } else if held.count_ones() < capacity {
            let stored = tried(requests, now + 1, held | bit, capacity, known);
            stored.max(tried(requests, now + 1, held, capacity, known))
        } else {
            let leaving = (0..u32::BITS).map(|other| held & !(1 << other));
            let mut best = tried(requests, now + 1, held, capacity, known);
            for rest in leaving.filter(|&rest| rest != held) {
                best = best.max(tried(requests, now + 1, rest | bit, capacity, known));
            }
            best
        };
        known.insert((now, held), best);
        best
    }

    #[test]
    fn nobody_does_better_on_short_traces() {
        let mut random = Random::seeded(11);
        for round in 0..400 {
            let keys = 2 + random.below(6);
            let requests: Vec<u32> = (0..24).map(|_| random.below(keys) as u32).collect();
            let capacity = 1 + round % 4;
            let best = tried(&requests, 0, 0, capacity, &mut HashMap::new());
            let trace = trace(requests, 0);
            assert_eq!(hits(&trace, capacity as usize), best, "{:?}", trace.requests);
        }
    }

    #[test]
    fn a_loop_is_held_in_part() {
        let requests: Vec<u32> = (0..10).cycle().take(1000).collect();
        // The first round misses everything, each further one hits what is held.
        assert_eq!(hits(&trace(requests, 0), 4), 4 * 99);
    }

    #[test]
    fn hits_before_the_measured_part_do_not_count() {
        assert_eq!(hits(&trace(vec![0, 0, 0, 0], 3), 1), 1);
        assert_eq!(hits(&trace(vec![0, 1, 0, 1], 0), 0), 0);
    }

    #[test]
    fn forgetting_old_notes_changes_nothing() {
        // One key held for ever and hit all the time leaves a note per hit.
        let requests: Vec<u32> = (0..5000u32).map(|now| if now % 3 == 0 { 1 } else { 0 }).collect();
        assert_eq!(hits(&trace(requests, 0), 2), 4998);
    }
}
