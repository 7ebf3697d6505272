//! What a caller wants invalidated: as names to be covered, and as a record of what was said.

use super::bus::Named;
use super::text;
use crate::engine::analytics::journal::{NameKind, Record};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// A text of the caller's, or none.
pub(super) type Said<'a, 'py> = Option<&'a Bound<'py, PyString>>;

/// Names, and what the journal is told of them.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    pub(super) named: Named,
    pub(super) record: Record,
}

impl Spoken {
    pub(super) fn everything() -> Self {
        let mut spoken = Self { named: Named::everything(), record: Record::default() };
        spoken.record.add(NameKind::Everything, b"");
        spoken
    }

    pub(super) fn key(key: &[u8]) -> Self {
        let mut spoken = Self { named: Named::key(key), record: Record::default() };
        spoken.record.add(NameKind::Key, key);
        spoken
    }

    pub(super) fn add_tag(&mut self, tag: &[u8]) {
        self.named.add_tag(tag);
        self.record.add(NameKind::Tag, tag);
    }

    pub(super) fn add_user(&mut self, id: &Bound<'_, PyAny>) -> PyResult<()> {
        self.add_id(NameKind::User, id)
    }

    pub(super) fn add_generation(&mut self, id: &Bound<'_, PyAny>) -> PyResult<()> {
        self.add_id(NameKind::Generation, id)
    }

    pub(super) fn add_key(&mut self, key: &[u8]) {
        self.named.add_key(key);
        self.record.add(NameKind::Key, key);
    }

    pub(super) fn add_pattern(&mut self, pattern: &[u8]) {
        self.named.add_pattern(pattern);
        self.record.add(NameKind::Pattern, pattern);
    }

    /// One call of a function: by its tag here, and as all calls of the function elsewhere. Its tag
    /// is a digest, which tells nobody anything.
    pub(super) fn add_call(&mut self, tag: &[u8], pattern: &[u8]) {
        self.named.add_local_tag(tag);
        self.named.add_remote_pattern(pattern);
        self.record.add(NameKind::Pattern, pattern);
    }

    /// Who asks for it, and why.
    pub(super) fn because(mut self, reason: Said<'_, '_>, actor: Said<'_, '_>) -> PyResult<Self> {
        let bytes = |said: Said<'_, '_>| {
            said.map(|said| text::utf8(said).map(std::borrow::Cow::into_owned)).transpose()
        };
        let (reason, actor) = (bytes(reason)?, bytes(actor)?);
        self.record = self.record.told_by(actor.as_deref(), reason.as_deref());
        Ok(self)
    }

    fn add_id(&mut self, kind: NameKind, id: &Bound<'_, PyAny>) -> PyResult<()> {
        let tag = text::tag_of_id(kind.name(), id)?;
        self.named.add_tag(&tag);
        // Without the kind and its colon.
        self.record.add(kind, tag.get(kind.name().len() + 1..).unwrap_or_default());
        Ok(())
    }
}
