//! What is timed: hit, miss, the kinds of stores, reading through; on one thread or several.
//!
//! With several threads the time is that from the first one's beginning to the last one's end,
//! divided by the operations of all. Each answer is compared with the right one inside the timed
//! loop, for everybody alike; what is held is checked at the end.

use super::contestants::{About, Cache, Fold, Foyer, LockedLru, LockedMap, MiniMoka, Moka, Quick};
use super::race::Lane;
use super::workload::{self, Key, value_of};
use crate::engine::Engine;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Room in all caches but the large ones.
const CAPACITY: usize = 10_000;
/// Keys in use where all of them fit easily.
const FEW_KEYS: u32 = 1000;
/// Keys in use where the processor's caches are too small for them.
const MANY_KEYS: u32 = 100_000;
/// Room for many keys even where each shard has a fixed share.
const LARGE_CAPACITY: usize = 200_000;
/// Operations of a lap that changes nothing or little.
const LAP: usize = 20_000;
/// Operations of a lap that stores new keys; they fit even where each shard has a fixed share.
const STORING_LAP: usize = 5_000;
/// Different laps; after these, the first comes again.
const ORDERS: usize = 8;
/// Different laps of keys that are not held. When the first comes again, its keys are long gone.
const EVICTING_ORDERS: usize = 60;
/// Different laps of reading through.
const ZIPF_ORDERS: usize = 50;
const ZIPF_SKEW: f64 = 0.99;
/// A waiting thread looks for the others so often, some tens of microseconds, before it yields.
const LOOKS_BETWEEN_YIELDS: u32 = 1000;

/// A kind of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Looking up keys that are held, few enough for the processor's caches.
    Hit,
    /// Looking up keys that are held, too many for the processor's caches.
    HitLarge,
    /// Looking up keys that are not held.
    Miss,
    /// Storing keys that are not held into a new cache.
    InsertNew,
    /// Storing another value under a key that is held.
    Overwrite,
    /// Storing keys that are not held into a full cache.
    InsertEvicting,
    /// Looking keys up and storing what is missed, ten times as many keys as fit.
    ReadThrough,
}

impl Operation {
    /// All, in the order of the tables.
    pub const ALL: [Self; 7] = [
        Self::Hit,
        Self::HitLarge,
        Self::Miss,
        Self::InsertNew,
        Self::Overwrite,
        Self::InsertEvicting,
        Self::ReadThrough,
    ];

    /// Name in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::HitLarge => "hit, many keys",
            Self::Miss => "miss",
            Self::InsertNew => "insert new",
            Self::Overwrite => "overwrite",
            Self::InsertEvicting => "evicting insert",
            Self::ReadThrough => "Zipf read-through",
        }
    }

    /// Everybody's lanes, all over the same keys in the same orders.
    ///
    /// # Errors
    /// A cache refused a setting, or does not hold what was stored.
    pub fn lanes(self, threads: usize) -> Result<Vec<Box<dyn Lane>>, String> {
        let plan = Arc::new(Plan::new(self, threads));
        let lanes = [
            lane::<Engine>(&plan)?,
            lane::<Quick>(&plan)?,
            lane::<Moka<RandomState>>(&plan)?,
            lane::<Moka<Fold>>(&plan)?,
            lane::<MiniMoka>(&plan)?,
            lane::<Foyer>(&plan)?,
            lane::<LockedLru>(&plan)?,
            lane::<LockedMap>(&plan)?,
        ];
        let evicts = matches!(self, Self::InsertEvicting | Self::ReadThrough);
        Ok(lanes.into_iter().filter(|lane| !evicts || lane.about().is_bounded).collect())
    }
}

/// What all lanes of an operation share.
struct Plan {
    operation: Operation,
    threads: usize,
    keys: Vec<Key>,
    /// Keys held at the beginning: numbers below this.
    held: u32,
    capacity: usize,
    /// For each lap, the numbers of the keys in the order of their use.
    orders: Vec<Vec<u32>>,
}

