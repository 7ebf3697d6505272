//! The row with the lowest expected use among a sample goes.
//!
//! Idea: what a row will earn is estimated as uses per request since it was last used, times
//! its priority, and per byte where bytes are what is short. Frequency keeps the popular,
//! idleness lets the formerly popular go. Sampling instead of sorting follows hyperbolic caching
//! (Blankstein, Sen, Freedman: USENIX ATC 2017), which divides by the age since insertion; the
//! time since the last use serves better here, because authorization traffic shifts.
//!
//! Cost: nothing per hit, `O(sample)` per eviction, no memory per row. When not to use it: where
//! the order of eviction must be predictable.

use super::{Pressure, RowId, Rows};
use crate::engine::row::Row;

/// Rows looked at for one victim. Beyond this, hit rates gain less than the look-ups cost.
const SAMPLE: usize = 16;

/// Uses beyond this many count as this many, so that what was very popular once can be forgotten.
const MOST_USES: u32 = 31;

#[derive(Debug)]
pub(in crate::engine) struct Adaptive {
    random: u64,
}

impl Adaptive {
    pub(in crate::engine) fn new() -> Self {
        // Any odd start will do: nobody gains by guessing which rows are looked at.
        Self { random: 0x9E37_79B9_7F4A_7C15 }
    }

    pub(in crate::engine) fn victim<V>(
        &mut self,
        rows: &Rows<V>,
        pressure: Pressure,
    ) -> Option<RowId> {
        let mut worst: Option<(f64, RowId)> = None;
        let mut look = |id: usize| {
            if let Some(row) = rows.get(id).and_then(Option::as_ref) {
                let worth = worth(row, pressure);
                if worst.is_none_or(|(lowest, _)| worth < lowest) {
                    worst = Some((worth, id as RowId));
                }
            }
        };
        if rows.len() <= SAMPLE {
            (0..rows.len()).for_each(&mut look);
        } else {
            for _ in 0..SAMPLE {
                // xorshift64 (Marsaglia 2003), then multiply-shift into the range.
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                look(((u128::from(self.random) * rows.len() as u128) >> 64) as usize);
            }
        }
        match worst {
            Some((_, id)) => Some(id),
            // Only freed places were drawn: take the first row there is.
            None => rows.iter().position(Option::is_some).map(|id| id as RowId),
        }
    }
}

fn worth<V>(row: &Row<V>, pressure: Pressure) -> f64 {
    let uses = f64::from(row.hits.min(MOST_USES) + 1) * f64::from(row.priority.max(1));
    let idle = (pressure.now.saturating_sub(row.last_access) + 1) as f64;
    let bytes = if pressure.by_bytes { f64::from(row.weight) } else { 1.0 };
    uses / (idle * bytes)
}
