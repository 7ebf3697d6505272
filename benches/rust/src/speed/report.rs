//! The page: every sentence with a figure is made from the figures.

use super::contestants::About;
use super::operations::Operation;
use super::race::Timing;
use crate::page::{Machine, table, version_of};

/// One race: all contestants' timings.
#[derive(Debug)]
pub struct Race {
    /// What was timed.
    pub operation: Operation,
    /// On how many threads.
    pub threads: usize,
    /// Of each contestant that can do it; ours is the first.
    pub timings: Vec<Timing>,
}

impl Race {
    fn best(&self, title: &str) -> Option<f64> {
        let timing = self.timings.iter().find(|timing| timing.about.title == title);
        timing.map(|timing| timing.best)
    }

    fn ours(&self) -> Option<f64> {
        let timing = self.timings.iter().find(|timing| timing.about.is_ours());
        timing.map(|timing| timing.best)
    }

    /// How many times as long as we a contestant takes.
    fn ratio(&self, title: &str) -> Option<f64> {
        Some(self.best(title)? / self.ours()?)
    }
}

/// Whom a hit is measured against, and how many times as long as ours theirs should take.
const GOALS: [(&str, f64); 2] = [("quick_cache", 1.0), ("moka", 3.0)];

/// Faster by more than this factor is worth a line.
const WORTH_A_LINE: f64 = 1.03;

/// The whole page. `command` is what makes it.
#[must_use]
pub fn page(races: &[Race], machine: &Machine, command: &str) -> String {
    let parts = [
        "# Engine benchmarks".to_owned(),
        format!(
            "The engine alone, in Rust and without Python, beside other Rust caches, in one run. \
             This page is written by the run itself: `{command}`. What reaches Python is in \
             [Benchmarks](benchmarks.md), and how often a cache has the answer in \
             [Hit ratio](hit-ratio.md)."
        ),
        machine.made(command),
        "## Goals".to_owned(),
        goals(races),
        "## At a glance".to_owned(),
        "How many times as long as velro-cache the others take; more than 1 means that \
         velro-cache is faster. A dash: there is no such operation."
            .to_owned(),
        ratios(races),
        "## How to read it".to_owned(),
        HOW_TO_READ.to_owned(),
        "## Where others are ahead".to_owned(),
        ahead(races),
        "## Times".to_owned(),
        "Nanoseconds per operation: the smallest round, and in brackets the median.".to_owned(),
        times(races),
        "## Who ran".to_owned(),
        members(races),
    ];
    parts.join("\n\n") + "\n"
}

const HOW_TO_READ: &str = "\
- All contestants take turns in short rounds, in one process. The smallest round of each counts:
  what else the machine did meanwhile can only add to a round. **Take the ratios**, the nanoseconds
  are this machine's.
- With two threads, each on a processor of its own, the time is that from the first one's beginning
  to the last one's end, divided by the operations of both: half the time of one thread would be
  perfect. Both use the same keys, so whoever writes at a hit, if only a lock, passes the memory it
  writes to back and forth.
- Keys are texts of 54 characters, values are integers. Each cache is made as its documentation
  shows, with its own hash and number of shards; velro-cache has 16 shards. A life of 600 seconds
  is set wherever a cache has one. Whoever takes keys by value is given a copy, which is counted:
  velro-cache makes one, too.
- *hit*, *miss*, *overwrite*: 1,000 keys. *hit, many keys*: 100,000 keys. *insert new*: 5,000 keys
  into a new cache. *evicting insert*: into a full cache of 10,000. *Zipf read-through*: 100,000
  keys with exponent 0.99 and room for 10,000, each miss is stored.
- Every answer is compared with the right one inside the timed loop; one wrong answer fails the run.
- The caches do not do the same work: the column *features* below says who does what.";

fn goals(races: &[Race]) -> String {
    let head = ["Goal", "Measured", ""].map(str::to_owned);
    let mut rows = Vec::new();
    for (title, least) in GOALS {
        for race in races.iter().filter(|race| race.operation == Operation::Hit) {
            let Some(ratio) = race.ratio(title) else { continue };
            let reached = if ratio >= least { "reached" } else { "missed" };
            let aim = if least > 1.0 {
                format!("{least:.0}x as fast as {title}")
            } else {
                format!("at least as fast as {title}")
            };
            rows.push(vec![
                format!("hit, {}: {aim}", on(race.threads)),
                format!("{ratio:.2}x"),
                reached.to_owned(),
            ]);
        }
    }
    table(&head, &rows)
}

/// How many times as long as ours theirs take, a row for each contestant and number of threads.
#[must_use]
pub fn ratios(races: &[Race]) -> String {
    let mut head = vec![String::new(), "threads".to_owned()];
    head.extend(Operation::ALL.map(|operation| operation.title().to_owned()));
    let mut rows = Vec::new();
    for about in everybody(races).into_iter().filter(|about| !about.is_ours()) {
        for threads in thread_counts(races) {
            let cells = Operation::ALL.map(|operation| {
                let race = find(races, operation, threads);
                let ratio = race.and_then(|race| race.ratio(about.title));
                ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x"))
            });
            let mut row = vec![about.title.to_owned(), threads.to_string()];
            row.extend(cells);
            rows.push(row);
        }
    }
    table(&head, &rows)
}

