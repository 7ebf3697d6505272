//! The words of a table, wherever they lie: in this process, in a file that others have mapped
//! too, or in a model checker.

use super::slots::Slot;
use crate::sync::AtomicU64;

#[cfg(not(any(loom, shuttle)))]
pub(super) use mapped::Memory;
#[cfg(not(any(loom, shuttle)))]
pub use mapped::Sharing;
#[cfg(any(loom, shuttle))]
pub(super) use modelled::Memory;

/// What becomes of the words of one table.
pub(super) trait Words {
    /// A word before the slots.
    fn head(&self, at: usize) -> &AtomicU64;
    /// The word of a slot.
    fn slot(&self, slot: Slot) -> Option<&AtomicU64>;
    /// The newest position of the log at which a slot was invalidated.
    fn bus(&self, slot: Slot) -> Option<&AtomicU64>;
    /// Invalidations of a slot that the log has not acknowledged yet.
    fn pending(&self, slot: Slot) -> Option<&AtomicU64>;
    /// Tells the table they belong to from every other.
    fn identity(&self) -> u64;
    /// Milliseconds for which the machine had been suspended when they were made.
    fn suspended_before(&self) -> u64;
}

/// Where something was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    start: usize,
    /// In which table.
    pub(super) identity: u64,
}

impl<W: Words> super::pattern_ring::Ring for W {
    fn head(&self, at: usize) -> &AtomicU64 {
        Words::head(self, at)
    }
}

#[cfg(not(any(loom, shuttle)))]
mod mapped {
    use super::super::mapping::{Exchangeable, Head, Mapping, Parts, Slots};
    use super::super::table_file::{FileId, SharedTable, TableError, TableFile};
    use super::super::words::{
        AT_IDENTITY, AT_MAGIC, AT_RETIRED, AT_SUSPENDED, AT_VERSION, CLOCK, FLOOR, MAGIC, NO_CLOCK,
        VERSION,
    };
    use super::{Place, Slot, Words};
    use crate::suspension;
    use crate::sync::{AtomicU64, Mutex, Ordering};
    use std::io;
    use std::path::Path;

    /// Memory that can be replaced by another one if its file is taken away.
    #[derive(Debug)]
    pub(in super::super) struct Memory {
        words: Exchangeable,
        home: Option<Home>,
        /// For work that must not be done twice at once, where nobody else has these words.
        alone: Mutex<()>,
    }

    #[derive(Debug)]
    struct Home {
        file: TableFile,
        /// Which file is mapped now; none while there is none to be had.
        mapped: Mutex<Option<Mapped>>,
    }

    #[derive(Debug, Clone, Copy)]
    struct Mapped {
        id: FileId,
        identity: u64,
        /// The clock when it was last looked at.
        clock: u64,
    }

    /// More than a clock can advance between two looks.
    const LONGEST_STEP: u64 = 1 << 40;

