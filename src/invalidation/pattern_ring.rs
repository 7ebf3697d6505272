//! The last few invalidations by wildcard, seen by all processes.
//!
//! A wildcard in the middle of a key has no slot. Whoever wants to believe an entry therefore
//! compares its key with the wildcards that came after its stamp, but for those it was compared
//! with before: a row remembers the clock at which it was last found valid. That is asked only
//! when the clock has moved, so wildcards cost a hit nothing.
//!
//! The ring is short: what falls out of it raises a *horizon*, and entries that are older and
//! were not looked at since are refused unseen. That costs them a load and can never let one
//! through.
//!
//! Nothing here waits for anybody. A place is taken by making its state odd and given back by
//! making it even again (a sequence lock: Lameter, "Effective Synchronization on Linux/NUMA
//! Systems", 2005); readers who meet an odd one, or one that changed under them, take the
//! wildcard for one that covers their key. A writer that dies leaves such a place behind, which
//! covers what is older than it and is passed over by writers.

use super::pattern::Pattern;
use super::table::Stamp;
use super::words::{
    HORIZON, HORIZON_PUBLISHED, PATTERN_LENGTHS, PATTERN_STATES, PATTERN_TEXTS, PATTERN_TIMES,
    PATTERN_WORDS, PATTERNS, PATTERNS_NEWEST, PATTERNS_PUBLISHED, PATTERNS_PUSHED,
};
use crate::sync::{AtomicU64, Ordering};

/// Longest wildcard that finds room, in bytes. Longer ones invalidate everything.
pub(super) const MOST_BYTES: usize = PATTERN_WORDS * size_of::<u64>();

/// Not yet there for all to see. Whoever took the place adds its state, so that nobody mistakes
/// another one's mark for theirs.
const PENDING: u64 = 1 << 63;

/// The words of the ring, among those of a table.
pub(super) trait Ring {
    /// The word at a place known when compiled, or computed from such ones.
    fn head(&self, at: usize) -> &AtomicU64;
}

/// A wildcard that was pushed and is to be published.
pub(super) struct Pushed {
    place: usize,
    mark: u64,
}

/// Adds a wildcard. To be called after the clock was advanced to `at`, and before it is advanced
/// again; [`publish`] follows. `None`: there was no room for it.
pub(super) fn push(ring: &impl Ring, at: Stamp, pattern: &[u8]) -> Option<Pushed> {
    if pattern.len() > MOST_BYTES {
        return None;
    }
    let (place, state) = take_place(ring)?;
    // Whoever compares no more with what was here must find the horizon raised.
    let before = ring.head(PATTERN_TIMES + place).load(Ordering::Relaxed);
    let published = ring.head(PATTERNS_PUBLISHED + place).load(Ordering::Relaxed);
    ring.head(HORIZON_PUBLISHED).fetch_max(published, Ordering::AcqRel);
    ring.head(HORIZON).fetch_max(before, Ordering::AcqRel);
    let mark = PENDING | state;
    // Before the time: who sees the new time sees that it is pending.
    ring.head(PATTERNS_PUBLISHED + place).store(mark, Ordering::Release);
    ring.head(PATTERN_TIMES + place).store(at, Ordering::Release);
    ring.head(PATTERN_LENGTHS + place).store(pattern.len() as u64, Ordering::Release);
    for (word, bytes) in words_of(pattern).enumerate() {
        ring.head(PATTERN_TEXTS + place * PATTERN_WORDS + word).store(bytes, Ordering::Release);
    }
    ring.head(PATTERN_STATES + place).store(state + 2, Ordering::Release);
    // Last: nobody need look at the ring whose stamp is not below this.
    ring.head(PATTERNS_NEWEST).fetch_max(at, Ordering::AcqRel);
    Some(Pushed { place, mark })
}

/// Notes that the clock was advanced to `at` after a push: who has seen that, has seen the
/// wildcard.
pub(super) fn publish(ring: &impl Ring, pushed: &Pushed, at: Stamp) {
    // Only if the place is still ours: another wildcard may have taken it.
    let _ = ring.head(PATTERNS_PUBLISHED + pushed.place).compare_exchange(
        pushed.mark,
        at,
        Ordering::AcqRel,
        Ordering::Relaxed,
    );
}

/// Whether any wildcard is newer than `stamp`.
pub(super) fn has_newer(ring: &impl Ring, stamp: Stamp) -> bool {
    ring.head(PATTERNS_NEWEST).load(Ordering::Acquire) > stamp
}

