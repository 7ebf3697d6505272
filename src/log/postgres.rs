//! The outbox in PostgreSQL as a log.
//!
//! **A heartbeat is committed before the log is read**, in a transaction of its own. Were both one
//! transaction, whoever waits for all hosts could append an entry and look for hosts in between:
//! it would see neither the heartbeat, which is not committed yet, nor would the host see the
//! entry, which is not in its snapshot, and the host would go on believing what was taken away.
//! Committed first, either the heartbeat is seen, or the entry is older than what is read.
//!
//! **What is read is one statement**, hence one snapshot: counter, bounds and entries belong
//! together, and everything that was acknowledged before the statement was sent is in it.
//!
//! **A generation** is the random text of the counter, the file the counter lies in (restored and
//! emptied tables get another one), the start of the server, and a text from an unlogged table:
//! that one is empty after a crash and on a standby that was promoted, so a new text stands for
//! every way in which the server can lose what was committed, `synchronous_commit = off` included.
//! Old rows that are put back into the tables are noticed by those who read them before, who give
//! the counter another text; see [`super::remembered`].
//!
//! The client is asynchronous and runs on the thread that calls, so that every wait can be given
//! up. A forked child must not use, nor even close, the connection of its parent: it leaves it
//! alone and makes its own.

use super::options::check_name;
use super::postgres_link::{Address, HOW_TO_CREATE, Link, as_setting, failure};
use super::remembered::{Mark, Memory, Remembered, Shown};
use super::sql::{self, Cleaning, MOST_CLEANED, MOST_READ_BYTES, RETENTION};
use super::{Appended, Batch, Entry, Heartbeat, Host, InvalidationLog, LogError, Poll, Sequence};
use futures_util::future::{join, try_join};
use std::fmt;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

const TABLES: &str = include_str!("../../python/velro_cache/outbox/postgresql.sql");

/// Keeps two programs from creating the tables at once; any number that nobody else uses.
const CREATING: &str = "SELECT pg_advisory_xact_lock(7310868735448229921)";

const IS_READY: &str = "
SELECT pg_is_in_recovery(),
       to_regclass('velro_counter') IS NOT NULL AND to_regclass('velro_invalidations') IS NOT NULL
       AND to_regclass('velro_hosts') IS NOT NULL AND to_regclass('velro_incarnation') IS NOT NULL";

const HAS_ROWS: &str = "
SELECT EXISTS (SELECT FROM velro_counter WHERE name = $1)
   AND EXISTS (SELECT FROM velro_incarnation WHERE name = $1)";

// Only where there is none: an INSERT that meets a row another transaction is just changing waits
// for its end, ON CONFLICT DO NOTHING or not.
const NEW_COUNTER: &str = "
INSERT INTO velro_counter (name)
SELECT $1 WHERE NOT EXISTS (SELECT FROM velro_counter WHERE name = $1) ON CONFLICT DO NOTHING";

const NEW_INCARNATION: &str = "
INSERT INTO velro_incarnation (name)
SELECT $1 WHERE NOT EXISTS (SELECT FROM velro_incarnation WHERE name = $1) ON CONFLICT DO NOTHING";

/// What a life of the log is told by; `c` is the row of the counter, `i` that of the incarnation.
macro_rules! life {
    () => {
        "concat_ws('/', c.generation, i.id, pg_relation_filenode('velro_counter'),
          (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint)"
    };
}

/// By which an entry is recognized: when it was written, and what it says.
macro_rules! fingerprint {
    () => {
        "concat(extract(epoch FROM created_at), '/', encode(sha256(body), 'hex'))"
    };
}

// Workers of one host may have different settings, and a heartbeat of any is one of the host:
// whoever waits for it must wait for the one that serves longest.
const BEAT: &str = "
INSERT INTO velro_hosts AS h (name, host, generation, applied, max_staleness_ms, seen_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp())
ON CONFLICT (name, host) DO UPDATE SET generation = excluded.generation,
  applied = excluded.applied,
  max_staleness_ms = CASE
    WHEN h.seen_at + h.max_staleness_ms * interval '1 millisecond' > clock_timestamp()
    THEN greatest(h.max_staleness_ms, excluded.max_staleness_ms)
    ELSE excluded.max_staleness_ms END,
  seen_at = clock_timestamp()";

