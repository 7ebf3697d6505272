//! When is a cached value too old to be believed?
//!
//! Every invalidation advances one clock and writes its time into the *slots* of what it names.
//! Every entry remembers the clock as it stood *before* its value was loaded (its *stamp*) and
//! the slots it depends on: its key, each prefix of its key, each of its tags. An entry is
//! believed while none of its slots is newer than its stamp. So an invalidation costs the same
//! for one entry or a million, and a slow loader cannot bring back what was taken away while it
//! ran: its stamp is too old.
//!
//! A slot is shared by everything that hashes to it. A collision can only make an entry look
//! older than it is, which costs one more load and never a wrong answer.
//!
//! * [`slots`] — which slots a key, a prefix or a tag stands for;
//! * [`table`] — the clock, the floor and the slots themselves;
//! * [`pattern`] — wildcards in the syntax of Python's `fnmatch`;
//! * `pattern_log` — what keeps loads under way from undoing a wildcard.

#![forbid(unsafe_code)]

pub mod pattern;
mod pattern_log;
pub mod slots;
pub mod table;

pub use pattern::Pattern;
pub use slots::{Slot, SlotList};
pub use table::{InvalidationTable, Stamp};
