//! That the models of `hosts.rs` can fail: a copy of a table, right by itself, and with one
//! mistake at a time, each of which must be found.

use crate::hosts::{self, Hosts, LONG_AGO, TODAY};
use crate::orders::Entry;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use velro_cache::invalidation::Stamp;

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The lease is read after the clock.
    LeaseAfterTheClock,
    RelaxedReadingOfTheLease,
    RelaxedRenewalOfTheLease,
    LeaseBeforeTheSlots,
    /// The lease begins when the answer arrives.
    LeaseFromTheAnswer,
    /// The slot is raised before the number of the entry is written beside it.
    SlotBeforeTheBus,
    /// The number is written after the clock advanced, and before the slot is raised.
    BusBetweenClockAndSlot,
    StampAfterTheChecks,
    /// That an entry is to come is noted after the clock advanced.
    PendingAfterTheBump,
    PendingCheckedLast,
    /// What is noted ends before the entry has come back.
    PendingUntilAcknowledged,
    /// An entry of one's own is not written beside its slot when it comes back.
    OwnEntryLeftOut,
    /// Positions are compared without their epoch.
    PositionWithoutEpoch,
    /// A log begins anew for everybody who hears of it.
    AdoptedTwice,
    /// A log begins anew without raising the floor.
    NoFloor,
}

/// Epoch and number as in the product.
const EPOCH: u64 = 1 << 40;

struct Copy<const MISTAKE: usize> {
    clock: AtomicU64,
    floor: AtomicU64,
    slot: AtomicU64,
    bus: AtomicU64,
    pending: AtomicU64,
    position: AtomicU64,
    /// The time, above; the epoch, below.
    lease: AtomicU64,
    is_own: AtomicBool,
    /// Who adopts does so alone.
    alone: Mutex<()>,
}

const ALL: &[Mistake] = &[
    Mistake::None,
    Mistake::LeaseAfterTheClock,
    Mistake::RelaxedReadingOfTheLease,
    Mistake::RelaxedRenewalOfTheLease,
    Mistake::LeaseBeforeTheSlots,
    Mistake::LeaseFromTheAnswer,
    Mistake::SlotBeforeTheBus,
    Mistake::BusBetweenClockAndSlot,
    Mistake::StampAfterTheChecks,
    Mistake::PendingAfterTheBump,
    Mistake::PendingCheckedLast,
    Mistake::PendingUntilAcknowledged,
    Mistake::OwnEntryLeftOut,
    Mistake::PositionWithoutEpoch,
    Mistake::AdoptedTwice,
    Mistake::NoFloor,
];

impl<const MISTAKE: usize> Copy<MISTAKE> {
    fn makes(mistake: Mistake) -> bool {
        ALL[MISTAKE] == mistake
    }

    fn order(relaxed_by: Mistake, order: Ordering) -> Ordering {
        if Self::makes(relaxed_by) { Ordering::Relaxed } else { order }
    }

    fn raise(&self, word: &AtomicU64, between: impl FnOnce()) {
        let at = self.clock.fetch_add(1, Ordering::AcqRel) + 1;
        between();
        word.fetch_max(at, Ordering::AcqRel);
        self.clock.fetch_add(1, Ordering::AcqRel);
    }

    fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire) != 0
    }
}

impl<const MISTAKE: usize> Hosts for Copy<MISTAKE> {
    fn new() -> Self {
        Self {
            clock: AtomicU64::new(1),
            floor: AtomicU64::new(1),
            slot: AtomicU64::new(0),
            bus: AtomicU64::new(EPOCH),
            pending: AtomicU64::new(0),
            position: AtomicU64::new(EPOCH),
            lease: AtomicU64::new(LONG_AGO << 16 | 1),
            is_own: AtomicBool::new(false),
            alone: Mutex::new(()),
        }
    }

    fn now(&self) -> Stamp {
        self.clock.load(Ordering::Acquire)
    }

    fn is_current(&self, stamp: Stamp) -> bool {
        self.floor.load(Ordering::Acquire) <= stamp && self.slot.load(Ordering::Acquire) <= stamp
    }

    fn has_news(&self) -> bool {
        let order = Self::order(Mistake::RelaxedReadingOfTheLease, Ordering::Acquire);
        self.lease.load(order) >> 16 == TODAY
    }

    fn admits(&self) -> bool {
        let lease = self.lease.load(Ordering::Acquire);
        let is_pending = || self.is_pending();
        if !Self::makes(Mistake::PendingCheckedLast) && is_pending() {
            return false;
        }
        let epoch = self.position.load(Ordering::Acquire) / EPOCH;
        epoch == 1
            && lease & 0xffff == epoch
            && self.bus.load(Ordering::Acquire) <= EPOCH
            && !(Self::makes(Mistake::PendingCheckedLast) && is_pending())
    }

