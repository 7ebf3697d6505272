//! Words that other processes see as well. The only unsafe code of the table.
#![allow(unsafe_code, reason = "atomics in mapped memory; every block says why it is sound")]

use super::slots::SLOT_COUNT;
use super::words::{BUS_WORDS, HEAD_WORDS, WORDS};
use memmap2::{MmapMut, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The words before the slots.
pub(super) type Head = [AtomicU64; HEAD_WORDS];

/// One word for each slot.
pub(super) type Slots = [AtomicU64; SLOT_COUNT as usize];

/// Head, slots, and for those with a log what goes with each slot: its number, what is pending.
pub(super) type Parts<'a> = (&'a Head, &'a Slots, Option<(&'a Slots, &'a Slots)>);

/// Bytes of a table.
pub(super) const fn bytes_of_table(has_bus: bool) -> usize {
    (WORDS + if has_bus { BUS_WORDS } else { 0 }) * size_of::<u64>()
}

/// Memory of the size of a table.
#[derive(Debug)]
pub(super) struct Mapping {
    memory: MmapRaw,
    /// Keeps the lock on the file that says it is in use.
    _file: Option<File>,
    has_bus: bool,
}

impl Mapping {
    /// Zeroed memory of this process alone. What nobody touches takes no room.
    pub(super) fn private(has_bus: bool) -> io::Result<Self> {
        let memory = MmapMut::map_anon(bytes_of_table(has_bus))?.into();
        Ok(Self { memory, _file: None, has_bus })
    }

    /// The memory of a file, which must be so large and must stay so.
    pub(super) fn shared(file: File, has_bus: bool) -> io::Result<Self> {
        let bytes = bytes_of_table(has_bus);
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let memory = MmapOptions::new().len(bytes).map_raw(&file)?;
        Ok(Self { memory, _file: Some(file), has_bus })
    }

    fn start(&self) -> *mut AtomicU64 {
        self.memory.as_mut_ptr().cast()
    }

    pub(super) fn head(&self) -> &Head {
        // SAFETY: the mapping is as long as a table, begins on a page and lives as long as `self`;
        // everybody who has it mapped uses these words as atomics only.
        unsafe { &*self.start().cast() }
    }
}

/// A mapping that can be exchanged for another one while others read.
///
/// None is unmapped before this is dropped: a reader may hold any of them. They are exchanged
/// when somebody removes a file by hand, which is seldom.
#[derive(Debug)]
pub(super) struct Exchangeable {
    current: AtomicPtr<AtomicU64>,
    has_bus: bool,
    /// With a lock of the standard library: a forked child can use it though others waited for it.
    all: Mutex<Vec<Mapping>>,
}

impl Exchangeable {
    pub(super) fn new(mapping: Mapping) -> Self {
        Self {
            current: AtomicPtr::new(mapping.start()),
            has_bus: mapping.has_bus,
            all: Mutex::new(vec![mapping]),
        }
    }

    /// Has everybody who comes now use another mapping, of the same kind. Refuses one of another
    /// kind.
    pub(super) fn exchange(&self, mapping: Mapping) -> bool {
        if mapping.has_bus != self.has_bus {
            return false;
        }
        let mut all = self.lock();
        let start = mapping.start();
        all.push(mapping);
        // Release: what was written to the new one is seen by whoever uses it.
        self.current.store(start, Ordering::Release);
        true
    }

    #[inline(always)]
    fn start(&self) -> *mut AtomicU64 {
        // Acquire: pairs with the Release above.
        self.current.load(Ordering::Acquire)
    }

    #[inline(always)]
    pub(super) fn head(&self) -> &Head {
        // SAFETY: points to a mapping in `all`, which lives as long as `self`; otherwise as in
        // `Mapping::head`.
        unsafe { &*self.start().cast() }
    }

    /// All parts of one mapping.
    #[inline]
    pub(super) fn parts(&self) -> Parts<'_> {
        // SAFETY: points to a mapping in `all`, which lives as long as `self`; none of another kind
        // is ever put among them.
        unsafe { parts(self.start(), self.has_bus) }
    }

    /// Shows all mappings that were ever used, the newest last.
    pub(super) fn with_all<R>(&self, look: impl FnOnce(&[Mapping]) -> R) -> R {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Mapping>> {
        // Whoever panicked left them as they were before or after a change.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mapping {
    /// All parts of this very mapping.
    pub(super) fn parts(&self) -> Parts<'_> {
        // SAFETY: it is of this kind, and lives as long as `self`.
        unsafe { parts(self.start(), self.has_bus) }
    }
}

/// # Safety
/// A mapping of this kind begins here, and lives as long as what is returned.
#[inline]
unsafe fn parts<'a>(start: *mut AtomicU64, has_bus: bool) -> Parts<'a> {
    // SAFETY: the slots follow the head, and both are within every mapping; otherwise as in
    // `Mapping::head`.
    let (head, slots) = unsafe { (&*start.cast(), &*start.add(HEAD_WORDS).cast()) };
    let bus = has_bus.then(|| {
        // SAFETY: mappings with these words are longer by twice as many as there are slots.
        unsafe {
            let bus = start.add(WORDS);
            (&*bus.cast(), &*bus.add(SLOT_COUNT as usize).cast())
        }
    });
    (head, slots, bus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanged_words_are_those_of_the_new_mapping() {
        let words = Exchangeable::new(Mapping::private(true).unwrap());
        words.head()[8].store(1, Ordering::Relaxed);
        let old = words.head();
        assert!(words.exchange(Mapping::private(true).unwrap()));
        assert_eq!(words.head()[8].load(Ordering::Relaxed), 0);
        assert_eq!(old[8].load(Ordering::Relaxed), 1);
        assert!(!words.exchange(Mapping::private(false).unwrap()));
    }

    #[test]
    fn parts_do_not_overlap() {
        let words = Exchangeable::new(Mapping::private(true).unwrap());
        let (head, slots, bus) = words.parts();
        let (bus, pending) = bus.unwrap();
        for (part, value) in [(&head[..], 1), (&slots[..], 2), (&bus[..], 3), (&pending[..], 4)] {
            part.iter().for_each(|word| word.store(value, Ordering::Relaxed));
        }
        for (part, value) in [(&head[..], 1), (&slots[..], 2), (&bus[..], 3), (&pending[..], 4)] {
            assert!(part.iter().all(|word| word.load(Ordering::Relaxed) == value));
        }
    }
}
