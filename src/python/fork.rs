//! What a process does around a fork, so that the child finds no lock held; see
//! [`crate::fork_gate`].

use crate::fork_gate;
use crate::invalidation::watch;
use pyo3::prelude::*;

/// Before a fork: wait until no thread of this package holds a lock.
#[pyfunction]
pub(super) fn before_fork() {
    fork_gate::close();
}

/// After a fork, in the parent and in the child: let threads go on.
#[pyfunction]
pub(super) fn after_fork(in_child: bool) {
    fork_gate::open(in_child);
    if in_child {
        watch::go_on();
    }
}
