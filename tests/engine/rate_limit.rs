//! Rate limits beside an exact model: what is missing in a bucket as a fraction, without rounding.

use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use velro_cache::engine::clock::ManualClock;
use velro_cache::rate_limit::limits::{DAY, MINUTE};
use velro_cache::rate_limit::table::Table;
use velro_cache::rate_limit::{Charge, Limits, NanoClock, Nanos, Outcome, RateLimiter, Request};

const SECOND: Nanos = 1_000_000_000;

/// What is missing, in tokens times the period.
#[derive(Debug, Clone, Copy, Default)]
struct Exact {
    missing: u128,
    told_at: Nanos,
}

/// So many per period, at most so many at once.
#[derive(Debug, Clone, Copy)]
struct Kind {
    count: u64,
    period: Nanos,
    capacity: u64,
}

impl Exact {
    fn follow(&mut self, before: Option<Kind>, kind: Kind, now: Nanos) {
        let count = before.map_or(kind.count, |kind| kind.count);
        let back = u128::from(now - self.told_at) * u128::from(count);
        self.missing = self.missing.saturating_sub(back);
        self.told_at = now;
        self.missing = self.missing.min(u128::from(kind.capacity) * u128::from(kind.period));
    }

    /// By how much of a token (times the period) it is too little; 0 if it is enough.
    fn lacks(&self, kind: Kind, cost: u64) -> u128 {
        let after = self.missing + u128::from(cost) * u128::from(kind.period);
        after.saturating_sub(u128::from(kind.capacity) * u128::from(kind.period))
    }

