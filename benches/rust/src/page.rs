//! Where and when a run was made, and Markdown.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where and when.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Threads that run at once.
    pub cores: usize,
    /// Operating system and release.
    pub system: String,
    /// Version of the compiler.
    pub compiler: String,
    /// Short commit of the sources, with `+` if files differ from it.
    pub commit: String,
    /// Day and time, UTC.
    pub date: String,
}

impl Machine {
    /// This machine, now.
    #[must_use]
    pub fn here() -> Self {
        Self {
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: said_by("uname", &["-s", "-r"]),
            compiler: said_by("rustc", &["--version"]),
            commit: commit(),
            date: said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        }
    }

    /// The table that says how a page was made.
    #[must_use]
    pub fn made(&self, command: &str) -> String {
        let machine = format!("{}, {} cores, {}", self.processor, self.cores, self.system);
        let rows = [
            ["on".to_owned(), format!("{}, commit `{}`", self.date, self.commit)],
            ["machine".to_owned(), machine],
            ["compiler".to_owned(), self.compiler.clone()],
            ["by".to_owned(), format!("`{command}`")],
        ];
        table(&["Made".to_owned(), String::new()], &rows.map(Vec::from))
    }
}

/// The top of the project.
#[must_use]
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A Markdown table; all columns but the first are right-aligned.
#[must_use]
pub fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule = format!("|---|{}", "---:|".repeat(head.len().saturating_sub(1)));
    let rows = rows.iter().map(|cells| line(cells));
    [line(head), rule].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

/// A count with commas.
#[must_use]
pub fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Version of a crate that was built, from the lock file; a dash if it is not there.
#[must_use]
pub fn version_of(package: &str) -> String {
    let lock = std::fs::read_to_string(project().join("Cargo.lock")).unwrap_or_default();
    let mut lines = lock.lines();
    let heading = format!("name = \"{package}\"");
    let version = lines.find(|&line| line == heading).and_then(|_| lines.next());
    let version = version.and_then(|line| line.strip_prefix("version = "));
    version.map_or_else(|| "-".to_owned(), |quoted| quoted.trim_matches('"').to_owned())
}

fn processor() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find(|line| line.starts_with("model name"));
    let name = model.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn commit() -> String {
    let project = project();
    let folder = project.to_string_lossy();
    let commit = said_by("git", &["-C", &folder, "rev-parse", "--short", "HEAD"]);
    // What a run itself writes does not make the code another one.
    let changed =
        said_by("git", &["-C", &folder, "status", "--porcelain", "--", "src", "benches/rust"]);
    if changed.is_empty() { commit } else { format!("{commit}+") }
}

/// What a program prints; empty if it cannot be run.
fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_threes() {
        assert_eq!(
            [1, 12, 123, 1234, 1_234_567].map(grouped).join(" "),
            "1 12 123 1,234 1,234,567"
        );
    }

    #[test]
    fn tables_align_figures_to_the_right() {
        let text = table(&["".to_owned(), "a".to_owned()], &[vec!["x".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "|  | a |\n|---|---:|\n| x | 1 |");
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(version_of("moka").starts_with("0."));
        assert_eq!(version_of("no-such-crate"), "-");
    }
}
