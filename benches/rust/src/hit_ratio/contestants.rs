//! Who takes part, each made exact and repeatable.
//!
//! One shard, so that the capacity holds for all keys together; a hash with a fixed seed; and
//! whoever puts work off is told to do it before the next request.

use super::optimal;
use super::trace::Trace;
use crate::engine::{Engine, PolicyKind};
use foldhash::fast::FixedState;
use foyer_memory::{
    Cache as Foyer, CacheBuilder, EvictionConfig, LfuConfig, LruConfig, S3FifoConfig, SieveConfig,
};
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;

/// A cache under test.
pub trait Simulated {
    /// The value under a key.
    fn get(&mut self, key: u32) -> Option<u32>;
    /// Stores a value under a key that was just missed.
    fn insert(&mut self, key: u32, value: u32);
    /// Entries held.
    fn held(&mut self) -> usize;
}

/// Whose policy it is; decides about colours and bold print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Nobody's: the best that is possible.
    Bound,
    /// One of this project.
    Ours,
    /// Another crate.
    Peer,
}

/// How a contestant answers.
#[derive(Debug, Clone, Copy)]
pub enum Method {
    /// Knows the future.
    Optimal,
    /// Is a cache of a given capacity.
    Cache(fn(usize) -> Result<Box<dyn Simulated>, String>),
}

/// Who takes part.
#[derive(Debug, Clone, Copy)]
pub struct Contestant {
    /// Short name, for the command line.
    pub slug: &'static str,
    /// Name on the page.
    pub title: &'static str,
    /// What it decides by.
    pub policy: &'static str,
    /// The crate it comes from, for its version.
    pub package: Option<&'static str>,
    /// Whose it is.
    pub side: Side,
    /// How it answers.
    pub method: Method,
    /// Time per request, roughly, relative to the others: long jobs are begun first.
    pub cost: usize,
}

/// Everybody, in the order of the tables.
pub const CONTESTANTS: [Contestant; 11] = [
    Contestant {
        slug: "opt",
        title: "OPT",
        policy: "Belady's, knows the future",
        package: None,
        side: Side::Bound,
        method: Method::Optimal,
        cost: 3,
    },
    Contestant {
        slug: "adaptive",
        title: "velro-cache adaptive",
        policy: "adaptive",
        package: None,
        side: Side::Ours,
        method: Method::Cache(|capacity| ours(capacity, PolicyKind::Adaptive)),
        cost: 4,
    },
    Contestant {
        slug: "lru",
        title: "velro-cache LRU",
        policy: "LRU",
        package: None,
        side: Side::Ours,
        method: Method::Cache(|capacity| ours(capacity, PolicyKind::Lru)),
        cost: 4,
    },
    Contestant {
        slug: "lfu",
        title: "velro-cache LFU",
        policy: "LFU",
        package: None,
        side: Side::Ours,
        method: Method::Cache(|capacity| ours(capacity, PolicyKind::Lfu)),
        cost: 4,
    },
    Contestant {
        slug: "quick-cache",
        title: "quick_cache",
        policy: "Clock-PRO and S3-FIFO, mixed",
        package: Some("quick_cache"),
        side: Side::Peer,
        method: Method::Cache(quick),
        cost: 2,
    },
    Contestant {
        slug: "moka",
        title: "moka",
        policy: "TinyLFU over LRU",
        package: Some("moka"),
        side: Side::Peer,
        method: Method::Cache(moka),
        cost: 12,
    },
    Contestant {
        slug: "mini-moka",
        title: "mini-moka",
        policy: "TinyLFU over LRU",
        package: Some("mini-moka"),
        side: Side::Peer,
        method: Method::Cache(mini_moka),
        cost: 3,
    },
    Contestant {
        slug: "foyer-lfu",
        title: "foyer LFU",
        policy: "W-TinyLFU, window of 10 %",
        package: Some("foyer-memory"),
        side: Side::Peer,
        method: Method::Cache(|capacity| foyer(capacity, LfuConfig::default().into())),
        cost: 5,
    },
    Contestant {
        slug: "foyer-s3fifo",
        title: "foyer S3-FIFO",
        policy: "S3-FIFO",
        package: Some("foyer-memory"),
        side: Side::Peer,
        method: Method::Cache(|capacity| foyer(capacity, S3FifoConfig::default().into())),
        cost: 5,
    },
    Contestant {
        slug: "foyer-sieve",
        title: "foyer SIEVE",
        policy: "SIEVE",
        package: Some("foyer-memory"),
        side: Side::Peer,
        method: Method::Cache(|capacity| foyer(capacity, SieveConfig.into())),
        cost: 5,
    },
    Contestant {
        slug: "foyer-lru",
        title: "foyer LRU",
        policy: "LRU",
        package: Some("foyer-memory"),
        side: Side::Peer,
        method: Method::Cache(|capacity| foyer(capacity, LruConfig::default().into())),
        cost: 5,
    },
];

