//! The eight kinds of authorization keys: their shapes, tags, priorities and lives.
//!
//! One table says it all; the typed getters and setters, `generate_auth_key` and the statistics
//! per family read it.

use super::analytics::tag_names::TagNames;
use super::ids::{self, Text};
use crate::invalidation::slots::{self, Slot, SlotList};
use crate::invalidation::{InvalidationTable, Stamp};

/// Which configured life an entry of a kind gets when the caller names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// `auth_ttl_seconds`.
    Authorization,
    /// `uuid_validation_ttl_seconds`.
    UuidValidation,
    /// `default_ttl_seconds`.
    Default,
}

/// Shape and defaults of one kind of key.
#[derive(Debug)]
pub struct KeyKind {
    /// What callers name it by.
    pub name: &'static str,
    /// Text before each id, and after the last one; one longer than `ids`.
    pub literals: &'static [&'static str],
    /// Names of the ids, in the order in which they stand in the key.
    pub ids: &'static [&'static str],
    /// Tags without an id.
    pub plain_tags: &'static [&'static str],
    /// Kinds of the tags made from the ids, one for each; empty where an id makes no tag.
    pub id_tags: &'static [&'static str],
    /// Weight on survival, 1 (ordinary) to 10.
    pub priority: u8,
    /// Default life.
    pub life: Life,
}

/// `auth:user:{user_id}:profile`
pub const USER_PROFILE: KeyKind = KeyKind {
    name: "user_profile",
    literals: &["auth:user:", ":profile"],
    ids: &["user_id"],
    plain_tags: &["auth", "user_profile"],
    id_tags: &["user"],
    priority: 3,
    life: Life::Authorization,
};
/// `auth:user:{user_id}:permissions`
pub const USER_PERMISSIONS: KeyKind = KeyKind {
    name: "user_permissions",
    literals: &["auth:user:", ":permissions"],
    ids: &["user_id"],
    plain_tags: &["auth", "user_permissions"],
    id_tags: &["user"],
    priority: 2,
    life: Life::Authorization,
};
/// `auth:gen:{generation_id}:user:{user_id}:access`
pub const GENERATION_ACCESS: KeyKind = KeyKind {
    name: "generation_access",
    literals: &["auth:gen:", ":user:", ":access"],
    ids: &["generation_id", "user_id"],
    plain_tags: &["auth", "generation_access"],
    id_tags: &["generation", "user"],
    priority: 2,
    life: Life::Authorization,
};
/// `auth:project:{project_id}:user:{user_id}:access`
pub const PROJECT_ACCESS: KeyKind = KeyKind {
    name: "project_access",
    literals: &["auth:project:", ":user:", ":access"],
    ids: &["project_id", "user_id"],
    plain_tags: &["auth", "project_access"],
    id_tags: &["project", "user"],
    priority: 2,
    life: Life::Authorization,
};
/// `auth:team:{team_id}:user:{user_id}:role`
pub const TEAM_ROLE: KeyKind = KeyKind {
    name: "team_role",
    literals: &["auth:team:", ":user:", ":role"],
    ids: &["team_id", "user_id"],
    plain_tags: &["auth", "team_role"],
    id_tags: &["team", "user"],
    priority: 2,
    life: Life::Authorization,
};
/// `uuid:validation:{uuid_hash}:context:{context}`
pub const UUID_VALIDATION: KeyKind = KeyKind {
    name: "uuid_validation",
    literals: &["uuid:validation:", ":context:", ""],
    ids: &["uuid_hash", "context"],
    plain_tags: &["uuid_validation"],
    id_tags: &["", "context"],
    priority: 3,
    life: Life::UuidValidation,
};
/// `session:{user_id}:data`
pub const SESSION_DATA: KeyKind = KeyKind {
    name: "session_data",
    literals: &["session:", ":data"],
    ids: &["user_id"],
    plain_tags: &["session_data"],
    id_tags: &["user"],
    priority: 1,
    life: Life::Default,
};
/// `rate_limit:user:{user_id}:window:{window}`
pub const RATE_LIMIT: KeyKind = KeyKind {
    name: "rate_limit",
    literals: &["rate_limit:user:", ":window:", ""],
    ids: &["user_id", "window"],
    plain_tags: &["rate_limit"],
    id_tags: &["user", ""],
    priority: 1,
    life: Life::Default,
};

/// All kinds, in the order of the documentation.
pub const KINDS: [&KeyKind; 8] = [
    &USER_PROFILE,
    &USER_PERMISSIONS,
    &GENERATION_ACCESS,
    &PROJECT_ACCESS,
    &TEAM_ROLE,
    &UUID_VALIDATION,
    &SESSION_DATA,
    &RATE_LIMIT,
];

