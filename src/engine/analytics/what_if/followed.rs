//! A key that is followed: on what its value rests, and where the small caches hold it.

use super::CHANGES;
use super::small_cache::{NOWHERE, NewSmall, SmallCache};
use crate::engine::clock::Millis;
use crate::engine::row::Grounds;
use crate::invalidation::{InvalidationTable, Stamp};

/// What is known of a followed key: of the value that was stored last.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) grounds: Grounds,
    /// Clock of the table when these were last found to hold.
    pub(super) checked_at: Stamp,
    /// When it ends.
    pub(super) deadline: Millis,
    /// How long it was to live.
    pub(super) ttl: Millis,
    pub(super) weight: u32,
    pub(super) priority: u8,
    /// Whether the real cache holds it.
    pub(super) is_held: bool,
    /// Whether the real cache was asked for it in vain since it was set.
    pub(super) was_missed: bool,
    /// Where each small cache holds it.
    pub(super) places: [u32; CHANGES.len()],
}

impl Default for Followed {
    fn default() -> Self {
        Self {
            grounds: Grounds::default(),
            checked_at: 0,
            deadline: 0,
            ttl: 0,
            weight: 0,
            priority: 0,
            is_held: false,
            was_missed: false,
            places: [NOWHERE; CHANGES.len()],
        }
    }
}

impl Followed {
    /// Whether a small cache answers a lookup; if so, it was one.
    pub(super) fn touch(
        &mut self,
        number: usize,
        cache: &mut SmallCache,
        now: Millis,
        uses: u64,
    ) -> bool {
        let is_hit = cache.touch(self.places[number], now, uses);
        if !is_hit {
            self.leave(number, cache);
        }
        is_hit
    }

    /// Takes it out of a small cache.
    pub(super) fn leave(&mut self, number: usize, cache: &mut SmallCache) {
        let place = std::mem::replace(&mut self.places[number], NOWHERE);
        cache.remove(place);
    }

    /// Whether nothing that it rests on was invalidated.
    pub(super) fn holds(&mut self, key: &[u8], table: &InvalidationTable) -> bool {
        // Before the check, as for a row.
        let clock = table.now();
        if self.checked_at == clock {
            return true;
        }
        let holds = self.grounds.hold(&Box::<[u8]>::from(key), self.checked_at, table);
        if holds {
            self.checked_at = clock;
        }
        holds
    }

    /// Whether no cache holds it, the real one included.
    pub(super) fn is_unheld(&self) -> bool {
        !self.is_held && self.places == [NOWHERE; CHANGES.len()]
    }

    /// Its value as one that is stored now, with a life of so many times the length.
    pub(super) fn as_new(&self, hash: u32, now: Millis, factor: f64) -> NewSmall {
        NewSmall {
            hash,
            deadline: now.saturating_add((self.ttl as f64 * factor) as Millis),
            weight: self.weight,
            priority: self.priority,
        }
    }

    /// The value was overwritten some time ago by one that ends then. Returns when.
    ///
    /// Nobody told, because overwriting is to cost no more than without us. So its life is taken for
    /// as long as that of the value before, or for what is left of it, if that is longer.
    pub(super) fn overwritten(&mut self, deadline: Millis, now: Millis) -> Millis {
        self.deadline = deadline;
        self.ttl = self.ttl.max(deadline.saturating_sub(now));
        deadline.saturating_sub(self.ttl)
    }
}