impl Contestant {
    /// Replays a trace and returns the share of hits, in percent.
    ///
    /// # Errors
    /// A wrong answer, or more entries than allowed.
    pub fn hit_rate(&self, trace: &Trace, capacity: usize) -> Result<f64, String> {
        let hits = match self.method {
            Method::Optimal => optimal::hits(trace, capacity),
            Method::Cache(make) => make(capacity)
                .and_then(|mut cache| replay(cache.as_mut(), trace, capacity))
                .map_err(|error| format!("{}, {}, {capacity}: {error}", self.slug, trace.name))?,
        };
        Ok(100.0 * hits as f64 / trace.measured().max(1) as f64)
    }
}

/// Requests between two checks that a cache does not hold too much.
const REQUESTS_BETWEEN_CHECKS: usize = 1024;

/// Looks every request up and stores what is missed; returns the hits that count.
fn replay(cache: &mut dyn Simulated, trace: &Trace, capacity: usize) -> Result<u64, String> {
    let mut hits = 0;
    for (now, &key) in trace.requests.iter().enumerate() {
        match cache.get(key) {
            Some(value) if value == value_of(key) => {
                hits += u64::from(now >= trace.measured_from);
            }
            Some(_) => return Err(format!("request {now} got the value of another key")),
            None => cache.insert(key, value_of(key)),
        }
        if now % REQUESTS_BETWEEN_CHECKS == 0 && cache.held() > capacity {
            return Err(format!("holds {} entries at request {now}", cache.held()));
        }
    }
    // quick_cache now and then ends an entry or two short; who is farther off is not measured at
    // this capacity.
    match cache.held() {
        held if held > capacity => Err(format!("holds {held} entries at the end")),
        held if held + (capacity / 50).max(1) < capacity.min(trace.keys) => {
            Err(format!("holds only {held} entries at the end"))
        }
        _ => Ok(hits),
    }
}

/// Another number for every key, so that a mixed-up answer shows.
fn value_of(key: u32) -> u32 {
    key ^ 0x5BD1_E995
}

struct Ours(Engine);

fn ours(capacity: usize, policy: PolicyKind) -> Result<Box<dyn Simulated>, String> {
    Ok(Box::new(Ours(Engine::standing_still(capacity, policy)?)))
}

impl Simulated for Ours {
    fn get(&mut self, key: u32) -> Option<u32> {
        self.0.get(&key.to_le_bytes()).map(|value| value as u32)
    }

    fn insert(&mut self, key: u32, value: u32) {
        self.0.insert(&key.to_le_bytes(), u64::from(value));
    }

    fn held(&mut self) -> usize {
        self.0.len()
    }
}

type Quick = quick_cache::sync::Cache<u32, u32, UnitWeighter, FixedState>;

fn quick(capacity: usize) -> Result<Box<dyn Simulated>, String> {
    let options = quick_cache::OptionsBuilder::new()
        .shards(1)
        .estimated_items_capacity(capacity)
        .weight_capacity(capacity as u64)
        .build()
        .map_err(|error| error.to_string())?;
    let lifecycle = DefaultLifecycle::default();
    let hash = FixedState::default();
    Ok(Box::new(Quick::with_options(options, UnitWeighter, hash, lifecycle)))
}

impl Simulated for Quick {
    fn get(&mut self, key: u32) -> Option<u32> {
        Self::get(self, &key)
    }

    fn insert(&mut self, key: u32, value: u32) {
        Self::insert(self, key, value);
    }

    fn held(&mut self) -> usize {
        Self::len(self)
    }
}

type Moka = moka::sync::Cache<u32, u32, FixedState>;

