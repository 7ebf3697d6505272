//! A cache without values: the rows, bounds and policy of a shard, and what would have left.

use crate::engine::clock::Millis;
use crate::engine::policy::{Policy, PolicyKind, Pressure, Resident, Residents, RowId, Usage};

/// Where nothing lies.
pub(super) const NOWHERE: u32 = u32::MAX;

/// As in a shard: rows looked at for expired ones before a good one is evicted.
const EXPIRED_LOOKS: usize = 4;

#[derive(Debug)]
pub(super) struct SmallCache {
    rows: SmallRows,
    free: Vec<u32>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    policy: Policy,
    hand: usize,
    has_evicted: bool,
}

#[derive(Debug, Default)]
struct SmallRows(Vec<Option<SmallRow>>);

#[derive(Debug, Clone, Copy)]
struct SmallRow {
    usage: Usage,
    deadline: Millis,
    hash: u32,
    weight: u32,
    priority: u8,
}

/// What is to be stored.
#[derive(Debug)]
pub(super) struct NewSmall {
    pub(super) hash: u32,
    pub(super) deadline: Millis,
    pub(super) weight: u32,
    pub(super) priority: u8,
}

impl Residents for SmallRows {
    fn places(&self) -> usize {
        self.0.len()
    }

    fn get(&self, id: RowId) -> Option<Resident> {
        let row = self.at(id)?;
        let SmallRow { usage, priority, weight, deadline, .. } = *row;
        Some(Resident { usage, priority, weight, deadline })
    }
}

impl SmallRows {
    fn at(&self, place: u32) -> Option<&SmallRow> {
        self.0.get(place as usize)?.as_ref()
    }

    fn at_mut(&mut self, place: u32) -> Option<&mut SmallRow> {
        self.0.get_mut(place as usize)?.as_mut()
    }
}

impl SmallCache {
    pub(super) fn new(kind: PolicyKind, max_entries: usize, max_bytes: usize) -> Self {
        Self {
            rows: SmallRows::default(),
            free: Vec::new(),
            bytes: 0,
            max_entries,
            max_bytes,
            policy: Policy::new(kind, max_entries),
            hand: 0,
            has_evicted: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.0.len() - self.free.len()
    }

    /// Whether anything had to make room.
    pub(super) const fn has_evicted(&self) -> bool {
        self.has_evicted
    }

    /// Whether the row in a place is of the key with this hash.
    pub(super) fn holds(&self, place: u32, hash: u32) -> bool {
        self.rows.at(place).is_some_and(|row| row.hash == hash)
    }

    /// Whether the row in a place could be served.
    pub(super) fn is_live(&self, place: u32, now: Millis) -> bool {
        self.rows.at(place).is_some_and(|row| now < row.deadline)
    }

    /// A lookup of the row in a place. `uses` grows from one to the next.
    pub(super) fn touch(&mut self, place: u32, now: Millis, uses: u64) -> bool {
        let Some(row) = self.rows.at_mut(place).filter(|row| now < row.deadline) else {
            return false;
        };
        self.policy.on_hit(&mut row.usage, uses);
        true
    }

    /// Stores something in the place of what is there, if anything is. Returns its place.
    pub(super) fn set(
        &mut self,
        place: u32,
        new: &NewSmall,
        now: Millis,
        uses: u64,
        gone: &mut Vec<u32>,
    ) -> u32 {
        let Some(row) = self.rows.at_mut(place) else { return self.insert(new, now, uses, gone) };
        let bytes = self.bytes - row.weight as usize + new.weight as usize;
        if bytes > self.max_bytes {
            self.remove(place);
            return self.insert(new, now, uses, gone);
        }
        self.policy.on_overwrite(&mut row.usage, uses);
        (row.deadline, row.weight, row.priority) = (new.deadline, new.weight, new.priority);
        self.bytes = bytes;
        self.policy.on_set(place, &self.rows);
        place
    }

    /// Stores something new. Returns its place; [`NOWHERE`] if it is too large. The hashes of those
    /// that had to make room are added to `gone`.
    pub(super) fn insert(
        &mut self,
        new: &NewSmall,
        now: Millis,
        uses: u64,
        gone: &mut Vec<u32>,
    ) -> u32 {
        let weight = new.weight as usize;
        if weight > self.max_bytes {
            return NOWHERE;
        }
        self.make_room(weight, now, gone);
        let usage = self.policy.on_insert(new.hash, uses);
        let row = SmallRow {
            usage,
            deadline: new.deadline,
            hash: new.hash,
            weight: new.weight,
            priority: new.priority,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.rows.0.push(None);
            (self.rows.0.len() - 1) as u32
        });
        if let Some(free) = self.rows.0.get_mut(place as usize) {
            *free = Some(row);
        }
        self.bytes += weight;
        self.policy.on_set(place, &self.rows);
        place
    }

    /// Removes the row in a place, if there is one, for another reason than want of room.
    pub(super) fn remove(&mut self, place: u32) {
        if self.take(place).is_some() {
            self.policy.on_remove();
        }
    }

    /// Everything has left.
    pub(super) fn clear(&mut self) {
        self.rows = SmallRows::default();
        self.free = Vec::new();
        (self.bytes, self.hand) = (0, 0);
        self.policy.clear();
    }

    /// Gives it other bounds. What is too much leaves when something comes.
    pub(super) fn resize(
        &mut self,
        kind: PolicyKind,
        max_entries: usize,
        max_bytes: usize,
        is_new: bool,
    ) {
        (self.max_entries, self.max_bytes) = (max_entries, max_bytes);
        // One that learns keeps what it knows, and finds out about its size by itself.
        if is_new || kind != PolicyKind::Adaptive {
            self.policy = Policy::new(kind, max_entries);
            for place in 0..self.rows.places() as u32 {
                if self.rows.at(place).is_some() {
                    self.policy.on_set(place, &self.rows);
                }
            }
        }
    }

    fn make_room(&mut self, bytes: usize, now: Millis, gone: &mut Vec<u32>) {
        loop {
            let by_bytes = self.bytes + bytes > self.max_bytes;
            if !by_bytes && self.len() < self.max_entries {
                return;
            }
            if let Some(place) = self.expired_row(now) {
                gone.extend(self.take(place).map(|row| row.hash));
                self.policy.on_remove();
                continue;
            }
            let Some(victim) = self.policy.victim(&self.rows, Pressure { by_bytes }) else {
                return;
            };
            self.has_evicted = true;
            if let Some(row) = self.take(victim) {
                self.policy.on_evict(row.hash, row.usage);
                gone.push(row.hash);
            }
        }
    }

    fn expired_row(&mut self, now: Millis) -> Option<u32> {
        let places = self.rows.places();
        for _ in 0..EXPIRED_LOOKS.min(places) {
            self.hand = if self.hand + 1 < places { self.hand + 1 } else { 0 };
            let place = self.hand as u32;
            if self.rows.at(place).is_some_and(|row| now >= row.deadline) {
                return Some(place);
            }
        }
        None
    }

    fn take(&mut self, place: u32) -> Option<SmallRow> {
        let row = self.rows.0.get_mut(place as usize)?.take()?;
        self.free.push(place);
        self.bytes -= row.weight as usize;
        Some(row)
    }
}