fn times(races: &[Race]) -> String {
    let mut head = vec![String::new()];
    let threads = thread_counts(races);
    head.extend(threads.iter().map(|&threads| on(threads)));
    let mut parts = Vec::new();
    for operation in Operation::ALL {
        let races: Vec<_> =
            threads.iter().filter_map(|&threads| find(races, operation, threads)).collect();
        let Some(first) = races.first() else { continue };
        let with_rate = first.timings.iter().any(|timing| timing.hit_rate.is_some());
        let mut head = head.clone();
        if with_rate {
            head.push("hit rate".to_owned());
        }
        let mut order: Vec<&Timing> = first.timings.iter().collect();
        order.sort_by(|one, other| one.best.total_cmp(&other.best));
        let rows = order.iter().map(|timing| {
            let mut row = vec![name(timing.about)];
            row.extend(races.iter().map(|race| {
                let same = |other: &&Timing| other.about.title == timing.about.title;
                let timing = race.timings.iter().find(same);
                timing.map_or_else(|| "-".to_owned(), figure)
            }));
            row.extend(timing.hit_rate.map(|rate| format!("{rate:.1} %")));
            row
        });
        parts.push(format!(
            "### {}\n\n{}",
            capitalised(operation.title()),
            table(&head, &rows.collect::<Vec<_>>())
        ));
    }
    parts.join("\n\n")
}

fn ahead(races: &[Race]) -> String {
    let mut lines = Vec::new();
    for race in races {
        let Some(ours) = race.ours() else { continue };
        let faster = race.timings.iter().filter(|timing| timing.best * WORTH_A_LINE < ours);
        let named: Vec<String> =
            faster.map(|timing| format!("{} {:.1} ns", timing.about.title, timing.best)).collect();
        if !named.is_empty() {
            let title = capitalised(race.operation.title());
            let threads = on(race.threads);
            let named = named.join(", ");
            lines.push(format!("- **{title}, {threads}** (velro-cache {ours:.1} ns): {named}."));
        }
    }
    if lines.is_empty() {
        lines.push("- Nobody.".to_owned());
    }
    format!(
        "Everybody who is more than three percent faster than velro-cache.\n\n{}",
        lines.join("\n")
    )
}

fn members(races: &[Race]) -> String {
    let head = ["", "features", "version"].map(str::to_owned);
    let rows = everybody(races)
        .into_iter()
        .map(|about| vec![name(about), about.features.to_owned(), version_of(about.package)]);
    table(&head, &rows.collect::<Vec<_>>())
}

fn everybody(races: &[Race]) -> Vec<About> {
    let longest = races.iter().max_by_key(|race| race.timings.len());
    longest.map_or_else(Vec::new, |race| race.timings.iter().map(|timing| timing.about).collect())
}

fn thread_counts(races: &[Race]) -> Vec<usize> {
    let mut counts: Vec<usize> = races.iter().map(|race| race.threads).collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

fn find(races: &[Race], operation: Operation, threads: usize) -> Option<&Race> {
    races.iter().find(|race| race.operation == operation && race.threads == threads)
}

fn name(about: About) -> String {
    if about.is_ours() { format!("**{}**", about.title) } else { about.title.to_owned() }
}

fn figure(timing: &Timing) -> String {
    format!("{:.1} ({:.1})", timing.best, timing.median)
}

fn on(threads: usize) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::super::contestants::{Cache, Fold, Moka, Quick};
    use super::*;
    use crate::engine::Engine;
    use std::hash::RandomState;

    fn timing(about: About, best: f64) -> Timing {
        Timing { about, best, median: best + 1.0, hit_rate: None }
    }

    fn hits(threads: usize, ours: f64) -> Race {
        let timings = vec![
            timing(Engine::ABOUT, ours),
            timing(Quick::ABOUT, 30.0),
            timing(Moka::<RandomState>::ABOUT, 80.0),
            timing(Moka::<Fold>::ABOUT, 60.0),
        ];
        Race { operation: Operation::Hit, threads, timings }
    }

    #[test]
    fn goals_are_reached_or_missed_by_the_ratios() {
        let text = goals(&[hits(1, 20.0), hits(2, 40.0)]);
        assert!(text.contains("1 thread: at least as fast as quick_cache | 1.50x | reached"));
        assert!(text.contains("2 threads: at least as fast as quick_cache | 0.75x | missed"));
        assert!(text.contains("1 thread: 3x as fast as moka | 4.00x | reached"), "{text}");
        assert!(text.contains("2 threads: 3x as fast as moka | 2.00x | missed"));
    }

    #[test]
    fn ratios_have_a_row_for_each_contestant_and_number_of_threads() {
        let text = ratios(&[hits(1, 20.0), hits(2, 40.0)]);
        assert!(text.contains("| quick_cache | 1 | 1.50x | - |"), "{text}");
        assert!(text.contains("| moka, foldhash | 2 | 1.50x | - |"), "{text}");
    }

    #[test]
    fn whoever_is_faster_is_named_with_the_operation() {
        let text = ahead(&[hits(1, 20.0), hits(2, 40.0)]);
        assert!(text.contains("- **Hit, 2 threads** (velro-cache 40.0 ns): quick_cache 30.0 ns."));
        assert!(!text.contains("1 thread"));
    }
}
