"""Looking keys up: hits, hits with a freshly built key, misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness import MISSING
from results import Outcome
from scenarios.context import (
    CAPACITY,
    KEYS,
    SHUFFLES,
    Context,
    close_all,
    lane,
    outcome,
    question,
    race_questions,
)
from workload import Row, Workload

BUILD = "build"
"""Slug of the lane that only builds the key."""


def lookup(
    context: Context,
    slug: str,
    *,
    stored: Sequence[Row],
    rows: Sequence[Any],
    expected: Sequence[object],
    target: str = "key",
    key: str = "key",
) -> Outcome:
    """Race the lookups of all contestants that have one.

    Args:
        context: What a scenario is given.
        slug: The scenario.
        stored: What is in the caches.
        rows: What is looked up, in this order.
        expected: The right answers.
        target: Loop variable.
        key: Text of the key.
    """
    values = {name: value for name, value, _tags in stored}
    misses = expected[0] is MISSING
    contestants = context.contestants(
        # Where a lookup is a call, a miss is not a lookup but a call of the function.
        "lookup",
        lambda member: member.get is not None and (member.put is not None or not misses),
    )
    questions = []
    for contestant in contestants:
        contestant.open(CAPACITY, values.__getitem__)
        contestant.fill(stored)
        questions.append(
            question(
                context.runner,
                contestant.slug,
                str(contestant.get).format(key=key),
                contestant.names(),
                target=target,
                rows=rows,
                expected=expected,
                unwrap=contestant.unwrap,
            )
        )
    building = []
    if key != "key":
        # What building the key costs alone, in the same race.
        building.append(
            lane(
                context.runner,
                BUILD,
                key,
                {"nothing": None},
                target=target,
                rows=lambda number: rows,
            )
        )
    timings = race_questions(context, target, rows, questions, building)
    close_all(contestants)
    alone = timings.pop(BUILD, None)
    result = outcome(slug, timings, {item.slug: item.title for item in contestants})
    if alone is not None:
        _subtract(result, alone.best - timings["empty"].best)
    return result


def _subtract(result: Outcome, building: float) -> None:
    """Add to each standing its figures without the cost of building the key.

    Args:
        result: The outcome to add to.
        building: Nanoseconds for one key.
    """
    yardstick = result.of("dict")
    for standing in result.standings:
        if standing.best_ns is None or yardstick is None or yardstick.best_ns is None:
            continue
        standing.extra["net_ns"] = standing.best_ns - building
        if yardstick.best_ns > building:
            standing.extra["net_ratio"] = standing.extra["net_ns"] / (yardstick.best_ns - building)


def _keys(rows: Sequence[Row]) -> list[str]:
    """Return the keys of rows."""
    return [key for key, _value, _tags in rows]


def _values(rows: Sequence[Row]) -> list[object]:
    """Return the values of rows."""
    return [value for _key, value, _tags in rows]


def hit(context: Context) -> Outcome:
    """Look up keys that are there, with the very key objects that were stored."""
    data = Workload.seeded()
    stored = data.rows(KEYS)
    rows = data.shuffles(stored, SHUFFLES)
    return lookup(context, "hit", stored=stored, rows=_keys(rows), expected=_values(rows))


def hit_wide(context: Context) -> Outcome:
    """Look up keys of a working set that nearly fills the cache."""
    data = Workload.seeded(1)
    stored = data.rows(CAPACITY * 9 // 10)
    rows = data.shuffles(stored, 1)
    return lookup(context, "hit_wide", stored=stored, rows=_keys(rows), expected=_values(rows))


def hit_fresh(context: Context) -> Outcome:
    """Look up keys that are built anew for each call, as a service builds them."""
    data = Workload.seeded(2)
    stored = data.rows(KEYS)
    rows = data.shuffles(stored, SHUFFLES)
    users = [key.split(":")[2] for key in _keys(rows)]
    return lookup(
        context,
        "hit_fresh",
        stored=stored,
        rows=users,
        expected=_values(rows),
        target="user",
        key='f"auth:user:{user}:profile"',
    )


def miss(context: Context) -> Outcome:
    """Look up keys that are not there."""
    data = Workload.seeded(3)
    stored = data.rows(KEYS)
    absent = _keys(data.shuffles(data.rows(KEYS), SHUFFLES))
    return lookup(context, "miss", stored=stored, rows=absent, expected=[MISSING] * len(absent))


def hit_flat_dict(context: Context) -> Outcome:
    """Look up dicts of six fields, which some hand out as copies."""
    data = Workload.seeded(10)
    stored: list[Any] = [
        (
            key,
            {
                "user_id": key.split(":")[2],
                "granted": True,
                "role": "editor",
                "level": number,
                "team": None,
                "expires_at": 1_900_000_000.0,
            },
            tags,
        )
        for number, (key, _value, tags) in enumerate(data.rows(KEYS))
    ]
    rows = data.shuffles(stored, SHUFFLES)
    return lookup(context, "hit_flat_dict", stored=stored, rows=_keys(rows), expected=_values(rows))
