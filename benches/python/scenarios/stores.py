"""Storing: new keys, keys that are there, and new keys into a full cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contestants.base import Contestant
from harness import MISSING, Lane, check
from results import Outcome
from scenarios.context import (
    CAPACITY,
    KEYS,
    SHUFFLES,
    Context,
    check_size,
    close_all,
    empty_lane,
    lane,
    last_round,
    outcome,
)
from workload import Row, Workload

TARGET = "key, value, tags"

TITLES = {
    "velro": "**velro-cache** `set` with TTL and two tags",
    "velro-untagged": "**velro-cache** `set` with TTL",
}


def store(
    context: Context,
    slug: str,
    *,
    before: Sequence[Row],
    batch: Callable[[int], Sequence[Row]],
    prepare: Callable[[Contestant, int], object],
    keeps_all: bool,
) -> Outcome:
    """Race the stores of all contestants that have one.

    Args:
        context: What a scenario is given.
        slug: The scenario.
        before: What is in the caches at the beginning.
        batch: What is stored in a round; the same object when asked twice.
        prepare: What to do with a contestant, untimed, before each of its laps.
        keeps_all: Whether everything from the last round must be there at the end; if not,
            what is there must be right and the cache neither over-full nor half empty.
    """
    contestants = context.contestants("store", lambda member: member.put)
    lanes = [empty_lane(context.runner, TARGET, batch)]
    for contestant in contestants:
        contestant.open(CAPACITY, str)
        contestant.fill(before)
        lanes.append(_store_lane(context, contestant, batch, prepare))
    timings = context.race(lanes)
    last = batch(last_round(timings))
    for contestant in contestants:
        _check_stored(context, contestant, last, keeps_all=keeps_all)
    close_all(contestants)
    return outcome(slug, timings, {item.slug: item.title for item in contestants} | TITLES)


def _store_lane(
    context: Context,
    contestant: Contestant,
    batch: Callable[[int], Sequence[Row]],
    prepare: Callable[[Contestant, int], object],
) -> Lane:
    """Return the lane of one contestant."""
    return lane(
        context.runner,
        contestant.slug,
        str(contestant.put),
        contestant.names(),
        target=TARGET,
        rows=batch,
        is_async=contestant.is_async,
        prepare=lambda number: prepare(contestant, number),
    )


def _check_stored(
    context: Context, contestant: Contestant, rows: Sequence[Row], *, keeps_all: bool
) -> None:
    """Check what a contestant holds after storing rows.

    Raises:
        WrongAnswerError: A value differs, is missing where all must be kept, or the cache holds
            more than its capacity or almost nothing.
    """
    keys = [key for key, _value, _tags in rows]
    ask = context.runner.collected(
        str(contestant.get).format(key="key"),
        contestant.names(),
        label=contestant.slug,
        is_async=contestant.is_async,
    )
    found = [contestant.unwrap(answer) for answer in ask(keys)]
    wanted: list[object] = [value for _key, value, _tags in rows]
    if not keeps_all:
        wanted = [
            MISSING if answer is MISSING else value
            for answer, value in zip(found, wanted, strict=True)
        ]
    check(contestant.slug, keys, found, wanted)
    if not keeps_all:
        check_size(contestant, at_least=CAPACITY // 2)


def set_new(context: Context) -> Outcome:
    """Store keys that are not there into a cache that was just cleared."""
    rows = Workload.seeded(4).rows(CAPACITY // 2)
    return store(
        context,
        "set_new",
        before=(),
        batch=lambda number: rows,
        prepare=lambda contestant, number: contestant.clear(rows),
        keeps_all=True,
    )


def set_tags(context: Context) -> Outcome:
    """Store keys that are not there, with four tags each."""
    rows = [
        (key, value, ("auth", "profile", f"user:{number}", f"team:{number // 20}"))
        for number, (key, value, _tags) in enumerate(Workload.seeded(11).rows(CAPACITY // 2))
    ]
    return store(
        context,
        "set_tags",
        before=(),
        batch=lambda number: rows,
        prepare=lambda contestant, number: contestant.clear(rows),
        keeps_all=True,
    )


def overwrite(context: Context) -> Outcome:
    """Store other values under keys that are there."""
    data = Workload.seeded(5)
    stored = data.rows(KEYS)
    # Rounds take turns between two sets of values, so that no store finds its own value there.
    orders = [
        [(key, f"{label}-{value}", tags) for key, value, tags in data.shuffles(stored, SHUFFLES)]
        for label in ("even", "odd")
    ]
    return store(
        context,
        "overwrite",
        before=stored,
        batch=lambda number: orders[number % 2],
        # The other values once, so that the processor's caches know the keys again.
        prepare=lambda contestant, number: contestant.fill(orders[(number + 1) % 2][:KEYS]),
        keeps_all=True,
    )


class _FreshBatches:
    """Rows that were never seen before, a new batch for each round."""

    def __init__(self, data: Workload) -> None:
        self._data = data
        self._number = -1
        self._rows: list[Row] = []

    def __call__(self, number: int) -> list[Row]:
        """Return the batch of a round; rounds come in ascending order."""
        if number != self._number:
            self._rows = self._data.rows(KEYS)
            self._number = number
        return self._rows


def set_evict(context: Context) -> Outcome:
    """Store keys never seen before into a full cache: each store drops an entry."""
    data = Workload.seeded(6)
    before = data.rows(CAPACITY)
    batch = _FreshBatches(data)

    def prepare(contestant: Contestant, number: int) -> None:
        for key, _value, _tags in batch(number):
            hash(key)  # so that nobody is the first to touch the new keys
        if contestant.slug == "dict":
            # The yardstick cannot evict: it is brought back to its size here, untimed.
            while len(contestant.cache) > CAPACITY:
                contestant.cache.popitem()

    return store(context, "set_evict", before=before, batch=batch, prepare=prepare, keeps_all=False)
