//! Reads a log and applies it to the table: one thread in each process, which needs neither the
//! GIL nor an event loop.
//!
//! All followers of a host apply the same entries to one table, and whichever dies, the others go
//! on. The order of things is that of [`crate::invalidation::bus`]; the clock is read *before* a
//! question is sent, and becomes the lease only when everything the answer speaks of was applied.

use super::channel::State;
use super::{Batch, Event, Heartbeat, InvalidationLog, LogError, Poll};
use crate::engine::Names;
use crate::engine::clock::Millis;
use crate::fork_gate;
use crate::invalidation::bus::{self, Known, number_of};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Entries asked for at once.
const MOST_ENTRIES: usize = 1_000;

/// The names in an entry. What cannot be understood names everything, and is counted.
fn names_of(body: &[u8], state: &State) -> Names {
    let event = Event::decode(body).unwrap_or_else(|everything| {
        state.figures.garbage.fetch_add(1, Ordering::Relaxed);
        everything
    });
    event.names()
}

/// Refuses numbers that no position can hold. Nobody counts that far; somebody has set the counter.
fn check_numbers(batch: &Batch) -> Result<(), LogError> {
    if batch.last <= bus::MOST_ENTRIES {
        return Ok(());
    }
    Err(LogError::NotALog(format!(
        "its last entry has the number {}, and the largest one is {}; set its counter to 0 and \
         remove its entries, in one transaction",
        batch.last,
        bus::MOST_ENTRIES
    )))
}

/// What one question led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more; ask again at once.
    Again,
    /// Everything was applied up to this entry.
    CaughtUp(u64),
}

/// A follower with its log.
pub(super) struct Follower {
    state: Arc<State>,
    log: Box<dyn InvalidationLog>,
    last_heartbeat: Option<Millis>,
    generation: String,
}

impl Follower {
    pub(super) fn new(state: Arc<State>, log: Box<dyn InvalidationLog>) -> Self {
        Self { state, log, last_heartbeat: None, generation: String::new() }
    }

    /// Follows until told to stop.
    pub(super) fn run(mut self) {
        let mut failures = 0;
        while !self.state.is_stopped() {
            match self.turn() {
                Ok(()) => failures = 0,
                Err(error) => {
                    self.state.note_error(&error);
                    failures += 1;
                    // No news from now on: the lease runs out by itself.
                    self.last_heartbeat = None;
                    self.state.back_off(failures);
                }
            }
        }
    }

    fn turn(&mut self) -> Result<(), LogError> {
        if let Step::CaughtUp(entry) = self.ask()? {
            self.log.wait(entry, self.until_next_heartbeat())?;
        }
        Ok(())
    }

    /// Asks the log once and applies the answer.
    pub(super) fn ask(&mut self) -> Result<Step, LogError> {
        self.state.table.note_suspension(self.state.clock.suspended());
        let known = self.state.table.known();
        self.state.note_epoch(known.position.epoch());
        let heartbeat = self.is_heartbeat_due();
        let host = self.state.host_in(known.table);
        // Before the question is sent: whatever was acknowledged before now is in the answer.
        let sent = self.state.now();
        let poll = Poll {
            after: known.position.sequence(),
            max_entries: MOST_ENTRIES,
            heartbeat: heartbeat.then_some(Heartbeat {
                host: &host,
                generation: if number_of(&self.generation) == known.generation {
                    &self.generation
                } else {
                    // What was applied belongs to another one, whose name nobody here knows.
                    ""
                },
                applied: known.position.sequence(),
                max_staleness: self.state.max_staleness,
            }),
        };
        let batch = self.log.poll(&poll)?;
        check_numbers(&batch)?;
        self.state.note_answer(&batch);
        if heartbeat {
            self.last_heartbeat = Some(sent);
        }
        let _pass = fork_gate::pass();
        let step = self.take(known, &batch);
        if heartbeat && let Step::CaughtUp(entry) = step {
            self.state.table.renew_lease(known.position.at(entry), sent);
        }
        Ok(step)
    }

    /// Applies an answer to a question that was asked knowing `known`.
    fn take(&mut self, known: Known, batch: &Batch) -> Step {
        let generation = number_of(&batch.generation);
        let has_applied = known.position.sequence();
        if known.generation != generation {
            return self.begin_anew(known, batch);
        }
        self.generation.clone_from(&batch.generation);
        let has_gap = batch.first > has_applied.saturating_add(1) || batch.last < has_applied;
        let is_in_order = || {
            let wanted = (has_applied.saturating_add(1)..).zip(&batch.entries);
            wanted.fold(true, |so_far, (number, entry)| so_far && entry.sequence == number)
        };
        // More is said to be there, and nothing of it came.
        let lacks = batch.entries.is_empty() && batch.last != has_applied;
        if has_gap || lacks || !is_in_order() {
            self.state.figures.gaps.fetch_add(1, Ordering::Relaxed);
            return self.begin_anew(known, batch);
        }
        for entry in &batch.entries {
            names_of(&entry.body, &self.state).with_covered(|what| {
                self.state.table.apply(known.position.at(entry.sequence), what)
            });
        }
        self.state.figures.applied.fetch_add(batch.entries.len() as u64, Ordering::Relaxed);
        if !batch.entries.is_empty() {
            // Whoever waits for all hosts is told at once.
            self.last_heartbeat = None;
        }
        match has_applied + batch.entries.len() as u64 {
            upto if upto >= batch.last => Step::CaughtUp(upto),
            _ => Step::Again,
        }
    }

    /// Nothing from before is believed. Values of other hosts can be judged from the oldest entry
    /// on that is kept; where there are none, old entries need not be read.
    fn begin_anew(&mut self, known: Known, batch: &Batch) -> Step {
        let start = if self.state.replays { batch.first.saturating_sub(1) } else { batch.last };
        if self.state.table.adopt(known.position, number_of(&batch.generation), start) {
            self.state.figures.floors.fetch_add(1, Ordering::Relaxed);
        }
        self.generation.clone_from(&batch.generation);
        Step::Again
    }

    /// One heartbeat of any worker serves all of its host.
    fn is_heartbeat_due(&self) -> bool {
        let now = self.state.now();
        let interval = self.state.heartbeat_interval();
        let is_old = |time: Option<Millis>| time.is_none_or(|time| now >= time + interval);
        is_old(self.last_heartbeat)
            && (self.last_heartbeat.is_none() || is_old(self.state.table.lease()))
    }

    fn until_next_heartbeat(&self) -> Duration {
        if self.last_heartbeat.is_none() {
            return Duration::ZERO;
        }
        let now = self.state.now();
        let next = self.state.table.lease().unwrap_or(0) + self.state.heartbeat_interval();
        Duration::from_millis(next.saturating_sub(now).clamp(1, self.state.heartbeat_interval()))
    }
}
