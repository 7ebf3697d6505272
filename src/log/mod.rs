//! How invalidations travel between hosts: an ordered log that all of them read.
//!
//! A log numbers its entries 1, 2, 3 ... without a gap, in the order in which they became
//! visible. Whoever has applied all entries up to a number knows every revocation that was
//! acknowledged before that number was read. Three things tell a reader that it may have missed
//! something, and each makes it disbelieve everything it has: a gap, a log that was trimmed
//! beyond what it has read, and a new *generation* (the log began anew, or a server took over that
//! may not have everything).
//!
//! * [`event`] — what one entry says;
//! * this file — what a log must do; `tests/contract/test_invalidation_log.py` checks it for each;
//! * `redis` — a Redis stream; `postgres`, `sqlite` — an outbox in the database of the
//!   permissions;
//! * `connect` — from an address to a log.
//!
//! * `follower` — reads it into the table of this host; `publisher` — writes to it what this
//!   process invalidates; [`channel`] — both, as threads.
//!
//! Everything here blocks. It is called from threads that hold no lock and know no Python.

#![forbid(unsafe_code)]

pub mod channel;
#[cfg(feature = "logs")]
pub mod connect;
pub mod event;
mod follower;
#[cfg(feature = "logs")]
pub mod options;
#[cfg(feature = "logs")]
pub mod postgres;
#[cfg(feature = "logs")]
mod postgres_link;
mod publisher;
#[cfg(feature = "logs")]
pub mod redis;
#[cfg(feature = "logs")]
mod remembered;
#[cfg(feature = "logs")]
pub mod sql;
#[cfg(feature = "logs")]
pub mod sqlite;

pub use channel::{Channel, ChannelSettings};
pub use event::Event;
pub use publisher::WaitFor;

use std::time::Duration;
use thiserror::Error;

/// Number of an entry; 0 stands before the first one.
pub type Sequence = u64;

/// Names one life of a log. Two logs, or one before and after it may have lost something, never
/// have the same one.
pub type Generation = String;

/// A log and its entries as seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which life of the log this is.
    pub generation: Generation,
    /// The oldest entry that is kept; `last + 1` where none is.
    pub first: Sequence,
    /// The newest entry, as of the same moment.
    pub last: Sequence,
    /// The entries after the one asked for, oldest first; not all of them if there are many.
    pub entries: Vec<Entry>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub sequence: Sequence,
    /// What it says; see [`Event::decode`].
    pub body: Vec<u8>,
}

/// Where an entry was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// In which life of the log.
    pub generation: Generation,
    /// Its number.
    pub sequence: Sequence,
}

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
pub struct Poll<'a> {
    /// Entries after this one.
    pub after: Sequence,
    /// At most so many.
    pub max_entries: usize,
    /// Write a heartbeat first. Only then does the answer prove that the log still takes writes:
    /// a server that was deposed goes on answering reads.
    pub heartbeat: Option<Heartbeat<'a>>,
}

/// What a host tells the others about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// Its name; one for all workers of a host that share a table.
    pub host: &'a str,
    /// The generation of `applied`; empty where it has applied nothing.
    pub generation: &'a str,
    /// It has applied every entry up to this one.
    pub applied: Sequence,
    /// So long after this heartbeat it still serves what it knows.
    pub max_staleness: Duration,
}

/// A host that wrote a heartbeat less than its `max_staleness` ago, by the clock of the log's
/// server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The generation of `applied`.
    pub generation: Generation,
    /// It has applied every entry up to this one.
    pub applied: Sequence,
}

/// Why a log did not do what it was asked. No message holds a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LogError {
    /// Not reached, or no answer in time. May work later; the connection is not to be used again.
    #[error("the invalidation log cannot be reached: {0}")]
    Unreachable(String),
    /// Reached, and it refuses: wrong password, read-only replica, no memory left, too few
    /// replicas, a missing table.
    #[error("the invalidation log refuses: {0}")]
    Refused(String),
    /// Reached, and what answers is not such a log.
    #[error("this is not an invalidation log: {0}")]
    NotALog(String),
    /// The address or a setting cannot be used; trying again will not help.
    #[error("{0}")]
    Config(String),
}

/// An ordered log of invalidations.
///
/// Every call ends within the time limit the log was made with (for [`Self::wait`] plus its own
/// duration), whatever the server does. After an error the log connects anew at the next call.
pub trait InvalidationLog: Send {
    /// Writes a heartbeat if asked to, then reads. Generation, bounds and entries belong to one
    /// moment after the heartbeat was written.
    ///
    /// # Errors
    /// See [`LogError`]; nothing was read then, and no heartbeat counts as written.
    fn poll(&mut self, poll: &Poll<'_>) -> Result<Batch, LogError>;

    /// Waits until there is an entry after this one, or until the time is over. May return
    /// early without one.
    ///
    /// # Errors
    /// See [`LogError`].
    fn wait(&mut self, after: Sequence, at_most: Duration) -> Result<(), LogError>;

    /// Appends one entry. When this returns it is acknowledged: whoever polls later sees it, and
    /// it survives what the log's server is set up to survive.
    ///
    /// # Errors
    /// See [`LogError`]. After [`LogError::Unreachable`] the entry may be there all the same.
    fn append(&mut self, body: &[u8]) -> Result<Appended, LogError>;

    /// The hosts that may still serve something, see [`Host`].
    ///
    /// # Errors
    /// See [`LogError`].
    fn hosts(&mut self) -> Result<Vec<Host>, LogError>;
}
