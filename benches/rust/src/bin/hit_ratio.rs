//! Replays traces and Zipf scenarios by every policy, and writes the page with a picture.
//!
//! ```text
//! hit_ratio [--traces DIR] [--out DIR] [--only SLUG,SLUG] [--threads N]
//! ```
//!
//! Without `--traces`, only the scenarios run. With `--only`, only these contestants and the
//! optimum take part. The page is written to `--out`; without that, to `docs` if all contestants
//! ran over traces, and otherwise just the summary is printed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use velro_cache_benches::hit_ratio::contestants::{CONTESTANTS, Contestant, Side};
use velro_cache_benches::hit_ratio::{chart, report, run, scenarios, trace};
use velro_cache_benches::page::{self, Machine};

const COMMAND: &str = "make bench-hit-ratio TRACES=dir";
const PAGE: &str = "hit-ratio.md";
const CHART: &str = "hit-ratio.svg";

fn main() -> ExitCode {
    match Options::from(std::env::args().skip(1)).and_then(|options| work(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hit_ratio: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    traces: Option<PathBuf>,
    out: Option<PathBuf>,
    contestants: Vec<Contestant>,
    threads: usize,
}

impl Options {
    fn from(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options =
            Self { traces: None, out: None, contestants: CONTESTANTS.to_vec(), threads: 2 };
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--traces" => options.traces = Some(value.into()),
                "--out" => options.out = Some(value.into()),
                "--only" => options.contestants = named(&value)?,
                "--threads" => {
                    options.threads = value.parse().map_err(|_| "--threads needs a number")?;
                }
                _ => return Err(format!("there is no {option}")),
            }
        }
        let everybody = options.contestants.len() == CONTESTANTS.len();
        if options.out.is_none() && options.traces.is_some() && everybody {
            options.out = Some(page::project().join("docs"));
        }
        Ok(options)
    }
}

/// The optimum and those who are named.
fn named(slugs: &str) -> Result<Vec<Contestant>, String> {
    let wanted: Vec<&str> = slugs.split(',').collect();
    let unknown = wanted.iter().find(|&&slug| CONTESTANTS.iter().all(|who| who.slug != slug));
    if let Some(slug) = unknown {
        let all = CONTESTANTS.map(|who| who.slug).join(", ");
        return Err(format!("there is no {slug}, only {all}"));
    }
    let chosen =
        CONTESTANTS.into_iter().filter(|who| who.side == Side::Bound || wanted.contains(&who.slug));
    Ok(chosen.collect())
}

fn work(options: &Options) -> Result<(), String> {
    let machine = Machine::here();
    let traces = match &options.traces {
        Some(folder) => trace::read_all(folder)?,
        None => Vec::new(),
    };
    let scenarios = scenarios::all();
    let results =
        run::run(&traces, &scenarios, &options.contestants, options.threads, |done, all| {
            let _ = write!(std::io::stderr(), "\r{done} of {all} replays");
        });
    let _ = writeln!(std::io::stderr());
    let results = results?;
    let _ = write!(std::io::stdout(), "{}", report::summary_text(&results));
    if let Some(out) = &options.out {
        let chart = (!traces.is_empty()).then_some(CHART);
        let page = report::page(&results, &machine, COMMAND, chart);
        let write = |name: &str, text: String| {
            let path = out.join(name);
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        write(PAGE, page)?;
        if chart.is_some() {
            write(CHART, chart::draw(&results, &machine))?;
        }
    }
    Ok(())
}
