//! A Redis stream as an invalidation log. Redis 6.2 or newer.
//!
//! Four keys, all in one slot of a cluster: `velro:{name}:log`, a stream whose ids are
//! `<sequence>-0`; `:sequence`, the last number given; `:generation`, the name of this life of the
//! stream; `:hosts`, one heartbeat per host. Whatever must be one moment is one script.
//!
//! * `state.lua` — what all scripts begin with: do the keys belong to one life?
//! * `poll.lua`, `append.lua`, `hosts.lua` — one for each call;
//! * [`reply`] — what they return;
//! * [`address`] — from a URL to a place; [`connection`] — commands and answers within a time
//!   limit.
//!
//! A generation is the random name of the stream's life, the server's run id and its replication
//! id. So a flush, a restart and a fail-over each make a new one, and so does a server that was
//! demoted and comes back with another's data. The server is asked for it in the script that
//! reads, so that no connection that was redirected on its way can mix two servers.
//!
//! An entry that somebody else added without its number (`XADD ... *`) ends the life: the next
//! heartbeat or append begins a new one, empty, and every reader disbelieves what it has. An entry
//! with a number but without a body that can be read means "everything", and so does one that was
//! deleted from the middle.
//!
//! The user of the address needs the keys `velro:*` and these commands: EVAL, EVALSHA, TYPE, GET,
//! SET, DEL, HSET, HGET, HGETALL, HDEL, XADD, XRANGE, XREAD, XINFO, INFO, TIME, and WAIT for
//! replicas.
//!
//! Heartbeats are data of the server like all others: after a flush, or on a replica that took
//! over, hosts may be missing that still serve what they know. Only when a generation has lasted
//! for the largest staleness of any host does nobody missing mean nobody there.
//!
//! What a primary acknowledges may be lost in a fail-over, which does no harm: a new generation
//! tells everybody. What does harm is a primary that was deposed and does not know it. With
//! `wait_for_replicas` its heartbeats fail; so they do with `min-replicas-to-write` on the server.

mod address;
mod connection;
mod reply;

use super::event::MOST_BODY_BYTES;
use super::options::{Options, check_name};
use super::{Appended, Batch, Host, InvalidationLog, LogError, Poll, Sequence};
use ::redis::{Cmd, Script, ServerError, Value, cmd};
use address::Address;
use connection::Connection;
use reply::{appended, batch, hosts};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Bytes of bodies after which a batch is full.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Longest wait for an entry; whoever asks for more is woken early.
const MOST_WAIT: Duration = Duration::from_secs(3600);

static POLL: LazyLock<Program> = LazyLock::new(|| Program::on_state(include_str!("poll.lua")));
static APPEND: LazyLock<Program> = LazyLock::new(|| Program::on_state(include_str!("append.lua")));
static HOSTS: LazyLock<Program> = LazyLock::new(|| Program::new(include_str!("hosts.lua").into()));

/// A script, and the name under which a server remembers it.
struct Program {
    code: String,
    hash: String,
}

impl Program {
    fn new(code: String) -> Self {
        Self { hash: Script::new(&code).get_hash().to_owned(), code }
    }

    fn on_state(body: &str) -> Self {
        Self::new(format!("{}\n{body}", include_str!("state.lua")))
    }
}

/// A Redis stream as an invalidation log.
#[derive(Debug)]
pub struct RedisLog {
    address: Address,
    options: Options,
    keys: [String; 4],
    connection: Option<Connection>,
}

impl RedisLog {
    /// Checks the address, the name and the options; connects at the first call.
    ///
    /// # Errors
    /// [`LogError::Config`] if one of them cannot be used.
    pub fn open(url: &str, name: &str, options: Options) -> Result<Self, LogError> {
        check_name(name)?;
        let (address, options) = Address::read(url, options)?;
        let keys = ["log", "sequence", "generation", "hosts"]
            .map(|part| format!("velro:{{{name}}}:{part}"));
        Ok(Self { address, options, keys, connection: None })
    }

    /// Does this on a connection, which is opened if need be and given up after an error.
    fn on_connection<T>(
        &mut self,
        until: Instant,
        work: impl FnOnce(&Self, &mut Connection) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let usable = self.connection.take_if(|connection| connection.is_usable());
        self.connection = None;
        let mut connection = match usable {
            Some(connection) => connection,
            None => Connection::open(&self.address, until)?,
        };
        let done = work(self, &mut connection)?;
        self.connection = Some(connection);
        Ok(done)
    }

    /// Runs a script; after one that writes, waits for the replicas.
    fn run(
        &mut self,
        program: &Program,
        arguments: &[&[u8]],
        writes: bool,
    ) -> Result<Value, LogError> {
        let until = Instant::now() + self.options.timeout;
        let replicas = if writes { self.options.wait_for_replicas } else { 0 };
        self.on_connection(until, |log, connection| {
            let call = |how: &str, what: &str| {
                let mut call = cmd(how);
                call.arg(what).arg(log.keys.len()).arg(&log.keys).arg(arguments);
                let mut commands = vec![call];
                if replicas > 0 {
                    commands.push(log.wait_for(replicas, until));
                }
                commands
            };
            let known = call("EVALSHA", &program.hash);
            let mut answers = connection.exchange(&log.address, &known, until)?;
            if matches!(answers.first(), Some(Value::ServerError(error)) if error.code() == "NOSCRIPT")
            {
                let whole = call("EVAL", &program.code);
                answers = connection.exchange(&log.address, &whole, until)?;
            }
            let mut answers = answers.into_iter().map(|answer| log.accepted(answer));
            let answer = answers.next().unwrap_or_else(|| Err(log.not_a_log()))?;
            match answers.next().transpose()? {
                None => Ok(answer),
                Some(Value::Int(acknowledged)) if acknowledged >= i64::from(replicas) => Ok(answer),
                Some(Value::Int(acknowledged)) => Err(LogError::Refused(format!(
                    "{}: {acknowledged} of {replicas} replicas acknowledged it in time",
                    log.address.shown
                ))),
                Some(_) => Err(log.not_a_log()),
            }
        })
    }