// What bears the number of the mark ($5), and the newest entry, in the first row only.
const READ: &str = concat!(
    "SELECT c.seq, ",
    life!(),
    ", (SELECT min(seq) FROM velro_invalidations WHERE name = $1), e.seq, e.body, c.generation,
     CASE WHEN coalesce(e.bytes, 0) = 0 THEN
         (SELECT ",
    fingerprint!(),
    " FROM velro_invalidations WHERE name = $1 AND seq = $5) END,
     CASE WHEN coalesce(e.bytes, 0) = 0 THEN
         (SELECT ",
    fingerprint!(),
    " FROM velro_invalidations WHERE name = $1 AND seq = c.seq) END
     FROM velro_counter c
     JOIN velro_incarnation i ON i.name = c.name
     LEFT JOIN LATERAL (
         SELECT seq, body, sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS bytes
         FROM velro_invalidations WHERE name = $1 AND seq > $2 ORDER BY seq LIMIT $3
     ) e ON e.bytes < $4
     WHERE c.name = $1 ORDER BY e.seq"
);

const APPEND: &str = concat!(
    "WITH c AS (
         INSERT INTO velro_counter AS counter (name, seq) VALUES ($1, 1)
         ON CONFLICT (name) DO UPDATE SET seq = counter.seq + 1 RETURNING seq, generation
     ), entry AS (
         INSERT INTO velro_invalidations (name, seq, body) SELECT $1, seq, $2 FROM c RETURNING seq
     )
     SELECT c.seq, ",
    life!(),
    ", pg_notify($3, c.seq::text)::text, c.generation,
     (SELECT min(seq) FROM velro_invalidations WHERE name = $1),
     (SELECT ",
    fingerprint!(),
    " FROM velro_invalidations WHERE name = $1 AND seq = $4)
     FROM c JOIN entry ON entry.seq = c.seq JOIN velro_incarnation i ON i.name = $1"
);

/// Of several who find out that the log was rewritten, one does it.
const NEW_GENERATION: &str = "
UPDATE velro_counter SET generation = gen_random_uuid()::text WHERE name = $1 AND generation = $2";

const LIFE: &str = concat!(
    "SELECT ",
    life!(),
    " FROM velro_counter c JOIN velro_incarnation i ON i.name = c.name WHERE c.name = $1"
);

const LAST: &str = "SELECT seq FROM velro_counter WHERE name = $1";

const HOSTS: &str = "
SELECT host, generation, applied FROM velro_hosts
WHERE name = $1 AND seen_at + max_staleness_ms * interval '1 millisecond' > clock_timestamp()";

/// Removes the oldest entries that are followed by one that is old enough: never one in the middle,
/// whatever the clock did, and never the newest. One program at a time.
const CLEAN: &str = "
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtextextended($1, 7310868735448229922)) AS mine
), oldest AS (
    SELECT seq, created_at FROM velro_invalidations WHERE name = $1 ORDER BY seq LIMIT $2
), kept AS (
    SELECT coalesce(
        min(seq) FILTER (WHERE created_at > clock_timestamp() - $3 * interval '1 millisecond'),
        max(seq) + 1
    ) - 1 AS seq FROM oldest
)
DELETE FROM velro_invalidations WHERE name = $1 AND (SELECT mine FROM turn)
  AND seq IN (SELECT seq FROM oldest) AND seq < (SELECT seq FROM kept)";

const CLEAN_HOSTS: &str = "
DELETE FROM velro_hosts
WHERE name = $1 AND seen_at < clock_timestamp() - $2 * interval '1 millisecond'
  AND seen_at + max_staleness_ms * interval '1 millisecond' < clock_timestamp()";

/// Longest that [`InvalidationLog::wait`] waits, so that no arithmetic on times overflows.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The outbox in PostgreSQL as a log. Connects when it is first used.
pub struct PostgresLog {
    address: Address,
    name: String,
    channel: String,
    timeout: Duration,
    cleaning: Cleaning,
    remembered: Remembered,
    /// None before the first call.
    connected: Option<Connected>,
}

/// The connection, and what it runs on.
struct Connected {
    // Dropped in this order: the connection belongs to the runtime.
    link: Option<Link>,
    runtime: Option<Runtime>,
    process: u32,
}

impl Drop for Connected {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            self.link = None;
            if let Some(runtime) = self.runtime.take() {
                // A look-up of a host's name may hang in a thread of its own.
                runtime.shutdown_background();
            }
        } else {
            // In a forked child: closing it properly would say goodbye in the name of the parent.
            Box::leak(Box::new((self.link.take(), self.runtime.take())));
        }
    }
}

