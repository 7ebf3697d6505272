//! The engine's operations beside other Rust caches, under criterion; at the end the ratios, from
//! a run in which all take turns.

use criterion::{BenchmarkId, Criterion, Throughput};
use std::cell::RefCell;
use std::io::Write as _;
use std::time::Duration;
use velro_cache_benches::speed::operations::Operation;
use velro_cache_benches::speed::race::{Lane, race};
use velro_cache_benches::speed::report::{self, Race};

const THREADS: [usize; 2] = [1, 2];

fn main() -> Result<(), String> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for operation in Operation::ALL {
        for threads in THREADS {
            group(&mut criterion, operation, threads)?;
        }
    }
    criterion.final_summary();
    // Arguments choose benchmarks, or list them: then the ratios of all are not what is wanted.
    let is_whole = std::env::args().skip(1).all(|argument| argument == "--bench");
    if is_whole { ratios() } else { Ok(()) }
}

fn group(criterion: &mut Criterion, operation: Operation, threads: usize) -> Result<(), String> {
    let mut group = criterion.benchmark_group(format!("{}/{threads}", operation.title()));
    for lane in operation.lanes(threads)? {
        group.throughput(Throughput::Elements(lane.operations() as u64));
        let (title, lane) = (lane.about().title, RefCell::new((lane, 0)));
        let failure = RefCell::new(None);
        group.bench_function(BenchmarkId::from_parameter(title), |bencher| {
            bencher.iter_custom(|laps| {
                laps_of(&mut lane.borrow_mut(), laps).unwrap_or_else(|error| {
                    failure.replace(Some(format!("{title}: {error}")));
                    Duration::from_nanos(1)
                })
            });
        });
        if let Some(error) = failure.take() {
            return Err(error);
        }
    }
    group.finish();
    Ok(())
}

/// Runs some laps of a lane, which goes on where it stopped.
fn laps_of(state: &mut (Box<dyn Lane>, usize), laps: u64) -> Result<Duration, String> {
    let (lane, round) = state;
    let mut elapsed = Duration::ZERO;
    for _ in 0..laps {
        elapsed += lane.lap(*round)?;
        *round += 1;
    }
    Ok(elapsed)
}

fn ratios() -> Result<(), String> {
    let mut races = Vec::new();
    for operation in Operation::ALL {
        for threads in THREADS {
            let timings = race(&mut operation.lanes(threads)?, 100, Duration::from_secs(3))?;
            races.push(Race { operation, threads, timings });
        }
    }
    let _ = writeln!(std::io::stdout(), "\n{}", report::ratios(&races));
    Ok(())
}
