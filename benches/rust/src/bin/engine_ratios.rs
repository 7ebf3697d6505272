//! Races the engine against other Rust caches, in turns, and writes the page.
//!
//! ```text
//! engine_ratios [--quick] [--only OPERATION] [--threads N] [--out DIR]
//! ```
//!
//! `--only` takes the beginning of an operation's name. The page is written to `--out`; without
//! that, to `docs` after a whole run, and otherwise just the ratios are printed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use velro_cache_benches::page::{self, Machine};
use velro_cache_benches::speed::operations::Operation;
use velro_cache_benches::speed::race::race;
use velro_cache_benches::speed::report::{self, Race};

const COMMAND: &str = "make bench-engine";
const PAGE: &str = "benchmarks-engine.md";

/// Rounds and time of one race.
const WHOLE: (usize, Duration) = (400, Duration::from_secs(12));
const QUICK: (usize, Duration) = (60, Duration::from_secs(2));

fn main() -> ExitCode {
    match Options::from(std::env::args().skip(1)).and_then(|options| work(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "engine_ratios: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    pace: (usize, Duration),
    operations: Vec<Operation>,
    threads: Vec<usize>,
    out: Option<PathBuf>,
}

impl Options {
    fn from(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            pace: WHOLE,
            operations: Operation::ALL.to_vec(),
            threads: vec![1, 2],
            out: Some(page::project().join("docs")),
        };
        let mut out = None;
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
            match option.as_str() {
                "--quick" => options.pace = QUICK,
                "--only" => {
                    let beginning = value()?;
                    options.operations.retain(|it| it.title().starts_with(&beginning));
                }
                "--threads" => {
                    let threads = value()?.parse().map_err(|_| "--threads needs a number")?;
                    options.threads = vec![threads];
                }
                "--out" => {
                    out = Some(PathBuf::from(value()?));
                    continue;
                }
                _ => return Err(format!("there is no {option}")),
            }
            // Part of a run, or a hasty one, makes no page.
            options.out = None;
        }
        options.out = out.or(options.out);
        Ok(options)
    }
}

fn work(options: &Options) -> Result<(), String> {
    let machine = Machine::here();
    let (rounds, allowed) = options.pace;
    let mut races = Vec::new();
    for &operation in &options.operations {
        for &threads in &options.threads {
            let _ = writeln!(std::io::stderr(), "{}, threads: {threads}", operation.title());
            let timings = race(&mut operation.lanes(threads)?, rounds, allowed)?;
            races.push(Race { operation, threads, timings });
        }
    }
    let _ = writeln!(std::io::stdout(), "{}", report::ratios(&races));
    if let Some(out) = &options.out {
        let path = out.join(PAGE);
        std::fs::write(&path, report::page(&races, &machine, COMMAND))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
