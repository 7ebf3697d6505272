//! From an address to a connection with PostgreSQL: hosts, encryption, and what went wrong.

use super::LogError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What to run where the tables are missing and may not be created.
pub(super) const HOW_TO_CREATE: &str =
    "run: velro-cache outbox ddl --dialect postgresql | psql, as a user who may create tables";

/// Servers to try, in this order, and how.
pub(super) struct Address {
    servers: Vec<Config>,
    tls: MakeRustlsConnect,
}

/// A connection.
pub(super) struct Link {
    /// To ask with.
    pub(super) client: Client,
    /// The newest number that was notified of; 0 before the first.
    pub(super) news: watch::Receiver<u64>,
    /// The newest number that was read or appended.
    pub(super) last: u64,
    /// Whether notifications were asked for.
    pub(super) listening: bool,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Address {
    /// Reads an address as libpq does, but for options that are not known here.
    pub(super) fn parse(url: &str) -> Result<Self, LogError> {
        let (url, encryption) = Encryption::taken_from(url)?;
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            // The cause names an option, never a value.
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            LogError::Config(format!("the address of the invalidation log cannot be read: {why}"))
        })?;
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("velro-cache");
        }
        config.ssl_mode(encryption.mode);
        Ok(Self {
            servers: one_by_one(&config)?,
            tls: MakeRustlsConnect::new(encryption.config()?),
        })
    }

    /// Connects to the first server that can be reached and passes the test.
    pub(super) async fn connect(
        &self,
        deadline: Instant,
        test: impl AsyncFn(&Client) -> Result<(), LogError>,
    ) -> Result<Link, LogError> {
        let mut failures: Vec<LogError> = Vec::new();
        for (at, server) in self.servers.iter().enumerate() {
            // One that is frozen must not use up the time of those after it.
            let left = deadline.saturating_duration_since(Instant::now());
            let others = u32::try_from(self.servers.len() - at).unwrap_or(u32::MAX);
            let attempt = async {
                let link = self.connect_to(server).await?;
                test(&link.client).await?;
                Ok(link)
            };
            match tokio::time::timeout(left / others, attempt).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(failure)) => failures.push(failure),
                Err(_) => failures.push(LogError::Unreachable("no answer in time".into())),
            }
        }
        // A server that says no says more than one that is silent.
        let telling = failures.iter().position(|f| !matches!(f, LogError::Unreachable(_)));
        Err(failures.swap_remove(telling.unwrap_or(0)))
    }

    async fn connect_to(&self, server: &Config) -> Result<Link, LogError> {
        let (client, mut connection) = server.connect(self.tls.clone()).await.map_err(failure)?;
        let (tell, news) = watch::channel(0);
        let driver = tokio::spawn(async move {
            loop {
                match std::future::poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(note))) => {
                        tell.send_replace(note.payload().parse().unwrap_or(0));
                    }
                    Some(Ok(_)) => {}
                    // Whoever waits for an answer, or for news, is told by both ends closing.
                    Some(Err(_)) | None => return,
                }
            }
        });
        Ok(Link { client, news, last: 0, listening: false, driver })
    }
}

