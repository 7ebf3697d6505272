//! Threads that the interpreter ends in the middle of our work.
//!
//! While CPython up to 3.13 shuts down, it ends every daemon thread that asks for its lock, with
//! `pthread_exit`. The C library of GNU then unwinds the thread's stack by force, and a Rust frame
//! that catches panics, such as the one between any Python method and its body, does not let that
//! pass: the whole process would be aborted. CPython 3.14 has such a thread stand still instead,
//! which harms nobody, since the process is about to end. This file has it do so wherever Rust
//! calls what may turn out to be Python code.
//!
//! What it takes is a cleanup handler of the thread, which the C library runs before it unwinds
//! anything. Registering one takes some 30 instructions, so a lookup that is answered with what
//! lies in the table, and makes nothing, does without: it runs no code but the interpreter's. Where
//! something is made, up to CPython 3.11 the collector may run, and with it code of others.
#![allow(
    unsafe_code,
    reason = "registers a cleanup handler with the C library; every block says why it is sound"
)]

use pyo3::ffi;
use pyo3::prelude::*;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// While it lives, the interpreter can stop this thread, but not unwind it.
#[must_use]
pub(super) struct ExitGuard {
    /// Belongs to the thread that made it.
    thread: PhantomData<*const ()>,
}

impl ExitGuard {
    /// To be held while what may be Python code runs: a function of the caller's, a method of a
    /// value, or the end of a value.
    #[inline]
    pub(super) fn hold() -> Self {
        #[cfg(all(target_os = "linux", target_env = "gnu", not(Py_3_14)))]
        handler::enter();
        Self { thread: PhantomData }
    }
}

impl Drop for ExitGuard {
    #[inline]
    fn drop(&mut self) {
        #[cfg(all(target_os = "linux", target_env = "gnu", not(Py_3_14)))]
        handler::leave();
    }
}

/// Lets go of an object, with the guard held if that may run Python code.
#[inline(always)]
pub(super) fn let_go(object: Bound<'_, PyAny>) {
    // SAFETY: the reference is handed over.
    unsafe { let_go_of(object.py(), object.into_ptr()) }
}

/// As [`let_go`].
///
/// # Safety
/// `object` is a reference that the caller owns, and hands over.
#[inline(always)]
pub(super) unsafe fn let_go_of(py: Python<'_>, object: *mut ffi::PyObject) {
    // SAFETY: a live object, and we are attached. Without a GIL, somebody else may let go of the
    // object at the same time, so that the number says nothing.
    unsafe {
        if cfg!(not(Py_GIL_DISABLED)) && ffi::Py_REFCNT(object) > 1 {
            ffi::Py_DECREF(object);
        } else {
            end(Bound::from_owned_ptr(py, object));
        }
    }
}

#[cold]
#[inline(never)]
fn end(object: Bound<'_, PyAny>) {
    const MAY_RUN_CODE: u64 = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_HEAPTYPE;
    // SAFETY: the class of a live object.
    let flags = unsafe { ffi::PyType_GetFlags(object.get_type_ptr()) };
    // Numbers, texts and bytes hold nothing, and their ends are the interpreter's own affair.
    let _guard = (flags & MAY_RUN_CODE != 0).then(ExitGuard::hold);
    drop(object);
}

/// Something whose end may run Python code, and which is dropped with the guard held.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct DroppedGuarded<T>(ManuallyDrop<T>);

impl<T> DroppedGuarded<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for DroppedGuarded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for DroppedGuarded<T> {
    fn drop(&mut self) {
        let _guard = ExitGuard::hold();
        // SAFETY: nobody uses it afterwards; it is not dropped elsewhere.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu", not(Py_3_14)))]
mod handler {
    use std::cell::{Cell, OnceCell, UnsafeCell};
    use std::os::raw::{c_int, c_void};
    use std::ptr;
    use std::time::Duration;

    /// `struct _pthread_cleanup_buffer`, as the Linux Standard Base has it.
    #[repr(C)]
    struct Buffer {
        routine: Option<unsafe extern "C" fn(*mut c_void)>,
        argument: *mut c_void,
        cancel_type: c_int,
        previous: *mut Self,
    }

    unsafe extern "C" {
        // What `pthread_cleanup_push` and `pthread_cleanup_pop` of C stand for.
        fn _pthread_cleanup_push(
            buffer: *mut Buffer,
            routine: unsafe extern "C" fn(*mut c_void),
            argument: *mut c_void,
        );
        fn _pthread_cleanup_pop(buffer: *mut Buffer, execute: c_int);
    }

    struct Thread {
        /// How many guards are held. One handler serves them all, whatever the order in which
        /// they are let go of: code that switches stacks, such as greenlets, keeps to none.
        held: Cell<usize>,
        /// Not on the stack, and not in the thread's own storage, which may lie beside the stack:
        /// the C library takes a buffer there for one that belongs to a frame, and would run the
        /// handler when it unwinds that frame. Any other it takes for overdue, and runs at once.
        buffer: OnceCell<Box<UnsafeCell<Buffer>>>,
    }

    thread_local! {
        static THREAD: Thread =
            const { Thread { held: Cell::new(0), buffer: OnceCell::new() } };
    }

    #[inline(never)]
    pub(super) fn enter() {
        // Without a handler where the thread has ended but for what its storage does last.
        let _ = THREAD.try_with(|thread| {
            let held = thread.held.get();
            thread.held.set(held + 1);
            if held == 0 {
                let buffer = thread.buffer.get_or_init(|| Box::new(UnsafeCell::new(EMPTY)));
                // SAFETY: the buffer stays where it is until the thread ends, is registered once,
                // and nobody else touches what is in it.
                unsafe { _pthread_cleanup_push(buffer.get(), stand_still, ptr::null_mut()) };
            }
        });
    }

    #[inline(never)]
    pub(super) fn leave() {
        let _ = THREAD.try_with(|thread| {
            let held = thread.held.get() - 1;
            thread.held.set(held);
            if held == 0
                && let Some(buffer) = thread.buffer.get()
            {
                // SAFETY: registered by `enter` in this thread. Zero: it is not run.
                unsafe { _pthread_cleanup_pop(buffer.get(), 0) };
            }
        });
    }

    const EMPTY: Buffer = Buffer {
        routine: None,
        argument: ptr::null_mut(),
        cancel_type: 0,
        previous: ptr::null_mut(),
    };

    /// Runs instead of the rest of the thread.
    unsafe extern "C" fn stand_still(_: *mut c_void) {
        loop {
            std::thread::sleep(Duration::MAX);
        }
    }
}
