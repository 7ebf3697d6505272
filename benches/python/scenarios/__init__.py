"""What is measured. Each scenario runs in a fresh process and races all its contestants there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from results import Outcome
from scenarios import calls, lookups, memory, read_through, stores, threads
from scenarios.context import Context


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario.

    Attributes:
        slug: Its name on the command line and in the raw results.
        title: Its heading in the report.
        about: What is done, in plain words.
        run: Does it.
    """

    slug: str
    title: str
    about: str
    run: Callable[[Context], Outcome]


SCENARIOS: Final = (
    Scenario(
        "hit",
        "Hit",
        "1,000 keys in a cache of 10,000, looked up in shuffled order with the very `str` objects "
        "that were stored.",
        lookups.hit,
    ),
    Scenario(
        "hit_wide",
        "Hit, large working set",
        "The same with 9,000 keys, which no longer fit into the processor's nearest caches.",
        lookups.hit_wide,
    ),
    Scenario(
        "hit_fresh",
        "Hit with a freshly built key",
        'The key is built for each call with an f-string, `f"auth:user:{user}:profile"`, as a '
        "service does it. A new string has no hash yet: a dict has to compute it, velro-cache "
        "hashes the bytes itself. *Net* leaves the cost of building the string out.",
        lookups.hit_fresh,
    ),
    Scenario(
        "hit_flat_dict",
        "Hit, a dict of six fields as value",
        "velro-cache hands out a copy that the caller may change; all others hand out the stored "
        "dict itself.",
        lookups.hit_flat_dict,
    ),
    Scenario("miss", "Miss", "1,000 keys that are not there.", lookups.miss),
    Scenario(
        "set_new",
        "Store new keys",
        "5,000 new keys into a cache of 10,000 that was just cleared; growing is included.",
        stores.set_new,
    ),
    Scenario(
        "set_tags",
        "Store new keys with four tags",
        "As above, with four tags for each key where a cache has tags.",
        stores.set_tags,
    ),
    Scenario(
        "overwrite",
        "Overwrite",
        "Another value under 1,000 keys that are there.",
        stores.overwrite,
    ),
    Scenario(
        "set_evict",
        "Store into a full cache",
        "Keys never seen before into a full cache of 10,000, so that each one drops another (the "
        "dict, which cannot evict, only stores).",
        stores.set_evict,
    ),
    Scenario(
        "zipf",
        "Zipf read-through",
        "100,000 keys, Zipf(0.99), capacity 10,000 for everybody: look up, on a miss load and "
        "store. The load is a dict lookup, so the time says what the cache itself costs; the hit "
        "rate says how many loads from a real database it saves.",
        read_through.zipf,
    ),
    Scenario(
        "decorator_sync",
        "Decorated function",
        "A plain function of two id strings, all results cached.",
        lambda context: calls.decorator(context, "decorator_sync", is_async=False),
    ),
    Scenario(
        "decorator_async",
        "Decorated async function",
        "The same with an async function, awaited. *Dict behind one coroutine* is the least an "
        "async cache can be: an `async def` of exactly these two arguments around a dict.",
        lambda context: calls.decorator(context, "decorator_async", is_async=True),
    ),
    Scenario(
        "decorator_async_uuid",
        "Decorated async function, UUID objects",
        "The same with two `uuid.UUID` objects, as in the Velro documents.",
        lambda context: calls.decorator(
            context, "decorator_async_uuid", is_async=True, objects=True
        ),
    ),
    Scenario(
        "generation_access",
        "`get_generation_access(str, str)`",
        "The documented lookup by two ids. The others look an f-string of the two up.",
        lambda context: calls.generation_access(context, "generation_access"),
    ),
    Scenario(
        "generation_access_uuid",
        "`get_generation_access(UUID, UUID)`",
        "The same with two `uuid.UUID` objects, whose text Python has to make first.",
        lambda context: calls.generation_access(context, "generation_access_uuid", objects=True),
    ),
    Scenario(
        "generation_access_dict",
        "`get_generation_access(str, str)`, a dict of 15 fields as value",
        "The value is mutable here. velro-cache hands out a copy that the caller may change; all "
        "others hand out the stored dict itself. Values of 1 KiB and more are compressed by "
        "default; the row without compression shows what that costs.",
        lambda context: calls.generation_access(context, "generation_access_dict", grants=True),
    ),
    Scenario(
        "memory",
        "Bytes per entry",
        "Growth of a fresh process that fills the cache with 200,000 entries and keeps nothing "
        "else. *Net* leaves the key and value objects out.",
        memory.run,
    ),
    Scenario(
        "threads",
        "Hits from two threads",
        "Time per lookup, all threads together. Under the interpreter's lock two threads cannot "
        "be faster than one.",
        threads.run,
    ),
)
"""All scenarios, in the order of the report."""