impl fmt::Debug for PostgresLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address, which may hold a password.
        formatter.debug_struct("PostgresLog").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PostgresLog {
    /// The log of the caches of this name behind an address such as
    /// `postgresql://user:password@host/database`. Several hosts may be named; the one that takes
    /// writes is used.
    ///
    /// # Errors
    /// [`LogError::Config`] where the address or the name cannot be used.
    pub fn open(url: &str, name: &str, timeout: Duration) -> Result<Self, LogError> {
        check_name(name)?;
        Ok(Self {
            address: Address::parse(url)?,
            name: name.to_owned(),
            channel: sql::channel(name),
            timeout,
            cleaning: Cleaning::default(),
            remembered: Remembered::default(),
            connected: None,
        })
    }

    /// With what another connection of this process remembers, too.
    pub(super) fn remembering(self, remembered: Remembered) -> Self {
        Self { remembered, ..self }
    }

    /// Does something within the time limit, on a connection that is made if there is none.
    ///
    /// A connection that no longer works is replaced once.
    fn call<T>(
        &mut self,
        extra: Duration,
        work: impl AsyncFn(&mut Link, &Names<'_>) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let process = std::process::id();
        if self.connected.as_ref().is_some_and(|connected| connected.process != process) {
            self.connected = None;
        }
        let mut connected = match self.connected.take() {
            Some(connected) => connected,
            None => Connected { link: None, runtime: Some(runtime()?), process },
        };
        let limit = self.timeout.saturating_add(extra);
        let old = connected.link.take();
        let names = Names { name: &self.name, channel: &self.channel, limit };
        let Some(runtime) = &connected.runtime else {
            return Err(LogError::Unreachable("it was closed".into()));
        };
        let result = runtime.block_on(async {
            let deadline = Instant::now() + limit;
            let all = async {
                if let Some(mut link) = old {
                    match work(&mut link, &names).await {
                        Ok(answer) => return Ok((answer, link)),
                        // Mostly: the server was started anew since then. An entry that is
                        // appended twice invalidates twice, which is harmless.
                        Err(LogError::Unreachable(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                let test = async |client: &Client| names.prepare(client).await;
                let mut link = self.address.connect(deadline, test).await?;
                let answer = work(&mut link, &names).await?;
                Ok((answer, link))
            };
            tokio::time::timeout_at(deadline, all).await
        });
        let result = match result {
            Ok(Ok((answer, link))) => {
                connected.link = Some(link);
                Ok(answer)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                Err(LogError::Unreachable(format!("no answer within {} ms", limit.as_millis())))
            }
        };
        self.connected = Some(connected);
        result
    }
}

fn runtime() -> Result<Runtime, LogError> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|error| LogError::Unreachable(format!("no more resources: {error}")))
}

/// What statements are about.
struct Names<'a> {
    name: &'a str,
    channel: &'a str,
    limit: Duration,
}

impl Names<'_> {
    /// Makes a new connection ready: limits, tables, the row of the counter.
    async fn prepare(&self, client: &Client) -> Result<(), LogError> {
        let limit = as_setting(self.limit);
        let settings = format!(
            "SET statement_timeout = {limit}; SET lock_timeout = {limit};
             SET idle_in_transaction_session_timeout = {limit};
             SET default_transaction_isolation = 'read committed'; {IS_READY}"
        );
        let answers = client.simple_query(&settings).await.map_err(failure)?;
        let row = answers.iter().rev().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some((row.get(0), row.get(1))),
            _ => None,
        });
        match row {
            Some((Some("f"), Some("t"))) => {}
            Some((Some("f"), _)) => create_tables(client).await?,
            _ => {
                let message = "it is a standby, which takes no writes; name the primary, or all";
                return Err(LogError::Refused(message.into()));
            }
        }
        let name = [(&self.name as _, Type::TEXT)];
        let row = client.query_typed_one(HAS_ROWS, &name).await.map_err(failure)?;
        if get(&row, 0)? {
            // Nothing to write: a server that takes no writes just now can be read all the same.
            return Ok(());
        }
        let counter = client.query_typed(NEW_COUNTER, &name);
        let incarnation = client.query_typed(NEW_INCARNATION, &name);
        try_join(counter, incarnation).await.map(drop).map_err(failure)
    }

    async fn beat(&self, client: &Client, beat: &Heartbeat<'_>) -> Result<(), LogError> {
        let applied = sql::to_sql(beat.applied);
        let staleness = sql::milliseconds(beat.max_staleness);
        let values = [
            (&self.name as _, Type::TEXT),
            (&beat.host as _, Type::TEXT),
            (&beat.generation as _, Type::TEXT),
            (&applied as _, Type::INT8),
            (&staleness as _, Type::INT8),
        ];
        client.query_typed(BEAT, &values).await.map(drop).map_err(failure)
    }

    async fn read(
        &self,
        client: &Client,
        poll: &Poll<'_>,
        memory: &Memory,
    ) -> Result<Answer, LogError> {
        let mark = sql::to_sql(memory.number());
        let after = sql::to_sql(poll.after);
        let limit = sql::limit(poll.max_entries);
        let values = [
            (&self.name as _, Type::TEXT),
            (&after as _, Type::INT8),
            (&limit as _, Type::INT8),
            (&MOST_READ_BYTES as _, Type::INT8),
            (&mark as _, Type::INT8),
        ];
        let rows = client.query_typed(READ, &values).await.map_err(failure)?;
        answer(&rows)
    }

    /// An answer of the life that is remembered or of another one, never of one that was rewritten.
    async fn settle(
        &self,
        client: &Client,
        poll: &Poll<'_>,
        memory: &Memory,
        answer: Answer,
    ) -> Result<Answer, LogError> {
        if !memory.contradicts(&answer.shown()) {
            return Ok(answer);
        }
        self.begin_anew(client, &answer.counter).await?;
        let answer = self.read(client, poll, memory).await?;
        if memory.contradicts(&answer.shown()) { Err(sql::rewritten()) } else { Ok(answer) }
    }

    /// Gives the log a new generation, if it still has this one.
    async fn begin_anew(&self, client: &Client, counter: &str) -> Result<(), LogError> {
        let values = [(&self.name as _, Type::TEXT), (&counter as _, Type::TEXT)];
        client.query_typed(NEW_GENERATION, &values).await.map(drop).map_err(failure)
    }

    async fn clean(&self, client: &Client) -> Result<(), LogError> {
        let age = sql::milliseconds(RETENTION) as f64;
        let values = [
            (&self.name as _, Type::TEXT),
            (&MOST_CLEANED as _, Type::INT8),
            (&age as _, Type::FLOAT8),
        ];
        client.query_typed(CLEAN, &values).await.map_err(failure)?;
        let values = [(&self.name as _, Type::TEXT), (&age as _, Type::FLOAT8)];
        client.query_typed(CLEAN_HOSTS, &values).await.map(drop).map_err(failure)
    }

    async fn append(
        &self,
        client: &Client,
        body: &[u8],
        memory: &Memory,
    ) -> Result<Appended, LogError> {
        let mark = sql::to_sql(memory.number());
        let values = [
            (&self.name as _, Type::TEXT),
            (&body as _, Type::BYTEA),
            (&self.channel as _, Type::TEXT),
            (&mark as _, Type::INT8),
        ];
        let row = client.query_typed_opt(APPEND, &values).await.map_err(failure)?;
        let row = row.ok_or_else(emptied)?;
        let sequence = sql::from_sql(get(&row, 0)?)?;
        let generation = sql::generation(get(&row, 1)?);
        let first = get::<Option<i64>>(&row, 4)?.map_or(Ok(sequence), sql::from_sql)?;
        // As of before it was appended.
        let shown = Shown {
            generation: &generation,
            first,
            last: sequence.saturating_sub(1),
            at_mark: get(&row, 5)?,
        };
        if !memory.contradicts(&shown) {
            return Ok(Appended { generation, sequence });
        }
        // Hosts that know the former entry of this number must not be taken to know this one.
        self.begin_anew(client, get(&row, 3)?).await?;
        let name = [(&self.name as _, Type::TEXT)];
        let row = client.query_typed_opt(LIFE, &name).await.map_err(failure)?;
        let generation = sql::generation(get(&row.ok_or_else(emptied)?, 0)?);
        Ok(Appended { generation, sequence })
    }
}

