//! The outbox in SQLite as a log: for processes of one machine that share a file.
//!
//! A heartbeat and what is read after it are one transaction that has the write lock from its
//! beginning (`BEGIN IMMEDIATE`). So an entry is either committed before, and read, or committed
//! later, and whoever committed it sees the heartbeat.
//!
//! **A generation** is the random text of the counter, device and inode of the file, and this
//! boot of the machine: a file that was replaced is another log, and a machine that lost its
//! power may have lost the last commits. Old rows that are put back into the file are noticed by
//! those who read them before, who give the counter another text; see [`super::remembered`].
//!
//! **One connection per process and file**, never closed: [`crate::ofd_locks`] says why. Threads
//! use it only inside the gate of forks and never wait for each other in there, so a forked child
//! finds it at rest. It leaves the one of its parent alone and opens its own.

use super::options::check_name;
use super::remembered::{Mark, Memory, Remembered, Shown};
use super::sql::{self, Cleaning, MOST_CLEANED, MOST_READ_BYTES, RETENTION};
use super::{Appended, Batch, Entry, Heartbeat, Host, InvalidationLog, LogError, Poll, Sequence};
use crate::{fork_gate, ofd_locks};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior,
    params,
};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

const TABLES: &str = include_str!("../../python/velro_cache/outbox/sqlite.sql");

/// Seconds since 1970, as the tables have them.
macro_rules! now {
    () => {
        "((julianday('now') - 2440587.5) * 86400.0)"
    };
}

// The longest of a host's workers; see the one for PostgreSQL.
const BEAT: &str = concat!(
    "INSERT INTO velro_hosts (name, host, generation, applied, max_staleness_ms, seen_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ",
    now!(),
    ") ON CONFLICT (name, host) DO UPDATE SET generation = excluded.generation,
     applied = excluded.applied, max_staleness_ms = CASE
     WHEN velro_hosts.seen_at + velro_hosts.max_staleness_ms / 1000.0 > excluded.seen_at
     THEN max(velro_hosts.max_staleness_ms, excluded.max_staleness_ms)
     ELSE excluded.max_staleness_ms END,
     seen_at = excluded.seen_at"
);

const COUNTER: &str = "
SELECT seq, generation, (SELECT min(seq) FROM velro_invalidations WHERE name = ?1)
FROM velro_counter WHERE name = ?1";

const ENTRIES: &str = "
SELECT seq, CAST(body AS BLOB) FROM velro_invalidations WHERE name = ?1 AND seq > ?2
ORDER BY seq LIMIT ?3";

const ENTRY: &str = "
SELECT CAST(created_at AS TEXT), CAST(body AS BLOB) FROM velro_invalidations
WHERE name = ?1 AND seq = ?2";

const NEW_GENERATION: &str = "
UPDATE velro_counter SET generation = lower(hex(randomblob(16)))
WHERE name = ?1 AND generation = ?2";

const NEXT: &str = "
INSERT INTO velro_counter (name, seq) VALUES (?1, 1)
ON CONFLICT (name) DO UPDATE SET seq = seq + 1 RETURNING seq, generation";

const HOSTS: &str = concat!(
    "SELECT host, generation, applied FROM velro_hosts
     WHERE name = ?1 AND seen_at + max_staleness_ms / 1000.0 > ",
    now!()
);

/// The oldest entries that are followed by one that is old enough; see the one for PostgreSQL.
const CLEAN: &str = concat!(
    "WITH oldest AS (
         SELECT seq, created_at FROM velro_invalidations WHERE name = ?1 ORDER BY seq LIMIT ?2
     )
     DELETE FROM velro_invalidations WHERE name = ?1 AND seq IN (SELECT seq FROM oldest)
     AND seq < (SELECT coalesce(min(CASE WHEN created_at > ",
    now!(),
    " - ?3 THEN seq END), max(seq) + 1) - 1 FROM oldest)"
);

const CLEAN_HOSTS: &str = concat!(
    "DELETE FROM velro_hosts WHERE name = ?1 AND seen_at + max_staleness_ms / 1000.0 + ?2 < ",
    now!()
);

/// Pause between two looks whether another process committed something.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Pause between two attempts to get a lock.
const TRY_EVERY: Duration = Duration::from_millis(1);

/// Longest that SQLite itself waits for other programs; a fork waits for it.
const LONGEST_INSIDE: Duration = Duration::from_millis(20);

/// All files this process and its parents ever opened. They stay open; see [`crate::ofd_locks`].
static FILES: Mutex<Vec<Arc<OpenFile>>> = Mutex::new(Vec::new());

/// A file and the one connection of a process to it.
struct OpenFile {
    process: u32,
    identity: Identity,
    connection: Mutex<Connection>,
    /// Entries this process has appended: SQLite tells of those of other processes only.
    appended: AtomicU64,
}

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        // Opens nothing.
        let data = fs::metadata(path).ok()?;
        Some(Self { device: data.dev(), inode: data.ino() })
    }
}

