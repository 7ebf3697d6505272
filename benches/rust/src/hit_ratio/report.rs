//! The page: every sentence with a figure is made from the figures.

use super::contestants::{Contestant, Side};
use super::results::{Results, Trial};
use crate::page::{Machine, grouped, table, version_of};
use std::fmt::Write as _;

/// Ahead by more points than this is worth a line.
const WORTH_A_LINE: f64 = 0.5;

/// The whole page.
///
/// `command` is what makes it, `chart` the name of the picture beside it.
#[must_use]
pub fn page(results: &Results, machine: &Machine, command: &str, chart: Option<&str>) -> String {
    let mut parts = vec![
        "# Hit ratio".to_owned(),
        format!(
            "What share of the requests each eviction policy answers, velro-cache's and those of \
             other Rust caches, beside the best that is possible. Bigger caches hit more; a \
             better policy hits more with the same memory. This page is written by the run \
             itself: `{command}`."
        ),
        machine.made(command),
        "## At a glance".to_owned(),
    ];
    if let Some(chart) = chart {
        parts.push(format!("![Mean gap to the optimum, and hit rate over capacity]({chart})"));
    }
    parts.push(
        "*Gap*: percentage points below the optimum (OPT), mean over the capacities of a trace, \
         then over the traces; smaller is better. *Worst trace*: where the gap is largest. The \
         Zipf columns are hit rates; larger is better. The best cache of a column is bold."
            .to_owned(),
    );
    parts.push(summary(results));
    parts.push("## How to read it".to_owned());
    parts.push(HOW_TO_READ.to_owned());
    if !results.traces.is_empty() {
        parts.push("## Where others are ahead".to_owned());
        parts.push(ahead(results));
        parts.push("## Gap of each trace".to_owned());
        parts.push(
            "Points below the optimum, mean over the capacities; the smallest gap of each trace \
             is bold."
                .to_owned(),
        );
        parts.push(gaps(results));
        parts.push("## Hit rate at each capacity".to_owned());
        parts.push("Percent of all requests; the best cache of each line is bold.".to_owned());
        parts.extend(results.traces.iter().map(|trial| rates(results, trial)));
        parts.push("## The traces".to_owned());
        parts.push(
            "At most the first two million requests of public research traces. They are not part \
             of this project; whoever has them in a folder can repeat the run."
                .to_owned(),
        );
        parts.push(traces(results));
    }
    parts.push("## Who took part".to_owned());
    parts.push(members(results));
    parts.join("\n\n") + "\n"
}

const HOW_TO_READ: &str = "\
- A request looks a key up and, on a miss, stores it. All entries weigh the same; nothing expires.
- **OPT** is Belady's: whoever is needed furthest in the future goes, and what is needed later than
  all that is held is not stored at all. No cache can reach it without knowing the future.
- Capacities are 0.5, 1, 5, 10 and 25 percent of a trace's keys, and at least 16 entries.
- Every cache holds exactly its capacity: one shard, deferred work done before the next request,
  and the number of entries is checked. Only quick_cache is now and then an entry or two short.
  Hashes have fixed seeds where a cache lets them be chosen, and a second run finds the same
  figures. With many shards or from many threads, all of them may hit slightly less.
- Every answer is compared with what was stored; one wrong answer fails the run.
- The Zipf scenarios draw from 100,000 keys with exponent 0.99 and have room for 10,000. *Static*:
  after a warm-up, popularity stays as it is. *Just reshuffled*: the 100,000 requests right after
  all keys have swapped their popularity. *30 % one-hit keys*: that share of the requests is for
  keys that never come again.";