impl KeyKind {
    /// Finds a kind by its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        KINDS.into_iter().find(|kind| kind.name == name)
    }

    /// The pattern as the documentation writes it.
    #[must_use]
    pub fn pattern(&self) -> String {
        let mut text = String::from(self.literals[0]);
        for (id, literal) in self.ids.iter().zip(&self.literals[1..]) {
            text.push('{');
            text.push_str(id);
            text.push('}');
            text.push_str(literal);
        }
        text
    }

    /// Appends the slots of this kind's tags. The ids come as they stand in the key, escaped.
    pub fn push_tag_slots(&self, segments: &[&[u8]], out: &mut SlotList) {
        for tag in self.plain_tags {
            push_once(slots::of_tag(tag.as_bytes()), out);
        }
        for (kind, segment) in self.id_tags.iter().zip(segments) {
            if !kind.is_empty() {
                push_once(slot_of_segment(kind.as_bytes(), segment), out);
            }
        }
    }

    /// Tells what the tags of an entry of this kind are called, whose slots alone have just been
    /// made by [`Self::push_tag_slots`].
    pub fn name_tags(&self, segments: &[&[u8]], pushed: &[Slot], names: &TagNames) {
        let of_ids = self.id_tags.iter().zip(segments).filter(|(kind, _)| !kind.is_empty());
        if pushed.len() != self.plain_tags.len() + of_ids.clone().count() {
            return; // Two of them share a slot; which ones cannot be seen.
        }
        let (plain, of_those) = pushed.split_at(self.plain_tags.len());
        plain
            .iter()
            .zip(self.plain_tags)
            .for_each(|(&slot, tag)| names.learn(slot, tag.as_bytes()));
        for (&slot, (kind, segment)) in of_those.iter().zip(of_ids) {
            if !names.is_known(slot) {
                let mut tag = Text::new();
                ids::push_tag_of_segment(kind.as_bytes(), segment, &mut tag);
                names.learn(slot, &tag);
            }
        }
    }
}

/// Appends the slots a key depends on whoever set it: itself, its prefixes, and the tag of each
/// `user:{id}`, `gen:{id}` (or `generation:{id}`), `project:{id}` and `team:{id}` in it.
///
/// So `invalidate_user_data` reaches a key of the documented shape even if it was set without
/// tags.
///
/// A key with a UUID in another spelling also depends on what the key in the one spelling depends
/// on: whoever invalidates need not know how a client wrote it.
pub fn push_slots_of_key(key: &[u8], out: &mut SlotList) {
    push_slots_of_key_alone(key, out);
    for (kind, segment) in implied_tags(key) {
        push_once(slot_of_segment(kind, segment), out);
        if ids::is_unescaped(segment) {
            // Put into the key by hand, without the escaping that ids get here.
            push_once(slot_of_tag(&[kind, b":", segment].concat()), out);
        }
    }
}

/// The same without tags.
pub(super) fn push_slots_of_key_alone(key: &[u8], out: &mut SlotList) {
    slots::push_key(key, out);
    if let Some(canonical) = ids::with_canonical_uuids(key) {
        let mut more = SlotList::new();
        slots::push_key(&canonical, &mut more);
        more.into_iter().for_each(|slot| push_once(slot, out));
    }
}

/// Kind and id, as it stands in the key, of each tag that follows from the shape of a key.
fn implied_tags(key: &[u8]) -> impl Iterator<Item = (&'static [u8], &[u8])> {
    let mut segments = key.split(|&byte| byte == b':');
    let mut before = segments.next().unwrap_or_default();
    segments.enumerate().filter_map(move |(at, segment)| {
        let kind: Option<&[u8]> = match before {
            b"user" => Some(b"user"),
            b"gen" | b"generation" => Some(b"generation"),
            b"project" => Some(b"project"),
            b"team" => Some(b"team"),
            b"session" if at == 0 => Some(b"user"),
            _ => None,
        };
        before = segment;
        kind.map(|kind| (kind, segment))
    })
}

/// Gives the slot and the name of each tag that follows from the shape of a key.
pub(super) fn for_each_implied_tag(key: &[u8], mut then: impl FnMut(Slot, &[u8])) {
    for (kind, segment) in implied_tags(key) {
        let mut tag = Text::new();
        ids::push_tag_of_segment(kind, segment, &mut tag);
        then(slots::of_tag(&tag), &tag);
    }
}

/// Whether a wildcard covers a key, as it is or with its UUIDs in their one spelling; see
/// [`InvalidationTable::is_covered`].
#[must_use]
pub fn is_covered(key: &[u8], stamp: Stamp, checked_at: Stamp, table: &InvalidationTable) -> bool {
    // Nearly always there is none to ask about.
    table.has_wildcards_after(stamp)
        && (table.is_covered(&[key], stamp, checked_at)
            || ids::with_canonical_uuids(key)
                .is_some_and(|canonical| table.is_covered(&[&canonical], stamp, checked_at)))
}

