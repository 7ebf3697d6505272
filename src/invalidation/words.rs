//! What lies where in a table of invalidations: words of 64 bits, each an atomic of its own.
//!
//! Processes that share a table may run different versions of this library, so the order below is
//! part of what [`LAYOUT_VERSION`] names: change one and you must change the other.

// Model checkers know of no files, which much of this is for.
#![cfg_attr(any(loom, shuttle), allow(dead_code, unused_imports))]

use super::slots::{HASH_VERSION, SLOT_COUNT};

/// Names the order of the words.
const LAYOUT_VERSION: u32 = 2;

/// First word of every table: "velrotbl".
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"velrotbl");

/// Second word: what processes must agree on to share a table.
pub(super) const VERSION: u64 = (LAYOUT_VERSION as u64) << 32 | HASH_VERSION as u64;

// Who a table is. Written before anybody else sees it, and never again.
pub(super) const AT_MAGIC: usize = 0;
pub(super) const AT_VERSION: usize = 1;
/// All slots, and in the highest bit whether there are those for other hosts.
pub(super) const AT_SIZE: usize = 2;
/// In which life of the machine its clock began.
pub(super) const AT_BOOT: usize = 3;
/// Milliseconds for which the machine had been suspended when it was made.
#[cfg(not(any(loom, shuttle)))]
pub(super) const AT_SUSPENDED: usize = 4;
/// Drawn at random.
pub(super) const AT_IDENTITY: usize = 5;
/// Names the log its users must have in common; 0 for none.
pub(super) const AT_LOG: usize = 6;
/// Set once the table must not be used any more.
pub(super) const AT_RETIRED: usize = 7;

/// Words of a cache line. A model checker makes every word anew for every order it tries, so
/// there they lie close together, and those above are left out.
const LINE: usize = if cfg!(loom) { 1 } else { 8 };
const USED: usize = if cfg!(loom) { 0 } else { LINE };

// Each of these is in a cache line of its own: what all readers read is not what writers count.
/// Advances twice with every invalidation.
pub(super) const CLOCK: usize = USED;
/// No stamp below it is believed.
pub(super) const FLOOR: usize = CLOCK + LINE;
/// Milliseconds, plus one, up to which this host knows of everything in the log; 0: never did.
pub(super) const LEASE: usize = FLOOR + LINE;
/// Milliseconds for which the machine was suspended since the table was made.
pub(super) const SUSPENDED: usize = LEASE + 1;

// Between hosts; see `bus`.
/// What of the log was applied here.
pub(super) const POSITION: usize = LEASE + if cfg!(loom) { 2 } else { LINE };
/// Values loaded before this position are not believed.
pub(super) const BUS_FLOOR: usize = POSITION + 1;
/// Invalidations of everything or by wildcards that the log has not acknowledged yet.
pub(super) const PENDING_FLOOR: usize = POSITION + 2;
/// Hashes of the last few generations of the log; that of epoch `e` at `e` modulo their number.
pub(super) const GENERATIONS: usize = POSITION + 3;
pub(super) const GENERATIONS_KEPT: usize = if cfg!(loom) { 2 } else { 5 };

/// The last few entries of this host's own, which need not be applied again.
pub(super) const OWN: usize = GENERATIONS + GENERATIONS_KEPT;
pub(super) const OWN_KEPT: usize = if cfg!(loom) { 1 } else { 64 };

// For those who watch; see `counters`.
pub(super) const COUNTERS: usize = OWN + OWN_KEPT;
pub(super) const COUNTERS_KEPT: usize = if cfg!(loom) { 0 } else { 2 * LINE };

// Wildcards; see `pattern_ring`.
/// Wildcards so far.
pub(super) const PATTERNS_PUSHED: usize = COUNTERS + COUNTERS_KEPT;
/// The newest time of one.
pub(super) const PATTERNS_NEWEST: usize = PATTERNS_PUSHED + 1;
/// The newest time of one that is forgotten.
pub(super) const HORIZON: usize = PATTERNS_PUSHED + 2;
/// When the last one that is forgotten was there for all to see.
pub(super) const HORIZON_PUBLISHED: usize = PATTERNS_PUSHED + 3;

/// Wildcards remembered.
pub(super) const PATTERNS: usize = if cfg!(loom) { 2 } else { 64 };
/// Words for the text of one: 1,000 bytes.
pub(super) const PATTERN_WORDS: usize = if cfg!(loom) { 1 } else { 125 };
/// For each: its state, its time, when it was there for all to see.
pub(super) const PATTERN_STATES: usize = HORIZON_PUBLISHED + 1;
pub(super) const PATTERN_TIMES: usize = PATTERN_STATES + PATTERNS;
pub(super) const PATTERNS_PUBLISHED: usize = PATTERN_TIMES + PATTERNS;
pub(super) const PATTERN_LENGTHS: usize = PATTERNS_PUBLISHED + PATTERNS;
pub(super) const PATTERN_TEXTS: usize = PATTERN_LENGTHS + PATTERNS;

/// Words before the slots; whole pages.
pub(super) const HEAD_WORDS: usize =
    (PATTERN_TEXTS + PATTERNS * PATTERN_WORDS).next_multiple_of(64 * LINE);

/// Words of a table for one host.
#[cfg(not(any(loom, shuttle)))]
pub(super) const WORDS: usize = HEAD_WORDS + SLOT_COUNT as usize;

/// Words that are there besides where hosts tell each other.
#[cfg(not(any(loom, shuttle)))]
pub(super) const BUS_WORDS: usize = 2 * SLOT_COUNT as usize;

/// The word at [`AT_SIZE`].
#[cfg(not(any(loom, shuttle)))]
pub(super) const fn size_word(has_bus: bool) -> u64 {
    SLOT_COUNT as u64 | (has_bus as u64) << 63
}

/// A clock that stands for none: nothing can be believed, nothing can be stored.
pub(crate) const NO_CLOCK: u64 = 1 << 62;
