//! What the outboxes in PostgreSQL and SQLite have in common.
//!
//! A counter per name of a cache, one row per invalidation, one row per host that reads. A number
//! is taken from the counter in the transaction that writes the invalidation, so a number that
//! can be read is committed, as are all before it: the row of the counter lets nobody else take
//! one until then. A sequence of the database would not do: it gives numbers out before the
//! commit, and a reader that saw 8 would never look for a 7 that is committed later.

use super::event::MOST_BODY_BYTES;
use super::postgres::PostgresLog;
use super::remembered::Remembered;
use super::sqlite::SqliteLog;
use super::{InvalidationLog, LogError, Sequence};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Entries are kept for so long at least after the next one has come. Who was away for longer
/// believes nothing it has.
pub(super) const RETENTION: Duration = Duration::from_hours(24);

/// Pause between two looks for entries that are too old.
const CLEAN_EVERY: Duration = Duration::from_mins(1);

/// Most entries removed at a time, so that nobody waits for it.
pub(super) const MOST_CLEANED: i64 = 1000;

/// Most entries read at a time, whatever the reader asks for.
const MOST_READ: usize = 1000;

/// Bytes of bodies after which no further entry is read; there is always room for one.
pub(super) const MOST_READ_BYTES: i64 = 4 * 1024 * 1024;

/// Opens the outbox behind an address: `postgresql://`, `postgres://` or `sqlite:`.
///
/// Nothing is connected to before the first call.
///
/// # Errors
/// [`LogError::Config`] where the address or the name cannot be used.
pub fn connect_sql(
    url: &str,
    name: &str,
    timeout: Duration,
) -> Result<Box<dyn InvalidationLog>, LogError> {
    connect_remembering(url, name, timeout, Remembered::default())
}

/// The same, for one who reads and one who appends; see [`Remembered`].
///
/// # Errors
/// As for [`connect_sql`].
pub(super) fn connect_sql_pair(
    url: &str,
    name: &str,
    timeout: Duration,
) -> Result<[Box<dyn InvalidationLog>; 2], LogError> {
    let remembered = Remembered::default();
    let open = || connect_remembering(url, name, timeout, remembered.clone());
    Ok([open()?, open()?])
}

fn connect_remembering(
    url: &str,
    name: &str,
    timeout: Duration,
    remembered: Remembered,
) -> Result<Box<dyn InvalidationLog>, LogError> {
    if url.starts_with("sqlite:") {
        Ok(Box::new(SqliteLog::open(url, name, timeout)?.remembering(remembered)))
    } else {
        Ok(Box::new(PostgresLog::open(url, name, timeout)?.remembering(remembered)))
    }
}

/// What is said where a log was rewritten and could not be given a new life.
pub(super) fn rewritten() -> LogError {
    LogError::Refused("old rows were put back into its tables, and again meanwhile".into())
}

/// Refuses a body that no entry may have.
pub(super) fn check_body(body: &[u8]) -> Result<(), LogError> {
    if body.len() <= MOST_BODY_BYTES {
        return Ok(());
    }
    Err(LogError::Config(format!(
        "an entry of an invalidation log has at most {MOST_BODY_BYTES} bytes, not {}",
        body.len()
    )))
}

/// The channel on which PostgreSQL tells of entries of this name: short and plain, whatever the
/// name is.
pub(super) fn channel(name: &str) -> String {
    format!("velro_{}", generation(name))
}

/// A short name for a life of a log, from all that changes when it may have lost something: the
/// beginning of its SHA-256 in hexadecimal.
pub(super) fn generation(life: &str) -> String {
    digest(life.as_bytes())
}

/// The beginning of a SHA-256 in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A number as databases have it; beyond their range there is nothing anyway.
pub(super) fn to_sql(sequence: Sequence) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// The inverse of [`to_sql`].
pub(super) fn from_sql(sequence: i64) -> Result<Sequence, LogError> {
    Sequence::try_from(sequence)
        .map_err(|_| LogError::NotALog(format!("it has an entry with the number {sequence}")))
}

/// How many entries to read for somebody who asks for so many.
pub(super) fn limit(max_entries: usize) -> i64 {
    to_sql(max_entries.min(MOST_READ) as u64)
}

/// Milliseconds as databases have them; at most some thirty years, which their arithmetic can take.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    const MOST: i64 = 1_000_000_000_000;
    i64::try_from(duration.as_millis()).map_or(MOST, |number| number.min(MOST))
}

/// When old entries were last looked for.
#[derive(Debug, Default)]
pub(super) struct Cleaning(Option<Instant>);

impl Cleaning {
    /// Whether it is time to look again; counts as having looked.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= CLEAN_EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_short_and_follows_the_life() {
        assert_eq!(generation("a").len(), 32);
        assert_ne!(generation("a"), generation("b"));
    }

    #[test]
    fn numbers_out_of_range_are_no_numbers_of_a_log() {
        assert_eq!(to_sql(u64::MAX), i64::MAX);
        assert_eq!(from_sql(7), Ok(7));
        assert!(matches!(from_sql(-1), Err(LogError::NotALog(_))));
    }
}
