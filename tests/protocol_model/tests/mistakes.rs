//! That the model can fail: with one wrong rule at a time, each of which must be found.

#![allow(clippy::print_stdout, reason = "shows the way to each mistake")]
#![allow(clippy::panic, reason = "what is not found is a failed test")]

use velro_cache_protocol_model::explore::{self, Found};
use velro_cache_protocol_model::mistake::Mistake;
use velro_cache_protocol_model::promise::{NEVER_FLEET, NEVER_HERE, NEVER_LATE};
use velro_cache_protocol_model::rules::Rules;
use velro_cache_protocol_model::scenario::Scenario;
use velro_cache_protocol_model::worlds;

fn with(mistake: Mistake, scenario: Scenario) -> Found {
    let rules = Rules { mistake: Some(mistake), ..scenario.rules };
    explore::until_broken(Scenario { rules, ..scenario })
}

/// Makes a mistake, and shows the shortest way to an answer that breaks this part of the promise.
fn breaks(mistake: Mistake, scenario: Scenario, part: &str) {
    let found = with(mistake, scenario);
    let Some(way) = found.ways.get(part).filter(|_| found.violated.contains(&part)) else {
        panic!("not found in {} states: {mistake:?}; {:?}", found.states, found.ways);
    };
    println!("{mistake:?}: {} steps to where this is not so: {part}", way.len());
    way.iter().for_each(|step| println!("  {step}"));
}

macro_rules! found {
    ($($name:ident: $mistake:ident in $world:ident, $part:ident;)+) => {$(
        #[test]
        fn $name() {
            breaks(Mistake::$mistake, worlds::$world(), $part);
        }
    )+};
}

found! {
    counters_instead_of_stamps: CountersInsteadOfStamps in one_host, NEVER_HERE;
    stamp_after_the_read: StampAfterTheRead in one_host, NEVER_HERE;
    bump_before_the_commit: BumpBeforeTheCommit in one_host, NEVER_HERE;
    new_table_counts_from_one: NewTableCountsFromOne in replaced_table, NEVER_HERE;
    no_look_at_the_file: NoLookAtTheFile in replaced_table, NEVER_HERE;
    look_at_what_is_mapped: LookAtWhatIsMapped in replaced_table, NEVER_HERE;

    lease_from_the_answer: LeaseFromTheAnswer in listening, NEVER_LATE;
    lease_by_the_servers_clock: LeaseByTheServersClock in listening, NEVER_LATE;
    lease_though_behind: LeaseThoughBehind in long_log, NEVER_LATE;
    lease_from_a_read: LeaseFromARead in fail_over, NEVER_LATE;
    late_answer_taken_for_the_next: LateAnswerTakenForTheNext in listening, NEVER_LATE;
    slots_before_the_lease: SlotsBeforeTheLease in listening, NEVER_LATE;

    no_generation_check: NoGenerationCheck in fail_over, NEVER_LATE;
    no_gap_check: NoGapCheck in long_log, NEVER_LATE;
    no_floor_when_joining: NoFloorWhenJoining in listening, NEVER_LATE;
    position_before_the_slots: PositionBeforeTheSlots in shared_table, NEVER_LATE;
    answer_from_another_epoch: AnswerFromAnotherEpoch in shared_table, NEVER_LATE;
    position_without_epoch: PositionWithoutEpoch in shared_table, NEVER_LATE;

    slot_before_the_bus: SlotBeforeTheBus in l2, NEVER_LATE;
    l2_stamp_after_the_checks: L2StampAfterTheChecks in l2, NEVER_LATE;
    l2_position_after_the_load: L2PositionAfterTheLoad in l2, NEVER_LATE;
    l2_without_generation: L2WithoutGeneration in l2_and_a_fail_over, NEVER_LATE;
    l2_without_lease: L2WithoutLease in l2_of_others, NEVER_LATE;
    l2_with_a_lease_of_another_epoch:
        L2WithALeaseOfAnotherEpoch in l2_and_a_short_log, NEVER_LATE;
    no_bus_floor: NoBusFloor in l2_of_others, NEVER_LATE;
    bus_without_epoch: BusWithoutEpoch in l2_and_a_short_log, NEVER_LATE;
    l2_without_pending: L2WithoutPending in l2_on_the_revoking_host, NEVER_HERE;
    pending_in_its_process_only: PendingInItsProcessOnly in l2_on_the_revoking_host, NEVER_HERE;
    pending_until_acknowledged: PendingUntilAcknowledged in l2_on_the_revoking_host, NEVER_HERE;
    pending_after_the_bump: PendingAfterTheBump in l2_on_the_revoking_host, NEVER_HERE;
    pending_checked_last: PendingCheckedLast in l2_on_the_revoking_host, NEVER_HERE;

    no_note_in_the_next_table:
        NoNoteInTheNextTable in l2_on_the_revoking_host_and_a_replaced_table, NEVER_HERE;
    own_entry_in_another_table:
        OwnEntryInAnotherTable in l2_on_the_revoking_host_and_a_replaced_table, NEVER_LATE;

    fleet_counts_only_who_answers: FleetCountsOnlyWhoAnswers in fleet, NEVER_FLEET;
    fleet_trusts_a_new_server: FleetTrustsANewServer in fleet, NEVER_FLEET;
    host_name_without_table: HostNameWithoutTable in fleet_with_a_replaced_table, NEVER_FLEET;

    deposed_server_takes_writes: DeposedServerTakesWrites in fail_over, NEVER_LATE;
    same_generation_after_loss: SameGenerationAfterLoss in fail_over, NEVER_LATE;
}

/// A spare rule: as long as a generation is what it says it is, a value that is newer than what
/// this host has applied is no worse than others.
#[test]
fn l2_without_position_is_no_mistake() {
    let found = with(Mistake::L2WithoutPosition, worlds::l2_and_a_fail_over());
    assert!(found.violated.is_empty(), "{:?}", found.ways);
}