fn summary(results: &Results) -> String {
    let with_traces = !results.traces.is_empty();
    let mut head = vec![String::new()];
    if with_traces {
        head.extend(["mean gap", "largest gap", "worst trace"].map(str::to_owned));
    }
    head.extend(results.scenarios.iter().map(|trial| trial.name.clone()));
    let order: Vec<usize> = std::iter::once(0).chain(results.ranking()).collect();
    let all_gaps: Vec<_> = order.iter().map(|&who| results.gap(who)).collect();
    // The optimum, first in line, is no cache.
    let least = |figures: Vec<f64>| figures.into_iter().skip(1).fold(f64::INFINITY, f64::min);
    let best_mean = least(all_gaps.iter().flatten().map(|gap| gap.mean).collect());
    let best_worst = least(all_gaps.iter().flatten().map(|gap| gap.worst).collect());
    let rows = order.iter().zip(&all_gaps).map(|(&who, gap)| {
        let contestant = &results.contestants[who];
        let mut row = vec![name(contestant)];
        if let Some(gap) = gap {
            let is_bound = contestant.side == Side::Bound;
            row.push(figure(gap.mean, gap.mean <= best_mean && !is_bound));
            row.push(figure(gap.worst, gap.worst <= best_worst && !is_bound));
            row.push(if is_bound { "-".to_owned() } else { gap.worst_trace.clone() });
        }
        let scenarios = results.scenarios.iter().filter_map(|trial| trial.at.first());
        row.extend(scenarios.map(|at| figure(at.rates[who], is_best(&at.rates, who)) + " %"));
        row
    });
    table(&head, &rows.collect::<Vec<_>>())
}

/// For each policy of a peer, the traces and scenarios on which it beats our default.
fn ahead(results: &Results) -> String {
    let Some(ours) = results.contestants.iter().position(|who| who.slug == "adaptive") else {
        return "The adaptive policy did not take part.".to_owned();
    };
    let mut lines = vec![format!(
        "Every trace on which somebody's mean gap is more than {WORTH_A_LINE} points smaller than \
         that of velro-cache's adaptive policy, and every scenario with a hit rate as much higher."
    )];
    for &who in results.ranking().iter().filter(|&&who| who != ours) {
        let mut cases = Vec::new();
        for trial in results.traces.iter().chain(&results.scenarios) {
            let by = trial.gap(ours) - trial.gap(who);
            if by > WORTH_A_LINE {
                cases.push(format!("{} by {by:.1}", trial.name));
            }
        }
        if !cases.is_empty() {
            let name = results.contestants[who].title;
            lines.push(format!("- **{name}**: {}.", cases.join("; ")));
        }
    }
    if lines.len() == 1 {
        lines.push("- Nobody.".to_owned());
    }
    lines.insert(1, String::new());
    lines.join("\n")
}

fn gaps(results: &Results) -> String {
    let order = results.ranking();
    let mut head = vec!["trace".to_owned()];
    head.extend(order.iter().map(|&who| name(&results.contestants[who])));
    let rows = results.traces.iter().map(|trial| {
        let gaps: Vec<f64> = order.iter().map(|&who| trial.gap(who)).collect();
        let least = gaps.iter().copied().fold(f64::INFINITY, f64::min);
        let cells = gaps.iter().map(|&gap| figure(gap, same(gap, least)));
        std::iter::once(trial.name.clone()).chain(cells).collect()
    });
    table(&head, &rows.collect::<Vec<_>>())
}

fn rates(results: &Results, trial: &Trial) -> String {
    let order: Vec<usize> = std::iter::once(0).chain(results.ranking()).collect();
    let mut head = vec!["capacity".to_owned()];
    head.extend(order.iter().map(|&who| name(&results.contestants[who])));
    let rows = trial.at.iter().map(|at| {
        let cells = order.iter().map(|&who| figure(at.rates[who], is_best(&at.rates, who)));
        std::iter::once(grouped(at.capacity)).chain(cells).collect()
    });
    format!("### {}\n\n{}", trial.name, table(&head, &rows.collect::<Vec<_>>()))
}

fn traces(results: &Results) -> String {
    let head = ["trace", "requests", "keys", "what"].map(str::to_owned);
    let rows = results.traces.iter().map(|trial| {
        vec![
            trial.name.clone(),
            grouped(trial.requests),
            grouped(trial.keys),
            origin(&trial.name).to_owned(),
        ]
    });
    table(&head, &rows.collect::<Vec<_>>())
}

