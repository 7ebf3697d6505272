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
//! The clock and the slots may lie in memory that all processes of a host share: then an
//! invalidation by one of them is seen by all when it returns, without a message.
//!
//! * [`slots`] — which slots a key, a prefix or a tag stands for;
//! * [`table`] — the clock, the floor and the slots themselves;
//! * [`subscriptions`] — who wants to hear when something is invalidated;
//! * [`bus`] — what a table knows of the invalidations of other hosts; [`lease`] — until when;
//! * [`pattern`] — wildcards in the syntax of Python's `fnmatch`;
//! * `pattern_ring` — the last few of them, for all to see;
//! * `words` — what lies where in a table; `memory` — where it lies; `mapping` — in memory that
//!   is shared; `table_file` — in which file, and whether it may be trusted; `watch` — whether it
//!   is still there.

pub mod bus;
pub mod lease;
#[cfg(not(any(loom, shuttle)))]
mod mapping;
mod memory;
pub mod pattern;
mod pattern_ring;
pub mod slots;
pub mod subscriptions;
pub mod table;
#[cfg(not(any(loom, shuttle)))]
mod table_file;
#[cfg(not(any(loom, shuttle)))]
pub mod watch;
mod words;

pub use pattern::Pattern;
pub use slots::{Slot, SlotList};
pub use subscriptions::{News, Subscriptions};
pub use table::{Covered, InvalidationTable, Stamp, Told};
#[cfg(not(any(loom, shuttle)))]
pub use table::{SharedTable, Sharing, TableError};