    /// How the memory of a table is doing.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Sharing {
        /// It is this process's alone.
        Private,
        /// All processes that use this file see one table.
        Shared,
        /// Its file was taken away, and no other one is to be had: nothing is believed and
        /// nothing stored until there is.
        Lost,
    }

    impl Sharing {
        /// A word for it.
        #[must_use]
        pub fn name(&self) -> &'static str {
            match self {
                Self::Private => "private",
                Self::Shared => "shared",
                Self::Lost => "lost",
            }
        }
    }

    impl Memory {
        pub(in super::super) fn private(has_bus: bool) -> io::Result<Self> {
            let mapping = Mapping::private(has_bus)?;
            mapping.head()[CLOCK].store(1, Ordering::Release);
            mapping.head()[AT_IDENTITY].store(random()?, Ordering::Release);
            mapping.head()[AT_SUSPENDED].store(suspension::so_far(), Ordering::Release);
            Ok(Self { words: Exchangeable::new(mapping), home: None, alone: Mutex::new(()) })
        }

        pub(in super::super) fn shared(which: &SharedTable) -> Result<Self, TableError> {
            let file = TableFile::new(which);
            let (mapping, id) = file.open()?;
            let mapped = Mutex::new(Some(Mapped::new(&mapping, id)));
            let home = Some(Home { file, mapped });
            Ok(Self { words: Exchangeable::new(mapping), home, alone: Mutex::new(()) })
        }

        #[inline(always)]
        pub(in super::super) fn head(&self) -> &Head {
            self.words.head()
        }

        #[inline]
        pub(in super::super) fn words(&self) -> MappedWords<'_> {
            MappedWords::new(self.words.parts())
        }

        /// Writes to the words in use, and to those that were: somebody may not yet have noticed
        /// that they were replaced.
        ///
        /// Returns where the words in use lie, for [`Self::confirm`].
        pub(in super::super) fn write(&self, write: impl Fn(&MappedWords<'_>)) -> Place {
            if self.home.is_none() {
                write(&self.words());
                return self.place();
            }
            // They are not exchanged meanwhile.
            self.words.with_all(|all| {
                if let Some((_, former)) = all.split_last() {
                    former.iter().for_each(|one| write(&MappedWords::new(one.parts())));
                }
                write(&self.words());
                self.place()
            })
        }

        fn place(&self) -> Place {
            let words = self.words();
            Place { start: std::ptr::from_ref(words.head).addr(), identity: words.identity() }
        }

        /// Whether the words that were written are those that other processes find. If not, others
        /// are used from now on, and what was written must be written again. One system call.
        pub(in super::super) fn confirm(&self, written: Place) -> bool {
            let Some(home) = &self.home else { return true };
            let mut mapped = home.mapped.lock();
            if mapped.is_some_and(|mapped| home.file.is(mapped.id)) {
                // Somebody else may have exchanged them since.
                return written == self.place();
            }
            self.replace(home, &mut mapped);
            false
        }

        /// Looks whether the words in use are those that other processes find, and whether they
        /// make sense; if not, others are used from now on.
        pub(in super::super) fn watch(&self) {
            let Some(home) = &self.home else { return };
            let mut mapped = home.mapped.lock();
            if let Some(now) = mapped.as_mut().filter(|now| home.file.is(now.id)) {
                if now.makes_sense(self.head()) {
                    return;
                }
                self.head()[AT_RETIRED].store(1, Ordering::Release);
                // Whatever comes of it, this one is not used any more.
                let _ = home.file.discard(now.id);
            }
            self.replace(home, &mut mapped);
        }

        fn replace(&self, home: &Home, mapped: &mut Option<Mapped>) {
            let opened = home.file.open().ok().and_then(|(mapping, id)| {
                let now = Mapped::new(&mapping, id);
                self.words.exchange(mapping).then_some(now)
            });
            let had_one = mapped.is_some();
            *mapped = opened;
            if mapped.is_none() && had_one {
                self.use_nothing();
            }
        }

        /// Has nothing believed and nothing stored.
        fn use_nothing(&self) {
            let has_bus = self.words.parts().2.is_some();
            match Mapping::private(has_bus) {
                Ok(nothing) => {
                    nothing.head()[CLOCK].store(NO_CLOCK, Ordering::Release);
                    nothing.head()[FLOOR].store(u64::MAX, Ordering::Release);
                    self.words.exchange(nothing);
                }
                // No memory at all: then in the words that are used, which only we still have.
                Err(_) => {
                    self.head()[FLOOR].store(u64::MAX, Ordering::Release);
                    self.head()[CLOCK].store(NO_CLOCK, Ordering::Release);
                }
            }
        }

        /// Does something that no other process does with these words at the same time. `None`: they
        /// could not be kept away.
        pub(in super::super) fn exclusively<R>(
            &self,
            work: impl FnOnce(&MappedWords<'_>) -> R,
        ) -> Option<R> {
            let Some(home) = &self.home else {
                let _alone = self.alone.lock();
                return Some(work(&self.words()));
            };
            // The file system's, which a process that dies gives back.
            let _alone = home.file.exclusively().ok()?;
            Some(work(&self.words()))
        }

        pub(in super::super) fn sharing(&self) -> Sharing {
            match &self.home {
                None => Sharing::Private,
                Some(home) if home.mapped.lock().is_some() => Sharing::Shared,
                Some(_) => Sharing::Lost,
            }
        }

        pub(in super::super) fn path(&self) -> Option<&Path> {
            self.home.as_ref().map(|home| home.file.path())
        }

        /// In a forked child: a copy of words that are one process's alone is another one's.
        pub(in super::super) fn become_another(&self) {
            if self.home.is_none()
                && let Ok(identity) = random()
            {
                self.head()[AT_IDENTITY].store(identity, Ordering::Release);
            }
        }

        /// Tells this memory from every other.
        pub(in super::super) fn identity(&self) -> u64 {
            self.head()[AT_IDENTITY].load(Ordering::Relaxed)
        }
    }

    fn random() -> io::Result<u64> {
        let mut bytes = [0; size_of::<u64>()];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(u64::from_le_bytes(bytes))
    }

    impl Mapped {
        fn new(mapping: &Mapping, id: FileId) -> Self {
            let head = mapping.head();
            Self {
                id,
                identity: head[AT_IDENTITY].load(Ordering::Acquire),
                clock: head[CLOCK].load(Ordering::Acquire),
            }
        }

        /// Whether nobody wrote to the words who should not.
        fn makes_sense(&mut self, head: &Head) -> bool {
            let clock = head[CLOCK].load(Ordering::Acquire);
            let step = clock.checked_sub(self.clock);
            self.clock = clock;
            head[AT_MAGIC].load(Ordering::Acquire) == MAGIC
                && head[AT_VERSION].load(Ordering::Acquire) == VERSION
                && head[AT_IDENTITY].load(Ordering::Acquire) == self.identity
                && head[AT_RETIRED].load(Ordering::Acquire) == 0
                && step.is_some_and(|step| step < LONGEST_STEP)
        }
    }

    /// The words of one mapping.
    pub(in super::super) struct MappedWords<'a> {
        head: &'a Head,
        slots: &'a Slots,
        bus: Option<(&'a Slots, &'a Slots)>,
    }

    impl<'a> MappedWords<'a> {
        #[inline]
        fn new((head, slots, bus): Parts<'a>) -> Self {
            Self { head, slots, bus }
        }
    }

    impl Words for MappedWords<'_> {
        #[inline(always)]
        fn head(&self, at: usize) -> &AtomicU64 {
            &self.head[at]
        }

        #[inline(always)]
        fn slot(&self, slot: Slot) -> Option<&AtomicU64> {
            self.slots.get(slot as usize)
        }

        fn bus(&self, slot: Slot) -> Option<&AtomicU64> {
            self.bus?.0.get(slot as usize)
        }

        fn pending(&self, slot: Slot) -> Option<&AtomicU64> {
            self.bus?.1.get(slot as usize)
        }

        fn identity(&self) -> u64 {
            self.head[AT_IDENTITY].load(Ordering::Relaxed)
        }

        fn suspended_before(&self) -> u64 {
            self.head[AT_SUSPENDED].load(Ordering::Relaxed)
        }
    }
}

