//! Keys like the real ones, and the order in which they are asked for.

use crate::random::{Random, Zipf};
use std::borrow::Borrow;

const SEED: u64 = 20_240_607;

/// A key, `auth:user:<uuid>:profile`: 54 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// Its text.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The value under the key with this number.
#[inline]
#[must_use]
pub fn value_of(number: u32) -> u64 {
    u64::from(number) * 3 + 1
}

/// Different keys, the same ones every time.
#[must_use]
pub fn keys(count: usize) -> Vec<Key> {
    let mut random = Random::seeded(SEED);
    let key = |_| {
        let (high, low) = (random.bits(), random.bits());
        let text = format!(
            "auth:user:{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}:profile",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFF,
            0x8000 | ((low >> 48) & 0x3FFF),
            low & 0xFFFF_FFFF_FFFF,
        );
        Key(text.into_boxed_str())
    };
    (0..count).map(key).collect()
}

/// Numbers `from..from + keys` in random order, again and again in other orders, until there are
/// `length`. One fixed order repeated would be learned by the processor.
#[must_use]
pub fn shuffled(from: u32, keys: u32, length: usize, salt: u64) -> Vec<u32> {
    let mut random = Random::seeded(SEED + salt);
    let mut order: Vec<u32> = (from..from + keys).collect();
    let mut numbers = Vec::with_capacity(length);
    while numbers.len() < length {
        random.shuffle(&mut order);
        numbers.extend(order.iter().take(length - numbers.len()));
    }
    numbers
}

/// Numbers below `keys`, drawn from a Zipf distribution.
#[must_use]
pub fn zipf(keys: u32, skew: f64, length: usize) -> Vec<u32> {
    let zipf = Zipf::new(keys as usize, skew);
    let mut random = Random::seeded(SEED);
    (0..length).map(|_| zipf.draw(&mut random) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_are_different_and_have_the_length_of_real_ones() {
        let keys = keys(1000);
        assert!(keys.iter().all(|key| key.as_str().len() == 54));
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 1000);
    }

    #[test]
    fn every_key_comes_equally_often() {
        let numbers = shuffled(5, 10, 100, 0);
        assert!((5..15).all(|key| numbers.iter().filter(|&&other| other == key).count() == 10));
    }
}
