//! Hit rates, and how far they are from the optimum.

use super::contestants::{Contestant, Side};

/// Everything one run found out.
#[derive(Debug)]
pub struct Results {
    /// Who took part; the optimum is the first.
    pub contestants: Vec<Contestant>,
    /// Traces from files.
    pub traces: Vec<Trial>,
    /// Scenarios drawn at random.
    pub scenarios: Vec<Trial>,
}

/// One trace, replayed by everybody at every capacity.
#[derive(Debug)]
pub struct Trial {
    /// Name of the trace.
    pub name: String,
    /// Requests that count.
    pub requests: usize,
    /// Different keys.
    pub keys: usize,
    /// At each capacity, in ascending order.
    pub at: Vec<AtCapacity>,
}

/// Hit rates at one capacity.
#[derive(Debug)]
pub struct AtCapacity {
    /// Entries held at the most.
    pub capacity: usize,
    /// Percent of hits, in the order of the contestants.
    pub rates: Vec<f64>,
}

/// A contestant over all traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// Points below the optimum; mean over capacities, then over traces.
    pub mean: f64,
    /// The same on the trace where it is largest.
    pub worst: f64,
    /// Name of that trace.
    pub worst_trace: String,
}

impl Trial {
    /// Points a contestant stays below the optimum, mean over capacities.
    #[must_use]
    pub fn gap(&self, contestant: usize) -> f64 {
        let gaps = self.at.iter().map(|at| at.rates[0] - at.rates[contestant]);
        gaps.sum::<f64>() / self.at.len().max(1) as f64
    }
}

impl Results {
    /// How far a contestant stays below the optimum over all traces; `None` if there are none.
    #[must_use]
    pub fn gap(&self, contestant: usize) -> Option<Gap> {
        let gaps: Vec<f64> = self.traces.iter().map(|trial| trial.gap(contestant)).collect();
        let worst = (0..gaps.len()).max_by(|&one, &other| gaps[one].total_cmp(&gaps[other]))?;
        Some(Gap {
            mean: gaps.iter().sum::<f64>() / gaps.len() as f64,
            worst: gaps[worst],
            worst_trace: self.traces[worst].name.clone(),
        })
    }

    /// Places of all contestants but the optimum, the smallest mean gap first; in the order of
    /// the list where there is no trace.
    #[must_use]
    pub fn ranking(&self) -> Vec<usize> {
        let caches = (0..self.contestants.len())
            .filter(|&place| self.contestants[place].side != Side::Bound);
        let mut ranking: Vec<usize> = caches.collect();
        let mean = |place| self.gap(place).map_or(0.0, |gap| gap.mean);
        ranking.sort_by(|&one, &other| mean(one).total_cmp(&mean(other)));
        ranking
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::contestants::CONTESTANTS;
    use super::*;

    fn trial(name: &str, rates: &[&[f64]]) -> Trial {
        let at = rates.iter().enumerate();
        let at =
            at.map(|(number, rates)| AtCapacity { capacity: 16 << number, rates: rates.to_vec() });
        Trial { name: name.to_owned(), requests: 1000, keys: 100, at: at.collect() }
    }

    /// The optimum and three caches over two traces and one scenario.
    pub(in crate::hit_ratio) fn sample() -> Results {
        Results {
            contestants: CONTESTANTS[..4].to_vec(),
            traces: vec![
                trial("loops", &[&[50.0, 40.0, 0.0, 49.0], &[80.0, 76.0, 10.0, 75.0]]),
                trial("web", &[&[60.0, 59.0, 50.0, 40.0]]),
            ],
            scenarios: vec![trial("Zipf", &[&[80.0, 77.5, 72.5, 76.0]])],
        }
    }

    #[test]
    fn gaps_are_means_over_capacities_and_then_over_traces() {
        let results = sample();
        assert!((results.traces[0].gap(1) - 7.0).abs() < 1e-9);
        let gap = results.gap(1).unwrap();
        assert!((gap.mean - 4.0).abs() < 1e-9 && (gap.worst - 7.0).abs() < 1e-9);
        assert_eq!(gap.worst_trace, "loops");
    }

    #[test]
    fn the_smallest_gap_comes_first() {
        assert_eq!(sample().ranking(), [1, 3, 2]);
        assert_eq!(Results { traces: Vec::new(), ..sample() }.ranking(), [1, 2, 3]);
    }
}