    fn take(&mut self, kind: Kind, cost: u64) {
        self.missing += u128::from(cost) * u128::from(kind.period);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Plan {
    per_minute: Option<u64>,
    burst: u64,
    per_day: Option<u64>,
}

impl Plan {
    fn limits(self) -> Limits {
        Limits::new(self.per_minute, self.burst, self.per_day).unwrap()
    }

    fn kinds(self) -> [Option<Kind>; 2] {
        let minute =
            self.per_minute.map(|count| Kind { count, period: MINUTE, capacity: self.burst + 1 });
        let day = self.per_day.map(|count| Kind { count, period: DAY, capacity: count });
        [minute, day]
    }
}

/// The model of all names.
#[derive(Default)]
struct Model {
    buckets: HashMap<(u64, usize), (Exact, Option<Kind>)>,
}

impl Model {
    /// How much each request lacks, at most; takes nothing.
    fn lacks(&mut self, name: u64, plan: Plan, cost: u64, now: Nanos) -> f64 {
        let mut most: f64 = 0.0;
        for (number, kind) in plan.kinds().into_iter().enumerate() {
            let Some(kind) = kind else { continue };
            let (exact, before) = self.buckets.entry((name, number)).or_default();
            exact.follow(*before, kind, now);
            *before = Some(kind);
            most = most.max(exact.lacks(kind, cost) as f64 / kind.period as f64);
        }
        most
    }

    fn take(&mut self, name: u64, plan: Plan, cost: u64) {
        for (number, kind) in plan.kinds().into_iter().enumerate() {
            let Some(kind) = kind else { continue };
            self.buckets.get_mut(&(name, number)).unwrap().0.take(kind, cost);
        }
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let minute =
        prop_oneof![Just(None), (1..200_u64).prop_map(Some), (1..60_000_u64).prop_map(Some)];
    let day = prop_oneof![Just(None), (3..50_u64).prop_map(Some), (3..100_000_u64).prop_map(Some)];
    (minute, 2..40_u64, day).prop_map(|(per_minute, burst, per_day)| Plan {
        per_minute,
        burst,
        per_day,
    })
}

fn pauses() -> impl Strategy<Value = Nanos> {
    prop_oneof![
        3 => Just(0),
        3 => 0..SECOND,
        2 => 0..(20 * SECOND),
        1 => 0..(2 * DAY),
    ]
}

fn charge(name: u64, plan: Plan, cost: u64) -> Charge<'static> {
    Charge { name, limits: kept(plan), cost }
}

thread_local! {
    static KEPT: RefCell<HashMap<Plan, &'static Limits>> = RefCell::default();
}

/// The limits of a plan, once made and kept for good.
fn kept(plan: Plan) -> &'static Limits {
    KEPT.with_borrow_mut(|kept| {
        *kept.entry(plan).or_insert_with(|| Box::leak(Box::new(plan.limits())))
    })
}

proptest! {
    #[test]
    fn decisions_are_those_of_exact_fractions(
        plans in prop::collection::vec(plans(), 1..4),
        steps in prop::collection::vec((pauses(), 0..4_u64, 0..3_u64, 1..4_u64, 0..4_usize), 1..200),
    ) {
        let mut table = Table::new(16);
        let mut model = Model::default();
        let mut now = 0;
        let mut changes = 0_u32;
        for (pause, name, other, cost, which) in steps {
            now += pause;
            let plan = plans[which % plans.len()];
            // Now and then two names at once, which may be the same.
            let names = if other == 0 { vec![name, (name + 1) % 4] } else { vec![name] };
            let lacks = names.iter().map(|&n| model.lacks(n, plan, cost, now)).fold(0.0, f64::max);
            let charges: Vec<_> = names.iter().map(|&n| charge(n, plan, cost)).collect();
            let outcome = if let [one] = charges[..] {
                let answer = table.check_one(one, now);
                Outcome { allowed: answer.wait == 0, answers: [answer].into_iter().collect() }
            } else {
                table.check(&charges, now)
            };
            changes += 1;
            // Never what fractions would refuse. (The time of one token is rounded up.)
            if outcome.allowed {
                prop_assert_eq!(lacks, 0.0);
                for name in names {
                    model.take(name, plan, cost);
                }
            } else if lacks == 0.0 {
                // Refused for nanoseconds alone: a moment later it is not.
                let wait = outcome.answers.iter().map(|answer| answer.wait).max().unwrap();
                prop_assert!(wait <= 1000 + u64::from(changes), "waits {wait} ns for nothing");
            }
            table.validate().map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn a_refusal_charges_nobody_and_its_wait_is_exact(
        plan in plans(), used in 0..60_u64, cost in 1..4_u64, pause in 0..SECOND,
    ) {
        prop_assume!(plan.per_minute.is_some() || plan.per_day.is_some());
        let mut table = Table::new(16);
        for _ in 0..used {
            table.check(&[charge(1, plan, 1)], 0);
        }
        let both = [charge(2, plan, 1), charge(1, plan, cost)];
        let outcome = table.check(&both, pause);
        prop_assume!(!outcome.allowed);
        let other = table.check(&[charge(2, plan, 1)], pause);
        prop_assert_eq!(other.answers[0].minute(kept(plan)).map_or(plan.burst, |state| state.left), plan.burst);
        let wait = outcome.answers[1].wait;
        if wait > 1 {
            prop_assert!(!table.check(&[charge(1, plan, cost)], pause + wait - 1).allowed);
        }
        prop_assert!(table.check(&[charge(1, plan, cost)], pause + wait).allowed);
    }

    #[test]
    fn a_clock_that_jumps_gives_nothing_and_nobody_waits_for_longer_than_a_bucket(
        plan in plans(),
        steps in prop::collection::vec((0..DAY, any::<bool>()), 1..60),
    ) {
        let limits = plan.limits();
        prop_assume!(!limits.are_none());
        let length = limits.minute.map_or(0, |rate| rate.length())
            .max(limits.day.map_or(0, |rate| rate.length()));
        let mut table = Table::new(16);
        let mut reading: Nanos = 10 * DAY;
        let (mut passed, mut taken) = (0_u128, 0_u64);
        for (step, forward) in steps {
            if forward {
                reading += step;
                passed += u128::from(step);
            } else {
                reading = reading.saturating_sub(step);
            }
            // The way of one name is another one than that of several.
            let answer = table.check_one(charge(1, plan, 1), reading);
            taken += u64::from(answer.wait == 0);
            prop_assert!(answer.wait <= length);
            for kind in plan.kinds().into_iter().flatten() {
                let back = passed * u128::from(kind.count) / u128::from(kind.period);
                prop_assert!(u128::from(taken) <= u128::from(kind.capacity) + back);
            }
        }
    }

    #[test]
    fn more_names_than_rows_never_get_more_than_each_has(
        per_minute in any::<bool>(), rows in 1..5_usize,
        steps in prop::collection::vec((0..(2 * SECOND), 0..9_u64), 1..400),
    ) {
        // With one bucket each: then losing a row gives nothing at all.
        let plan = if per_minute {
            Plan { per_minute: Some(30), burst: 5, per_day: None }
        } else {
            Plan { per_minute: None, burst: 0, per_day: Some(20_000) }
        };
        let mut table = Table::new(rows);
        let mut model = Model::default();
        let mut now = 0;
        for (pause, name) in steps {
            now += pause;
            let lacks = model.lacks(name, plan, 1, now);
            if table.check(&[charge(name, plan, 1)], now).allowed {
                prop_assert_eq!(lacks, 0.0);
                model.take(name, plan, 1);
            }
            prop_assert!(table.len() <= rows);
            table.validate().map_err(TestCaseError::fail)?;
        }
    }
}

const USUAL: Plan = Plan { per_minute: Some(60), burst: 10, per_day: Some(10_000) };

#[test]
fn a_flood_of_names_does_not_give_an_active_one_a_full_bucket() {
    let mut table = Table::new(1000);
    let mut allowed = 0;
    // Ten thousand new names a second, and one that asks as often as it may.
    for step in 0..600_000_u64 {
        let now = step * SECOND / 10_000;
        table.check(&[charge(1_000_000 + step, USUAL, 1)], now);
        if step % 100 == 0 {
            allowed += u64::from(table.check(&[charge(7, USUAL, 1)], now).allowed);
        }
    }
    assert!(table.displaced() > 100_000);
    assert!(table.len() <= 1000);
    assert!((1..=71).contains(&allowed), "{allowed} in a minute");
}

#[test]
fn rows_of_idle_names_are_used_again() {
    let mut table = Table::new(1_000_000);
    let plan = Plan { per_minute: Some(60), burst: 0, per_day: None };
    for step in 0..100_000_u64 {
        // A hundred a second, each idle after one.
        table.check(&[charge(step, plan, 1)], step * SECOND / 100);
    }
    assert!(table.len() <= 101, "{} rows", table.len());
    assert_eq!(table.displaced(), 0);
}

#[test]
fn a_name_whose_limits_are_lowered_waits_for_no_longer_than_the_new_bucket() {
    let mut table = Table::new(16);
    let large = Plan { per_minute: Some(60), burst: 1000, per_day: None };
    let small = Plan { per_minute: Some(60), burst: 10, per_day: None };
    table.check(&[charge(1, large, 1000)], 0);
    let outcome = table.check(&[charge(1, small, 1)], 0);
    assert_eq!((outcome.allowed, outcome.answers[0].wait), (false, SECOND));
    assert!(table.check(&[charge(1, small, 1)], SECOND).allowed);
    assert!(!table.check(&[charge(1, large, 991)], SECOND).allowed);
}

#[test]
fn one_name_twice_in_a_check_is_charged_twice_or_not_at_all() {
    let mut table = Table::new(16);
    let plan = Plan { per_minute: Some(60), burst: 2, per_day: None };
    let twice = [charge(1, plan, 1), charge(1, plan, 1)];
    assert!(table.check(&twice, 0).allowed);
    assert!(!table.check(&twice, 0).allowed);
    assert!(table.check(&[charge(1, plan, 1)], 0).allowed);
    assert!(!table.check(&[charge(1, plan, 1)], 0).allowed);
}

#[test]
fn who_is_forgotten_has_a_full_bucket() {
    let mut table = Table::new(16);
    assert!(!table.forget(1, 0));
    table.check(&[charge(1, USUAL, 11)], 0);
    assert!(table.forget(1, 0));
    assert!(!table.forget(1, 0));
    assert!(table.check(&[charge(1, USUAL, 11)], 0).allowed);
}

#[test]
fn threads_share_a_bucket_to_the_last_token() {
    let clock = Arc::new(ManualClock::default());
    let limiter = RateLimiter::new(100, (1, 2), NanoClock::Manual(Arc::clone(&clock)));
    let limits = Limits::new(Some(60), 999, None).unwrap();
    let allowed = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (limiter, allowed) = (&limiter, &allowed);
            scope.spawn(move || {
                let mine = format!("own {thread}");
                for _ in 0..1000 {
                    let shared = Request { name: b"shared", limits: &limits, cost: 1 };
                    let own = Request { name: mine.as_bytes(), limits: &limits, cost: 1 };
                    let outcome = limiter.check(&[own, shared]);
                    allowed.fetch_add(
                        u64::from(outcome.allowed),
                        std::sync::atomic::Ordering::Relaxed,
                    );
                }
            });
        }
    });
    assert_eq!(allowed.into_inner(), 1000);
    let counts = limiter.counts();
    assert_eq!((counts.allowed, counts.refused), (1000, 3000));
    // Names whose check was refused have nothing to keep.
    assert!((2..=5).contains(&counts.names));
    clock.advance(Duration::from_secs(1));
    assert!(limiter.check(&[Request { name: b"shared", limits: &limits, cost: 1 }]).allowed);
}
