//! Two hosts with stores of their own, several followers each, a log between them that forgets
//! and fails over, and values that all of them share. No lookup is answered by what was revoked
//! longer ago than `STALENESS`, and none on the revoking host that begins after the call returned.
//!
//! The log is a list behind a lock; what followers do with its answers is told again here, since
//! the product's have threads and connections. Tables, leases and stores are the product's.

use super::{Checked, below, check, find, store};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::thread;
use std::sync::Arc;
use std::time::Duration;
use velro_cache::engine::clock::{Clock, ManualClock};
use velro_cache::engine::policy::PolicyKind;
use velro_cache::engine::{EngineConfig, Lease, NewEntry, keys};
use velro_cache::invalidation::bus::Known;
use velro_cache::invalidation::{Covered, InvalidationTable, Slot, SlotList};

const KEY: &[u8] = b"auth:user:1:profile";
const OTHER: &[u8] = b"auth:gen:9:user:9:access";
/// In milliseconds of a clock that is moved by one.
const STALENESS: u64 = 2;
const HOSTS: usize = 2;
const TURNS: usize = 5;
/// Before it is revoked.
const LATEST_STEPS: usize = 100;

fn slot_of(key: &[u8]) -> Slot {
    let mut slots = SlotList::new();
    keys::push_slots_of_key(key, &mut slots);
    slots[0]
}

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// An answer is judged by what the table is when it arrives, not when it was asked for.
    AnswerFromAnotherEpoch,
    LeaseFromTheAnswer,
    LeaseThoughBehind,
    /// Nobody notes that an entry is to come.
    NothingPending,
    /// A value of others is believed without news.
    NoLeaseForValuesOfOthers,
}

/// The log: generations of which each has a number, and what its entries name.
#[derive(Default)]
struct Log {
    generation: u64,
    first: u64,
    entries: Vec<Slot>,
}

impl Log {
    fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    fn append(&mut self, slot: Slot) -> (u64, u64) {
        self.entries.push(slot);
        (self.generation, self.last())
    }

    /// Loses some entries, or drops some.
    fn suffer(&mut self) {
        let last = self.entries.len();
        if below(2) == 0 {
            self.entries.truncate(below(last + 1));
            self.first = self.first.min(self.last() + 1);
            self.generation += 1;
        } else {
            self.first += below(last + 2 - self.first as usize) as u64;
        }
    }
}

/// A value that hosts share.
#[derive(Clone, Copy)]
struct Shared {
    generation: u64,
    sequence: u64,
    granted: bool,
}

struct Host {
    table: Arc<InvalidationTable>,
    store: Checked<bool, false>,
    /// The call that revokes returned here.
    returned: AtomicBool,
}

struct World {
    clock: Arc<ManualClock>,
    hosts: Vec<Host>,
    log: Mutex<Log>,
    shared: Mutex<Option<Shared>>,
    revoked: AtomicBool,
    /// When the log had it, plus one.
    acknowledged: AtomicU64,
    mistake: Mistake,
}

impl World {
    fn new(mistake: Mistake) -> Arc<Self> {
        let clock = Arc::new(ManualClock::default());
        let hosts = (0..HOSTS).map(|_| Host::new(&clock)).collect();
        let log = Mutex::new(Log { generation: 1, first: 1, entries: vec![] });
        let shared = Mutex::new(None);
        let (revoked, acknowledged) = Default::default();
        Arc::new(Self { clock, hosts, log, shared, revoked, acknowledged, mistake })
    }

    fn now(&self) -> u64 {
        Clock::Manual(Arc::clone(&self.clock)).now()
    }

    /// Whether an answer that allows would be wrong for a lookup that begins now.
    fn is_due(&self, host: &Host) -> bool {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        host.returned.load(Ordering::SeqCst)
            || (acknowledged > 0 && self.now() > acknowledged - 1 + STALENESS)
    }

    fn look_up(&self, host: &Host) {
        let is_due = self.is_due(host);
        let found = host.store.get_with(KEY, |_, _, granted| Some(*granted), |_| None);
        assert!(!(is_due && found == Some(true)), "served after its revocation");
    }

    fn load(&self, host: &Host) {
        let stamp = host.store.snapshot();
        let known = host.table.known();
        let granted = !self.revoked.load(Ordering::SeqCst);
        host.keep(granted, stamp);
        if known.generation != 0 {
            let (generation, sequence) = (known.generation, known.position.sequence());
            *self.shared.lock().unwrap() = Some(Shared { generation, sequence, granted });
        }
    }

    fn fetch(&self, host: &Host) {
        let is_due = self.is_due(host);
        let stamp = host.store.snapshot();
        let shared = *self.shared.lock().unwrap();
        let Some(Shared { generation, sequence, granted }) = shared else { return };
        let slots = [slot_of(KEY)];
        let has_news = host.table.holds_lease(self.now(), STALENESS)
            || self.mistake == Mistake::NoLeaseForValuesOfOthers;
        let admitted = has_news && host.table.admits(&slots, generation, sequence);
        if admitted {
            assert!(!(is_due && granted), "a value of others was believed after its revocation");
            host.keep(granted, stamp);
        }
    }

