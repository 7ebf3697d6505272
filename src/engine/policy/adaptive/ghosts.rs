//! Keys that were evicted, as fingerprints.
//!
//! Idea: what is thrown out is no longer seen to be used, so statistics of residents alone would
//! confirm whatever the policy believes. Here an evicted key is remembered with its usage. If it
//! returns, the return counts as a use at its true age and the entry takes up its history;
//! if it is forgotten first, it counts as given up.
//!
//! Four bytes a key, in buckets of eight that are queues: the newest comes in front, the oldest
//! falls off. A wrong match needs the same bucket and 12 equal bits: about one new key in 500
//! is taken for another, which blurs the statistics and does no other harm.
//!
//! Cost: one half of a cache line per new key and per eviction.

use super::scale::Scale;
use super::usage::Usage;

const WAYS: usize = 8;
const FINGERPRINT_BITS: u32 = 12;
const LEVEL_BITS: u32 = 3;
const INTERVAL_BITS: u32 = 5;
const TIME_BITS: u32 = 12;

/// Keys remembered for every entry that fits. More would tell more of long intervals, but eight
/// bytes an entry are enough.
const PER_ENTRY: usize = 2;
/// A small cache remembers this many: it could not learn from two times its few entries.
const MIN_KEYS: usize = 2_048;

/// From the second level on in the middle between two powers of two.
const COUNT_OF_LEVEL: [u32; 1 << LEVEL_BITS] = [0, 1, 3, 6, 12, 24, 48, 96];

/// Row numbers have 32 bits.
const MAX_ENTRIES: usize = 1 << 30;

/// Fields from the lowest bit: fingerprint, level of the count, interval in half-octaves, time
/// of the last use in units. Zero is a free slot.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Bucket([u32; WAYS]);

#[derive(Debug)]
pub(super) struct Ghosts {
    buckets: Box<[Bucket]>,
    scale: Scale,
    /// A unit of time is 2^this ticks.
    unit_bits: u32,
}

impl Ghosts {
    /// Remembers nothing, and takes no memory, until there is an eviction.
    pub(super) fn none() -> Self {
        Self { buckets: Box::default(), scale: Scale::of_capacity(0), unit_bits: 0 }
    }

    pub(super) fn for_capacity(entries: usize, scale: Scale) -> Self {
        let keys = entries.min(MAX_ENTRIES).saturating_mul(PER_ENTRY).max(MIN_KEYS);
        // One more key evicted is one more tick, so times four covers the time a key is
        // remembered for.
        let unit_bits = (keys.ilog2() + 2).saturating_sub(TIME_BITS - 1);
        let buckets = vec![Bucket([0; WAYS]); keys.div_ceil(WAYS)].into();
        Self { buckets, scale, unit_bits }
    }

