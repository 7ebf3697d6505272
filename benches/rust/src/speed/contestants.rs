//! The caches, each as its documentation shows it, with a life for entries where it has one.

use super::workload::Key;
use crate::engine::{Engine, TTL};
use mini_moka::sync::ConcurrentCacheExt as _;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;

/// A cache under test, used by several threads at once.
pub trait Cache: Send + Sync + Sized + 'static {
    /// Who it is.
    const ABOUT: About;

    /// An empty one with room for so many entries.
    ///
    /// # Errors
    /// It refused a setting.
    fn with_room(entries: usize) -> Result<Self, String>;

    /// The value under a key.
    fn get(&self, key: &Key) -> Option<u64>;

    /// Stores a value under a copy of a key.
    fn insert(&self, key: &Key, value: u64);

    /// Entries held, work that was put off included.
    fn held(&self) -> usize;
}

/// Who a contestant is.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Name in tables.
    pub title: &'static str,
    /// What it can do.
    pub features: &'static str,
    /// The crate it comes from.
    pub package: &'static str,
    /// Whether it keeps to a number of entries.
    pub is_bounded: bool,
}

impl About {
    /// Whether it is the cache all others are compared with.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.title == Engine::ABOUT.title
    }
}

/// Locks our engine divides its table by: as many as threads need that seldom meet.
const SHARDS: usize = 16;

impl Cache for Engine {
    const ABOUT: About = About {
        title: "velro-cache",
        features: "adaptive, TTL per entry, invalidation by key, prefix and tag, counts",
        package: "velro-cache",
        is_bounded: true,
    };

    fn with_room(entries: usize) -> Result<Self, String> {
        Self::running(entries, SHARDS)
    }

    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        Self::get(self, key.as_str().as_bytes())
    }

    #[inline]
    fn insert(&self, key: &Key, value: u64) {
        Self::insert(self, key.as_str().as_bytes(), value);
    }

    fn held(&self) -> usize {
        self.len()
    }
}

/// quick_cache.
pub type Quick = quick_cache::sync::Cache<Key, u64>;

impl Cache for Quick {
    const ABOUT: About = About {
        title: "quick_cache",
        features: "Clock-PRO and S3-FIFO, mixed; no TTL",
        package: "quick_cache",
        is_bounded: true,
    };

    fn with_room(entries: usize) -> Result<Self, String> {
        Ok(Self::new(entries))
    }

    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        Self::get(self, key.as_str())
    }

    #[inline]
    fn insert(&self, key: &Key, value: u64) {
        Self::insert(self, key.clone(), value);
    }

    fn held(&self) -> usize {
        self.len()
    }
}

/// moka, hashing with SipHash or, to see what the rest of it costs, with what we hash with.
pub type Moka<S> = moka::sync::Cache<Key, u64, S>;

/// The hash of our engine.
pub type Fold = foldhash::fast::RandomState;

/// A hash, and the name of a cache that uses it.
pub trait NamedHash: BuildHasher + Default + Clone + Send + Sync + 'static {
    /// The name of moka with this hash.
    const MOKA: &'static str;
}

impl NamedHash for RandomState {
    const MOKA: &'static str = "moka";
}

impl NamedHash for Fold {
    const MOKA: &'static str = "moka, foldhash";
}

impl<S: NamedHash> Cache for Moka<S> {
    const ABOUT: About = About {
        title: S::MOKA,
        features: "TinyLFU over LRU, one TTL, invalidation by predicate",
        package: "moka",
        is_bounded: true,
    };

    fn with_room(entries: usize) -> Result<Self, String> {
        let builder = moka::sync::Cache::builder().max_capacity(entries as u64).time_to_live(TTL);
        Ok(builder.build_with_hasher(S::default()))
    }

    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        Self::get(self, key.as_str())
    }

    #[inline]
    fn insert(&self, key: &Key, value: u64) {
        Self::insert(self, key.clone(), value);
    }

    fn held(&self) -> usize {
        self.run_pending_tasks();
        self.entry_count() as usize
    }
}

/// mini-moka.
pub type MiniMoka = mini_moka::sync::Cache<Key, u64>;

impl Cache for MiniMoka {
    const ABOUT: About = About {
        title: "mini-moka",
        features: "TinyLFU over LRU, one TTL",
        package: "mini-moka",
        is_bounded: true,
    };

    fn with_room(entries: usize) -> Result<Self, String> {
        let builder = Self::builder().max_capacity(entries as u64).time_to_live(TTL);
        Ok(builder.build())
    }

    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        Self::get(self, key)
    }

    #[inline]
    fn insert(&self, key: &Key, value: u64) {
        Self::insert(self, key.clone(), value);
    }

    fn held(&self) -> usize {
        self.sync();
        self.entry_count() as usize
    }
}

/// foyer, in memory only.
pub type Foyer = foyer_memory::Cache<Key, u64>;

impl Cache for Foyer {
    const ABOUT: About = About {
        title: "foyer",
        features: "LRU (its default); no TTL",
        package: "foyer-memory",
        is_bounded: true,
    };

    fn with_room(entries: usize) -> Result<Self, String> {
        Ok(foyer_memory::CacheBuilder::new(entries).build())
    }

    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        Self::get(self, key.as_str()).map(|entry| *entry.value())
    }

    #[inline]
    fn insert(&self, key: &Key, value: u64) {
        Self::insert(self, key.clone(), value);
    }

    fn held(&self) -> usize {
        self.usage()
    }
}

/// An LRU map behind one lock.
pub type LockedLru = Mutex<lru::LruCache<Key, u64>>;

impl Cache for LockedLru {
    const ABOUT: About = About {
        title: "lru behind a Mutex",
        features: "LRU; no TTL",
        package: "lru",
        is_bounded: true,
    };

    fn with_room(entries: usize) -> Result<Self, String> {
        let entries = NonZeroUsize::new(entries).ok_or("no room")?;
        Ok(Self::new(lru::LruCache::new(entries)))
    }

    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        self.lock().get(key.as_str()).copied()
    }

    #[inline]
    fn insert(&self, key: &Key, value: u64) {
        let key = key.clone();
        // What leaves is dropped after the lock.
        let _left = self.lock().push(key, value);
    }

    fn held(&self) -> usize {
        self.lock().len()
    }
}

/// A map behind one lock: the least a shared table can be.
pub type LockedMap = Mutex<HashMap<Key, u64, Fold>>;

impl Cache for LockedMap {
    const ABOUT: About = About {
        title: "HashMap behind a Mutex",
        features: "no bound, no TTL; hashed by foldhash",
        package: "parking_lot",
        is_bounded: false,
    };

    fn with_room(_: usize) -> Result<Self, String> {
        Ok(Self::default())
    }

    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        self.lock().get(key.as_str()).copied()
    }

    #[inline]
    fn insert(&self, key: &Key, value: u64) {
        let key = key.clone();
        self.lock().insert(key, value);
    }

    fn held(&self) -> usize {
        self.lock().len()
    }
}