fn moka(capacity: usize) -> Result<Box<dyn Simulated>, String> {
    let builder = moka::sync::Cache::builder().max_capacity(capacity as u64);
    Ok(Box::new(builder.build_with_hasher(FixedState::default())))
}

impl Simulated for Moka {
    fn get(&mut self, key: u32) -> Option<u32> {
        // Noted down; the notes are read before the next one is stored, in their order.
        Self::get(self, &key)
    }

    fn insert(&mut self, key: u32, value: u32) {
        Self::insert(self, key, value);
        self.run_pending_tasks();
    }

    fn held(&mut self) -> usize {
        self.entry_count() as usize
    }
}

type MiniMoka = mini_moka::unsync::Cache<u32, u32, FixedState>;

fn mini_moka(capacity: usize) -> Result<Box<dyn Simulated>, String> {
    let builder = mini_moka::unsync::Cache::builder().max_capacity(capacity as u64);
    Ok(Box::new(builder.build_with_hasher(FixedState::default())))
}

impl Simulated for MiniMoka {
    fn get(&mut self, key: u32) -> Option<u32> {
        Self::get(self, &key).copied()
    }

    fn insert(&mut self, key: u32, value: u32) {
        Self::insert(self, key, value);
    }

    fn held(&mut self) -> usize {
        self.entry_count() as usize
    }
}

impl Simulated for Foyer<u32, u32, FixedState> {
    fn get(&mut self, key: u32) -> Option<u32> {
        Self::get(self, &key).map(|entry| *entry.value())
    }

    fn insert(&mut self, key: u32, value: u32) {
        Self::insert(self, key, value);
    }

    fn held(&mut self) -> usize {
        self.usage()
    }
}

fn foyer(capacity: usize, eviction: EvictionConfig) -> Result<Box<dyn Simulated>, String> {
    let cache: Foyer<u32, u32, FixedState> = CacheBuilder::new(capacity)
        .with_shards(1)
        .with_hash_builder(FixedState::default())
        .with_eviction_config(eviction)
        .build();
    Ok(Box::new(cache))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, Zipf};

    fn small_zipf() -> Trace {
        let (zipf, mut random) = (Zipf::new(2000, 0.9), Random::seeded(5));
        let requests = (0..20_000).map(|_| zipf.draw(&mut random) as u32).collect();
        Trace::whole("small".to_owned(), requests)
    }

    #[test]
    fn everybody_is_right_repeatable_and_no_better_than_the_optimum() {
        let trace = small_zipf();
        let capacity = 200;
        let best = CONTESTANTS[0].hit_rate(&trace, capacity).unwrap();
        for contestant in CONTESTANTS {
            let rate = contestant.hit_rate(&trace, capacity).unwrap();
            assert!((20.0..=best).contains(&rate), "{}: {rate}", contestant.slug);
            let again = contestant.hit_rate(&trace, capacity).unwrap();
            assert!((rate - again).abs() < f64::EPSILON, "{} varies", contestant.slug);
        }
    }

    #[test]
    fn our_lru_is_an_lru() {
        let trace = small_zipf();
        let by_the_book = lru_hits(&trace.requests, 200);
        let contestant = CONTESTANTS.iter().find(|other| other.slug == "lru").unwrap();
        let rate = contestant.hit_rate(&trace, 200).unwrap();
        assert!((rate - by_the_book).abs() < 1e-9, "{rate}, not {by_the_book}");
    }

    fn lru_hits(requests: &[u32], capacity: usize) -> f64 {
        let mut newest_last: Vec<u32> = Vec::new();
        let mut hits = 0;
        for &key in requests {
            match newest_last.iter().position(|&other| other == key) {
                Some(place) => {
                    newest_last.remove(place);
                    hits += 1;
                }
                None if newest_last.len() == capacity => {
                    newest_last.remove(0);
                }
                None => {}
            }
            newest_last.push(key);
        }
        100.0 * f64::from(hits) / requests.len() as f64
    }

    struct Liar;

    impl Simulated for Liar {
        fn get(&mut self, key: u32) -> Option<u32> {
            Some(key)
        }

        fn insert(&mut self, _: u32, _: u32) {}

        fn held(&mut self) -> usize {
            0
        }
    }

    #[test]
    fn a_wrong_answer_is_found() {
        let error = replay(&mut Liar, &small_zipf(), 200).unwrap_err();
        assert!(error.contains("another key"), "{error}");
    }
}