    /// Waits for replicas half of the time that is left, so that their number still arrives.
    fn wait_for(&self, replicas: u32, until: Instant) -> Cmd {
        let left = until.saturating_duration_since(Instant::now()).as_millis() / 2;
        let mut wait = cmd("WAIT");
        // Zero would be without a limit.
        wait.arg(replicas).arg(u64::try_from(left).unwrap_or(u64::MAX).max(1));
        wait
    }

    /// An answer that is not an error of the server.
    fn accepted(&self, answer: Value) -> Result<Value, LogError> {
        match answer {
            Value::ServerError(error) => Err(self.refused(&error)),
            answer => Ok(answer),
        }
    }

    fn refused(&self, error: &ServerError) -> LogError {
        let shown = &self.address.shown;
        // Of the server's words no more than a line, and without the place in the script.
        let words = error.details().unwrap_or_default();
        let words = words.rsplit_once(": -").map_or(words, |(_, words)| words);
        let words = words.split_once(" script: ").map_or(words, |(words, _)| words);
        let words: String =
            words.chars().filter(|character| !character.is_control()).take(200).collect();
        match error.code() {
            "NOTALOG" => LogError::NotALog(format!("{shown}: {words}")),
            code if code == "WRONGTYPE" || words.contains("WRONGTYPE") => {
                LogError::NotALog(format!("{shown}: a key holds something else"))
            }
            code if code == "NOAUTH" || words.contains("unauthenticated") => {
                LogError::Refused(format!("{shown}: the address needs a password"))
            }
            "MOVED" | "ASK" => LogError::Refused(format!(
                "{shown}: the keys are on another node of the cluster; name that one"
            )),
            code if words.starts_with("unknown") => LogError::NotALog(format!(
                "{shown}: Redis 6.2 or newer is needed, with scripts and streams ({code} {words})"
            )),
            code => {
                let code: String =
                    code.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
                LogError::Refused(format!("{shown}: {code} {words}"))
            }
        }
    }

    /// After an answer that makes no sense nothing more is to be read from this connection.
    fn give_up(&mut self) -> LogError {
        self.connection = None;
        self.not_a_log()
    }

    fn not_a_log(&self) -> LogError {
        LogError::NotALog(format!(
            "{}: what answers there does not answer as Redis would",
            self.address.shown
        ))
    }
}

/// A name nobody else has come up with.
fn random_name() -> Result<String, LogError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        LogError::Config(format!(
            "the system has no random numbers for an invalidation log: {error}"
        ))
    })?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

impl InvalidationLog for RedisLog {
    fn poll(&mut self, poll: &Poll<'_>) -> Result<Batch, LogError> {
        let mut arguments = vec![
            random_name()?,
            poll.after.to_string(),
            poll.max_entries.to_string(),
            MOST_BODY_BYTES.to_string(),
            BATCH_BYTES.to_string(),
        ];
        if let Some(heartbeat) = &poll.heartbeat {
            arguments.push(heartbeat.host.to_owned());
            arguments.push(heartbeat.generation.to_owned());
            arguments.push(heartbeat.applied.to_string());
            // Rounded up: no host is taken for silent before it falls silent.
            let milliseconds = heartbeat.max_staleness.as_micros().div_ceil(1000);
            arguments.push(milliseconds.to_string());
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_bytes).collect();
        let answer = self.run(&POLL, &arguments, poll.heartbeat.is_some())?;
        batch(answer, poll).ok_or_else(|| self.give_up())
    }

    fn wait(&mut self, after: Sequence, at_most: Duration) -> Result<(), LogError> {
        let at_most = at_most.min(MOST_WAIT);
        // Zero would be without a limit.
        let block = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
        if block == 0 {
            return Ok(());
        }
        let until = Instant::now() + at_most + self.options.timeout;
        self.on_connection(until, |log, connection| {
            let mut read = cmd("XREAD");
            read.arg("COUNT").arg(1).arg("BLOCK").arg(block).arg("STREAMS");
            read.arg(&log.keys[0]).arg(format!("{after}-0"));
            for answer in connection.exchange(&log.address, &[read], until)? {
                match answer {
                    // The stream was deleted, or the server is a replica now. A poll will tell.
                    Value::ServerError(error) if error.code() == "UNBLOCKED" => {}
                    answer => drop(log.accepted(answer)?),
                }
            }
            Ok(())
        })
    }

    fn append(&mut self, body: &[u8]) -> Result<Appended, LogError> {
        if body.len() > MOST_BODY_BYTES {
            return Err(LogError::Config(format!(
                "an entry of an invalidation log has at most {MOST_BODY_BYTES} bytes, not {}",
                body.len()
            )));
        }
        let (life, retention) = (random_name()?, self.options.retention.to_string());
        let answer = self.run(&APPEND, &[life.as_bytes(), body, retention.as_bytes()], true)?;
        appended(answer).ok_or_else(|| self.give_up())
    }

    fn hosts(&mut self) -> Result<Vec<Host>, LogError> {
        let answer = self.run(&HOSTS, &[], false)?;
        hosts(answer).ok_or_else(|| self.give_up())
    }
}
