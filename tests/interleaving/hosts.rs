//! What other hosts invalidate, and what is still on its way to them: the lease, the numbers of
//! entries beside the slots, notes of what is pending, and a log that begins anew.
//!
//! What hosts do is in [`Hosts`]; all that can happen *between* hosts is tried one level higher,
//! by `tests/protocol_model`. Here it is one table and its words, in every order and with every
//! value that memory may give.

use crate::orders::Entry;
use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;
use velro_cache::invalidation::bus::Position;
use velro_cache::invalidation::{Covered, InvalidationTable, Slot, Stamp};

pub(crate) const SLOT: Slot = 0;
const WHAT: Covered<'_> = Covered { slots: &[SLOT], patterns: &[], all: false };

/// When the table last heard of the log; when it hears of it again; how long news last.
pub(crate) const LONG_AGO: u64 = 1_000;
pub(crate) const TODAY: u64 = 9_000;
const STALENESS: u64 = 100;

/// A table that has applied everything up to entry 0 of generation 1, `LONG_AGO`; with what
/// followers, publishers and lookups do with it, in the orders of steps that are to be shown right.
pub(crate) trait Hosts: Send + Sync + 'static {
    fn new() -> Self;
    fn now(&self) -> Stamp;
    fn is_current(&self, stamp: Stamp) -> bool;
    /// Whether news are young enough `TODAY`.
    fn has_news(&self) -> bool;
    /// Whether a value that was loaded at entry 0 may be believed.
    fn admits(&self) -> bool;
    /// Applies entry 1, which is about the slot.
    fn apply(&self);
    /// There were news up to this entry, asked for at this time.
    fn renew_lease(&self, entry: u64, at: u64);
    /// Notes that entry 1 is this host's own.
    fn note_own(&self);
    fn end_pending(&self);
    /// Begins generation 2 at its entry 0.
    fn adopt(&self) -> bool;
    /// Epoch, generation and number up to which everything is applied.
    fn known(&self) -> (u64, u64, u64);

    /// Entry 1 comes, as all there is.
    fn hear(&self) {
        self.apply();
        self.renew_lease(1, TODAY);
    }

    /// Asks the log whether entry 1 is there, and hears the answer.
    fn ask(&self, time: &AtomicU64, appended: &AtomicBool) {
        let at = time.load(Ordering::Acquire);
        self.take(appended.load(Ordering::Acquire), at);
    }

    /// The answer to a question of this time.
    fn take(&self, entry: bool, at: u64) {
        if entry {
            self.apply();
        }
        self.renew_lease(u64::from(entry), at);
    }

    /// As in a row of the store: time, lease, clock, slots.
    fn looks_valid(&self, entry: &mut Entry) -> bool {
        if !self.has_news() {
            return false;
        }
        let clock = self.now();
        entry.checked_at == clock || {
            let valid = self.is_current(entry.stamp);
            if valid {
                entry.checked_at = clock;
            }
            valid
        }
    }

    /// A value of L2 that was loaded at entry 0. Returns its stamp if it is believed.
    fn fetch(&self) -> Option<Stamp> {
        let stamp = self.now();
        (self.has_news() && self.admits()).then_some(stamp)
    }

    /// This host revokes. The log gets to hear of it when this has returned.
    fn revoke(&self);

    /// The entry that this host wrote comes back.
    fn hear_own(&self) {
        self.hear();
        self.end_pending();
    }
}

/// The product's.
struct Table {
    table: InvalidationTable,
    /// Entry 0 of generation 1.
    first: Position,
}

impl Hosts for Table {
    fn new() -> Self {
        let table = InvalidationTable::private(true);
        assert!(table.adopt(table.known().position, 1, 0));
        let first = table.known().position;
        table.renew_lease(first, LONG_AGO);
        Self { table, first }
    }

    fn now(&self) -> Stamp {
        self.table.now()
    }

    fn is_current(&self, stamp: Stamp) -> bool {
        self.table.is_current(stamp, &[SLOT])
    }

    fn has_news(&self) -> bool {
        self.table.holds_lease(TODAY, STALENESS)
    }

    fn admits(&self) -> bool {
        self.table.admits(&[SLOT], 1, 0)
    }

    fn apply(&self) {
        self.table.apply(self.first.at(1), &WHAT);
    }

    fn renew_lease(&self, entry: u64, at: u64) {
        self.table.renew_lease(self.first.at(entry), at);
    }

    fn revoke(&self) {
        assert_eq!(self.table.revoke(&WHAT), self.table.identity());
    }

    fn note_own(&self) {
        self.table.note_own(1, 1, self.table.identity());
    }

    fn end_pending(&self) {
        self.table.end_pending(&WHAT, self.table.identity());
    }

    fn adopt(&self) -> bool {
        self.table.adopt(self.first, 2, 0)
    }

    fn known(&self) -> (u64, u64, u64) {
        let known = self.table.known();
        (known.position.epoch(), known.generation, known.position.sequence())
    }
}

/// All orders of three threads would take long; nearly all mistakes need one preemption or two.
fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(model);
}