impl Plan {
    fn new(operation: Operation, threads: usize) -> Self {
        use Operation::{Hit, HitLarge, InsertEvicting, InsertNew, Miss, Overwrite, ReadThrough};
        let laps = |from, keys, length, count: usize| -> Vec<Vec<u32>> {
            (0..count).map(|lap| workload::shuffled(from, keys, length, lap as u64)).collect()
        };
        let (held, capacity, orders) = match operation {
            Hit | Overwrite => (FEW_KEYS, CAPACITY, laps(0, FEW_KEYS, LAP, ORDERS)),
            HitLarge => (MANY_KEYS, LARGE_CAPACITY, laps(0, MANY_KEYS, LAP, ORDERS)),
            Miss => (FEW_KEYS, CAPACITY, laps(FEW_KEYS, FEW_KEYS, LAP, ORDERS)),
            InsertNew => (0, CAPACITY, laps(0, STORING_LAP as u32, STORING_LAP, ORDERS)),
            InsertEvicting => {
                let (held, lap) = (CAPACITY as u32, STORING_LAP as u32);
                let first = |number| held + number as u32 * lap;
                let orders = (0..EVICTING_ORDERS)
                    .map(|number| workload::shuffled(first(number), lap, STORING_LAP, 0));
                (held, CAPACITY, orders.collect())
            }
            ReadThrough => {
                let draws = workload::zipf(MANY_KEYS, ZIPF_SKEW, ZIPF_ORDERS * LAP);
                (0, CAPACITY, draws.chunks(LAP).map(<[u32]>::to_vec).collect())
            }
        };
        let highest = orders.iter().flatten().max().copied().unwrap_or(0).max(held);
        let keys = workload::keys(highest as usize + 1);
        Self { operation, threads, keys, held, capacity, orders }
    }

    fn order(&self, round: usize) -> &[u32] {
        &self.orders[round % self.orders.len()]
    }

    /// The value that `Overwrite` stores in a round, and all others in any.
    fn value(&self, number: u32, round: usize) -> u64 {
        let rewritten = self.operation == Operation::Overwrite;
        value_of(number) + if rewritten { round as u64 } else { 0 }
    }

    /// Does one thread's part of a lap and returns the hits, and how many answers were wrong.
    #[inline(never)]
    fn work<C: Cache>(&self, cache: &C, order: &[u32], round: usize) -> (usize, usize) {
        let (mut hits, mut wrong) = (0, 0);
        match self.operation {
            Operation::Hit | Operation::HitLarge => {
                for &number in order {
                    let answer = cache.get(&self.keys[number as usize]);
                    wrong += usize::from(answer != Some(value_of(number)));
                }
            }
            Operation::Miss => {
                for &number in order {
                    wrong += usize::from(cache.get(&self.keys[number as usize]).is_some());
                }
            }
            Operation::InsertNew | Operation::InsertEvicting => {
                for &number in order {
                    cache.insert(&self.keys[number as usize], value_of(number));
                }
            }
            Operation::Overwrite => {
                for &number in order {
                    let value = value_of(number) + round as u64;
                    cache.insert(&self.keys[number as usize], value);
                }
            }
            Operation::ReadThrough => {
                for &number in order {
                    let key = &self.keys[number as usize];
                    match cache.get(key) {
                        Some(value) => {
                            hits += 1;
                            wrong += usize::from(value != value_of(number));
                        }
                        None => cache.insert(key, value_of(number)),
                    }
                }
            }
        }
        (hits, wrong)
    }
}

struct CacheLane<C> {
    plan: Arc<Plan>,
    cache: C,
    lookups: usize,
    hits: usize,
}

fn lane<C: Cache>(plan: &Arc<Plan>) -> Result<Box<dyn Lane>, String> {
    let cache = C::with_room(plan.capacity)?;
    for number in 0..plan.held {
        cache.insert(&plan.keys[number as usize], value_of(number));
    }
    let held = cache.held();
    if plan.capacity > plan.held as usize && held != plan.held as usize {
        return Err(format!("{}: holds {held} of {} entries", C::ABOUT.title, plan.held));
    }
    Ok(Box::new(CacheLane { plan: Arc::clone(plan), cache, lookups: 0, hits: 0 }))
}

impl<C: Cache> Lane for CacheLane<C> {
    fn about(&self) -> About {
        C::ABOUT
    }

    fn operations(&self) -> usize {
        self.plan.order(0).len()
    }

    fn lap(&mut self, round: usize) -> Result<Duration, String> {
        if self.plan.operation == Operation::InsertNew {
            self.cache = C::with_room(self.plan.capacity)?;
        }
        let (plan, cache) = (&*self.plan, &self.cache);
        let order = plan.order(round);
        let (elapsed, hits, wrong) = if plan.threads == 1 {
            let start = Instant::now();
            let (hits, wrong) = plan.work(cache, order, round);
            (start.elapsed(), hits, wrong)
        } else {
            together(order, plan.threads, |part| plan.work(cache, part, round))
        };
        self.lookups += order.len();
        self.hits += hits;
        if wrong > 0 { Err(format!("{wrong} wrong answers")) } else { Ok(elapsed) }
    }