fn slot_of_segment(kind: &[u8], segment: &[u8]) -> Slot {
    let mut tag = Text::new();
    ids::push_tag_of_segment(kind, segment, &mut tag);
    slots::of_tag(&tag)
}

/// Every slot is one more read whenever an entry is checked anew, so none is kept twice.
pub fn push_once(slot: Slot, out: &mut SlotList) {
    if !out.contains(&slot) {
        out.push(slot);
    }
}

/// The slot of a tag as a caller writes it.
#[must_use]
pub fn slot_of_tag(tag: &[u8]) -> Slot {
    if ids::is_canonical_tag(tag) {
        return slots::of_tag(tag);
    }
    let mut canonical = Text::new();
    ids::push_tag(tag, &mut canonical);
    slots::of_tag(&canonical)
}

/// What a key is counted under in the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// Anything not named below.
    Other,
    /// `auth:user:...`
    User,
    /// `auth:gen:...`
    Generation,
    /// `auth:project:...`
    Project,
    /// `auth:team:...`
    Team,
    /// `auth:call:...`, results of decorated functions.
    Call,
    /// Any other `auth:...`
    OtherAuthorization,
    /// `uuid:validation:...`
    UuidValidation,
    /// `session:...`
    Session,
    /// `rate_limit:...`
    RateLimit,
}

/// Number of families.
pub const FAMILIES: usize = 10;

/// Names of the families as statistics show them, in the order of [`Family`].
pub const FAMILY_NAMES: [&str; FAMILIES] = [
    "other",
    "auth:user",
    "auth:gen",
    "auth:project",
    "auth:team",
    "auth:call",
    "auth:other",
    "uuid:validation",
    "session",
    "rate_limit",
];

impl Family {
    /// The family a key belongs to.
    #[inline]
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        // The eight bytes at the beginning tell all the usual ones apart, in one comparison each.
        match key.first_chunk::<8>() {
            Some(b"auth:gen") if key.get(8) == Some(&b':') => Self::Generation,
            Some(b"auth:use") if key.starts_with(b"auth:user:") => Self::User,
            Some(b"auth:cal") if key.starts_with(b"auth:call:") => Self::Call,
            Some(b"auth:pro") if key.starts_with(b"auth:project:") => Self::Project,
            Some(b"auth:tea") if key.starts_with(b"auth:team:") => Self::Team,
            Some(b"uuid:val") if key.starts_with(b"uuid:validation:") => Self::UuidValidation,
            Some(b"session:") => Self::Session,
            Some(b"rate_lim") if key.starts_with(b"rate_limit:") => Self::RateLimit,
            _ if key.starts_with(b"auth:") => Self::OtherAuthorization,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_the_documentation() {
        let patterns: Vec<_> = KINDS.iter().map(|kind| kind.pattern()).collect();
        assert_eq!(
            patterns,
            [
                "auth:user:{user_id}:profile",
                "auth:user:{user_id}:permissions",
                "auth:gen:{generation_id}:user:{user_id}:access",
                "auth:project:{project_id}:user:{user_id}:access",
                "auth:team:{team_id}:user:{user_id}:role",
                "uuid:validation:{uuid_hash}:context:{context}",
                "session:{user_id}:data",
                "rate_limit:user:{user_id}:window:{window}",
            ]
        );
    }

    #[test]
    fn kinds_are_well_formed() {
        for kind in KINDS {
            assert_eq!(kind.literals.len(), kind.ids.len() + 1, "{}", kind.name);
            assert_eq!(kind.id_tags.len(), kind.ids.len(), "{}", kind.name);
            assert_eq!(KeyKind::by_name(kind.name).map(|found| found.name), Some(kind.name));
        }
    }

    #[test]
    fn keys_imply_the_tags_of_their_ids() {
        let mut of_key = SlotList::new();
        push_slots_of_key(b"auth:gen:g1:user:u1:access", &mut of_key);
        assert!(of_key.contains(&slot_of_tag(b"user:u1")));
        assert!(of_key.contains(&slot_of_tag(b"generation:g1")));
        let mut session = SlotList::new();
        push_slots_of_key(b"session:u1:data", &mut session);
        assert!(session.contains(&slot_of_tag(b"user:u1")));
    }

    #[test]
    fn families_follow_the_prefix() {
        assert_eq!(Family::of(b"auth:gen:1:user:2:access"), Family::Generation);
        assert_eq!(Family::of(b"auth:x"), Family::OtherAuthorization);
        assert_eq!(Family::of(b"authx"), Family::Other);
        assert_eq!(Family::of(b""), Family::Other);
        assert_eq!(FAMILY_NAMES[Family::RateLimit as usize], "rate_limit");
    }
}