    fn apply(&self) {
        let now = self.position.load(Ordering::Acquire);
        let at = EPOCH + 1;
        if now / EPOCH != 1 || now >= at {
            return;
        }
        let is_own = self.is_own.load(Ordering::Acquire);
        let mark = || {
            if !(is_own && Self::makes(Mistake::OwnEntryLeftOut)) {
                self.bus.fetch_max(at, Ordering::AcqRel);
            }
        };
        let between = Self::makes(Mistake::BusBetweenClockAndSlot);
        let last = Self::makes(Mistake::SlotBeforeTheBus);
        if !between && !last {
            mark();
        }
        if !is_own {
            self.raise(&self.slot, || {
                if between {
                    mark();
                }
            });
        }
        if last {
            mark();
        }
        if Self::makes(Mistake::PositionWithoutEpoch) {
            // As if the number were a word of its own.
            let _ = self.position.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                Some(now / EPOCH * EPOCH + (now % EPOCH).max(1))
            });
        } else {
            self.position.fetch_max(at, Ordering::AcqRel);
        }
    }

    fn renew_lease(&self, entry: u64, at: u64) {
        let position = self.position.load(Ordering::Acquire);
        if (position / EPOCH == 1 && position >= EPOCH + entry)
            || Self::makes(Mistake::LeaseBeforeTheSlots)
        {
            let order = Self::order(Mistake::RelaxedRenewalOfTheLease, Ordering::AcqRel);
            self.lease.fetch_max(at << 16 | 1, order);
        }
    }

    fn note_own(&self) {
        self.is_own.store(true, Ordering::Release);
    }

    fn end_pending(&self) {
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }

    fn adopt(&self) -> bool {
        let _alone = self.alone.lock().unwrap();
        if !Self::makes(Mistake::AdoptedTwice) && self.position.load(Ordering::Acquire) / EPOCH != 1
        {
            return false;
        }
        let next = (self.position.load(Ordering::Acquire) / EPOCH + 1) * EPOCH;
        self.bus.fetch_max(next, Ordering::AcqRel);
        if !Self::makes(Mistake::NoFloor) {
            self.raise(&self.floor, || {});
        }
        self.position.fetch_max(next, Ordering::AcqRel);
        true
    }

    fn known(&self) -> (u64, u64, u64) {
        let position = self.position.load(Ordering::Acquire);
        (position / EPOCH, position / EPOCH, position % EPOCH)
    }

    fn hear(&self) {
        if Self::makes(Mistake::LeaseBeforeTheSlots) {
            self.renew_lease(1, TODAY);
            return self.apply();
        }
        self.apply();
        self.renew_lease(1, TODAY);
    }

    fn ask(&self, time: &AtomicU64, appended: &AtomicBool) {
        if Self::makes(Mistake::LeaseFromTheAnswer) {
            let entry = appended.load(Ordering::Acquire);
            return self.take(entry, time.load(Ordering::Acquire));
        }
        let at = time.load(Ordering::Acquire);
        self.take(appended.load(Ordering::Acquire), at);
    }

    fn looks_valid(&self, entry: &mut Entry) -> bool {
        let late = Self::makes(Mistake::LeaseAfterTheClock);
        if !late && !self.has_news() {
            return false;
        }
        let clock = self.now();
        if late && !self.has_news() {
            return false;
        }
        entry.checked_at == clock || self.is_current(entry.stamp)
    }

    fn fetch(&self) -> Option<Stamp> {
        if Self::makes(Mistake::StampAfterTheChecks) {
            return (self.has_news() && self.admits()).then(|| self.now());
        }
        let stamp = self.now();
        (self.has_news() && self.admits()).then_some(stamp)
    }

    fn revoke(&self) {
        let note = || self.pending.fetch_add(1, Ordering::AcqRel);
        if Self::makes(Mistake::PendingAfterTheBump) {
            self.raise(&self.slot, || {});
            note();
            return;
        }
        note();
        self.raise(&self.slot, || {});
    }

    fn hear_own(&self) {
        if Self::makes(Mistake::PendingUntilAcknowledged) {
            self.end_pending();
            return self.hear();
        }
        self.hear();
        self.end_pending();
    }
}

#[test]
fn the_copy_is_right_without_a_mistake() {
    hosts::hears_late::<Copy<0>>();
    hosts::asks::<Copy<0>>();
    hosts::fetches::<Copy<0>>();
    hosts::fetches_where_it_is_revoked::<Copy<0>>();
    hosts::begins_anew::<Copy<0>>();
}

macro_rules! found {
    ($($name:ident: $mistake:ident in $model:ident, $words:literal;)+) => {$(
        #[test]
        #[should_panic(expected = $words)]
        fn $name() {
            const NUMBER: usize = Mistake::$mistake as usize;
            assert!(ALL[NUMBER] == Mistake::$mistake);
            hosts::$model::<Copy<NUMBER>>();
        }
    )+};
}

found! {
    a_lease_read_after_the_clock_is_found: LeaseAfterTheClock in hears_late, "too late";
    a_relaxed_reading_of_the_lease_is_found:
        RelaxedReadingOfTheLease in hears_late, "too late";
    a_relaxed_renewal_of_the_lease_is_found:
        RelaxedRenewalOfTheLease in hears_late, "too late";
    a_lease_before_the_slots_is_found: LeaseBeforeTheSlots in hears_late, "too late";
    a_lease_from_the_answer_is_found: LeaseFromTheAnswer in asks, "too late";
    a_slot_before_the_bus_is_found: SlotBeforeTheBus in fetches, "for ever";
    a_bus_between_clock_and_slot_is_found: BusBetweenClockAndSlot in fetches, "for ever";
    a_stamp_after_the_checks_is_found: StampAfterTheChecks in fetches, "for ever";
    a_note_after_the_bump_is_found:
        PendingAfterTheBump in fetches_where_it_is_revoked, "for ever";
    a_note_looked_for_last_is_found:
        PendingCheckedLast in fetches_where_it_is_revoked, "served";
    a_note_that_ends_early_is_found:
        PendingUntilAcknowledged in fetches_where_it_is_revoked, "served";
    an_own_entry_left_out_is_found:
        OwnEntryLeftOut in fetches_where_it_is_revoked, "for ever";
    a_position_without_epoch_is_found: PositionWithoutEpoch in begins_anew, "passed over";
    a_log_adopted_twice_is_found: AdoptedTwice in begins_anew, "passed over";
    a_missing_floor_is_found: NoFloor in begins_anew, "for ever";
}
