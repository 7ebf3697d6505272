//! Looks now and then whether the files of shared tables are still those that others find.
//!
//! One thread for all tables of a process. Who invalidates looks by himself; this is for
//! processes that only read. It also tells them that the machine was suspended.

use super::InvalidationTable;
use crate::suspension;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Pause between two looks. What is promised about files that are taken away is twice this.
const PAUSE: Duration = Duration::from_millis(50);

/// With a lock of the standard library: a forked child can use it though others waited for it.
static TABLES: Mutex<Vec<Weak<InvalidationTable>>> = Mutex::new(Vec::new());

/// The process in which a thread is looking; threads do not survive a fork.
static WATCHING: AtomicU32 = AtomicU32::new(0);

/// Has a table watched for as long as somebody uses it.
pub fn watch(table: &Arc<InvalidationTable>) {
    let mut tables = tables();
    tables.retain(|table| table.strong_count() > 0);
    tables.push(Arc::downgrade(table));
    drop(tables);
    go_on();
}

/// Starts the thread if there is none in this process; to be called in a forked child, too.
pub fn go_on() {
    let process = std::process::id();
    if tables().is_empty() || WATCHING.swap(process, Ordering::AcqRel) == process {
        return;
    }
    let watching = std::thread::Builder::new().name("velro-cache-watch".into()).spawn(|| {
        loop {
            suspension::rest(PAUSE);
            let _gate = crate::fork_gate::pass();
            look();
        }
    });
    if watching.is_err() {
        // Some systems and some moments allow no more threads: the next table tries again.
        WATCHING.store(0, Ordering::Release);
    }
}

/// Looks at all tables once.
pub fn look() {
    let tables: Vec<_> = tables().iter().filter_map(Weak::upgrade).collect();
    let suspended = suspension::so_far();
    for table in tables {
        table.note_suspension(suspended);
        table.memory.watch();
    }
}

fn tables() -> MutexGuard<'static, Vec<Weak<InvalidationTable>>> {
    // Whoever panicked left them as they were before or after a change.
    TABLES.lock().unwrap_or_else(PoisonError::into_inner)
}
