//! Traces: numbered keys in the order of their requests.
//!
//! A file holds little-endian 32-bit key numbers, one per request, compressed by xz; keys are
//! numbered from 0.

use lzma_rust2::XzReader;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// What the name of a trace file ends with.
const SUFFIX: &str = ".u32.xz";

/// Capacities, in thousandths of the number of keys.
const CAPACITIES_PER_MILLE: [usize; 5] = [5, 10, 50, 100, 250];

/// Below this, a policy that divides its room into parts has no room to divide.
const SMALLEST_CAPACITY: usize = 16;

/// Requests, and the capacities at which they are replayed.
#[derive(Debug)]
pub struct Trace {
    /// What it is called.
    pub name: String,
    /// Number of the key of each request.
    pub requests: Vec<u32>,
    /// How many different keys there are; all numbers are smaller.
    pub keys: usize,
    /// Hits are counted from this request on.
    pub measured_from: usize,
    /// Entries a cache may hold, ascending.
    pub capacities: Vec<usize>,
}

impl Trace {
    /// A trace that is counted from its first request, at the usual shares of its keys.
    #[must_use]
    pub fn whole(name: String, requests: Vec<u32>) -> Self {
        let keys = requests.iter().max().map_or(0, |&highest| highest as usize + 1);
        let share = |per_mille: usize| (keys * per_mille / 1000).max(SMALLEST_CAPACITY);
        let mut capacities: Vec<_> = CAPACITIES_PER_MILLE.into_iter().map(share).collect();
        capacities.dedup();
        Self { name, requests, keys, measured_from: 0, capacities }
    }

    /// Requests that count.
    #[must_use]
    pub fn measured(&self) -> usize {
        self.requests.len() - self.measured_from
    }
}

/// Reads all traces of a folder, in the order of their names.
///
/// # Errors
/// The folder or a file in it cannot be read, or there is no trace in it.
pub fn read_all(folder: &Path) -> Result<Vec<Trace>, String> {
    let named = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let entries = std::fs::read_dir(folder).map_err(|error| named(folder, error))?;
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| named(folder, error))?.path();
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if let Some(name) = file_name.as_deref().and_then(|name| name.strip_suffix(SUFFIX)) {
            files.push((name.to_owned(), path));
        }
    }
    if files.is_empty() {
        return Err(format!("{}: no file ends with {SUFFIX}", folder.display()));
    }
    files.sort();
    let read = files.into_iter().map(|(name, path)| {
        let file = File::open(&path).map_err(|error| named(&path, error))?;
        let mut bytes = Vec::new();
        XzReader::new(BufReader::new(file), true)
            .read_to_end(&mut bytes)
            .map_err(|error| named(&path, error))?;
        Ok(Trace::whole(name, numbers(&bytes)))
    });
    read.collect()
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    let (numbers, _rest) = bytes.as_chunks::<4>();
    numbers.iter().map(|&number| u32::from_le_bytes(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_little_endian() {
        assert_eq!(numbers(&[1, 0, 0, 0, 0, 2, 0, 0]), [1, 512]);
    }

    #[test]
    fn capacities_are_shares_of_the_keys_and_not_too_small() {
        let trace = Trace::whole("loop".to_owned(), (0..1011).collect());
        assert_eq!(trace.capacities, [16, 50, 101, 252]);
        assert_eq!((trace.keys, trace.measured()), (1011, 1011));
    }
}