/// Whether a wildcard newer than `stamp` covers one of `keys`, or may. Those are passed over that
/// were there for all to see when the clock was `checked_at`.
pub(super) fn covers(ring: &impl Ring, keys: &[&[u8]], stamp: Stamp, checked_at: Stamp) -> bool {
    if !has_newer(ring, stamp) {
        return false;
    }
    let in_ring = (0..PATTERNS).any(|place| {
        ring.head(PATTERN_TIMES + place).load(Ordering::Acquire) > stamp
            && ring.head(PATTERNS_PUBLISHED + place).load(Ordering::Acquire) > checked_at
            && read(ring, place).is_none_or(|text| {
                let pattern = Pattern::new(&text);
                keys.iter().any(|key| pattern.matches(key))
            })
    });
    // After the ring: what left it meanwhile has raised the horizon.
    in_ring
        || (ring.head(HORIZON).load(Ordering::Acquire) > stamp
            && ring.head(HORIZON_PUBLISHED).load(Ordering::Acquire) > checked_at)
}

/// The wildcards that were not there for all to see yet at some time, read once for many keys.
pub(super) struct Fresh {
    /// What each is; none: it could not be read.
    patterns: Vec<Option<Pattern>>,
    /// The newest time of one that is forgotten, if it may be among those; otherwise 0.
    horizon: Stamp,
}

/// Reads the wildcards that [`covers`] would ask about, given the same `checked_at` and any stamp.
pub(super) fn published_after(ring: &impl Ring, checked_at: Stamp) -> Fresh {
    let patterns = (0..PATTERNS)
        .filter(|place| ring.head(PATTERNS_PUBLISHED + place).load(Ordering::Acquire) > checked_at)
        .map(|place| read(ring, place).map(|text| Pattern::new(&text)))
        .collect();
    // After the ring: what left it meanwhile has raised the horizon.
    let is_fresh = ring.head(HORIZON_PUBLISHED).load(Ordering::Acquire) > checked_at;
    let horizon = if is_fresh { ring.head(HORIZON).load(Ordering::Acquire) } else { 0 };
    Fresh { patterns, horizon }
}

impl Fresh {
    /// Whether one of them covers one of `keys`, or may: of those that are forgotten, one that is
    /// newer than `stamp`. The others count whenever they came, for one that came before `stamp`
    /// may have been under way then.
    pub(super) fn covers(&self, keys: &[Box<[u8]>], stamp: Stamp) -> bool {
        self.horizon > stamp
            || self.patterns.iter().any(|pattern| {
                pattern.as_ref().is_none_or(|pattern| keys.iter().any(|key| pattern.matches(key)))
            })
    }
}

/// A place that nobody else writes to, and the even state it had.
fn take_place(ring: &impl Ring) -> Option<(usize, u64)> {
    (0..PATTERNS).find_map(|_| {
        let turn = ring.head(PATTERNS_PUSHED).fetch_add(1, Ordering::Relaxed);
        let place = (turn % PATTERNS as u64) as usize;
        let state = ring.head(PATTERN_STATES + place);
        let now = state.load(Ordering::Relaxed);
        let taken = now.is_multiple_of(2)
            && state.compare_exchange(now, now + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        taken.then_some((place, now))
    })
}

/// The text in a place; `None` while it is being written.
fn read(ring: &impl Ring, place: usize) -> Option<Vec<u8>> {
    let state = ring.head(PATTERN_STATES + place).load(Ordering::Acquire);
    let length = ring.head(PATTERN_LENGTHS + place).load(Ordering::Acquire) as usize;
    if !state.is_multiple_of(2) || length > MOST_BYTES {
        return None;
    }
    let mut text: Vec<u8> = (0..length.div_ceil(size_of::<u64>()))
        .flat_map(|word| {
            let at = PATTERN_TEXTS + place * PATTERN_WORDS + word;
            ring.head(at).load(Ordering::Acquire).to_le_bytes()
        })
        .collect();
    text.truncate(length);
    // Acquire above, Release there: whoever read one new word sees the odd state, too.
    let unchanged = ring.head(PATTERN_STATES + place).load(Ordering::Acquire) == state;
    unchanged.then_some(text)
}

fn words_of(text: &[u8]) -> impl Iterator<Item = u64> {
    text.chunks(size_of::<u64>()).map(|bytes| {
        let mut word = [0; size_of::<u64>()];
        for (to, from) in word.iter_mut().zip(bytes) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    })
}
