//! One wrong rule each. `tests/mistakes.rs` shows for each how it breaks the promise.

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    // Loading and revoking on one host.
    /// Slots are counters, and an entry keeps the largest of its own instead of a stamp.
    CountersInsteadOfStamps,
    /// The stamp is taken when the value is stored; also what a load in an older transaction
    /// does that does not take it before `BEGIN`.
    StampAfterTheRead,
    /// The table is told before the database.
    BumpBeforeTheCommit,
    /// Whoever has told the table does not look whether it is the one that others use.
    NoLookAtTheFile,
    /// He looks whether the one he has mapped is; which he told may be another one by then.
    LookAtWhatIsMapped,
    /// A table made anew counts from 1, as the one before it did.
    NewTableCountsFromOne,

    // The lease.
    /// It begins when the answer arrives.
    LeaseFromTheAnswer,
    /// It is a time of the log's server.
    LeaseByTheServersClock,
    /// It is renewed though not all entries were in the answer.
    LeaseThoughBehind,
    /// The question writes no heartbeat, so a deposed server answers it too.
    LeaseFromARead,
    /// An answer that comes after it was given up is taken for that of the next question.
    LateAnswerTakenForTheNext,
    /// A lookup looks at the slots first, and at the lease afterwards.
    SlotsBeforeTheLease,

    // Following the log.
    /// Nobody looks at the generation.
    NoGenerationCheck,
    /// Nobody looks whether entries are missing.
    NoGapCheck,
    /// Who joins believes what it loaded before.
    NoFloorWhenJoining,
    /// The position is moved before the slots are raised.
    PositionBeforeTheSlots,
    /// An answer to a question from before the table began anew is used all the same.
    AnswerFromAnotherEpoch,
    /// Positions are compared by number alone.
    PositionWithoutEpoch,

    // L2.
    /// The slot is raised before the number of the entry is written beside it.
    SlotBeforeTheBus,
    /// The stamp is taken after the checks.
    L2StampAfterTheChecks,
    /// Nobody looks at the generation of the value.
    L2WithoutGeneration,
    /// Nobody looks whether this host has come as far as the one that loaded.
    L2WithoutPosition,
    /// Nobody looks at invalidations whose entry has not come back from the log yet.
    L2WithoutPending,
    /// Only the process that invalidates knows that its entry has not come back yet.
    PendingInItsProcessOnly,
    /// It is not awaited any more as soon as the log has it.
    PendingUntilAcknowledged,
    /// The table is told first, and what is not in the log yet is noted afterwards.
    PendingAfterTheBump,
    /// A lookup asks for pending ones last.
    PendingCheckedLast,
    /// A table that began anew takes it that there was nothing before.
    NoBusFloor,
    /// Whoever has to tell another table as well does not note there that an entry is to come.
    NoNoteInTheNextTable,
    /// An entry of this host's own is taken for known in whatever table is there now.
    OwnEntryInAnotherTable,
    /// Numbers beside slots are compared without their epoch, and erased when one begins.
    BusWithoutEpoch,
    /// The position that is stored with the value is read after the load.
    L2PositionAfterTheLoad,
    /// The lease is not asked for before a value of L2 is believed.
    L2WithoutLease,
    /// A lease from before the table began anew vouches for it.
    L2WithALeaseOfAnotherEpoch,

    // wait="fleet".
    /// Only hosts that have spoken since the entry was written are waited for.
    FleetCountsOnlyWhoAnswers,
    /// A server that took over takes it that it knows all hosts.
    FleetTrustsANewServer,
    /// The name of a host stays the same when its table is another one.
    HostNameWithoutTable,

    // Not ours to do, but asked of the log.
    /// A server that was deposed goes on taking writes.
    DeposedServerTakesWrites,
    /// A server that lost entries goes on with the same generation.
    SameGenerationAfterLoss,
}
