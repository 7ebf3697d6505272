//! The buckets of all names, in bounded memory.
//!
//! A name is a hash of 64 bits, made with a secret, so that nobody can find two names that share a
//! bucket; among a million names in use, a new one shares by chance once in 10^13 cases.
//!
//! A row whose buckets are full again is as good as none, and is used for the next new name. Where
//! all `max_names` rows are in use, a new name takes the row that is closest to full, *with what
//! was taken from it* (as in "space saving": Metwally, Agrawal, El Abbadi: ICDT 2005). So whoever
//! loses a row gains nothing by it, as long as limits are alike: when it comes back it takes over a
//! row that is at least as far from full. What that costs: while more than `max_names` names are
//! in use at once, new ones begin with a bucket that is not full.
//!
//! "Closest to full" is told by the later of the two buckets, which with more requests per minute
//! than per day is that of the day. The other one, of the minute, may be fuller in the row that is
//! taken over: a name that lost its row can gain what it had taken of its minute, once for each
//! row it loses.
//!
//! Time is what passes between two readings of the clock, and nothing when it was set back. So a
//! clock that goes back gives no token, and keeps nobody waiting for longer than a bucket takes to
//! fill.
//!
//! Cost: one lookup per name and check; `O(log n)` amortised for a new name. Some 80 bytes per
//! name.

use super::by_idleness::{ByIdleness, RowId};
use super::gcra::{Bucket, Nanos, Rate, State};
use super::limits::Limits;
use hashbrown::HashTable;
use smallvec::SmallVec;

/// What is to be taken from whom.
#[derive(Debug, Clone, Copy)]
pub struct Charge<'a> {
    /// Whose buckets.
    pub name: u64,
    /// What they are like.
    pub limits: &'a Limits,
    /// Tokens, of both.
    pub cost: u64,
}

/// What a check found about one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answer {
    /// How long until what was asked for is there; 0 if it is, or was taken.
    pub wait: Nanos,
    /// How long until the bucket of the minute is full.
    pub minute_full_in: Nanos,
    /// How long until that of the day is.
    pub day_full_in: Nanos,
}

impl Answer {
    /// The bucket of the minute, if that is limited.
    #[must_use]
    pub fn minute(&self, limits: &Limits) -> Option<State> {
        limits.minute.map(|rate| rate.state(self.minute_full_in))
    }

    /// The bucket of the day, if that is limited.
    #[must_use]
    pub fn day(&self, limits: &Limits) -> Option<State> {
        limits.day.map(|rate| rate.state(self.day_full_in))
    }
}

/// One for each charge.
pub type Answers = SmallVec<[Answer; 2]>;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether all was taken; otherwise nothing was.
    pub allowed: bool,
    /// What each name has left.
    pub answers: Answers,
}

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    name: u64,
    minute: Bucket,
    day: Bucket,
}

impl Row {
    #[inline]
    fn idle_at(&self) -> Nanos {
        self.minute.full_at().max(self.day.full_at())
    }

    #[inline]
    fn follow(&mut self, limits: &Limits, now: Nanos) {
        if let Some(rate) = &limits.minute {
            self.minute.follow(rate, now);
        }
        if let Some(rate) = &limits.day {
            self.day.follow(rate, now);
        }
    }

    /// Takes from both buckets; returns how long to wait if one has too little. Then something
    /// may be taken from the other.
    #[inline]
    fn take(&mut self, limits: &Limits, now: Nanos, cost: u64) -> Nanos {
        let take = |bucket: &mut Bucket, rate: &Option<Rate>| match rate {
            Some(rate) => bucket.take(rate, now, cost),
            None => 0,
        };
        take(&mut self.minute, &limits.minute).max(take(&mut self.day, &limits.day))
    }

    #[inline]
    fn answer(&self, wait: Nanos, now: Nanos) -> Answer {
        Answer {
            wait,
            minute_full_in: self.minute.full_at().saturating_sub(now),
            day_full_in: self.day.full_at().saturating_sub(now),
        }
    }
}

/// The buckets of all names.
#[derive(Debug)]
pub struct Table {
    max_names: usize,
    rows: Vec<Row>,
    index: HashTable<RowId>,
    order: ByIdleness,
    now: Nanos,
    last_reading: Option<Nanos>,
    /// Rows that were taken over before they were idle.
    displaced: u64,
}

impl Table {
    /// With room for so many names; at least one, and no more than can be numbered.
    #[must_use]
    pub fn new(max_names: usize) -> Self {
        Self {
            max_names: max_names.clamp(1, RowId::MAX as usize),
            rows: Vec::new(),
            index: HashTable::new(),
            order: ByIdleness::default(),
            now: 0,
            last_reading: None,
            displaced: 0,
        }
    }

    /// Takes what a charge costs, if it is there. The answer has to wait for nothing if it was.
    #[inline]
    pub fn check_one(&mut self, charge: Charge<'_>, reading: Nanos) -> Answer {
        let now = self.pass_time(reading);
        if charge.limits.are_none() {
            return Answer::default();
        }
        let number = self.row_of(charge.name, now);
        let Some(row) = self.rows.get_mut(number) else { return Answer::default() };
        row.follow(charge.limits, now);
        let before = *row;
        let wait = row.take(charge.limits, now, charge.cost);
        if wait > 0 {
            *row = before;
        }
        row.answer(wait, now)
    }