async fn create_tables(client: &Client) -> Result<(), LogError> {
    // All of it is one transaction, as whatever is sent in one message.
    match client.batch_execute(&format!("{CREATING}; {TABLES}")).await {
        Ok(()) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            let message = format!("its tables are missing and may not be created; {HOW_TO_CREATE}");
            Err(LogError::Refused(message))
        }
        Err(error) => Err(failure(error)),
    }
}

/// The rows were removed by hand; the next connection writes new ones.
fn emptied() -> LogError {
    LogError::Refused("its rows in velro_counter or velro_incarnation were removed".into())
}

/// A value of a row, or that it is not what a log has there.
fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, LogError> {
    row.try_get(at).map_err(|error| LogError::NotALog(error.to_string()))
}

/// What a read shows.
struct Answer {
    batch: Batch,
    /// The text of the counter.
    counter: String,
    at_mark: Option<String>,
    newest: Option<Mark>,
}

impl Answer {
    fn shown(&self) -> Shown<'_> {
        let Batch { generation, first, last, .. } = &self.batch;
        Shown { generation, first: *first, last: *last, at_mark: self.at_mark.as_deref() }
    }
}

fn answer(rows: &[Row]) -> Result<Answer, LogError> {
    let first_row = rows.first().ok_or_else(emptied)?;
    let last = sql::from_sql(get(first_row, 0)?)?;
    let first = match get::<Option<i64>>(first_row, 2)? {
        Some(first) => sql::from_sql(first)?,
        None => last.saturating_add(1),
    };
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(sequence) = get::<Option<i64>>(row, 3)? {
            let body = get::<&[u8]>(row, 4)?.to_vec();
            entries.push(Entry { sequence: sql::from_sql(sequence)?, body });
        }
    }
    let newest = get::<Option<String>>(first_row, 7)?;
    Ok(Answer {
        batch: Batch { generation: sql::generation(get(first_row, 1)?), first, last, entries },
        counter: get(first_row, 5)?,
        at_mark: get(first_row, 6)?,
        newest: newest.map(|fingerprint| Mark { sequence: last, fingerprint }),
    })
}