    /// One question and what comes of it.
    fn follow(&self, host: &Host) {
        let known = host.table.known();
        let sent = self.now();
        let (generation, first, last, entries) = {
            let log = self.log.lock().unwrap();
            let after = known.position.sequence().max(log.first - 1).min(log.last());
            let most = 1 + below(2);
            let entries: Vec<_> =
                log.entries[after as usize..].iter().take(most).copied().collect();
            (log.generation, log.first, log.last(), entries)
        };
        thread::yield_now();
        let known = match self.mistake {
            Mistake::AnswerFromAnotherEpoch => host.table.known(),
            _ => known,
        };
        let sent = if self.mistake == Mistake::LeaseFromTheAnswer { self.now() } else { sent };
        let applied = known.position.sequence();
        if known.generation != generation || first > applied + 1 || last < applied {
            host.table.adopt(known.position, generation, first - 1);
            return;
        }
        let upto = host.apply(known, &entries);
        if upto == last || self.mistake == Mistake::LeaseThoughBehind {
            host.table.renew_lease(known.position.at(upto), sent);
        }
    }

    fn revoke(&self, host: &Host) {
        let slots = [slot_of(KEY)];
        let what = Covered { slots: &slots, ..Covered::default() };
        self.revoked.store(true, Ordering::SeqCst);
        let told = if self.mistake == Mistake::NothingPending {
            host.table.invalidate(&what);
            host.table.identity()
        } else {
            host.table.revoke(&what)
        };
        host.returned.store(true, Ordering::SeqCst);
        let (generation, sequence) = self.log.lock().unwrap().append(slots[0]);
        self.acknowledged.store(self.now() + 1, Ordering::SeqCst);
        host.table.note_own(generation, sequence, told);
        let heard = self.now();
        for _ in 0..TURNS {
            if host.table.has_applied(generation, sequence, heard) {
                host.table.end_pending(&what, told);
                return;
            }
            thread::yield_now();
        }
    }
}

impl Host {
    fn new(clock: &Arc<ManualClock>) -> Self {
        let mut config = EngineConfig::new(64, 1 << 20, PolicyKind::Lru);
        config.lease = Some(Lease { max_staleness: STALENESS, serve_stale: false });
        let table = Arc::new(InvalidationTable::private(true));
        Self { store: store(&config, clock, &table), table, returned: AtomicBool::new(false) }
    }

    fn keep(&self, granted: bool, stamp: u64) {
        let entry = NewEntry {
            key: KEY,
            value: granted,
            value_bytes: 8,
            ttl: 60_000,
            priority: 1,
            stamp,
            tag_slots: &[],
            permissive: granted,
        };
        self.store.insert(entry);
    }

    /// Returns up to which entry everything is applied.
    fn apply(&self, known: Known, entries: &[Slot]) -> u64 {
        let mut applied = known.position.sequence();
        for slot in entries {
            applied += 1;
            let what = Covered { slots: &[*slot], ..Covered::default() };
            self.table.apply(known.position.at(applied), &what);
        }
        applied
    }
}

fn scenario(mistake: Mistake) {
    let world = World::new(mistake);
    for host in &world.hosts {
        // Joins, and asks.
        (0..2).for_each(|_| world.follow(host));
        world.load(host);
    }
    let spawn = |host: usize, turn: fn(&World, &Host)| {
        let world = Arc::clone(&world);
        thread::spawn(move || (0..TURNS).for_each(|_| turn(&world, &world.hosts[host])))
    };
    let mut threads = vec![];
    for host in 0..HOSTS {
        threads.push(spawn(host, World::follow));
        threads.push(spawn(host, World::follow));
        threads.push(spawn(host, |world, host| match below(3) {
            0 => world.load(host),
            1 => world.fetch(host),
            _ => world.look_up(host),
        }));
    }
    let (revoking, passing) = (Arc::clone(&world), Arc::clone(&world));
    threads.push(thread::spawn(move || {
        // Often late, when followers have asked for the last time.
        (0..below(LATEST_STEPS)).for_each(|_| thread::yield_now());
        revoking.revoke(&revoking.hosts[0]);
    }));
    threads.push(thread::spawn(move || {
        for _ in 0..TURNS {
            match below(4) {
                0 => passing.log.lock().unwrap().suffer(),
                1 => drop(passing.log.lock().unwrap().append(slot_of(OTHER))),
                _ => passing.clock.advance(Duration::from_millis(1)),
            }
            thread::yield_now();
        }
    }));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // What comes when all is quiet is held to the same: first silence, then news.
    for turn in 0..=2 * STALENESS + 2 {
        for host in &world.hosts {
            if turn > STALENESS + 1 {
                world.follow(host);
            }
            world.look_up(host);
            world.fetch(host);
        }
        world.clock.advance(Duration::from_millis(1));
    }
}

#[test]
fn nothing_is_served_that_was_revoked_long_ago_or_here() {
    check(|| scenario(Mistake::None));
}

macro_rules! found {
    ($($name:ident: $mistake:ident;)+) => {$(
        #[test]
        #[should_panic(expected = "after its revocation")]
        fn $name() {
            find(|| scenario(Mistake::$mistake));
        }
    )+};
}

found! {
    an_answer_from_another_epoch_is_found: AnswerFromAnotherEpoch;
    a_lease_from_the_answer_is_found: LeaseFromTheAnswer;
    a_lease_though_behind_is_found: LeaseThoughBehind;
    a_missing_note_is_found: NothingPending;
    a_missing_lease_is_found: NoLeaseForValuesOfOthers;
}
