//! Reproducible draws: the same on every machine and with every version of every crate.

/// SplitMix64 (Steele, Lea, Flood: OOPSLA 2014): small, and good enough to draw a workload.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds draw equal numbers.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A number from 0 to 1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts items into a random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// A Zipf distribution: rank `r`, from 0, is drawn in proportion to `1 / (r + 1) ^ skew`.
#[derive(Debug)]
pub struct Zipf {
    /// Weight of all ranks up to each one.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Over `ranks` ranks; 0.99 is the usual skew (YCSB).
    #[must_use]
    pub fn new(ranks: usize, skew: f64) -> Self {
        let mut total = 0.0;
        let weights = (1..=ranks).map(|rank| {
            total += (rank as f64).powf(-skew);
            total
        });
        Self { cumulative: weights.collect() }
    }

    /// Draws a rank. `O(log ranks)`.
    pub fn draw(&self, random: &mut Random) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let point = random.unit() * total;
        let rank = self.cumulative.partition_point(|&weight| weight <= point);
        rank.min(self.cumulative.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_published_ones_of_the_generator() {
        let mut random = Random::seeded(1_234_567);
        let drawn = [random.bits(), random.bits(), random.bits()];
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn shuffling_keeps_every_item_and_moves_most() {
        let mut items: Vec<usize> = (0..1000).collect();
        Random::seeded(1).shuffle(&mut items);
        assert!(items.iter().enumerate().filter(|&(at, &item)| at == item).count() < 20);
        items.sort_unstable();
        assert!(items.iter().enumerate().all(|(at, &item)| at == item));
    }

    #[test]
    fn ranks_come_as_often_as_zipf_says() {
        let (ranks, skew, draws) = (1000, 0.99, 400_000);
        let zipf = Zipf::new(ranks, skew);
        let mut random = Random::seeded(3);
        let mut seen = vec![0u32; ranks];
        (0..draws).for_each(|_| seen[zipf.draw(&mut random)] += 1);
        let total: f64 = (1..=ranks).map(|rank| (rank as f64).powf(-skew)).sum();
        for rank in [0, 1, 9, 99] {
            let wanted = f64::from(draws) * ((rank + 1) as f64).powf(-skew) / total;
            let tolerance = 5.0 * wanted.sqrt();
            assert!((f64::from(seen[rank]) - wanted).abs() < tolerance, "rank {rank}");
        }
        assert!(seen[900..].iter().sum::<u32>() > 0, "the tail is never drawn");
    }
}