/// One configuration per host of an address.
fn one_by_one(config: &Config) -> Result<Vec<Config>, LogError> {
    let (hosts, addresses, ports) =
        (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let number = hosts.len().max(addresses.len());
    let wrong =
        |what: &str| LogError::Config(format!("the address of the invalidation log {what}"));
    if number == 0 {
        return Err(wrong("names no host; for a unix socket write ?host=/its/folder"));
    }
    if ports.len() > 1 && ports.len() != number {
        return Err(wrong("has more ports than hosts"));
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(wrong("has more of host than of hostaddr, or fewer"));
    }
    let server = |at: usize| {
        let mut one = Config::new();
        match hosts.get(at) {
            Some(Host::Tcp(host)) => drop(one.host(host)),
            Some(Host::Unix(path)) => drop(one.host_path(path)),
            None => {}
        }
        addresses.get(at).map(|address| one.hostaddr(*address));
        ports.get(at).or(ports.first()).map(|port| one.port(*port));
        config.get_user().map(|user| one.user(user));
        config.get_password().map(|password| one.password(password));
        config.get_dbname().map(|dbname| one.dbname(dbname));
        config.get_options().map(|options| one.options(options));
        config.get_application_name().map(|name| one.application_name(name));
        one.ssl_mode(config.get_ssl_mode())
            .ssl_negotiation(config.get_ssl_negotiation())
            .channel_binding(config.get_channel_binding())
            .keepalives(config.get_keepalives())
            .keepalives_idle(config.get_keepalives_idle());
        one
    };
    Ok((0..number).map(server).collect())
}

/// What an address says about encryption.
struct Encryption {
    mode: SslMode,
    verify: bool,
    root_certificates: Option<String>,
}

impl Encryption {
    /// Takes `sslmode` and `sslrootcert` out of an address, because the client knows fewer modes
    /// than libpq.
    fn taken_from(url: &str) -> Result<(String, Self), LogError> {
        let (start, query) = url.split_once('?').unwrap_or((url, ""));
        let mut mode = "prefer".to_owned();
        let mut root_certificates = None;
        let mut rest = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("sslmode", value)) => mode = value.to_owned(),
                Some(("sslrootcert", value)) => root_certificates = Some(unescaped(value)?),
                Some(("sslcert" | "sslkey", _)) => {
                    let message = "a client's certificate (sslcert) is not supported";
                    return Err(LogError::Config(message.into()));
                }
                _ => rest.push(part),
            }
        }
        let encryption = match mode.as_str() {
            "disable" => Self { mode: SslMode::Disable, verify: false, root_certificates },
            // Without certificates to check against, as libpq.
            "prefer" => Self { mode: SslMode::Prefer, verify: false, root_certificates: None },
            "require" if root_certificates.is_none() => {
                Self { mode: SslMode::Require, verify: false, root_certificates }
            }
            "require" | "verify-full" => {
                Self { mode: SslMode::Require, verify: true, root_certificates }
            }
            _ => {
                let message = "sslmode must be disable, prefer, require or verify-full";
                return Err(LogError::Config(message.into()));
            }
        };
        let url =
            if rest.is_empty() { start.to_owned() } else { format!("{start}?{}", rest.join("&")) };
        Ok((url, encryption))
    }

    fn config(&self) -> Result<ClientConfig, LogError> {
        let wrong = |what: String| LogError::Config(format!("sslrootcert: {what}"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if self.verify {
            let mut roots = RootCertStore::empty();
            match self.root_certificates.as_deref() {
                None | Some("system") => {
                    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                }
                Some(path) => {
                    let found = CertificateDer::pem_file_iter(path)
                        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                        .map_err(|error| wrong(error.to_string()))?;
                    roots.add_parsable_certificates(found);
                }
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| wrong(error.to_string()))?
        } else {
            Arc::new(AnyCertificate(Arc::clone(&provider)))
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| LogError::Config(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(config)
    }
}

/// The text behind `%2F` and the like.
fn unescaped(text: &str) -> Result<String, LogError> {
    let wrong = || LogError::Config("the address holds a percent sign that means nothing".into());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(wrong());
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Believes that any server is the right one: `sslmode=require` hides what is said from those who
/// listen, and no more. That is what it means to all clients of PostgreSQL.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What an error of the client means for those who use the log.
///
/// Only the server's own main message is passed on: its details may hold data.
pub(super) fn failure(error: tokio_postgres::Error) -> LogError {
    let Some(db) = error.as_db_error() else {
        return failure_of_transport(&error);
    };
    let said = format!("{} (SQLSTATE {})", db.message(), db.code().code());
    let code = db.code();
    if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME {
        return LogError::Refused(format!("{said}; {HOW_TO_CREATE}"));
    }
    if [SqlState::UNDEFINED_COLUMN, SqlState::DATATYPE_MISMATCH, SqlState::UNDEFINED_FUNCTION]
        .contains(code)
        || *code == SqlState::WRONG_OBJECT_TYPE
    {
        return LogError::NotALog(said);
    }
    // Shutting down or starting up, a time limit, a conflict with somebody else: it may work later.
    let passing = [
        SqlState::QUERY_CANCELED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    if passing.contains(code) || code.code().starts_with("08") {
        LogError::Unreachable(said)
    } else {
        LogError::Refused(said)
    }
}

fn failure_of_transport(error: &tokio_postgres::Error) -> LogError {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    // The kinds of errors are not public; these are the texts of those that come from an answer
    // that is no answer of PostgreSQL.
    if said.starts_with("error parsing response") || said.starts_with("unexpected message") {
        return LogError::NotALog(said);
    }
    if said.starts_with("error performing TLS handshake")
        || said.starts_with("authentication error")
        || said.starts_with("invalid configuration")
    {
        return LogError::Refused(said);
    }
    LogError::Unreachable(said)
}

/// A time limit as a setting of the server.
pub(super) fn as_setting(limit: Duration) -> String {
    limit.as_millis().clamp(1, i32::MAX as u128).to_string()
}