/// The outbox in SQLite as a log. Opens the file when it is first used, and creates it if it is
/// not there.
#[derive(Debug)]
pub struct SqliteLog {
    path: PathBuf,
    name: String,
    timeout: Duration,
    boot: String,
    cleaning: Cleaning,
    /// The file that was read last.
    last_read: Cell<Option<Identity>>,
    remembered: Remembered,
}

impl SqliteLog {
    /// The log of the caches of this name in a file, `sqlite:///relative/path` or
    /// `sqlite:////absolute/path`.
    ///
    /// # Errors
    /// [`LogError::Config`] where the address or the name cannot be used, or files cannot be
    /// locked as they must be on this system.
    pub fn open(url: &str, name: &str, timeout: Duration) -> Result<Self, LogError> {
        check_name(name)?;
        let wrong = |what: &str| Err(LogError::Config(format!("the SQLite log {what}")));
        let Some(path) = url.strip_prefix("sqlite:///").filter(|path| !path.is_empty()) else {
            return wrong("needs a file: sqlite:///relative/path or sqlite:////absolute/path");
        };
        if path.starts_with(":memory:") {
            return wrong("needs a file: what is in memory cannot be shared");
        }
        if path.contains('?') {
            return wrong("takes no options after the path");
        }
        if !ofd_locks::install() {
            return wrong("needs 64-bit Linux");
        }
        let Ok(path) = std::path::absolute(path) else {
            return wrong("needs an absolute path here");
        };
        // Where there is no such file nothing tells boots apart, and nothing is lost by it but
        // after a loss of power.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            path,
            name: name.to_owned(),
            timeout,
            boot,
            cleaning: Cleaning::default(),
            last_read: Cell::new(None),
            remembered: Remembered::default(),
        })
    }

    /// With what another connection of this process remembers, too.
    pub(super) fn remembering(self, remembered: Remembered) -> Self {
        Self { remembered, ..self }
    }

    /// The file as it lies there now, opened once; None while another thread opens one. Inside the
    /// gate.
    fn file(&self) -> Result<Option<Arc<OpenFile>>, LogError> {
        let process = std::process::id();
        let Some(mut files) = try_lock(&FILES) else { return Ok(None) };
        let known = Identity::of(&self.path).and_then(|identity| {
            files.iter().find(|file| (file.process, file.identity) == (process, identity))
        });
        if let Some(file) = known {
            return Ok(Some(Arc::clone(file)));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&self.path, flags).map_err(|error| failure(&error))?;
        let Some(identity) = Identity::of(&self.path) else {
            // Removed at this very moment. To be kept open all the same.
            Box::leak(Box::new(connection));
            return Err(LogError::Unreachable("the file was removed".into()));
        };
        let (connection, appended) = (Mutex::new(connection), AtomicU64::new(0));
        let file = Arc::new(OpenFile { process, identity, connection, appended });
        files.push(Arc::clone(&file));
        Ok(Some(file))
    }

    /// Does something with the connection, within the time limit; creates tables if need be.
    fn call<T>(
        &self,
        work: impl Fn(&mut Connection, &OpenFile) -> Result<T, Failure>,
    ) -> Result<T, LogError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.attempt(&work) {
                Err(Failure::Busy) => {}
                done => return done.map_err(Failure::into_error),
            }
            if Instant::now() >= deadline {
                return Err(Failure::Busy.into_error());
            }
            // Outside of the gate, so that a fork does not wait for whoever has the lock.
            std::thread::sleep(TRY_EVERY);
        }
    }

    /// One attempt at it; [`Failure::Busy`] where somebody else has a lock that is needed.
    fn attempt<T>(
        &self,
        work: impl Fn(&mut Connection, &OpenFile) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _pass = fork_gate::pass();
        let file = self.file()?.ok_or(Failure::Busy)?;
        let mut connection = try_lock(&file.connection).ok_or(Failure::Busy)?;
        connection.busy_timeout(LONGEST_INSIDE)?;
        match work(&mut connection, &file) {
            Err(Failure::NotThere) => {
                self.create(&mut connection)?;
                work(&mut connection, &file)
            }
            done => done,
        }
    }

    /// Creates the tables and the row of the counter.
    fn create(&self, connection: &mut Connection) -> Result<(), rusqlite::Error> {
        let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        if pages == 0 {
            // A new file: let readers and the writer not wait for each other. An old one is left
            // as whoever made it wants it.
            let _: String =
                connection.query_row("PRAGMA journal_mode = wal", [], |row| row.get(0))?;
        }
        let transaction = begin(connection)?;
        transaction.execute_batch(TABLES)?;
        transaction.execute(
            "INSERT INTO velro_counter (name) VALUES (?1) ON CONFLICT DO NOTHING",
            [&self.name],
        )?;
        transaction.commit()
    }

    fn generation(&self, counter: &str, file: &OpenFile) -> String {
        let Identity { device, inode } = file.identity;
        sql::generation(&format!("{counter}/{device}/{inode}/{}", self.boot.trim()))
    }

    fn beat(&self, connection: &Connection, beat: &Heartbeat<'_>) -> Result<(), Failure> {
        let applied = sql::to_sql(beat.applied);
        let staleness = sql::milliseconds(beat.max_staleness);
        connection.prepare_cached(BEAT)?.execute(params![
            self.name,
            beat.host,
            beat.generation,
            applied,
            staleness
        ])?;
        Ok(())
    }

    fn clean(&self, connection: &Connection) -> Result<(), Failure> {
        let age = RETENTION.as_secs_f64();
        connection.execute(CLEAN, params![self.name, MOST_CLEANED, age])?;
        connection.execute(CLEAN_HOSTS, params![self.name, age])?;
        Ok(())
    }

    fn counter(&self, connection: &Connection, file: &OpenFile) -> Result<Counter, Failure> {
        let counter = connection
            .prepare_cached(COUNTER)?
            .query_row([&self.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((last, text, first)) = counter else { return Err(Failure::NotThere) };
        let (last, text, first): (i64, String, Option<i64>) = (last, text, first);
        let last = sql::from_sql(last)?;
        let first = first.map_or(Ok(last.saturating_add(1)), sql::from_sql)?;
        let generation = self.generation(&text, file);
        Ok(Counter { last, first, text, generation })
    }

    /// By which an entry is recognized: when it was written, and what it says.
    fn fingerprint(
        &self,
        connection: &Connection,
        sequence: Sequence,
    ) -> Result<Option<String>, Failure> {
        let entry = connection
            .prepare_cached(ENTRY)?
            .query_row(params![self.name, sql::to_sql(sequence)], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
            })
            .optional()?;
        Ok(entry.map(|(created_at, body)| format!("{created_at}/{}", sql::digest(&body))))
    }

    /// The counter of the life that is remembered or of another one, never of one that was
    /// rewritten: that gets a new generation here.
    fn settled_counter(
        &self,
        connection: &Connection,
        file: &OpenFile,
        memory: &Memory,
    ) -> Result<Counter, Failure> {
        let counter = self.counter(connection, file)?;
        let at_mark = self.fingerprint(connection, memory.number())?;
        if !memory.contradicts(&counter.shown(at_mark.as_deref())) {
            return Ok(counter);
        }
        connection.prepare_cached(NEW_GENERATION)?.execute(params![self.name, counter.text])?;
        let counter = self.counter(connection, file)?;
        let still = memory.contradicts(&counter.shown(at_mark.as_deref()));
        if still { Err(sql::rewritten().into()) } else { Ok(counter) }
    }

    fn read(
        &self,
        connection: &Connection,
        file: &OpenFile,
        poll: &Poll<'_>,
        memory: &Memory,
    ) -> Result<(Batch, Option<Mark>), Failure> {
        let counter = self.settled_counter(connection, file, memory)?;
        let Counter { last, first, generation, .. } = counter;
        let newest = self.fingerprint(connection, last)?;
        let newest = newest.map(|fingerprint| Mark { sequence: last, fingerprint });
        let mut statement = connection.prepare_cached(ENTRIES)?;
        let values = params![self.name, sql::to_sql(poll.after), sql::limit(poll.max_entries)];
        let rows = statement
            .query_map(values, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for row in rows {
            let (sequence, body) = row?;
            bytes += sql::to_sql(body.len() as u64);
            entries.push(Entry { sequence: sql::from_sql(sequence)?, body });
            if bytes >= MOST_READ_BYTES {
                break;
            }
        }
        self.last_read.set(Some(file.identity));
        Ok((Batch { generation, first, last, entries }, newest))
    }

    /// Whether there is an entry after this one.
    fn has_more(&self, connection: &Connection, after: Sequence) -> Result<bool, Failure> {
        let last: Option<i64> = connection
            .prepare_cached("SELECT seq FROM velro_counter WHERE name = ?1")?
            .query_row([&self.name], |row| row.get(0))
            .optional()?;
        let last = last.ok_or(Failure::NotThere)?;
        Ok(sql::from_sql(last)? > after)
    }
}

impl InvalidationLog for SqliteLog {
    fn poll(&mut self, poll: &Poll<'_>) -> Result<Batch, LogError> {
        let clean = poll.heartbeat.is_some() && self.cleaning.is_due();
        let memory = self.remembered.now();
        let (batch, newest) = self.call(|connection, file| {
            let Some(beat) = &poll.heartbeat else {
                let transaction = connection.transaction()?;
                let read = self.read(&transaction, file, poll, &memory)?;
                transaction.commit()?;
                return Ok(read);
            };
            // A heartbeat that is lost with the power of the machine is no loss.
            set_synchronous(connection, false)?;
            let transaction = begin(connection)?;
            self.beat(&transaction, beat)?;
            if clean {
                self.clean(&transaction)?;
            }
            let read = self.read(&transaction, file, poll, &memory)?;
            transaction.commit()?;
            Ok(read)
        })?;
        self.remembered.note(&batch.generation, newest);
        Ok(batch)
    }

    fn wait(&mut self, after: Sequence, at_most: Duration) -> Result<(), LogError> {
        let Some(until) = Instant::now().checked_add(at_most) else {
            return Err(LogError::Config("nobody waits for so long".into()));
        };
        let mut seen = None;
        loop {
            match self.attempt(|connection, file| self.look(connection, file, after, seen)) {
                Ok(Look::News) => return Ok(()),
                Ok(Look::Nothing(now)) => seen = Some(now),
                // Somebody is just committing, or busy with another thread's question.
                Err(Failure::Busy) => {}
                Err(failure) => return Err(failure.into_error()),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }

    fn append(&mut self, body: &[u8]) -> Result<Appended, LogError> {
        sql::check_body(body)?;
        let memory = self.remembered.now();
        self.call(|connection, file| {
            set_synchronous(connection, true)?;
            let transaction = begin(connection)?;
            // Hosts that know the former entry of a number must not be taken to know this one.
            self.settled_counter(&transaction, file, &memory)?;
            let (sequence, generation): (i64, String) = transaction
                .prepare_cached(NEXT)?
                .query_row([&self.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
            transaction
                .prepare_cached(
                    "INSERT INTO velro_invalidations (name, seq, body) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![self.name, sequence, body])?;
            transaction.commit()?;
            file.appended.fetch_add(1, Ordering::Relaxed);
            self.last_read.set(Some(file.identity));
            let generation = self.generation(&generation, file);
            Ok(Appended { generation, sequence: sql::from_sql(sequence)? })
        })
    }

    fn hosts(&mut self) -> Result<Vec<Host>, LogError> {
        self.call(|connection, _| {
            let mut statement = connection.prepare_cached(HOSTS)?;
            let rows = statement.query_map([&self.name], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?))
            })?;
            let mut hosts = Vec::new();
            for row in rows {
                let (name, generation, applied) = row?;
                hosts.push(Host { name, generation, applied: sql::from_sql(applied)? });
            }
            Ok(hosts)
        })
    }
}

/// The row of the counter, and the oldest entry.
struct Counter {
    last: Sequence,
    first: Sequence,
    /// What tells its lives apart.
    text: String,
    generation: String,
}

impl Counter {
    fn shown<'a>(&'a self, at_mark: Option<&'a str>) -> Shown<'a> {
        Shown { generation: &self.generation, first: self.first, last: self.last, at_mark }
    }
}

/// The lock, if nobody has it. One of the standard library, for the reason that the queue of the
/// publisher has.
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(locked) => Some(locked),
        // Whoever panicked left what SQLite itself keeps in order.
        Err(TryLockError::Poisoned(locked)) => Some(locked.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What a look at the file shows.
enum Look {
    /// There is something to read: an entry, or another file.
    News,
    /// Nothing, and when that was.
    Nothing(Moment),
}

/// A moment in the life of a file: the same as long as nobody commits anything.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moment {
    file: Identity,
    /// Counts commits of others.
    data_version: i64,
    appended: u64,
}

impl SqliteLog {
    /// Whether there is an entry after this one, as cheaply as can be told: nothing is read where
    /// nobody has committed anything.
    fn look(
        &self,
        connection: &Connection,
        file: &OpenFile,
        after: Sequence,
        seen: Option<Moment>,
    ) -> Result<Look, Failure> {
        let now = Moment {
            file: file.identity,
            data_version: connection
                .prepare_cached("PRAGMA data_version")?
                .query_row([], |row| row.get(0))?,
            appended: file.appended.load(Ordering::Relaxed),
        };
        if seen == Some(now) {
            return Ok(Look::Nothing(now));
        }
        let another = self.last_read.get().is_some_and(|last| last != now.file);
        if another || self.has_more(connection, after)? {
            return Ok(Look::News);
        }
        Ok(Look::Nothing(now))
    }
}

/// Why something was not done.
enum Failure {
    /// No tables, or no row of the counter.
    NotThere,
    /// Somebody else has a lock that is needed.
    Busy,
    Sqlite(rusqlite::Error),
    Log(LogError),
}

impl Failure {
    fn into_error(self) -> LogError {
        match self {
            Self::NotThere => {
                LogError::Refused("its tables were removed as soon as they were made".into())
            }
            Self::Busy => {
                LogError::Unreachable("another program has the file locked for too long".into())
            }
            Self::Sqlite(error) => failure(&error),
            Self::Log(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        if error.to_string().starts_with("no such table: velro_") {
            Self::NotThere
        } else if is_busy(&error) {
            Self::Busy
        } else {
            Self::Sqlite(error)
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// A transaction that has the write lock from its beginning.
fn begin(connection: &mut Connection) -> Result<Transaction<'_>, rusqlite::Error> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Whether a commit survives a loss of power. Only a write-ahead log may do without: it loses the
/// last commits then, and no more.
fn set_synchronous(connection: &Connection, on: bool) -> Result<(), rusqlite::Error> {
    let wal = on || {
        let mode: String =
            connection.prepare_cached("PRAGMA journal_mode")?.query_row([], |row| row.get(0))?;
        mode == "wal"
    };
    if wal {
        connection.pragma_update(None, "synchronous", if on { "FULL" } else { "NORMAL" })?;
    }
    Ok(())
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// What an error of SQLite means for those who use the log.
fn failure(error: &rusqlite::Error) -> LogError {
    let said = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::OperationInterrupted) => {
            LogError::Unreachable(said)
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => LogError::NotALog(said),
        // A statement that does not fit the tables, or a value of another type.
        Some(ErrorCode::Unknown) | None => LogError::NotALog(said),
        Some(_) => LogError::Refused(said),
    }
}
