//! The protocol: in which order each part does its steps.
//!
//! The reasons stand beside the steps; that each is needed is shown by [`Mistake`].

use crate::mistake::Mistake;

/// The rules, or all but one of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// What is done wrong.
    pub mistake: Option<Mistake>,
    /// Whether the log is a table of the database that holds the permissions, so that an entry is
    /// written by the very transaction that revokes.
    pub outbox: bool,
}

/// A step of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revoke {
    /// The database commits, and the entry of the log with it if that is an outbox.
    Commit,
    /// It is noted in the table that an entry of the log is to come.
    Note,
    /// The table's clock advances.
    Advance,
    /// The slot is raised to that.
    Raise,
    /// Is the table still the one that others would open? If not, it goes into that one as well.
    Confirm,
    /// The call returns. (Those that wait for more return later: that can only be easier.)
    Return,
    /// The log writes the entry.
    Append,
    /// The host hears of that.
    Acknowledge,
    /// The note is taken back: the table has applied the entry.
    TakeBack,
}

/// A step of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Load {
    /// The stamp is taken, and for L2 the position.
    Stamp,
    /// The database is read.
    Read,
    /// The value is stored, if it is still good.
    Store,
}

/// A check of a lookup in a worker's own cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Look {
    /// Is the lease young enough?
    Lease,
    /// Is no slot newer than the stamp?
    Slots,
}

/// A step of a lookup in L2, after the value was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fetch {
    /// The stamp for the own cache is taken.
    Stamp,
    /// Is the lease young enough?
    Lease,
    /// Is no entry to come that is about it?
    Pending,
    /// Is it of this generation, and has this host come as far?
    Position,
    /// Is no entry that is about it newer?
    Bus,
    /// The value is stored, and answers the lookup.
    Use,
}

/// A step of applying an answer of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Apply {
    /// The number of the nth entry is written beside its slot.
    Bus(u8),
    /// The table's clock advances.
    Advance,
    /// The slot of the nth entry is raised to that.
    Raise(u8),
    /// The position moves.
    Position,
    /// What there was before is declared unknown.
    BusFloor,
    /// The floor is raised.
    Floor,
    /// Generation and position are those of the answer, in a new epoch.
    Begin,
    /// The lease is renewed.
    Lease,
}

impl Rules {
    /// Whether this is the mistake that is made.
    #[must_use]
    pub fn make(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Commit, then tell; and note what is to come before the table's clock moves, so that
    /// whoever has a stamp from after that sees the note.
    #[must_use]
    pub fn revoking(&self) -> &'static [Revoke] {
        use Revoke::*;
        match self.mistake {
            Some(Mistake::BumpBeforeTheCommit) => {
                &[Note, Advance, Raise, Confirm, Commit, Return, Append, Acknowledge, TakeBack]
            }
            Some(Mistake::PendingAfterTheBump) => {
                &[Commit, Advance, Raise, Confirm, Note, Return, Append, Acknowledge, TakeBack]
            }
            _ if self.outbox => {
                &[Commit, Note, Advance, Raise, Confirm, Return, Acknowledge, TakeBack]
            }
            _ => &[Commit, Note, Advance, Raise, Confirm, Return, Append, Acknowledge, TakeBack],
        }
    }

    /// The stamp before the read.
    #[must_use]
    pub fn loading(&self) -> &'static [Load] {
        &[Load::Stamp, Load::Read, Load::Store]
    }

    /// The lease first: if it is young, the slots say all that was acknowledged before it. The
    /// other way round they might be read before a long stop, and the lease after somebody else
    /// renewed it.
    #[must_use]
    pub fn looking(&self) -> &'static [Look] {
        if self.make(Mistake::SlotsBeforeTheLease) {
            return &[Look::Slots, Look::Lease];
        }
        &[Look::Lease, Look::Slots]
    }

    /// The stamp before all checks, so that an entry that is applied after them is newer. The lease
    /// before what it vouches for. Pending ones before the bus: they end when their entry stands
    /// there.
    #[must_use]
    pub fn fetching(&self) -> &'static [Fetch] {
        use Fetch::*;
        match self.mistake {
            Some(Mistake::L2StampAfterTheChecks) => &[Lease, Position, Pending, Bus, Stamp, Use],
            Some(Mistake::PendingCheckedLast) => &[Stamp, Lease, Position, Bus, Pending, Use],
            _ => &[Stamp, Lease, Position, Pending, Bus, Use],
        }
    }

    /// The bus, before the clock moves: whoever has a stamp from after that, and so would not be
    /// caught by the slot, sees the number of the entry. Then the slot, then the position, for
    /// others go on from there; last the lease, if there was nothing more to apply. Who begins
    /// anew asks again before that.
    #[must_use]
    pub fn applying(&self, anew: bool, entries: u8, all: bool) -> Vec<Apply> {
        use Apply::*;
        let mut steps = Vec::with_capacity(8);
        if anew {
            steps.extend([BusFloor, Advance, Floor, Begin]);
        } else {
            if self.make(Mistake::PositionBeforeTheSlots) {
                steps.push(Position);
            }
            for entry in 0..entries {
                if self.make(Mistake::SlotBeforeTheBus) {
                    steps.extend([Advance, Raise(entry), Bus(entry)]);
                } else {
                    steps.extend([Bus(entry), Advance, Raise(entry)]);
                }
            }
            if !self.make(Mistake::PositionBeforeTheSlots) && entries > 0 {
                steps.push(Position);
            }
        }
        if !anew && (all || self.make(Mistake::LeaseThoughBehind)) {
            steps.push(Lease);
        }
        steps
    }
}
