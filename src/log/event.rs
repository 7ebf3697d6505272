//! What one entry of a log says: names of what is no longer to be believed.
//!
//! Names and not slots, so that readers of another version hash them their own way, and so that
//! any program can write one: a JSON object such as
//! `{"v":1,"tags":["user:42"],"keys":["auth:user:42:profile"],"patterns":["auth:team:t1:*"]}`,
//! or `{"v":1,"all":true}`. Tags and patterns are as a caller writes them.
//!
//! Whatever cannot be understood means "everything": garbage, a missing part, a version to come.
//! An entry can only ever invalidate too much.

use crate::engine::Names;
use serde::{Deserialize, Serialize};

/// The version written here, and the newest one understood.
const VERSION: u64 = 1;

/// Longest body anybody may write, in bytes. A longer list of names is sent as several entries.
pub const MOST_BODY_BYTES: usize = 256 * 1024;

/// Names of what is no longer to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Tags, as a caller writes them.
    pub tags: Vec<String>,
    /// Whole keys.
    pub keys: Vec<String>,
    /// Wildcards over keys.
    pub patterns: Vec<String>,
    /// Everything, whatever else is named.
    pub all: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all: bool,
}

impl Event {
    /// That everything is no longer to be believed.
    #[must_use]
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Whether it names nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.tags.is_empty() && self.keys.is_empty() && self.patterns.is_empty()
    }

    /// Puts the names of another event to its own.
    pub fn extend(&mut self, other: Self) {
        self.tags.extend(other.tags);
        self.keys.extend(other.keys);
        self.patterns.extend(other.patterns);
        self.all |= other.all;
    }

    /// How many names.
    #[must_use]
    pub fn names_count(&self) -> usize {
        self.tags.len() + self.keys.len() + self.patterns.len()
    }

    /// What it amounts to here.
    #[must_use]
    pub fn names(&self) -> Names {
        let mut names = Names::new();
        self.tags.iter().for_each(|tag| names.add_tag(tag.as_bytes()));
        self.keys.iter().for_each(|key| names.add_key(key.as_bytes()));
        self.patterns.iter().for_each(|pattern| names.add_pattern(pattern.as_bytes()));
        if self.all {
            names.add_everything();
        }
        names
    }

    /// The body of an entry that says so; that of [`Self::everything`] where it would be too long.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        const EVERYTHING: &[u8] = br#"{"v":1,"all":true}"#;
        if self.all {
            return EVERYTHING.to_vec();
        }
        let wire = Wire {
            v: VERSION,
            tags: self.tags.clone(),
            keys: self.keys.clone(),
            patterns: self.patterns.clone(),
            all: false,
        };
        match serde_json::to_vec(&wire) {
            Ok(body) if body.len() <= MOST_BODY_BYTES => body,
            _ => EVERYTHING.to_vec(),
        }
    }

    /// What a body says. `Err` with "everything" where it cannot be understood.
    ///
    /// # Errors
    /// The body is not one of a version known here; what is in the error is to be applied.
    pub fn decode(body: &[u8]) -> Result<Self, Self> {
        let wire = serde_json::from_slice::<Wire>(body).ok().filter(|wire| wire.v == VERSION);
        let event = wire.map(|wire| Self {
            tags: wire.tags,
            keys: wire.keys,
            patterns: wire.patterns,
            all: wire.all,
        });
        match event {
            Some(event) if !event.is_empty() && body.len() <= MOST_BODY_BYTES => Ok(event),
            _ => Err(Self::everything()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            tags in prop::collection::vec(".*", 0..5),
            keys in prop::collection::vec(".*", 0..5),
            patterns in prop::collection::vec(".*", 0..5),
        ) {
            let event = Event { tags, keys, patterns, all: false };
            if !event.is_empty() {
                prop_assert_eq!(Event::decode(&event.encode()), Ok(event));
            }
        }

        #[test]
        fn garbage_means_everything(body in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Event::decode(&body), Err(Event::everything()));
        }
    }

    #[test]
    fn what_is_not_understood_means_everything() {
        for body in [
            "",
            "{}",
            r#"{"v":1}"#,
            r#"{"v":2,"tags":["user:1"]}"#,
            r#"{"v":1,"tags":["user:1"],"ranges":["a-z"]}"#,
            r#"{"v":1,"tags":"user:1"}"#,
            r#"{"v":1,"tags":["user:1"]} "#.repeat(2).as_str(),
        ] {
            assert_eq!(Event::decode(body.as_bytes()), Err(Event::everything()), "{body}");
        }
    }

    #[test]
    fn too_many_names_are_sent_as_everything() {
        let event = Event { tags: vec!["user:1".into(); MOST_BODY_BYTES / 8], ..Event::default() };
        assert_eq!(Event::decode(&event.encode()), Ok(Event::everything()));
    }
}
