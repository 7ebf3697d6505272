//! Everybody over everything, on several threads.

use super::contestants::Contestant;
use super::results::{AtCapacity, Results, Trial};
use super::trace::Trace;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// One replay: numbers of the trace, of the capacity and of the contestant.
type Job = (usize, usize, usize);

/// Replays all traces and scenarios by everybody. The first contestant must be the optimum.
/// `progress` is told, on the calling thread, how many replays are done and how many there are.
///
/// # Errors
/// A contestant gave a wrong answer or does not keep to its capacity.
pub fn run(
    traces: &[Trace],
    scenarios: &[Trace],
    contestants: &[Contestant],
    threads: usize,
    mut progress: impl FnMut(usize, usize),
) -> Result<Results, String> {
    let everything: Vec<&Trace> = traces.iter().chain(scenarios).collect();
    let jobs = jobs(&everything, contestants);
    let mut trials: Vec<Trial> = everything.iter().map(|trace| empty(trace, contestants)).collect();
    let next = AtomicUsize::new(0);
    let (report, reports) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (report, jobs, everything, next) = (report.clone(), &jobs, &everything, &next);
            scope.spawn(move || {
                while let Some(&(trace, capacity, who)) =
                    jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let room = everything[trace].capacities[capacity];
                    let rate = contestants[who].hit_rate(everything[trace], room);
                    if report.send(((trace, capacity, who), rate)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(report);
        // Owned by this block: once an error has ended it, the others find nobody to report to.
        for (done, ((trace, capacity, who), rate)) in reports.into_iter().enumerate() {
            trials[trace].at[capacity].rates[who] = rate?;
            progress(done + 1, jobs.len());
        }
        Ok::<(), String>(())
    })?;
    let scenarios = trials.split_off(traces.len());
    Ok(Results { contestants: contestants.to_vec(), traces: trials, scenarios })
}

/// All replays, the longest first, so that no thread is left with a long one at the end.
fn jobs(traces: &[&Trace], contestants: &[Contestant]) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for (number, trace) in traces.iter().enumerate() {
        for capacity in 0..trace.capacities.len() {
            jobs.extend((0..contestants.len()).map(|who| (number, capacity, who)));
        }
    }
    jobs.sort_by_key(|&(trace, _, who)| {
        std::cmp::Reverse(traces[trace].requests.len() * contestants[who].cost)
    });
    jobs
}

fn empty(trace: &Trace, contestants: &[Contestant]) -> Trial {
    let at = trace.capacities.iter();
    let at = at.map(|&capacity| AtCapacity { capacity, rates: vec![0.0; contestants.len()] });
    Trial {
        name: trace.name.clone(),
        requests: trace.measured(),
        keys: trace.keys,
        at: at.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::contestants::{CONTESTANTS, Method};
    use super::*;

    fn traces() -> Vec<Trace> {
        let looping = (0..40).cycle().take(2000).collect();
        let climbing = (0..2000).map(|now| now / 3).collect();
        vec![Trace::whole("loop".to_owned(), looping), Trace::whole("climb".to_owned(), climbing)]
    }

    #[test]
    fn figures_land_where_they_belong_whatever_the_order_of_the_work() {
        let traces = traces();
        let mut last = (0, 0);
        let results = run(&traces[..1], &traces[1..], &CONTESTANTS[..3], 2, |done, all| {
            last = (done, all);
        });
        let results = results.unwrap();
        assert_eq!(last.0, last.1);
        for (trial, trace) in results.traces.iter().chain(&results.scenarios).zip(&traces) {
            assert_eq!(trial.name, trace.name);
            for at in &trial.at {
                for (rate, contestant) in at.rates.iter().zip(&CONTESTANTS) {
                    let alone = contestant.hit_rate(trace, at.capacity).unwrap();
                    assert!((rate - alone).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn an_error_ends_the_run() {
        let mut broken = CONTESTANTS[1];
        broken.method = Method::Cache(|_| Err("broken".to_owned()));
        let result = run(&traces(), &[], &[CONTESTANTS[0], broken], 2, |_, _| {});
        assert!(result.unwrap_err().contains("broken"));
    }
}