fn spawn<T: Hosts>(table: &Arc<T>, work: impl FnOnce(&T) + 'static) -> thread::JoinHandle<()> {
    let table = Arc::clone(table);
    thread::spawn(move || work(&table))
}

/// A host that has long heard nothing hears of a revocation of long ago, while an entry from
/// before it is looked up.
pub(crate) fn hears_late<T: Hosts>() {
    explore(None, || {
        let table = Arc::new(T::new());
        let stamp = table.now();
        let mut entry = Entry::new(stamp, &[SLOT]);
        let follower = spawn(&table, T::hear);
        for _ in 0..2 {
            assert!(!table.looks_valid(&mut entry), "served too late");
        }
        follower.join().unwrap();
        assert!(!table.looks_valid(&mut entry), "served for ever");
    });
}

/// A host asks for news while a revocation comes into the log and time passes.
pub(crate) fn asks<T: Hosts>() {
    explore(None, || {
        let table = Arc::new(T::new());
        let mut entry = Entry::new(table.now(), &[SLOT]);
        let (time, appended) = (AtomicU64::new(LONG_AGO), AtomicBool::new(false));
        let log = Arc::new((time, appended));
        let revoker = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                log.1.store(true, Ordering::Release);
                log.0.store(TODAY, Ordering::Release);
            }
        });
        table.ask(&log.0, &log.1);
        revoker.join().unwrap();
        assert!(!table.looks_valid(&mut entry), "served too late");
    });
}

/// A value of L2 from before a revocation is looked up while the host hears of that.
pub(crate) fn fetches<T: Hosts>() {
    explore(None, || {
        let table = Arc::new(T::new());
        table.renew_lease(0, TODAY);
        let follower = spawn(&table, T::hear);
        let fetched = table.fetch();
        follower.join().unwrap();
        let believed = fetched.is_some_and(|stamp| table.is_current(stamp));
        assert!(!believed && table.fetch().is_none(), "served for ever");
    });
}

/// A value of L2 from before a revocation is looked up on the host that revokes.
pub(crate) fn fetches_where_it_is_revoked<T: Hosts>() {
    explore(Some(3), || {
        let table = Arc::new(T::new());
        table.renew_lease(0, TODAY);
        let (returned, appended) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
        let appended = Arc::new(appended);
        let revoker = spawn(&table, {
            let (returned, appended) = (Arc::clone(&returned), Arc::clone(&appended));
            move |table| {
                table.revoke();
                returned.store(true, Ordering::Release);
                appended.store(true, Ordering::Release);
                table.note_own();
            }
        });
        let follower = spawn(&table, {
            let appended = Arc::clone(&appended);
            move |table| {
                if appended.load(Ordering::Acquire) {
                    table.hear_own();
                }
            }
        });
        let has_returned = returned.load(Ordering::Acquire);
        let fetched = table.fetch();
        assert!(!has_returned || fetched.is_none(), "served after the call returned");
        revoker.join().unwrap();
        follower.join().unwrap();
        let believed = fetched.is_some_and(|stamp| table.is_current(stamp));
        assert!(!believed && table.fetch().is_none(), "served for ever");
    });
}

/// Two followers hear that the log began anew, while one still applies what it said before.
pub(crate) fn begins_anew<T: Hosts>() {
    explore(Some(3), || {
        let table = Arc::new(T::new());
        table.renew_lease(0, TODAY);
        let stamp = table.now();
        let late = spawn(&table, T::hear);
        let other = spawn(&table, |table| {
            table.adopt();
        });
        let fetched = table.fetch();
        table.adopt();
        assert_eq!(table.known(), (2, 2, 0), "what is next would be passed over");
        late.join().unwrap();
        other.join().unwrap();
        assert_eq!(table.known(), (2, 2, 0), "what is next would be passed over");
        let believed = fetched.is_some_and(|stamp| table.is_current(stamp));
        assert!(!believed && table.fetch().is_none(), "served for ever");
        assert!(!table.is_current(stamp), "served for ever");
    });
}

#[test]
fn an_entry_is_not_served_on_news_that_came_after_the_look_at_its_slots() {
    hears_late::<Table>();
}

#[test]
fn news_are_as_old_as_the_question() {
    asks::<Table>();
}

#[test]
fn a_value_of_others_never_outlives_the_entry_that_comes_while_it_is_fetched() {
    fetches::<Table>();
}

#[test]
fn a_value_of_others_is_refused_from_the_call_until_its_entry_has_come_back() {
    fetches_where_it_is_revoked::<Table>();
}

#[test]
fn a_log_that_begins_anew_does_so_once_and_nothing_is_passed_over() {
    begins_anew::<Table>();
}

#[test]
fn what_is_known_is_of_one_generation() {
    explore(None, || {
        let table = Arc::new(Table::new());
        let adopting = spawn(&table, |table| {
            assert!(table.adopt());
            assert!(table.table.adopt(table.table.known().position, 3, 7));
        });
        let known = table.known();
        assert!([(1, 1, 0), (2, 2, 0), (3, 3, 7)].contains(&known), "{known:?}");
        adopting.join().unwrap();
    });
}