#[cfg(any(loom, shuttle))]
mod modelled {
    use super::super::words::{CLOCK, HEAD_WORDS};
    use super::{Place, Slot, Words};
    use crate::sync::{AtomicU64, Mutex, Ordering, Slots, slots, words};

    /// Few words: a checker keeps a history of each, and makes them anew for every order it tries.
    #[derive(Debug)]
    pub(in super::super) struct Memory {
        head: Slots,
        slots: Slots,
        bus: Slots,
        pending: Slots,
        alone: Mutex<()>,
    }

    impl Memory {
        pub(in super::super) fn private(has_bus: bool) -> std::io::Result<Self> {
            let others = if has_bus { usize::MAX } else { 0 };
            let memory = Self {
                head: words(HEAD_WORDS),
                slots: slots(usize::MAX),
                bus: slots(others),
                pending: slots(others),
                alone: Mutex::new(()),
            };
            memory.words().head(CLOCK).store(1, Ordering::Release);
            Ok(memory)
        }

        pub(in super::super) fn words(&self) -> ModelledWords<'_> {
            ModelledWords(self)
        }

        pub(in super::super) fn write(&self, write: impl Fn(&ModelledWords<'_>)) -> Place {
            write(&self.words());
            Place { start: 0, identity: 0 }
        }

        pub(in super::super) fn confirm(&self, _: Place) -> bool {
            true
        }

        pub(in super::super) fn exclusively<R>(
            &self,
            work: impl FnOnce(&ModelledWords<'_>) -> R,
        ) -> Option<R> {
            let _alone = self.alone.lock();
            Some(work(&self.words()))
        }
    }

    /// The words of a model.
    pub(in super::super) struct ModelledWords<'a>(&'a Memory);

    impl Words for ModelledWords<'_> {
        fn head(&self, at: usize) -> &AtomicU64 {
            self.0.head.exactly(at)
        }

        fn slot(&self, slot: Slot) -> Option<&AtomicU64> {
            self.0.slots.get(slot as usize)
        }

        fn bus(&self, slot: Slot) -> Option<&AtomicU64> {
            self.0.bus.get(slot as usize)
        }

        fn pending(&self, slot: Slot) -> Option<&AtomicU64> {
            self.0.pending.get(slot as usize)
        }

        fn identity(&self) -> u64 {
            0
        }

        fn suspended_before(&self) -> u64 {
            0
        }
    }
}
