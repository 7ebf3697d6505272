//! What was asked for most lately.
//!
//! Two sketches ([`super::space_saving`]): one that counts, and the one before. So what is told is
//! of the last five to ten minutes, and what was hot yesterday is forgotten.

use super::space_saving::{Counter, SpaceSaving};
use crate::engine::clock::Millis;
use serde::Serialize;

/// Names counted at once, in each of the two.
pub const MOST_NAMES: u16 = 256;

/// Bytes that are kept of a name.
pub const MOST_NAME_BYTES: usize = 256;

/// So long one sketch counts, in milliseconds.
pub const WINDOW: Millis = 5 * 60 * 1000;

/// A name that was asked for often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hot {
    /// The name, or as much of it as is kept.
    pub name: Box<[u8]>,
    /// Lookups, estimated; but for the chance of sampling never too few.
    pub requests: u64,
    /// Of these at least so many were answered from memory.
    pub hits: u64,
    /// By so much the requests may be too many, the chance of sampling aside.
    pub error: u64,
}

/// The two sketches.
#[derive(Debug)]
pub(super) struct Top {
    current: SpaceSaving,
    previous: SpaceSaving,
    since: Millis,
}

impl Top {
    pub(super) const fn new() -> Self {
        Self {
            current: SpaceSaving::new(MOST_NAMES),
            previous: SpaceSaving::new(MOST_NAMES),
            since: 0,
        }
    }

    pub(super) fn add(
        &mut self,
        now: Millis,
        hash: u64,
        weight: u64,
        is_hit: bool,
        name: impl FnOnce() -> Box<[u8]>,
    ) {
        self.turn(now);
        self.current.add(hash, weight, is_hit, name);
    }

    /// The names with the most requests, in falling order. `name_of` may know one that was not
    /// known when counting began; what has none is left out.
    pub(super) fn list(
        &mut self,
        now: Millis,
        limit: usize,
        name_of: impl Fn(u64) -> Option<Box<[u8]>>,
    ) -> Vec<Hot> {
        self.turn(now);
        let mut all = Vec::new();
        for counter in self.current.counters() {
            let before = self.previous.counters().iter().find(|c| c.hash == counter.hash);
            all.push((counter.hash, merged(counter, before, self.previous.floor())));
        }
        for counter in self.previous.counters() {
            if !self.current.counters().iter().any(|c| c.hash == counter.hash) {
                all.push((counter.hash, merged(counter, None, self.current.floor())));
            }
        }
        all.sort_unstable_by(|(_, a), (_, b)| {
            b.requests.cmp(&a.requests).then_with(|| a.name.cmp(&b.name))
        });
        let named = all.into_iter().filter_map(|(hash, mut hot)| {
            if hot.name.is_empty() {
                hot.name = name_of(hash)?;
            }
            Some(hot)
        });
        named.take(limit).collect()
    }

    fn turn(&mut self, now: Millis) {
        let age = now.saturating_sub(self.since);
        if age < WINDOW {
            return;
        }
        let fresh = || SpaceSaving::new(MOST_NAMES);
        let counted = std::mem::replace(&mut self.current, fresh());
        self.previous = if age < 2 * WINDOW { counted } else { fresh() };
        self.since = now;
    }
}

/// Counts of one name in both sketches; where it has none, those it may have had at the most.
fn merged(one: &Counter, other: Option<&Counter>, floor: u64) -> Hot {
    let (count, error, hits) = other.map_or((floor, floor, 0), |c| (c.count, c.error, c.hits));
    Hot {
        name: one.name.clone(),
        requests: one.count.saturating_add(count),
        hits: one.hits.saturating_add(hits),
        error: one.error.saturating_add(error),
    }
}

/// As much of a name as is kept: whole characters.
pub(super) fn kept(name: &[u8]) -> Box<[u8]> {
    if name.len() <= MOST_NAME_BYTES {
        return name.into();
    }
    let is_inside = |&byte: &u8| byte & 0xC0 == 0x80;
    let mut end = MOST_NAME_BYTES;
    while end > 0 && name.get(end).is_some_and(is_inside) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(top: &mut Top, now: Millis) -> Vec<(Vec<u8>, u64)> {
        let all = top.list(now, 10, |_| None);
        all.into_iter().map(|hot| (hot.name.into(), hot.requests)).collect()
    }

    #[test]
    fn what_is_old_is_forgotten_after_two_windows() {
        let mut top = Top::new();
        top.add(0, 1, 10, true, || b"a"[..].into());
        top.add(WINDOW, 2, 5, true, || b"b"[..].into());
        top.add(WINDOW, 1, 1, false, || b"a"[..].into());
        let both = vec![(b"a".to_vec(), 11), (b"b".to_vec(), 5)];
        assert_eq!(listed(&mut top, 2 * WINDOW - 1), both);
        assert_eq!(listed(&mut top, 2 * WINDOW), [(b"b".to_vec(), 5), (b"a".to_vec(), 1)]);
        assert_eq!(listed(&mut top, 4 * WINDOW), []);
    }

    #[test]
    fn a_name_may_come_later_or_never() {
        let mut top = Top::new();
        top.add(0, 1, 10, true, Box::default);
        top.add(0, 2, 5, true, Box::default);
        let hot = top.list(0, 10, |hash| (hash == 2).then(|| b"two"[..].into()));
        assert_eq!(hot.len(), 1);
        assert_eq!((&*hot[0].name, hot[0].requests, hot[0].hits), (&b"two"[..], 5, 5));
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(&*kept(b"short"), b"short");
        let long = "\u{e4}".repeat(200);
        assert_eq!(kept(long.as_bytes()).len(), 256);
        let odd = format!("x{long}");
        assert_eq!(&*kept(odd.as_bytes()), &odd.as_bytes()[..255]);
        // Nothing but insides of characters: no text at all.
        assert_eq!(kept(&[0x80; 400]).len(), 0);
    }
}
