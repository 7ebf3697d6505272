//! What each step does, one file for each part of the system.

pub mod fetch;
pub mod follow;
pub mod load;
pub mod look;
pub mod process;
pub mod revoke;
pub mod server;
pub mod table;

/// How many there are; never many.
#[must_use]
pub(crate) fn number(of: usize) -> u8 {
    u8::try_from(of).unwrap_or(u8::MAX)
}