    pub(super) fn is_none(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Remembers a key that is evicted. Returns what had to be forgotten for it.
    pub(super) fn remember(&mut self, hash: u32, usage: Usage, now: u32) -> Option<Usage> {
        let ghost = self.pack(hash, usage, now);
        let Bucket(slots) = self.bucket(hash)?;
        let [.., oldest] = *slots;
        slots.copy_within(..WAYS - 1, 1);
        slots[0] = ghost;
        (oldest != 0).then(|| self.unpack(oldest, now))
    }

    /// The usage of a key that returns, which is no longer a ghost then.
    pub(super) fn recall(&mut self, hash: u32, now: u32) -> Option<Usage> {
        let Bucket(slots) = self.bucket(hash)?;
        let at =
            slots.iter().position(|slot| field(*slot, 0, FINGERPRINT_BITS) == fingerprint(hash))?;
        let ghost = slots[at];
        slots.copy_within(at + 1.., at);
        slots[WAYS - 1] = 0;
        Some(self.unpack(ghost, now))
    }

    /// By the upper bits of the hash; the fingerprint has the lower ones.
    fn bucket(&mut self, hash: u32) -> Option<&mut Bucket> {
        let at = (u64::from(hash) * self.buckets.len() as u64) >> 32;
        self.buckets.get_mut(at as usize)
    }

    fn pack(&self, hash: u32, usage: Usage, now: u32) -> u32 {
        let age = (usage.age(now) >> self.unit_bits).min((1 << (TIME_BITS - 1)) - 1);
        let time = (now >> self.unit_bits).wrapping_sub(age);
        let interval = self.scale.half_octaves(usage.interval()).min((1 << INTERVAL_BITS) - 1);
        let level = u32::BITS - usage.count().leading_zeros();
        let level = level.min((1 << LEVEL_BITS) - 1);
        (((time << INTERVAL_BITS | interval) << LEVEL_BITS | level) << FINGERPRINT_BITS)
            | fingerprint(hash)
    }

    fn unpack(&self, ghost: u32, now: u32) -> Usage {
        let mut above = FINGERPRINT_BITS;
        let mut next = |bits| {
            let value = field(ghost, above, bits);
            above += bits;
            value
        };
        let (level, interval, time) = (next(LEVEL_BITS), next(INTERVAL_BITS), next(TIME_BITS));
        let units = (now >> self.unit_bits).wrapping_sub(time) & ((1 << TIME_BITS) - 1);
        // The last use was somewhere within its unit: take the middle.
        let (unit, passed) = (1u32 << self.unit_bits, now & ((1 << self.unit_bits) - 1));
        let age = units.wrapping_mul(unit).wrapping_add(passed).saturating_sub(unit / 2).max(1);
        let count = COUNT_OF_LEVEL[level as usize % COUNT_OF_LEVEL.len()];
        let interval = self.scale.middle_of_half_octave(interval);
        Usage::new(now.wrapping_sub(age), interval, count)
    }
}

fn field(ghost: u32, above: u32, bits: u32) -> u32 {
    (ghost >> above) & ((1 << bits) - 1)
}

/// Never zero, so that no ghost looks like a free slot.
fn fingerprint(hash: u32) -> u32 {
    field(hash, 0, FINGERPRINT_BITS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 10_000;

    fn ghosts() -> Ghosts {
        Ghosts::for_capacity(CAPACITY, Scale::of_capacity(CAPACITY))
    }

    fn hash(number: u32) -> u32 {
        number.wrapping_mul(0x9E37_79B1).rotate_left(11).wrapping_mul(0x85EB_CA6B)
    }

    #[test]
    fn a_return_tells_the_true_age_and_the_history() {
        let mut ghosts = ghosts();
        for start in [1_000, u32::MAX - 5_000] {
            let usage = Usage::new(start, 700, 5);
            assert_eq!(ghosts.remember(hash(1), usage, start.wrapping_add(4_000)), None);
            let now = start.wrapping_add(12_000);
            let back = ghosts.recall(hash(1), now).expect("it was remembered");
            assert!(back.age(now).abs_diff(12_000) <= 64, "{back:?}");
            assert!(back.interval().abs_diff(700) < 175);
            assert!((4..8).contains(&back.count()));
            assert_eq!(ghosts.recall(hash(1), now), None, "it is a ghost no longer");
        }
    }

    #[test]
    fn a_key_never_used_again_comes_back_as_one() {
        let mut ghosts = ghosts();
        ghosts.remember(hash(1), Usage::first(50), 60);
        let back = ghosts.recall(hash(1), 100).expect("it was remembered");
        assert_eq!(back.count(), 0);
        assert_eq!(Scale::of_capacity(CAPACITY).interval_cell(back.interval()), 0);
    }

    #[test]
    fn about_twice_the_capacity_is_remembered_and_the_oldest_goes_first() {
        let mut ghosts = ghosts();
        let mut forgotten = 0;
        for number in 0..100_000 {
            forgotten +=
                u32::from(ghosts.remember(hash(number), Usage::first(number), number).is_some());
        }
        assert!((78_000..=81_000).contains(&forgotten), "{forgotten}");
        let mut known = |numbers: std::ops::Range<u32>| {
            numbers.filter(|&number| ghosts.recall(hash(number), 100_000).is_some()).count()
        };
        assert!(known(95_000..100_000) > 4_950);
        assert!(known(0..5_000) < 100, "only by equal fingerprints");
    }

    #[test]
    fn nothing_is_remembered_without_memory() {
        let mut ghosts = Ghosts::none();
        assert_eq!(ghosts.remember(1, Usage::first(0), 1), None);
        assert_eq!(ghosts.recall(1, 1), None);
    }
}
