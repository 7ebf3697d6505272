//! Short rounds in turns, the smallest counts.
//!
//! The contestants take turns, and who begins changes from round to round: what disturbs the
//! machine then disturbs all of them, and the smallest round of each is the one that was
//! disturbed least. The median is kept beside it.

use super::contestants::About;
use std::time::{Duration, Instant};

/// Fewer rounds than this say nothing, whatever the time allowed.
const FEWEST_ROUNDS: usize = 10;

/// Rounds before the first that counts: caches fill, branches are learned.
const WARM_UP_ROUNDS: usize = 4;

/// A contestant's part in a race.
pub trait Lane {
    /// Who runs.
    fn about(&self) -> About;

    /// Operations of one lap.
    fn operations(&self) -> usize;

    /// Runs the lap of one round; only part of that is timed.
    ///
    /// # Errors
    /// A wrong answer.
    fn lap(&mut self, round: usize) -> Result<Duration, String>;

    /// Checks what is held after the last round.
    ///
    /// # Errors
    /// Something is missing, wrong or too much.
    fn check(&self, last_round: usize) -> Result<(), String>;

    /// Percent of look-ups that were hits since the beginning; `None` where that says nothing.
    fn hit_rate(&self) -> Option<f64>;
}

/// The laps of one contestant.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Who ran.
    pub about: About,
    /// Nanoseconds per operation in the smallest round.
    pub best: f64,
    /// Nanoseconds per operation in the middle round.
    pub median: f64,
    /// Percent of look-ups that were hits, where that says something.
    pub hit_rate: Option<f64>,
}

/// Lets the lanes take turns until the time is over or the rounds are.
///
/// # Errors
/// A contestant gave a wrong answer.
pub fn race(
    lanes: &mut [Box<dyn Lane>],
    rounds: usize,
    allowed: Duration,
) -> Result<Vec<Timing>, String> {
    let mut laps: Vec<Vec<f64>> = vec![Vec::new(); lanes.len()];
    let start = Instant::now();
    let mut round = 0;
    loop {
        for turn in 0..lanes.len() {
            let who = (round + turn) % lanes.len();
            let lane = &mut lanes[who];
            let title = lane.about().title;
            let elapsed = lane.lap(round).map_err(|error| format!("{title}: {error}"))?;
            if round >= WARM_UP_ROUNDS {
                laps[who].push(elapsed.as_nanos() as f64 / lane.operations() as f64);
            }
        }
        let counted = (round + 1).saturating_sub(WARM_UP_ROUNDS);
        if counted >= rounds || (counted >= FEWEST_ROUNDS && start.elapsed() > allowed) {
            break;
        }
        round += 1;
    }
    let timings = lanes.iter().zip(laps).map(|(lane, mut laps)| {
        let about = lane.about();
        lane.check(round).map_err(|error| format!("{}: {error}", about.title))?;
        laps.sort_by(f64::total_cmp);
        let (best, median) = (laps[0], laps[laps.len() / 2]);
        Ok(Timing { about, best, median, hit_rate: lane.hit_rate() })
    });
    timings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::speed::contestants::Cache;

    /// Takes as many microseconds as the round has in its list, over and over.
    struct Scripted {
        micros: Vec<u64>,
        rounds_seen: Vec<usize>,
        is_wrong: bool,
    }

    impl Lane for Scripted {
        fn about(&self) -> About {
            Engine::ABOUT
        }

        fn operations(&self) -> usize {
            10
        }

        fn lap(&mut self, round: usize) -> Result<Duration, String> {
            self.rounds_seen.push(round);
            Ok(Duration::from_micros(self.micros[round % self.micros.len()]))
        }

        fn check(&self, last_round: usize) -> Result<(), String> {
            assert_eq!(self.rounds_seen, (0..=last_round).collect::<Vec<_>>());
            if self.is_wrong { Err("wrong".to_owned()) } else { Ok(()) }
        }

        fn hit_rate(&self) -> Option<f64> {
            None
        }
    }

    fn lanes(is_wrong: bool) -> Vec<Box<dyn Lane>> {
        let lane = |micros: &[u64]| -> Box<dyn Lane> {
            Box::new(Scripted { micros: micros.to_vec(), rounds_seen: Vec::new(), is_wrong })
        };
        // The first four rounds do not count.
        vec![lane(&[1, 1, 1, 1, 30, 20, 40, 20, 50]), lane(&[7])]
    }

    #[test]
    fn smallest_and_middle_rounds_are_taken_after_the_warm_up() {
        let timings = race(&mut lanes(false), 5, Duration::MAX).unwrap();
        let figures: Vec<_> = timings.iter().map(|timing| (timing.best, timing.median)).collect();
        assert_eq!(figures, [(2000.0, 3000.0), (700.0, 700.0)]);
    }

    #[test]
    fn a_race_ends_when_its_time_is_over_but_not_too_early() {
        let mut lanes = lanes(false);
        race(&mut lanes, 1000, Duration::ZERO).unwrap();
        assert!(lanes[0].check(WARM_UP_ROUNDS + FEWEST_ROUNDS - 1).is_ok());
    }

    #[test]
    fn a_wrong_answer_ends_the_race() {
        let error = race(&mut lanes(true), 5, Duration::MAX).unwrap_err();
        assert_eq!(error, "velro-cache: wrong");
    }
}
