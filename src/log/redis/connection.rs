//! One connection to a Redis: commands out, answers in, all of it before a point in time.
//!
//! The limit is for a whole exchange: connecting, encryption, logging in and every answer. A
//! server that sends one byte now and then gets no more time than one that sends nothing, and one
//! that sends without end is cut off. The name of a host is looked up by a thread of its own,
//! because a look-up cannot be given up.

use super::super::LogError;
use super::address::{Address, Place, Tls};
use ::redis::{Cmd, Parser, Value, cmd};
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Longest answer that is read, in bytes. The longest one that is asked for is a third of it.
const MOST_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Silence after which the system asks whether the other side is still there. Every call has a
/// limit of its own; this is for connections that are not in use.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A connection that was let in.
pub(super) struct Connection {
    stream: Stream,
    parser: Parser,
    /// The process that opened it. After a fork two of them would read each other's answers.
    process: u32,
}

enum Stream {
    Plain(Limited),
    Tls(Box<StreamOwned<ClientConnection, Limited>>),
}

/// A socket that is read and written until a point in time, and up to a number of bytes.
struct Limited {
    socket: Socket,
    until: Instant,
    bytes_left: usize,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects and logs in.
    pub(super) fn open(address: &Address, until: Instant) -> Result<Self, LogError> {
        let socket = match &address.place {
            Place::Tcp { host, port, .. } => connect_tcp(host, *port, until),
            Place::Unix(path) => connect_unix(path, until),
        };
        let socket = socket.map_err(|error| unreachable(address, &error))?;
        let limited = Limited { socket, until, bytes_left: MOST_ANSWER_BYTES };
        let stream = match &address.place {
            Place::Tcp { tls: Some(tls), .. } => {
                Stream::encrypted(tls, limited).map_err(|error| unreachable(address, &error))?
            }
            _ => Stream::Plain(limited),
        };
        let mut connection = Self { stream, parser: Parser::new(), process: std::process::id() };
        connection.log_in(address, until)?;
        Ok(connection)
    }

    /// Whether it is worth asking on it: this process opened it, and the other side did not hang
    /// up since, as servers do that are idle for long or start again.
    pub(super) fn is_usable(&mut self) -> bool {
        self.process == std::process::id() && self.is_quiet().unwrap_or(false)
    }

