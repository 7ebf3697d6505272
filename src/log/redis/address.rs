//! Where a Redis is, and how to be let in: read from its address.
//!
//! `redis://[user][:password]@host[:port][/database]`, `rediss://...` the same over TLS, and
//! `unix:///path/of/socket`. After a `?`: `db`, `user`, `pass` (or `password`) for those who write
//! them there; `ca`, a file of certificates in PEM form, the only ones to be trusted then;
//! `wait_for_replicas` and `retention`, which go before the options given in code.
//! What else stands there belongs to other readers of the address and is left to them.

use super::super::LogError;
use super::super::connect::redacted;
use super::super::options::Options;
use ::redis::{ConnectionAddr, IntoConnectionInfo as _};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// Where to connect to.
#[derive(Clone)]
pub(super) enum Place {
    Tcp { host: String, port: u16, tls: Option<Tls> },
    Unix(PathBuf),
}

/// What a connection over TLS needs to know.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server: ServerName<'static>,
}

/// An address that was understood.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
    /// As it may be shown.
    pub(super) shown: String,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Address {
    /// Reads an address, and the options that stand in it.
    pub(super) fn read(url: &str, mut options: Options) -> Result<(Self, Options), LogError> {
        let shown = redacted(url);
        let wrong = |why: &str| LogError::Config(format!("{shown} cannot be used: {why}"));

        // The parser knows TLS only together with its own connections.
        let (plain, over_tls) = match url.strip_prefix("rediss://") {
            Some(rest) => (format!("redis://{rest}"), true),
            None => (url.to_owned(), false),
        };
        // Its error may quote the address.
        let not_understood = "write it like redis://user:password@host:6379/0, and special \
                              characters of the password percent-encoded";
        let parsed = ::redis::parse_redis_url(&plain).ok_or_else(|| wrong(not_understood))?;
        let info = parsed.clone().into_connection_info().map_err(|_| wrong(not_understood))?;
        let settings = info.redis_settings();

        let mut address = Self {
            place: match info.addr() {
                ConnectionAddr::Tcp(host, port) => {
                    Place::Tcp { host: host.clone(), port: *port, tls: None }
                }
                ConnectionAddr::Unix(path) => Place::Unix(path.clone()),
                _ => return Err(wrong(not_understood)),
            },
            user: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            database: settings.db(),
            shown: shown.clone(),
        };
        let mut authority = None;
        for (name, value) in parsed.query_pairs() {
            match &*name {
                "db" => {
                    address.database = number(&value).ok_or_else(|| wrong("db is no number"))?
                }
                "user" | "username" => address.user = Some(value.into_owned()),
                "pass" | "password" => address.password = Some(value.into_owned()),
                "ca" | "ssl_ca_certs" => authority = Some(value.into_owned()),
                "wait_for_replicas" => {
                    options.wait_for_replicas =
                        number(&value).ok_or_else(|| wrong("wait_for_replicas is no number"))?;
                }
                "retention" => {
                    options.retention =
                        number(&value).ok_or_else(|| wrong("retention is no number"))?;
                }
                _ => {}
            }
        }
        if address.user.is_some() && address.password.is_none() {
            return Err(wrong("there is a user without a password"));
        }
        if let (Place::Tcp { host, tls, .. }, true) = (&mut address.place, over_tls) {
            *tls = Some(Tls {
                config: trusting(authority.as_deref()).map_err(|why| wrong(&why))?,
                server: ServerName::try_from(host.clone())
                    .map_err(|_| wrong("a certificate cannot be for such a host name"))?,
            });
        }
        Ok((address, options.check()?))
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Settings of TLS that trust the authorities of this file, or those of the web.
fn trusting(authority: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = rustls::RootCertStore::empty();
    match authority {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let unusable = |why: &dyn fmt::Display| {
                format!("no certificate could be read from the file that `ca` names: {why}")
            };
            let found = CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"it holds none"));
            }
        }
    }
    // Named, because the default one depends on what other crates of a build switch on.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(url: &str) -> Address {
        match Address::read(url, Options::default()) {
            Ok((address, _)) => address,
            Err(error) => panic!("{url}: {error}"),
        }
    }

    #[test]
    fn all_parts_are_read() {
        let address = read("redis://me:se%40cret@cache.local:7000/3");
        assert_eq!(address.user.as_deref(), Some("me"));
        assert_eq!(address.password.as_deref(), Some("se@cret"));
        assert_eq!(address.database, 3);
        assert!(matches!(
            address.place,
            Place::Tcp { host, port: 7000, tls: None } if host == "cache.local"
        ));
        assert_eq!(read("redis://host?db=4").database, 4);
        assert!(
            matches!(read("redis://[::1]").place, Place::Tcp { host, port: 6379, .. } if host == "::1")
        );

        let address = read("unix:///run/redis.sock?db=2&password=secret");
        assert_eq!(address.password.as_deref(), Some("secret"));
        assert_eq!(address.database, 2);
        assert!(matches!(address.place, Place::Unix(path) if path.ends_with("redis.sock")));

        for url in ["rediss://cache.local", "rediss://10.0.0.1:7000", "rediss://[::1]"] {
            assert!(matches!(read(url).place, Place::Tcp { tls: Some(_), .. }));
        }
    }

    #[test]
    fn options_stand_in_the_address_too() {
        let read =
            Address::read("redis://host?wait_for_replicas=2&retention=7", Options::default());
        let Ok((_, options)) = read else { panic!("not understood") };
        assert_eq!((options.wait_for_replicas, options.retention), (2, 7));
    }

    #[test]
    fn what_cannot_be_used_is_said_without_the_password() {
        for url in [
            "redis://",
            "redis://:secret@",
            "redis://:secret@host/x",
            "redis://:secret@host:99999",
            "redis://:sec/ret@host",
            "redis://:secret@host?retention=0",
            "redis://:secret@host?retention=x",
            "redis://:secret@host?wait_for_replicas=-1",
            "redis://:secret@host?protocol=secret",
            "redis://secret@host",
            "redis://:secret@0.0.0.0",
            "unix://host/path?pass=secret",
            "rediss://:secret@host?ca=/does/not/exist",
            "rediss://:secret@host?ca=/dev/null",
        ] {
            let error = Address::read(url, Options::default()).err();
            let Some(LogError::Config(message)) = error else { panic!("{url}: {error:?}") };
            assert!(!message.contains("secret"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(rest in ".{0,60}") {
            for scheme in ["redis", "rediss", "unix"] {
                let _ = Address::read(&format!("{scheme}://{rest}"), Options::default());
            }
        }
    }
}