    fn check(&self, last_round: usize) -> Result<(), String> {
        let plan = &*self.plan;
        let held = self.cache.held();
        if C::ABOUT.is_bounded && held > plan.capacity {
            return Err(format!("holds {held} of {} entries", plan.capacity));
        }
        let evicts = matches!(plan.operation, Operation::InsertEvicting | Operation::ReadThrough);
        // Shards fill unevenly; TinyLFU may let the last few in late.
        if evicts && held < plan.capacity * 9 / 10 {
            return Err(format!("holds only {held} of {} entries", plan.capacity));
        }
        let mut found = 0;
        for (number, key) in (0..).zip(&plan.keys) {
            match self.cache.get(key) {
                Some(value) if value == plan.value(number, last_round) => found += 1,
                Some(value) => return Err(format!("{value} is not the value of key {number}")),
                None => {}
            }
        }
        let everything = if plan.operation == Operation::InsertNew {
            plan.order(last_round).len()
        } else {
            plan.held as usize
        };
        if !evicts && found != everything {
            return Err(format!("{found} of {everything} keys are there"));
        }
        Ok(())
    }

    fn hit_rate(&self) -> Option<f64> {
        let says_something = self.plan.operation == Operation::ReadThrough;
        says_something.then(|| 100.0 * self.hits as f64 / self.lookups.max(1) as f64)
    }
}

/// Has threads work on equal parts at the same time. Returns the time from the first beginning
/// to the last end, and the sums of what they return.
fn together(
    order: &[u32],
    threads: usize,
    work: impl Fn(&[u32]) -> (usize, usize) + Sync,
) -> (Duration, usize, usize) {
    let waiting = AtomicUsize::new(threads);
    let processors = core_affinity::get_core_ids().unwrap_or_default();
    let run = |number: usize, part: &[u32]| {
        // A lap is over before the system would move two threads that share a processor apart.
        if let Some(&processor) = processors.get(number) {
            core_affinity::set_for_current(processor);
        }
        waiting.fetch_sub(1, Ordering::AcqRel);
        // A sleeping thread would begin too late to meet the others; one that never gives way
        // would keep them from beginning where there are fewer processors than threads.
        let mut looks = 0u32;
        while waiting.load(Ordering::Acquire) > 0 {
            looks += 1;
            if looks.is_multiple_of(LOOKS_BETWEEN_YIELDS) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        let start = Instant::now();
        let sums = work(part);
        (start, Instant::now(), sums)
    };
    let parts = order.chunks(order.len().div_ceil(threads)).enumerate();
    let run = &run;
    let done: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> =
            parts.map(|(number, part)| scope.spawn(move || run(number, part))).collect();
        running.into_iter().flat_map(std::thread::ScopedJoinHandle::join).collect()
    });
    let first = done.iter().map(|&(start, ..)| start).min();
    let last = done.iter().map(|&(_, end, _)| end).max();
    let elapsed = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
    // A thread that panicked has no sums, and all its answers count as wrong.
    let lost = if done.len() == threads { 0 } else { order.len() };
    let hits = done.iter().map(|(.., (hits, _))| hits).sum();
    let wrong: usize = done.iter().map(|(.., (_, wrong))| wrong).sum();
    (elapsed, hits, wrong + lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speed::race::race;

    #[test]
    fn everybody_answers_every_operation_rightly_on_one_thread_and_on_two() {
        for operation in Operation::ALL {
            for threads in [1, 2] {
                let mut lanes = operation.lanes(threads).unwrap();
                let timings = race(&mut lanes, 1, Duration::ZERO).unwrap();
                assert!(timings.len() >= 7 && timings.iter().all(|timing| timing.best > 0.0));
            }
        }
    }

    #[test]
    fn a_lap_is_divided_among_the_threads() {
        let order: Vec<u32> = (0..1001).collect();
        let (elapsed, sum, parts) =
            together(&order, 2, |part| (part.iter().map(|&number| number as usize).sum(), 1));
        assert_eq!((sum, parts), (500_500, 2));
        assert!(elapsed > Duration::ZERO);
    }

    #[derive(Debug)]
    struct Forgetful;

    impl Cache for Forgetful {
        const ABOUT: About = Engine::ABOUT;

        fn with_room(_: usize) -> Result<Self, String> {
            Ok(Self)
        }

        fn get(&self, _: &Key) -> Option<u64> {
            None
        }

        fn insert(&self, _: &Key, _: u64) {}

        fn held(&self) -> usize {
            FEW_KEYS as usize
        }
    }

    #[test]
    fn a_cache_that_forgets_is_found_out() {
        let plan = Arc::new(Plan::new(Operation::Hit, 1));
        let mut lane = lane::<Forgetful>(&plan).unwrap();
        assert!(lane.lap(0).unwrap_err().contains("wrong answers"));
        assert!(lane.check(0).unwrap_err().contains("0 of 1000"));
    }
}
