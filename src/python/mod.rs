//! The Python side: convert, call, convert back. No algorithm, no policy.
//!
//! * [`text`], [`uuid`], [`int`], [`types`], [`sizes`], [`value`], [`call_key`] — Python objects as bytes, and back;
//! * [`inner`] — the store and its settings; [`bus`] — what other hosts are told; [`cache`] — all of
//!   it as a class;
//! * [`hot`] — its lookups and its store as raw functions ([`raw`]); [`lookup`] — from a key to the
//!   object for the caller; [`key`], [`memo`] — a text that is asked for again; [`pair`] — what
//!   lookups return;
//! * [`typed`] — keys by kind; [`digest`] — secrets as parts of keys; [`event`] — names for a log;
//! * [`token_memory`], [`decision_memory`] — what is known of a request by its token, in one call;
//!   [`hit_counts`] — the account of that;
//! * [`api_key_memory`] — whose an API key is; [`kept_key`] — what is kept of one;
//!   [`api_key_generation`] — all of them read anew;
//! * [`function`] — lookups of decorated functions; [`vectorcall`] — how they are called;
//! * [`prepared`] — an entry whose value is being loaded; [`loads`] — all of them;
//! * [`spoken`] — what a caller wants invalidated; [`revoking`] — what is invalidated at the end of a `with` block;
//! * [`nested`] — what a loader looks up, its result rests on;
//! * [`exit_guard`] — threads that the interpreter ends while they are inside; [`fork`] — forks;
//! * [`rate_limit`], [`rate_limiter`] — how often somebody may ask; who counts;
//! * [`log`] — invalidation logs, for tools and tests;
//! * [`analytics`] — what operators ask; [`subscriptions`] — names whose invalidations are heard of;
//! * [`gil_lock`], [`clock`], [`errors`].

mod analytics;
mod api_key_generation;
mod api_key_memory;
mod bus;
mod cache;
mod call_key;
mod clock;
mod decision_memory;
mod digest;
mod errors;
mod event;
mod exit_guard;
mod fork;
mod function;
mod gil_lock;
mod hit_counts;
mod hot;
mod hot_docs;
mod inner;
mod int;
mod kept_key;
mod key;
mod loads;
mod log;
mod lookup;
mod memo;
mod nested;
mod pair;
mod prepared;
mod rate_limit;
mod rate_limiter;
mod raw;
mod revoking;
mod sizes;
mod spoken;
mod subscriptions;
mod text;
mod token_memory;
mod typed;
mod types;
mod uuid;
mod value;
mod vectorcall;

use pyo3::prelude::*;

/// The compiled half of `velro_cache`. Private: import from `velro_cache`.
#[pymodule(gil_used = false)]
mod _engine {
    #[pymodule_export]
    use super::api_key_generation::{ApiKeyGeneration, last_key_id};
    #[pymodule_export]
    use super::api_key_memory::ApiKeyMemory;
    #[pymodule_export]
    use super::cache::CacheCore;
    #[pymodule_export]
    use super::clock::PyManualClock;
    #[pymodule_export]
    use super::decision_memory::{DecisionMemory, decision_key};
    #[pymodule_export]
    use super::digest::keyed_digest;
    #[pymodule_export]
    use super::event::event_body;
    #[pymodule_export]
    use super::fork::{after_fork, before_fork};
    #[pymodule_export]
    use super::function::{CachedCalls, CachedFunction, set_default_cache};
    #[pymodule_export]
    use super::hit_counts::HitCounts;
    #[pymodule_export]
    use super::kept_key::KeptKey;
    #[pymodule_export]
    use super::log::{LogBatch, PyInvalidationLog};
    #[pymodule_export]
    use super::nested::forget_loaders;
    #[pymodule_export]
    use super::prepared::{LoadedValue, PreparedEntry};
    #[pymodule_export]
    use super::rate_limit::{Decision, RateLimit};
    #[pymodule_export]
    use super::rate_limiter::LocalLimiter;
    #[pymodule_export]
    use super::revoking::RevocationCore;
    #[pymodule_export]
    use super::subscriptions::PySubscriptions;
    #[pymodule_export]
    use super::token_memory::TokenMemory;
    #[pymodule_export]
    use super::typed::{escape_id, generate_auth_key, key_kinds};
    #[pymodule_export]
    use super::vectorcall::call_directly;

    use super::PyModuleMethods as _;

    #[pymodule_init]
    fn init(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        super::hot::install(module.py())?;
        // Everything that is set up once is set up now: a process that forks while another thread
        // is at it would leave the child with a set-up nobody will ever finish.
        super::types::Types::get(module.py())?;
        super::uuid::init(module.py())?;
        super::digest::init()?;
        super::nested::init(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