/// What is known about a trace from the beginning of its name.
fn origin(name: &str) -> &'static str {
    const ORIGINS: [(&str, &str); 9] = [
        ("arc_", "disk blocks of databases and workstations (ARC authors)"),
        ("lirs_", "Unix tools, databases, loops and scans (LIRS authors)"),
        ("c2k_", "cached objects of an ORM and of a web site"),
        ("wiki_", "pages asked of Wikipedia's CDN"),
        ("cp_", "disk blocks of virtual machines (CloudPhysics)"),
        ("email_", "pairs of sender and receiver (SNAP)"),
        ("mathoverflow_", "who answers whom (SNAP)"),
        ("addr_", "memory addresses of a program (SPEC)"),
        ("corda", "transactions of a ledger, most of them seen once"),
    ];
    let known = ORIGINS.iter().find(|(beginning, _)| name.starts_with(beginning));
    known.map_or("-", |&(_, origin)| origin)
}

fn members(results: &Results) -> String {
    let head = ["", "policy", "crate", "version"].map(str::to_owned);
    let rows = results.contestants.iter().map(|contestant| {
        let package = match contestant.side {
            Side::Bound => None,
            Side::Ours => Some("velro-cache"),
            Side::Peer => contestant.package,
        };
        vec![
            name(contestant),
            contestant.policy.to_owned(),
            package.unwrap_or("-").to_owned(),
            package.map_or_else(|| "-".to_owned(), version_of),
        ]
    });
    table(&head, &rows.collect::<Vec<_>>())
}

/// The same figures for a terminal.
#[must_use]
pub fn summary_text(results: &Results) -> String {
    let mut text = String::new();
    for who in std::iter::once(0).chain(results.ranking()) {
        let _ = write!(text, "{:<22}", results.contestants[who].title);
        if let Some(gap) = results.gap(who) {
            let (mean, worst) = (gap.mean, gap.worst);
            let is_bound = results.contestants[who].side == Side::Bound;
            let worst_trace = if is_bound { "" } else { &gap.worst_trace };
            let _ = write!(text, "gap {mean:6.2}  worst {worst:6.2} {worst_trace:<18}");
        }
        for at in results.scenarios.iter().filter_map(|trial| trial.at.first()) {
            let _ = write!(text, "  {:6.2} %", at.rates[who]);
        }
        text.push('\n');
    }
    text
}

fn name(contestant: &Contestant) -> String {
    match contestant.side {
        Side::Ours => contestant.title.replace("velro-cache", "**velro-cache**"),
        Side::Bound | Side::Peer => contestant.title.to_owned(),
    }
}

/// Whether nobody but the optimum does better.
fn is_best(rates: &[f64], who: usize) -> bool {
    who != 0 && same(rates[who], rates.iter().copied().skip(1).fold(0.0, f64::max))
}

/// Whether two figures are printed alike.
fn same(one: f64, other: f64) -> bool {
    format!("{one:.2}") == format!("{other:.2}")
}

fn figure(value: f64, is_best: bool) -> String {
    if is_best { format!("**{value:.2}**") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;
    use super::*;

    fn machine() -> Machine {
        let text = || "x".to_owned();
        Machine {
            processor: text(),
            cores: 2,
            system: text(),
            compiler: text(),
            commit: text(),
            date: text(),
        }
    }

    #[test]
    fn page_has_every_trace_scenario_and_contestant() {
        let results = sample();
        let page = page(&results, &machine(), "make bench-hit-ratio", Some("hit-ratio.svg"));
        for name in ["loops", "web", "Zipf", "OPT", "**velro-cache** LFU", "](hit-ratio.svg)"] {
            assert!(page.contains(name), "{name} is missing");
        }
        // Gap 4.00 on average, 7.00 on `loops`; both the smallest of all caches.
        assert!(page.contains("| **4.00** | **7.00** | loops |"), "{page}");
        assert!(page.contains("| 16 | 50.00 | 40.00 | **49.00** | 0.00 |"), "{page}");
    }

    #[test]
    fn whoever_is_ahead_is_named_with_the_case() {
        let text = ahead(&sample());
        assert!(text.contains("- **velro-cache LFU**: loops by 4.0."), "{text}");
        assert!(!text.contains("LRU"), "{text}");
    }

    #[test]
    fn without_traces_the_scenarios_are_left() {
        let results = Results { traces: Vec::new(), ..sample() };
        let page = page(&results, &machine(), "make bench-hit-ratio", None);
        assert!(page.contains("72.50 %") && !page.contains("worst trace"), "{page}");
    }
}