    fn is_quiet(&mut self) -> io::Result<bool> {
        let encrypted = matches!(self.stream, Stream::Tls(_));
        let socket = &self.stream.limited().socket;
        socket.set_nonblocking(true)?;
        let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
        socket.set_nonblocking(false)?;
        match peeked {
            Ok(0) => Ok(false),
            // Nobody was asked anything; but encryption has messages of its own.
            Ok(_) => Ok(encrypted),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Sends commands and reads an answer to each; an answer may be an error of the server. After
    /// an `Err` the connection is not to be used again.
    pub(super) fn exchange(
        &mut self,
        address: &Address,
        commands: &[Cmd],
        until: Instant,
    ) -> Result<Vec<Value>, LogError> {
        let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        let limited = self.stream.limited();
        limited.until = until;
        limited.bytes_left = MOST_ANSWER_BYTES;
        self.stream
            .write_all(&packed)
            .and_then(|()| self.stream.flush())
            .map_err(|error| unreachable(address, &error))?;
        commands.iter().map(|_| self.answer(address)).collect()
    }

    fn answer(&mut self, address: &Address) -> Result<Value, LogError> {
        let answer = self.parser.parse_value(&mut self.stream);
        let shown = &address.shown;
        answer.map_err(|error| match error.kind() {
            ::redis::ErrorKind::Io if self.stream.limited().bytes_left == 0 => LogError::NotALog(
                format!("{shown}: an answer is longer than anything that was asked for"),
            ),
            // An end of the stream, a time limit, or what the system says.
            ::redis::ErrorKind::Io => LogError::Unreachable(format!("{shown}: {error}")),
            _ => LogError::NotALog(format!(
                "{shown}: what answers there does not speak the protocol of Redis"
            )),
        })
    }

    fn log_in(&mut self, address: &Address, until: Instant) -> Result<(), LogError> {
        let mut commands = Vec::new();
        if let Some(password) = &address.password {
            let mut auth = cmd("AUTH");
            if let Some(user) = &address.user {
                auth.arg(user);
            }
            auth.arg(password);
            commands.push(auth);
        }
        if address.database != 0 {
            let mut select = cmd("SELECT");
            select.arg(address.database);
            commands.push(select);
        }
        if commands.is_empty() {
            return Ok(());
        }
        for answer in self.exchange(address, &commands, until)? {
            match answer {
                Value::Okay => {}
                // Only its kind: a server that does not know the command quotes the password.
                Value::ServerError(error) => {
                    let kind: String =
                        error.code().chars().filter(char::is_ascii_uppercase).take(20).collect();
                    return Err(LogError::Refused(format!(
                        "{}: the password, the user or the database of the address is not \
                         accepted ({kind})",
                        address.shown
                    )));
                }
                _ => {
                    return Err(LogError::NotALog(format!(
                        "{}: what answers there does not understand how to log in",
                        address.shown
                    )));
                }
            }
        }
        Ok(())
    }
}

impl Stream {
    /// Nothing is sent yet: hands are shaken at the first write.
    fn encrypted(tls: &Tls, limited: Limited) -> io::Result<Self> {
        let client = ClientConnection::new(Arc::clone(&tls.config), tls.server.clone())
            .map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(client, limited))))
    }

    fn limited(&mut self) -> &mut Limited {
        match self {
            Self::Plain(limited) => limited,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(limited) => limited.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(limited) => limited.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(limited) => limited.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes_left == 0 {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let most = buffer.len().min(self.bytes_left);
        let read = loop {
            self.socket.set_read_timeout(Some(left(self.until)?))?;
            match self.socket.read(&mut buffer[..most]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
                other => break other?,
            }
        };
        self.bytes_left -= read;
        Ok(read)
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.socket.set_write_timeout(Some(left(self.until)?))?;
            match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no answer in time")
}

/// The time that is left; an error once there is none.
fn left(until: Instant) -> io::Result<Duration> {
    match until.checked_duration_since(Instant::now()) {
        // A limit of zero would be none; the system counts in microseconds.
        Some(left) if left >= Duration::from_micros(1) => Ok(left),
        _ => Err(late()),
    }
}

fn connect_tcp(host: &str, port: u16, until: Instant) -> io::Result<Socket> {
    let found = look_up(host, port, until)?;
    let mut failure = io::Error::new(ErrorKind::NotFound, "the name of the host has no address");
    for (index, address) in found.iter().enumerate() {
        // One address that does not answer leaves time for the others.
        let share = left(until)? / u32::try_from(found.len() - index).unwrap_or(u32::MAX);
        let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3),
        )?;
        match socket.connect_timeout(&SockAddr::from(*address), share) {
            Ok(()) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn connect_unix(path: &std::path::Path, until: Instant) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.connect_timeout(&SockAddr::unix(path)?, left(until)?)?;
    Ok(socket)
}

fn look_up(host: &str, port: u16, until: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    let (found, finding) = mpsc::sync_channel(1);
    // It ends when the system gives up; by then nobody may be listening any more.
    thread::Builder::new().name("velro-look-up".to_owned()).spawn(move || {
        let _ = found.send((name.as_str(), port).to_socket_addrs().map(Vec::from_iter));
    })?;
    match finding.recv_timeout(left(until)?) {
        Ok(found) => found,
        Err(_) => Err(io::Error::new(ErrorKind::TimedOut, "the look-up of its name took too long")),
    }
}

fn unreachable(address: &Address, error: &io::Error) -> LogError {
    LogError::Unreachable(format!("{}: {error}", address.shown))
}
