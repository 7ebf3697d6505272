//! How far loom goes.

use loom::model::Builder;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use velro_cache::invalidation::Stamp;

/// The stamps that loads got in all orders tried.
#[derive(Clone, Default)]
pub(crate) struct Stamps(Arc<Mutex<BTreeSet<Stamp>>>);

impl Stamps {
    pub(crate) fn saw(&self, stamp: Stamp) {
        self.0.lock().unwrap().insert(stamp);
    }
}

/// Runs a model in all orders, or in those where threads that could go on are stopped at most
/// `preemptions` times. `revocations` is how many of its threads advance the clock.
///
/// Loom takes shortcuts, and some shapes of code make it skip orders that do matter: above all a
/// thread that reads an atomic right before it writes it. So it is checked that loads came
/// before, between and after the two advances of each revocation.
pub(crate) fn explore(
    preemptions: Option<usize>,
    revocations: usize,
    model: impl Fn(&Stamps) + Send + Sync + 'static,
) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    let stamps = Stamps::default();
    let seen = stamps.clone();
    builder.check(move || model(&stamps));
    let all = (1..=1 + 2 * revocations as Stamp).collect();
    assert_eq!(*seen.0.lock().unwrap(), all, "orders were skipped");
}