impl InvalidationLog for PostgresLog {
    fn poll(&mut self, poll: &Poll<'_>) -> Result<Batch, LogError> {
        let clean = poll.heartbeat.is_some() && self.cleaning.is_due();
        let memory = self.remembered.now();
        let Answer { batch, newest, .. } = self.call(Duration::ZERO, async |link, names| {
            let client = &link.client;
            let read = names.read(client, poll, &memory);
            let answer = match &poll.heartbeat {
                None => read.await?,
                // Sent together, done one after the other: each is a transaction of its own. The
                // server reads on only when the first is committed.
                Some(beat) => {
                    let (beaten, answer) = join(names.beat(client, beat), read).await;
                    beaten?;
                    answer?
                }
            };
            let answer = names.settle(client, poll, &memory, answer).await?;
            link.last = answer.batch.last;
            if clean {
                // Only housekeeping; what was read is good all the same.
                let _ = names.clean(client).await;
            }
            Ok(answer)
        })?;
        self.remembered.note(&batch.generation, newest);
        Ok(batch)
    }

    fn wait(&mut self, after: Sequence, at_most: Duration) -> Result<(), LogError> {
        let at_most = at_most.min(LONGEST_WAIT);
        let until = Instant::now() + at_most;
        self.call(at_most, async |link, names| {
            if !link.listening {
                let listen = format!("LISTEN \"{}\"", names.channel);
                link.client.batch_execute(&listen).await.map_err(failure)?;
                link.listening = true;
                // Nobody tells of what came before.
                let name = [(&names.name as _, Type::TEXT)];
                let row = link.client.query_typed_opt(LAST, &name).await.map_err(failure)?;
                link.last = sql::from_sql(get(&row.ok_or_else(emptied)?, 0)?)?;
            }
            if link.last > after {
                return Ok(());
            }
            match tokio::time::timeout_at(until, link.news.wait_for(|last| *last > after)).await {
                Ok(Err(_)) => Err(LogError::Unreachable("the connection was closed".into())),
                Ok(Ok(_)) | Err(_) => Ok(()),
            }
        })
    }

    fn append(&mut self, body: &[u8]) -> Result<Appended, LogError> {
        sql::check_body(body)?;
        let memory = self.remembered.now();
        self.call(Duration::ZERO, async |link, names| {
            let appended = names.append(&link.client, body, &memory).await?;
            link.last = appended.sequence;
            Ok(appended)
        })
    }

    fn hosts(&mut self) -> Result<Vec<Host>, LogError> {
        self.call(Duration::ZERO, async |link, names| {
            let name = [(&names.name as _, Type::TEXT)];
            let rows = link.client.query_typed(HOSTS, &name).await.map_err(failure)?;
            let host = |row: &Row| {
                Ok(Host {
                    name: get(row, 0)?,
                    generation: get(row, 1)?,
                    applied: sql::from_sql(get(row, 2)?)?,
                })
            };
            rows.iter().map(host).collect()
        })
    }
}
