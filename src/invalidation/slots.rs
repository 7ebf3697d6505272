//! Which slots of the table a key, a prefix of a key or a tag stands for.
//!
//! The slots are divided into regions by what they stand for, so that a fine-grained
//! invalidation (one key) can never hit the slot of a coarse one (everything below `auth:`),
//! which would empty half the cache by accident.
//!
//! The hash (rapidhash V3) has fixed seeds, and gives the same everywhere: processes that share a table, and later versions of this library,
//! must agree on it. [`HASH_VERSION`] names it; change one and you must change the other.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};
use smallvec::SmallVec;

/// Number of a slot in the table.
pub type Slot = u32;

/// Slots an entry depends on. Typical: a key of six segments with four tags has ten.
pub type SlotList = SmallVec<[Slot; 16]>;

/// Names the hash and the layout of the regions; part of what processes must agree on.
pub const HASH_VERSION: u32 = 2;

/// Prefixes of this many segments and fewer have slots. Deeper ones are reached through the
/// pattern log. Every kind of key this package builds itself is shallower.
pub const MAX_PREFIX_DEPTH: usize = 8;

/// All slots of a table.
pub const SLOT_COUNT: u32 = 1 << 18;

#[derive(Clone, Copy)]
struct Region {
    start: u32,
    len: u32,
}

// Few distinct names, rarely invalidated, each covering very many entries: small regions.
const PREFIX_OF_1: Region = Region { start: 0, len: 1 << 10 };
const PREFIX_OF_2: Region = Region { start: 1 << 10, len: 1 << 12 };
const PLAIN_TAG: Region = Region { start: 5 << 10, len: 1 << 12 };
// One id each (`auth:gen:{id}`, `user:{id}`): as many names as users and resources.
const PREFIX_OF_3: Region = Region { start: 9 << 10, len: 1 << 15 };
const DEEP_PREFIX: Region = Region { start: 41 << 10, len: 1 << 15 };
const ID_TAG: Region = Region { start: 73 << 10, len: 1 << 16 };
// One per entry, bumped by every delete: all that is left.
const WHOLE_KEY: Region = Region { start: 137 << 10, len: SLOT_COUNT - (137 << 10) };

/// The slot of one whole key.
#[must_use]
pub fn of_key(key: &[u8]) -> Slot {
    place(WHOLE_KEY, hash(&KEYS, key))
}

/// The slot of a tag. Tags of the form `kind:id` and plain ones live in different regions.
#[must_use]
pub fn of_tag(tag: &[u8]) -> Slot {
    place(if tag.contains(&b':') { ID_TAG } else { PLAIN_TAG }, hash(&TAGS, tag))
}

/// The slot of everything below a prefix, given without its closing `:`.
///
/// Returns `None` where the prefix is deeper than [`MAX_PREFIX_DEPTH`].
#[must_use]
pub fn of_prefix(prefix: &[u8]) -> Option<Slot> {
    let (mut depth, mut above) = (0, 0);
    for segment in prefix.split(|&byte| byte == b':') {
        depth += 1;
        above = hash_below(above, segment);
    }
    (depth <= MAX_PREFIX_DEPTH).then(|| place(region_of_prefix(depth), above))
}

/// Appends the slots a key depends on by itself: the whole key and each of its prefixes.
pub fn push_key(key: &[u8], slots: &mut SlotList) {
    slots.push(of_key(key));
    // One pass: the hash of a prefix goes on where that of a shorter one ended.
    let (mut depth, mut above, mut from) = (0, 0, 0);
    for (end, _) in key.iter().enumerate().filter(|&(_, &byte)| byte == b':') {
        depth += 1;
        if depth > MAX_PREFIX_DEPTH {
            return;
        }
        above = hash_below(above, &key[from..end]);
        from = end + 1;
        slots.push(place(region_of_prefix(depth), above));
    }
}

/// A number by which processes tell texts apart; never 0.
#[must_use]
pub fn fingerprint(text: &[u8]) -> u64 {
    hash(&FINGERPRINTS, text).max(1)
}

fn region_of_prefix(depth: usize) -> Region {
    match depth {
        1 => PREFIX_OF_1,
        2 => PREFIX_OF_2,
        3 => PREFIX_OF_3,
        _ => DEEP_PREFIX,
    }
}

// Keys, tags and prefixes of the same text are different things.
const KEYS: RapidSecrets = RapidSecrets::seed_cpp(1);
const TAGS: RapidSecrets = RapidSecrets::seed_cpp(2);
const PREFIXES: RapidSecrets = RapidSecrets::seed_cpp(3);
const FINGERPRINTS: RapidSecrets = RapidSecrets::seed_cpp(4);

fn hash(of: &RapidSecrets, name: &[u8]) -> u64 {
    rapidhash_v3_micro_inline::<true, false>(name, of)
}

/// The hash of a prefix one segment longer.
fn hash_below(above: u64, segment: &[u8]) -> u64 {
    let parts = [above.to_le_bytes(), hash(&PREFIXES, segment).to_le_bytes()];
    hash(&PREFIXES, parts.as_flattened())
}

fn place(region: Region, hash: u64) -> Slot {
    // Multiply-shift instead of a remainder: any region length, no bias worth speaking of.
    let scaled = (u128::from(hash) * u128::from(region.len)) >> 64;
    region.start + scaled as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_fill_the_table_without_overlap() {
        let regions =
            [PREFIX_OF_1, PREFIX_OF_2, PLAIN_TAG, PREFIX_OF_3, DEEP_PREFIX, ID_TAG, WHOLE_KEY];
        let mut next = 0;
        for region in regions {
            assert_eq!(region.start, next);
            next = region.start + region.len;
        }
        assert_eq!(next, SLOT_COUNT);
    }

    #[test]
    fn hash_is_the_one_other_processes_use() {
        // Written down: a change here silently splits processes that share a table.
        assert_eq!(HASH_VERSION, 2);
        assert_eq!(of_key(b"auth:user:1:profile"), 235_443);
        assert_eq!(of_tag(b"user:1"), 137_662);
        assert_eq!(of_prefix(b"auth:user:1"), Some(19_900));
    }

    #[test]
    fn key_depends_on_itself_and_each_prefix() {
        let mut slots = SlotList::new();
        push_key(b"auth:user:1:profile", &mut slots);
        let wanted = [
            of_key(b"auth:user:1:profile"),
            of_prefix(b"auth").unwrap(),
            of_prefix(b"auth:user").unwrap(),
            of_prefix(b"auth:user:1").unwrap(),
        ];
        assert_eq!(slots.as_slice(), wanted);
    }

    #[test]
    fn prefixes_deeper_than_the_limit_have_no_slot() {
        assert!(of_prefix(b"1:2:3:4:5:6:7:8").is_some());
        assert!(of_prefix(b"1:2:3:4:5:6:7:8:9").is_none());
        let mut slots = SlotList::new();
        push_key(&b":".repeat(1000), &mut slots);
        assert_eq!(slots.len(), 1 + MAX_PREFIX_DEPTH);
    }
}
