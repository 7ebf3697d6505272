//! With the right rules, the promise holds in every state of every world, and what must be
//! possible is.

#![allow(clippy::print_stdout, reason = "says how far it went")]

use velro_cache_protocol_model::explore::{self, Found};
use velro_cache_protocol_model::scenario::Scenario;
use velro_cache_protocol_model::worlds;

fn holds(world: &str, scenario: Scenario) {
    let found = explore::everything(scenario);
    println!("{world}: {} states, up to {} steps away", found.states, found.depth);
    let Found { violated, impossible, ways, .. } = found;
    for property in &violated {
        println!("not so: {property}");
        ways[property].iter().for_each(|step| println!("  {step}"));
    }
    assert!(violated.is_empty() && impossible.is_empty(), "{violated:?}, never: {impossible:?}");
}

macro_rules! in_all {
    ($($world:ident)+) => {$(
        #[test]
        fn $world() {
            holds(stringify!($world), worlds::$world());
        }
    )+};
}

in_all! {
    l2_and_a_short_log
    fail_over
    one_host
    shared_table
    listening
    long_log
    replaced_table
    two_fail_overs
    revoking_host
    outbox
    l2
    l2_of_others
    l2_and_a_fail_over
    l2_on_the_revoking_host
    l2_on_the_revoking_host_and_a_replaced_table
    l2_on_the_revoking_host_and_a_short_log
    fleet
    fleet_with_a_replaced_table
}
