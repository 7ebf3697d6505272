//! From an address to a log.

use super::options::Options;
use super::redis::RedisLog;
use super::sql::{connect_sql, connect_sql_pair};
use super::{InvalidationLog, LogError};

/// Opens the log at an address, by its scheme: `redis://`, `rediss://`, `unix://`,
/// `postgresql://`, `postgres://`, `sqlite://`.
///
/// Nothing is connected yet: that is up to the first call, and again after every error.
///
/// # Errors
/// [`LogError::Config`]: the address, the name or an option cannot be used.
pub fn connect(
    url: &str,
    name: &str,
    options: Options,
) -> Result<Box<dyn InvalidationLog>, LogError> {
    match scheme(url) {
        Some("redis" | "rediss" | "unix") => Ok(Box::new(RedisLog::open(url, name, options)?)),
        Some("postgresql" | "postgres" | "sqlite") => {
            connect_sql(url, name, options.check()?.timeout)
        }
        _ => Err(LogError::Config(format!(
            "no invalidation log is known for {}: the address must begin with redis://, \
             rediss://, unix://, postgresql:// or sqlite://",
            redacted(url)
        ))),
    }
}

/// The same, for the two threads of a process: one who reads and one who appends. What the first
/// one has seen of the log, the other one knows.
///
/// # Errors
/// As for [`connect`].
pub fn connect_pair(
    url: &str,
    name: &str,
    options: Options,
) -> Result<[Box<dyn InvalidationLog>; 2], LogError> {
    match scheme(url) {
        Some("postgresql" | "postgres" | "sqlite") => {
            connect_sql_pair(url, name, options.check()?.timeout)
        }
        _ => Ok([connect(url, name, options)?, connect(url, name, options)?]),
    }
}

/// The scheme of an address, if it has one.
fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once("://")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    (!scheme.is_empty() && scheme.bytes().all(plain)).then_some(scheme)
}

/// An address without what may be a secret, for messages.
///
/// Everything before the last `@`, the query and the fragment are left out; and all of it where
/// that might not be enough. So it holds for an address that is not a proper one, too.
#[must_use]
pub fn redacted(url: &str) -> String {
    let Some(scheme) = scheme(url) else { return "(not an address)".to_owned() };
    let rest = &url[scheme.len() + 3..];
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (head, tail) = rest.split_at(end);
    if tail.contains('@') {
        // A password with an unescaped `?`, or one that follows a `?`: who knows.
        return format!("{scheme}://***");
    }
    let query = if tail.starts_with('?') { "?***" } else { "" };
    match head.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://***@{place}{query}"),
        None => format!("{scheme}://{head}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_secret_is_shown() {
        for (url, shown) in [
            ("redis://cache.local:6379/2", "redis://cache.local:6379/2"),
            ("redis://:secret@cache.local", "redis://***@cache.local"),
            ("rediss://user:secret@cache.local/1?ca=/a.pem", "rediss://***@cache.local/1?***"),
            ("unix:///run/redis.sock?pass=secret", "unix:///run/redis.sock?***"),
            ("sqlite:////var/lib/app.db", "sqlite:////var/lib/app.db"),
            ("secret", "(not an address)"),
            ("host=db password=secret", "(not an address)"),
            ("redis:secret@host", "(not an address)"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }

    proptest! {
        #[test]
        fn no_password_is_shown(
            scheme in "redis|rediss|postgresql|unix",
            user in "[a-z]{0,3}",
            secret in "[A-Z?#/@:&=%]{0,6}SECRET[A-Z?#/@:&=%]{0,6}",
            place in "[a-z.]{1,9}(:[0-9]{4})?(/[0-9])?",
        ) {
            for url in [
                format!("{scheme}://{user}:{secret}@{place}"),
                format!("{scheme}://{place}?pass={secret}"),
                format!("{scheme}://{place}?db=1&password={secret}#x"),
                format!("{scheme}:{user}:{secret}@{place}"),
            ] {
                prop_assert!(!redacted(&url).contains("SECRET"), "{}", redacted(&url));
            }
        }
    }

    #[test]
    fn only_known_schemes_are_opened() {
        for url in ["", "redis", "redis:/x", "http://:secret@host", "memcached://host", "://host"] {
            let error = connect(url, "default", Options::default()).err();
            let Some(LogError::Config(message)) = error else { panic!("{url}: {error:?}") };
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
