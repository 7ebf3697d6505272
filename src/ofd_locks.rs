//! Makes our SQLite lock files so that another SQLite in the same process notices.
//!
//! A process with a SQLite log has two SQLites in it: ours, and the one of Python's `sqlite3`, by
//! which the service writes to the same file. SQLite locks with POSIX locks, which belong to the
//! process: the two would not see each other's locks, would take them away from each other, and
//! would destroy the file (<https://www.sqlite.org/howtocorrupt.html>, 2.2.1). Our SQLite
//! therefore locks with open file description locks (`F_OFD_SETLK`, Linux), which belong to an
//! opened file, and conflict with POSIX locks of any process, also our own.
//!
//! Three rules follow for those who use it, and [`crate::log::sqlite`] keeps them:
//!
//! * a database is opened once per process, because the locks of two files opened here would not
//!   be told apart by SQLite, which believes that they belong to the process;
//! * it is never closed, because closing any file takes all POSIX locks on it away from the
//!   process, those of the other SQLite too;
//! * no transaction is open while the process forks. The child has the files of its parent, and
//!   the locks they have; it must not use them. So that SQLite opens them anew instead of finding
//!   them among those it knows, files are on another device in each process, as far as it is told.
//!
//! The only unsafe code outside of `src/python` and of the shared table: SQLite's own interface
//! for replacing a system call is one of C.

#![allow(unsafe_code, reason = "SQLite's interface for replacing a system call is one of C")]

use std::sync::OnceLock;

/// Installs the locks, once for the process; whether they are to be had here.
pub(crate) fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(linux::install)
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod linux {
    use libc::{F_GETLK, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_SETLK, F_SETLKW};
    use rusqlite::ffi;
    use std::ffi::{CStr, c_int, c_void};

    type Function = unsafe extern "C" fn();

    /// `fcntl`, with POSIX locks replaced. Declared with a fixed third argument, which on 64-bit
    /// Linux is passed as a variable one is.
    extern "C" fn fcntl(file: c_int, command: c_int, argument: *mut c_void) -> c_int {
        let command = match command {
            F_GETLK => F_OFD_GETLK,
            F_SETLK => F_OFD_SETLK,
            F_SETLKW => F_OFD_SETLKW,
            // SAFETY: what SQLite asked for, unchanged.
            other => return unsafe { libc::fcntl(file, other, argument) },
        };
        let lock = argument.cast::<libc::flock>();
        // SAFETY: with these three commands SQLite passes a valid `struct flock`, which on 64-bit
        // Linux has one layout only. The kernel wants zero where SQLite sets nothing.
        unsafe {
            (*lock).l_pid = 0;
            libc::fcntl(file, command, lock)
        }
    }

    /// `fstat`, with a device that is another one in each process.
    extern "C" fn fstat(file: c_int, data: *mut libc::stat) -> c_int {
        // SAFETY: what SQLite asked for, unchanged.
        let status = unsafe { libc::fstat(file, data) };
        if status == 0 {
            // SAFETY: the kernel has just filled it.
            unsafe { (*data).st_dev ^= u64::from(std::process::id()) << 32 };
        }
        status
    }

    pub(super) fn install() -> bool {
        let ours: extern "C" fn(c_int, c_int, *mut c_void) -> c_int = fcntl;
        // SAFETY: between pointers to functions; SQLite casts it back before it calls it.
        let ours: Function = unsafe { std::mem::transmute(ours) };
        let other: extern "C" fn(c_int, *mut libc::stat) -> c_int = fstat;
        // SAFETY: as above.
        let other: Function = unsafe { std::mem::transmute(other) };
        replace(c"fcntl", ours) && replace(c"fstat", other)
    }

    fn replace(name: &CStr, function: Function) -> bool {
        // SAFETY: sets SQLite up and returns its own default file system, or null.
        let vfs = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
        // SAFETY: not null, then it is one that lives as long as the process.
        let Some(replace) = (unsafe { vfs.as_ref() }).and_then(|found| found.xSetSystemCall) else {
            return false;
        };
        // SAFETY: the file system is the one the function belongs to, and the name ends with a
        // zero. Nothing was opened with it yet: files are opened only after this.
        let status = unsafe { replace(vfs, name.as_ptr(), Some(function)) };
        status == ffi::SQLITE_OK
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod linux {
    /// There are no such locks here.
    pub(super) fn install() -> bool {
        false
    }
}
