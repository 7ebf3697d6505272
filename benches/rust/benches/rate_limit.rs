//! What a check of a rate limit costs: `cargo bench -p velro-cache-benches --bench rate_limit`.
//!
//! The best of many short rounds, which take turns: what disturbs the machine then disturbs all.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;
use velro_cache::rate_limit::{LimitError, Limits, NanoClock, RateLimiter, Request};

const NAMES: usize = 100_000;
const ROUNDS: usize = 2000;
const CHECKS: usize = 500;

type Lane<'a> = (&'a str, bool, Box<dyn FnMut() -> bool + 'a>);

fn fresh(max_names: usize) -> RateLimiter {
    RateLimiter::new(max_names, (1, 2), NanoClock::System)
}

fn main() -> Result<(), LimitError> {
    let daily = Limits::new(Some(60), 10, Some(1))?;
    let slow = Limits::new(Some(60), 60_000_000, None)?;
    let wide = Limits::new(Some(60_000_000), 60_000_000, Some(86_400_000_000))?;
    let names: Vec<String> = (0..NAMES).map(|number| format!("org:{number:08}")).collect();
    let request = |number: usize, limits| {
        let name = names.get(number % NAMES).map_or(&b""[..], |name| name.as_bytes());
        Request { name, limits, cost: 1 }
    };
    let (many, small) = (fresh(NAMES), fresh(1000));
    while many.check_one(request(2, &daily)).wait == 0 {}
    // A step that is coprime to the count of names: no two neighbours in memory.
    let (mut next, mut newest) = (0, 0);
    let mut lanes: [Lane<'_>; 6] = [
        (
            "one name, allowed",
            true,
            Box::new(|| many.check_one(request(black_box(1), &wide)).wait == 0),
        ),
        (
            "one name, refused",
            false,
            Box::new(|| many.check_one(request(black_box(2), &daily)).wait == 0),
        ),
        (
            "an organisation and a key, allowed",
            true,
            Box::new(|| {
                many.check(&[request(black_box(1), &wide), request(black_box(3), &wide)]).allowed
            }),
        ),
        (
            "100,000 names in turn",
            true,
            Box::new(|| {
                next = (next + 7919) % NAMES;
                // Not the one that is refused.
                many.check_one(request(next + usize::from(next == 2), &wide)).wait == 0
            }),
        ),
        (
            "a new name each time, in a full table",
            true,
            Box::new(|| {
                newest = (newest + 7919) % NAMES;
                small.check_one(request(newest, &slow)).wait == 0
            }),
        ),
        ("the clock alone", true, Box::new(|| NanoClock::System.now() > 0)),
    ];
    let mut best = [f64::INFINITY; 6];
    for _ in 0..ROUNDS {
        for ((title, expected, check), best) in lanes.iter_mut().zip(&mut best) {
            let begin = Instant::now();
            let right = (0..CHECKS).filter(|_| check() == *expected).count();
            let nanos = begin.elapsed().as_nanos() as f64 / CHECKS as f64;
            assert_eq!(right, CHECKS, "{title}");
            *best = best.min(nanos);
        }
    }
    let mut out = std::io::stdout().lock();
    for ((title, ..), best) in lanes.iter().zip(best) {
        let _ = writeln!(out, "{title:40} {best:7.1} ns");
    }
    Ok(())
}
