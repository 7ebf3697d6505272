//! Why keys left that are not held any more.
//!
//! Idea: four bytes for a departed key, 29 bits of its hash and the cause, in buckets of four that
//! are queues: the newest comes in front, the oldest falls off. So each key is remembered for about
//! as many departures as there are places. The shape is that of the ghosts of the adaptive policy,
//! which remember uses, and evicted keys alone.
//!
//! Memory: none until something leaves; then at most eight bytes for each entry that the shard may
//! hold, but 4 KiB at least and 256 KiB at most. A key that was never there is taken for a departed one at most once
//! in 65,536 times.
//!
//! Cost: one line of memory per departure and per miss; nothing on a hit.

use super::miss::MissReason;

const WAYS: usize = 4;
const REASON_BITS: u32 = 3;
const REASON_MASK: u32 = (1 << REASON_BITS) - 1;

/// What is left of a hash must fit beside the cause.
/// A small cache remembers more than it holds.
const FEWEST_BUCKET_BITS: u32 = 8;
const MOST_BUCKET_BITS: u32 = 14;

type Bucket = [u32; WAYS];

/// Remembers departures. A free place is 0: no cause has that number.
#[derive(Debug)]
pub(in crate::engine) struct Departures {
    buckets: Vec<Bucket>,
    bucket_bits: u32,
}

impl Departures {
    pub(in crate::engine) fn of_capacity(entries: usize) -> Self {
        let bits = entries.div_ceil(WAYS).max(1).next_power_of_two().ilog2();
        let bucket_bits = bits.clamp(FEWEST_BUCKET_BITS, MOST_BUCKET_BITS);
        Self { buckets: Vec::new(), bucket_bits }
    }

    /// The key with this hash has left.
    pub(in crate::engine) fn note(&mut self, hash: u32, why: MissReason) {
        if self.buckets.is_empty() {
            self.buckets = vec![[0; WAYS]; 1 << self.bucket_bits];
        }
        let (at, rest) = self.place(hash);
        let Some(bucket) = self.buckets.get_mut(at) else { return };
        let same = bucket.iter().position(|&cell| is_of(cell, rest)).unwrap_or(WAYS - 1);
        bucket[..=same].rotate_right(1);
        bucket[0] = rest << REASON_BITS | number(why);
    }

    /// Why the key with this hash left last. Anything that is not remembered is cold.
    pub(in crate::engine) fn last(&self, hash: u32) -> MissReason {
        let (at, rest) = self.place(hash);
        let found = self.buckets.get(at).into_iter().flatten().find(|&&cell| is_of(cell, rest));
        found.map_or(MissReason::Cold, |cell| reason(cell & REASON_MASK))
    }

    fn place(&self, hash: u32) -> (usize, u32) {
        ((hash & ((1 << self.bucket_bits) - 1)) as usize, hash >> self.bucket_bits)
    }
}

fn is_of(cell: u32, rest: u32) -> bool {
    cell != 0 && cell >> REASON_BITS == rest
}

const fn number(why: MissReason) -> u32 {
    match why {
        MissReason::Cold | MissReason::Lease => 0,
        MissReason::Expired => 1,
        MissReason::Evicted => 2,
        MissReason::Invalidated => 3,
        MissReason::Stale => 4,
        MissReason::TooLarge => 5,
    }
}

const fn reason(number: u32) -> MissReason {
    match number {
        1 => MissReason::Expired,
        2 => MissReason::Evicted,
        3 => MissReason::Invalidated,
        4 => MissReason::Stale,
        5 => MissReason::TooLarge,
        _ => MissReason::Cold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAUSES: [MissReason; 5] = [
        MissReason::Expired,
        MissReason::Evicted,
        MissReason::Invalidated,
        MissReason::Stale,
        MissReason::TooLarge,
    ];

    /// The same with lists that know all of each hash.
    #[derive(Default)]
    struct Model(std::collections::HashMap<u32, Vec<(u32, MissReason)>>);

    impl Model {
        fn note(&mut self, hash: u32, why: MissReason, bits: u32) {
            let bucket = self.0.entry(hash & ((1 << bits) - 1)).or_default();
            bucket.retain(|&(other, _)| other != hash);
            bucket.insert(0, (hash, why));
            bucket.truncate(WAYS);
        }

        fn last(&self, hash: u32, bits: u32) -> MissReason {
            let bucket = self.0.get(&(hash & ((1 << bits) - 1)));
            let found = bucket.and_then(|all| all.iter().find(|&&(other, _)| other == hash));
            found.map_or(MissReason::Cold, |&(_, why)| why)
        }
    }

    proptest! {
        #[test]
        fn the_newest_of_each_bucket_are_remembered(
            departures in prop::collection::vec((0u32..200, 0usize..5), 0..300),
            high in 0u32..4,
        ) {
            // Few hashes in few buckets, and some that differ in their upper bits alone.
            let mut seen = Departures::of_capacity(1);
            let mut model = Model::default();
            let spread = |n: u32| (n % 16) | ((n / 16) << FEWEST_BUCKET_BITS) | (high << 30);
            for (hash, cause) in departures {
                let hash = spread(hash);
                seen.note(hash, CAUSES[cause]);
                model.note(hash, CAUSES[cause], FEWEST_BUCKET_BITS);
                prop_assert_eq!(seen.last(hash), CAUSES[cause]);
            }
            for hash in 0..250 {
                let hash = spread(hash);
                prop_assert_eq!(seen.last(hash), model.last(hash, FEWEST_BUCKET_BITS));
            }
        }
    }

    #[test]
    fn there_is_no_memory_before_a_departure_and_a_bound_after() {
        let mut seen = Departures::of_capacity(usize::MAX / 2);
        assert_eq!(seen.last(7), MissReason::Cold);
        assert_eq!(seen.buckets.capacity(), 0);
        (0..1_000_000).for_each(|hash| seen.note(hash, MissReason::Evicted));
        assert_eq!(size_of_val(&*seen.buckets), 256 << 10);
    }

    #[test]
    fn about_as_many_are_remembered_as_entries_fit() {
        let mut seen = Departures::of_capacity(10_000);
        // Spread as hashes are.
        let hash = |n: u32| n.wrapping_mul(0x9E37_79B1);
        (0..10_000).for_each(|n| seen.note(hash(n), MissReason::Expired));
        let known = (0..10_000).filter(|&n| seen.last(hash(n)) == MissReason::Expired).count();
        assert!(known > 9_000, "{known}");
        let strangers = (10_000..200_000).map(hash).filter(|&n| seen.last(n) != MissReason::Cold);
        assert!(strangers.count() < 20);
    }
}
