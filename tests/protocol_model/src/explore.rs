//! Going through all states.

use crate::action::{self, Action};
use crate::promise;
use crate::scenario::Scenario;
use crate::world::World;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};
use std::collections::HashMap;

/// All that can happen in a scenario.
#[derive(Debug, Clone)]
pub struct Everything(pub Scenario);

impl Model for Everything {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.0.world()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        action::possible(&self.0, world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(action::after(&self.0, world, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promise::properties(&self.0)
    }
}

/// What was found in a scenario.
#[derive(Debug)]
pub struct Found {
    /// Different states that were visited.
    pub states: usize,
    /// The longest way to one of them.
    pub depth: usize,
    /// For each property that was violated (if it must always hold) or shown (if it must be
    /// possible), a way there.
    pub ways: HashMap<&'static str, Vec<String>>,
    /// Names of the properties that were not shown to be possible.
    pub impossible: Vec<&'static str>,
    /// Names of the properties that were violated.
    pub violated: Vec<&'static str>,
}

/// Visits every state. Those that are near do not come first: that takes less memory.
#[must_use]
pub fn everything(scenario: Scenario) -> Found {
    found(Everything(scenario).checker().spawn_dfs().join())
}

/// Visits states, in order of distance, until the promise is broken.
#[must_use]
pub fn until_broken(scenario: Scenario) -> Found {
    let checker = Everything(scenario).checker().finish_when(HasDiscoveries::AnyFailures);
    found(checker.spawn_bfs().join())
}

fn found(checker: impl Checker<Everything>) -> Found {
    let discoveries = checker.discoveries();
    let mut found = Found {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        ways: HashMap::new(),
        impossible: vec![],
        violated: vec![],
    };
    for property in checker.model().properties() {
        let way = discoveries.get(property.name);
        match (property.expectation, way.is_some()) {
            (Expectation::Sometimes, false) => found.impossible.push(property.name),
            (Expectation::Always, true) => found.violated.push(property.name),
            _ => {}
        }
        if let Some(way) = way {
            let steps = way.clone().into_actions().iter().map(ToString::to_string).collect();
            found.ways.insert(property.name, steps);
        }
    }
    found
}
