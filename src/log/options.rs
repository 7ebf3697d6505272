//! What can be set about a log, beside its address and its name.

use super::LogError;
use std::time::Duration;

/// Settings of every kind of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Longest time one call may take, whatever the server does.
    pub timeout: Duration,
    /// So many replicas must have an entry, or a heartbeat, before it counts. 0: the primary alone
    /// answers for it. Only for Redis; a database has settings of its own for this.
    pub wait_for_replicas: u32,
    /// So many entries are kept; a reader that is further behind disbelieves everything.
    pub retention: u64,
}

/// Entries kept unless somebody says otherwise: at some 200 bytes each, 20 MB.
const RETENTION: u64 = 100_000;

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), wait_for_replicas: 0, retention: RETENTION }
    }
}

impl Options {
    /// Checks them.
    ///
    /// # Errors
    /// [`LogError::Config`] names the setting and its range.
    pub fn check(self) -> Result<Self, LogError> {
        let wrong = |what: &str| Err(LogError::Config(what.to_owned()));
        if self.timeout < Duration::from_millis(1) || self.timeout > Duration::from_secs(3600) {
            return wrong("the time limit of an invalidation log must be 0.001 to 3600 seconds");
        }
        if self.retention == 0 || self.retention > 1_000_000_000 {
            return wrong(
                "the retention of an invalidation log must be 1 to 1,000,000,000 entries",
            );
        }
        if self.wait_for_replicas > 1000 {
            return wrong("an invalidation log can wait for at most 1000 replicas");
        }
        Ok(self)
    }
}

/// Checks the name of a log. It becomes part of the names of keys and a column's value.
///
/// # Errors
/// [`LogError::Config`] if it is empty, too long, or holds control characters.
pub fn check_name(name: &str) -> Result<(), LogError> {
    if name.is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
        return Err(LogError::Config(
            "the name of an invalidation log must be 1 to 200 bytes long, without control characters"
                .to_owned(),
        ));
    }
    Ok(())
}