    /// Takes what each charge costs, if all of it is there; otherwise nothing.
    ///
    /// A name may come twice; it is charged twice. No cost may be above what its limits let
    /// through at once, or it is refused for ever.
    pub fn check(&mut self, charges: &[Charge<'_>], reading: Nanos) -> Outcome {
        let now = self.pass_time(reading);
        let mut undo: SmallVec<[(usize, Row); 2]> = SmallVec::new();
        let mut waits: SmallVec<[Nanos; 2]> = SmallVec::new();
        for charge in charges {
            if charge.limits.are_none() {
                waits.push(0);
                continue;
            }
            let number = self.row_of(charge.name, now);
            let Some(row) = self.rows.get_mut(number) else { continue };
            row.follow(charge.limits, now);
            undo.push((number, *row));
            waits.push(row.take(charge.limits, now, charge.cost));
        }
        let allowed = waits.iter().all(|&wait| wait == 0);
        if !allowed {
            for (number, before) in undo.into_iter().rev() {
                if let Some(row) = self.rows.get_mut(number) {
                    (row.minute, row.day) = (before.minute, before.day);
                }
            }
        }
        let answer = |(charge, wait): (&Charge<'_>, Nanos)| {
            let row = if charge.limits.are_none() { None } else { self.find(charge.name) };
            let row = row.and_then(|number| self.rows.get(number)).copied().unwrap_or_default();
            row.answer(wait, now)
        };
        let answers = charges.iter().zip(waits).map(answer).collect();
        Outcome { allowed, answers }
    }

    /// Gives a name a full bucket. Returns whether it had another one.
    pub fn forget(&mut self, name: u64, reading: Nanos) -> bool {
        let now = self.pass_time(reading);
        let Some(row) = self.find(name).and_then(|number| self.rows.get_mut(number)) else {
            return false;
        };
        let was_in_use = row.idle_at() > now;
        (row.minute, row.day) = (Bucket::default(), Bucket::default());
        was_in_use
    }

    /// Rows held: the most names that were in use at once, at most `max_names`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no name was ever seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows were taken over before they were idle.
    #[must_use]
    pub fn displaced(&self) -> u64 {
        self.displaced
    }

    #[inline]
    fn pass_time(&mut self, reading: Nanos) -> Nanos {
        let passed = reading.saturating_sub(self.last_reading.unwrap_or(reading));
        self.last_reading = Some(reading);
        self.now = self.now.saturating_add(passed);
        self.now
    }

    #[inline]
    fn find(&self, name: u64) -> Option<usize> {
        let is_it = |&row: &RowId| self.rows.get(row as usize).is_some_and(|row| row.name == name);
        self.index.find(name, is_it).map(|&row| row as usize)
    }

    #[inline]
    fn row_of(&mut self, name: u64, now: Nanos) -> usize {
        match self.find(name) {
            Some(number) => number,
            None => self.row_for_new(name, now),
        }
    }

    #[cold]
    fn row_for_new(&mut self, name: u64, now: Nanos) -> usize {
        let rows = &self.rows;
        let idle_at = |row: RowId| rows.get(row as usize).map_or(0, Row::idle_at);
        let number = match self.order.soonest(idle_at) {
            Some((row, idle_at)) if idle_at <= now => {
                self.rename(row, name);
                if let Some(row) = self.rows.get_mut(row as usize) {
                    (row.minute, row.day) = (Bucket::default(), Bucket::default());
                }
                row
            }
            Some((row, _)) if self.rows.len() >= self.max_names => {
                self.displaced += 1;
                self.rename(row, name);
                row
            }
            _ => {
                // There are no more rows than can be numbered; `new` saw to it.
                let row = RowId::try_from(self.rows.len()).unwrap_or(RowId::MAX);
                self.rows.push(Row { name, ..Row::default() });
                self.order.add(row, 0);
                row
            }
        };
        let rows = &self.rows;
        let name_of = |&row: &RowId| rows.get(row as usize).map_or(0, |row| row.name);
        self.index.insert_unique(name, number, name_of);
        number as usize
    }

    /// Gives a row another name, which is not in the index yet.
    fn rename(&mut self, number: RowId, name: u64) {
        let Some(row) = self.rows.get_mut(number as usize) else { return };
        if let Ok(entry) = self.index.find_entry(row.name, |&other| other == number) {
            entry.remove();
        }
        row.name = name;
    }

    /// Says what of this table contradicts itself; for tests.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        if self.rows.len() > self.max_names || self.index.len() != self.rows.len() {
            return Err(format!("{} rows, {} in the index", self.rows.len(), self.index.len()));
        }
        for (number, row) in self.rows.iter().enumerate() {
            if self.find(row.name) != Some(number) {
                return Err(format!("row {number} is not found by its name"));
            }
        }
        Ok(())
    }
}
