//! The entry with the lowest expected use among a sample goes.

use super::{Pressure, Resident, Residents, RowId, Usage};

/// Rows looked at for one victim.
const SAMPLE: usize = 16;
/// Uses beyond this many count as this many.
const MOST_USES: u32 = 31;

#[derive(Debug)]
pub(in crate::engine) struct Adaptive {
    random: u64,
}

impl Adaptive {
    pub(super) fn new(_max_entries: usize) -> Self {
        Self { random: 0x9E37_79B9_7F4A_7C15 }
    }

    #[inline]
    pub(super) fn on_hit(&mut self, usage: &mut Usage, now: u32) {
        let uses = (usage.0 as u32).saturating_add(1);
        usage.0 = (u64::from(now) << 32) | u64::from(uses);
    }

    pub(super) fn on_insert(&mut self, _hash: u32, now: u32) -> Usage {
        Usage(u64::from(now) << 32)
    }

    pub(super) fn on_overwrite(&mut self, usage: &mut Usage, now: u32) {
        self.on_hit(usage, now);
    }

    pub(super) fn on_evict(&mut self, _hash: u32, _usage: Usage, _now: u32) {}
    pub(super) fn on_remove(&mut self, _usage: Usage, _now: u32) {}
    pub(super) fn clear(&mut self) {}

    pub(super) fn victim(&mut self, rows: &impl Residents, pressure: Pressure) -> Option<RowId> {
        let mut worst: Option<(f64, RowId)> = None;
        let mut look = |id: usize| {
            if let Some(row) = rows.get(id as RowId) {
                let worth = worth(&row, pressure);
                if worst.is_none_or(|(lowest, _)| worth < lowest) {
                    worst = Some((worth, id as RowId));
                }
            }
        };
        if rows.places() <= SAMPLE {
            (0..rows.places()).for_each(&mut look);
        } else {
            for _ in 0..SAMPLE {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                look(((u128::from(self.random) * rows.places() as u128) >> 64) as usize);
            }
        }
        match worst {
            Some((_, id)) => Some(id),
            None => (0..rows.places() as RowId).find(|&id| rows.get(id).is_some()),
        }
    }
}

fn worth(row: &Resident, pressure: Pressure) -> f64 {
    let uses = f64::from((row.usage.0 as u32).min(MOST_USES) + 1) * f64::from(row.priority.max(1));
    let idle = f64::from((pressure.now as u32).wrapping_sub((row.usage.0 >> 32) as u32)) + 1.0;
    let bytes = if pressure.by_bytes { f64::from(row.weight) } else { 1.0 };
    uses / (idle * bytes)
}
