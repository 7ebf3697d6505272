"""A working day: read through a cache that is too small for all its keys."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from contestants.base import Contestant
from harness import Lane, check, race
from results import Outcome
from scenarios.context import (
    CAPACITY,
    Context,
    check_size,
    close_all,
    empty_lane,
    lane,
    outcome,
)
from workload import Workload

KEYS: Final = 100_000
SKEW: Final = 0.99
CHUNK: Final = 5_000
"""Requests in one round."""


class _Source:
    """The slow place behind a cache, here a dict; counts how often it is asked."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self.calls = 0

    def load(self, key: str) -> str:
        """Return the value of a key."""
        self.calls += 1
        return self.values[key]


def zipf(context: Context) -> Outcome:
    """Read through the cache with Zipf-distributed keys, ten times as many as fit."""
    scale = context.scale
    data = Workload.seeded(7)
    keys = [f"auth:user:{user}:profile" for user in data.ids(KEYS)]
    values = {key: f"profile-{number}" for number, key in enumerate(keys)}
    requests = (scale.zipf_warmup + scale.zipf_chunks) * CHUNK
    trace = [keys[item] for item in data.zipf(KEYS, requests, SKEW)]
    chunks = [trace[start : start + CHUNK] for start in range(0, requests, CHUNK)]

    contestants = context.contestants("read through", lambda member: member.read_through)
    sources = {contestant.slug: _Source(values) for contestant in contestants}
    lanes = [empty_lane(context.runner, "key", chunks.__getitem__)]
    for contestant in contestants:
        load = sources[contestant.slug].load
        contestant.open(CAPACITY, load)
        lanes.append(
            lane(
                context.runner,
                contestant.slug,
                str(contestant.read_through),
                contestant.names() | {"load": load},
                target="key",
                rows=chunks.__getitem__,
                is_async=contestant.is_async,
            )
        )
    for number in range(scale.zipf_warmup):
        for item in lanes:
            item.lap(number)
    for source in sources.values():
        source.calls = 0
    timings = race(
        [_later(item, scale.zipf_warmup) for item in lanes],
        rounds=scale.zipf_chunks,
        # No limit: the hit rate is taken over the whole sequence.
        budget_seconds=float("inf"),
        progress=context.progress,
        warmup_rounds=0,
    )
    result = outcome(
        "zipf",
        timings,
        {item.slug: item.title for item in contestants}
        | {"dict": "plain dict, unbounded (the yardstick)"},
    )
    for contestant in contestants:
        source = sources[contestant.slug]
        standing = result.of(contestant.slug)
        if standing is not None:
            missed = source.calls / (scale.zipf_chunks * CHUNK)
            standing.extra["hit_rate_percent"] = 100.0 * (1.0 - missed)
        _check(context, contestant, source, chunks[-1])
    close_all(contestants)
    return result


def _later(item: Lane, rounds: int) -> Lane:
    """Return a lane whose round 0 is a later round of another lane."""
    return Lane(item.slug, lambda number: item.lap(rounds + number), item.operations)


def _check(context: Context, contestant: Contestant, source: _Source, keys: Sequence[str]) -> None:
    """Read a chunk through once more and check every value, then the size.

    Raises:
        WrongAnswerError: A value is wrong or the cache is larger than it may be.
    """
    answers: list[str] = []
    context.runner.timed(
        f"{textwrap.dedent(str(contestant.read_through)).strip()}\nanswers.append(value)",
        contestant.names() | {"load": source.load, "answers": answers},
        label=contestant.slug,
        is_async=contestant.is_async,
    )(keys)
    check(contestant.slug, keys, answers, [source.values[key] for key in keys])
    check_size(contestant)
