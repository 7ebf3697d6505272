//! All of it behind one lock, names hashed with a secret.
//!
//! One lock and not many: a check holds it for some 20 ns, under a GIL nobody ever waits for it,
//! and several names are checked at once without an order of locks. The clock is read under it,
//! so that readings come in order.

use super::clock::NanoClock;
use super::limits::Limits;
use super::table::{Answer, Charge, Outcome, Table};
use crate::sync::Mutex;
use siphasher::sip::SipHasher13;
use std::hash::Hasher as _;

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Checks that were let through.
    pub allowed: u64,
    /// Checks that were refused.
    pub refused: u64,
    /// Names that are held.
    pub names: usize,
    /// Names that lost their row to others before they were idle.
    pub displaced: u64,
}

/// What is asked of a limiter about one name.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The name, of any length.
    pub name: &'a [u8],
    /// Its limits.
    pub limits: &'a Limits,
    /// Tokens it is to cost.
    pub cost: u64,
}

#[derive(Debug)]
struct State {
    table: Table,
    allowed: u64,
    refused: u64,
}

/// Limits by name, for threads.
#[derive(Debug)]
pub struct RateLimiter {
    secret: (u64, u64),
    clock: NanoClock,
    state: Mutex<State>,
}

impl RateLimiter {
    /// With room for so many names.
    ///
    /// `secret` keeps others from finding names that share a bucket; random, and told to nobody.
    #[must_use]
    pub fn new(max_names: usize, secret: (u64, u64), clock: NanoClock) -> Self {
        let state = State { table: Table::new(max_names), allowed: 0, refused: 0 };
        Self { secret, clock, state: Mutex::new(state) }
    }

    /// Takes what a request costs, if it is there. The answer has to wait for nothing if it was.
    ///
    /// Cost: SipHash-1-3 of the name, the lock and the clock.
    pub fn check_one(&self, request: Request<'_>) -> Answer {
        let Request { name, limits, cost } = request;
        let charge = Charge { name: self.hash(name), limits, cost };
        let mut state = self.state.lock();
        let reading = self.clock.now();
        let answer = state.table.check_one(charge, reading);
        if answer.wait == 0 {
            state.allowed += 1;
        } else {
            state.refused += 1;
        }
        answer
    }

    /// Takes what each request costs, if all of it is there; otherwise nothing.
    ///
    /// Cost: SipHash-1-3 of each name, and the lock.
    pub fn check(&self, requests: &[Request<'_>]) -> Outcome {
        let charges: smallvec::SmallVec<[Charge<'_>; 2]> = requests
            .iter()
            .map(|r| Charge { name: self.hash(r.name), limits: r.limits, cost: r.cost })
            .collect();
        let mut state = self.state.lock();
        let reading = self.clock.now();
        let outcome = state.table.check(&charges, reading);
        if outcome.allowed {
            state.allowed += 1;
        } else {
            state.refused += 1;
        }
        outcome
    }

    /// Gives a name a full bucket. Returns whether it had another one.
    pub fn forget(&self, name: &[u8]) -> bool {
        let name = self.hash(name);
        let mut state = self.state.lock();
        let reading = self.clock.now();
        state.table.forget(name, reading)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts {
            allowed: state.allowed,
            refused: state.refused,
            names: state.table.len(),
            displaced: state.table.displaced(),
        }
    }

    #[inline]
    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write(name);
        hasher.finish()
    }
}
