//! That the models can fail: a copy of the table's protocol, right by itself, and with one
//! mistake at a time, each of which must be found.

use crate::orders::{Covered, Entry, Protocol, check};
use loom::sync::atomic::{AtomicU64, Ordering};
use velro_cache::invalidation::{Slot, Stamp};

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The clock advances before the slots are raised, and not again.
    NoSecondAdvance,
    /// The slots are raised to what the clock is going to be, which then advances.
    NoFirstAdvance,
    RelaxedReadingOfTheClock,
    RelaxedFirstAdvance,
    RelaxedSecondAdvance,
    /// A row found valid is marked with the clock as it stands afterwards.
    ClockReadAfterTheCheck,
    StampTakenAfterTheLoad,
    /// Slots count, and an entry keeps the largest number of its own instead of a stamp.
    CountersInsteadOfStamps,
    /// The table is told before the database.
    BumpBeforeTheCommit,
}

struct Copy {
    clock: AtomicU64,
    floor: AtomicU64,
    slots: [AtomicU64; 2],
    mistake: Mistake,
}

impl Copy {
    fn with(mistake: Mistake) -> Self {
        Self {
            clock: AtomicU64::new(1),
            floor: AtomicU64::new(0),
            slots: [AtomicU64::new(0), AtomicU64::new(0)],
            mistake,
        }
    }

    fn order(&self, relaxed_by: Mistake, order: Ordering) -> Ordering {
        if self.mistake == relaxed_by { Ordering::Relaxed } else { order }
    }
}

impl Protocol for Copy {
    fn now(&self) -> Stamp {
        self.clock.load(self.order(Mistake::RelaxedReadingOfTheClock, Ordering::Acquire))
    }

    fn is_current(&self, stamp: Stamp, slots: &[Slot]) -> bool {
        self.floor.load(Ordering::Acquire) <= stamp
            && slots.iter().all(|&slot| self.slots[slot as usize].load(Ordering::Acquire) <= stamp)
    }

    fn invalidate(&self, what: Covered) {
        let cell = match what {
            Covered::Slot(slot) => &self.slots[slot as usize],
            Covered::Everything => &self.floor,
        };
        // Only for slot 0: the other revocation must not read the clock before it writes it, or
        // loom would skip the orders in question.
        let unadvanced =
            self.mistake == Mistake::NoFirstAdvance && matches!(what, Covered::Slot(0));
        let at = if unadvanced {
            self.clock.load(Ordering::Acquire) + 1
        } else {
            let order = self.order(Mistake::RelaxedFirstAdvance, Ordering::AcqRel);
            self.clock.fetch_add(1, order) + 1
        };
        if self.mistake == Mistake::CountersInsteadOfStamps {
            cell.fetch_add(1, Ordering::AcqRel);
        } else {
            cell.fetch_max(at, Ordering::AcqRel);
        }
        if self.mistake != Mistake::NoSecondAdvance {
            let order = self.order(Mistake::RelaxedSecondAdvance, Ordering::AcqRel);
            self.clock.fetch_add(1, order);
        }
    }

    fn load<R>(&self, read: impl FnOnce() -> R) -> (Stamp, R) {
        if self.mistake == Mistake::StampTakenAfterTheLoad {
            let value = read();
            return (self.now(), value);
        }
        if self.mistake == Mistake::CountersInsteadOfStamps {
            let counts = self.slots.iter().map(|slot| slot.load(Ordering::Acquire));
            return (counts.max().unwrap_or_default(), read());
        }
        let stamp = self.now();
        (stamp, read())
    }

    fn revoke(&self, commit: impl FnOnce(), what: Covered) {
        if self.mistake == Mistake::BumpBeforeTheCommit {
            self.invalidate(what);
            return commit();
        }
        commit();
        self.invalidate(what);
    }

    fn is_valid(&self, entry: &mut Entry) -> bool {
        let clock = self.now();
        if entry.checked_at == clock {
            return true;
        }
        let valid = self.is_current(entry.stamp, &entry.slots);
        if valid {
            let late = self.mistake == Mistake::ClockReadAfterTheCheck;
            entry.checked_at = if late { self.now() } else { clock };
        }
        valid
    }
}

macro_rules! found {
    ($($name:ident: $mistake:ident, $slots:expr, $revocations:expr;)+) => {$(
        #[test]
        #[should_panic(expected = "served after its revocation")]
        fn $name() {
            check(|| Copy::with(Mistake::$mistake), $slots, $revocations, 1);
        }
    )+};
}

const ONE: &[Covered] = &[Covered::Slot(0)];
const TWO: &[Covered] = &[Covered::Slot(0), Covered::Slot(1)];

#[test]
fn the_copy_is_right_without_a_mistake() {
    check(|| Copy::with(Mistake::None), &[0], ONE, 1);
}

found! {
    a_missing_second_advance_is_found: NoSecondAdvance, &[0], ONE;
    a_missing_first_advance_is_found: NoFirstAdvance, &[0], TWO;
    a_relaxed_reading_of_the_clock_is_found: RelaxedReadingOfTheClock, &[0], ONE;
    a_relaxed_first_advance_is_found: RelaxedFirstAdvance, &[0], ONE;
    a_relaxed_second_advance_is_found: RelaxedSecondAdvance, &[0], ONE;
    a_clock_read_after_the_check_is_found: ClockReadAfterTheCheck, &[0], ONE;
    a_stamp_taken_after_the_load_is_found: StampTakenAfterTheLoad, &[0], ONE;
    counters_instead_of_stamps_are_found: CountersInsteadOfStamps, &[0, 1], TWO;
    a_bump_before_the_commit_is_found: BumpBeforeTheCommit, &[0], ONE;
}
