"""The goals of the project that a run decides, each with its figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from results import Results, Standing


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure that has to be at most, or at least, a bound.

    Attributes:
        text: What is promised.
        scenario: Where it is measured.
        figure: From our standing and the other's to the figure.
        ours: Slug of our standing.
        other: Slug of the standing ours is compared with.
        bound: The promise, as a multiple.
        at_most: Whether the figure must not exceed the bound; else it must reach it.
    """

    text: str
    scenario: str
    figure: Callable[[float, float], float]
    ours: str
    other: str
    bound: float
    at_most: bool


def _times_as_long(ours: float, other: float) -> float:
    return ours / other


def _times_faster(ours: float, other: float) -> float:
    return other / ours


def _at_most(text: str, scenario: str, ours: str, other: str, bound: float) -> Goal:
    return Goal(text, scenario, _times_as_long, ours, other, bound, at_most=True)


def _at_least(text: str, scenario: str, ours: str, other: str, bound: float) -> Goal:
    return Goal(text, scenario, _times_faster, ours, other, bound, at_most=False)


GOALS: Final = (
    _at_most("hit via `get` <= 1.8x `dict.get`", "hit", "velro", "dict", 1.8),
    _at_most("hit via `get_value` <= 1.25x `dict.get`", "hit", "velro-value", "dict", 1.25),
    _at_least("`get` >= 5x faster than the pure-Python manager", "hit", "velro", "pure", 5.0),
    _at_most("freshly built key <= 1.1x", "hit_fresh", "velro-value", "dict", 1.1),
    _at_most("miss <= 0.9x", "miss", "velro-value", "dict", 0.9),
    _at_most("new key, with TTL <= 2.8x", "set_new", "velro-untagged", "dict", 2.8),
    _at_most("overwrite, with TTL <= 2.5x", "overwrite", "velro-untagged", "dict", 2.5),
    _at_most("evicting store, with TTL <= 3x", "set_evict", "velro-untagged", "dict", 3.0),
    _at_most("four tags <= 1.5x none", "set_tags", "velro", "velro-untagged", 1.5),
    _at_most(
        "`get_generation_access(str, str)` <= 3.2x `dict.get(key)`",
        "generation_access",
        "velro",
        "dict-key",
        3.2,
    ),
    _at_most(
        "`get_generation_access(UUID, UUID)` <= 3.5x `dict.get(key)`",
        "generation_access_uuid",
        "velro",
        "dict-key",
        3.5,
    ),
    _at_least(
        "`get_generation_access(str, str)` >= 10x faster than in pure Python",
        "generation_access",
        "velro",
        "pure",
        10.0,
    ),
    _at_most(
        "decorated function <= 1.2x `functools.lru_cache`",
        "decorator_sync",
        "velro",
        "lru_cache",
        1.2,
    ),
    _at_most(
        "decorated async function <= 1.8x an awaited dict wrapper",
        "decorator_async",
        "velro",
        "dict-awaited",
        1.8,
    ),
    _at_most("dict of six fields, isolated <= 4x", "hit_flat_dict", "velro-value", "dict", 4.0),
)
"""All goals, in the order of the report."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run says about a goal.

    Attributes:
        goal: The goal.
        figure: The multiple that was measured; None if one of the two did not take part.
    """

    goal: Goal
    figure: float | None

    @property
    def word(self) -> str:
        """``reached``, ``not reached`` or ``not measured``."""
        if self.figure is None:
            return "not measured"
        goal = self.goal
        good = self.figure <= goal.bound if goal.at_most else self.figure >= goal.bound
        return "reached" if good else "not reached"

    def line(self) -> str:
        """Return the verdict as a line of text."""
        measured = "" if self.figure is None else f": {self.figure:.2f}x"
        return f"{self.word:12}  {self.goal.text}{measured}"


def verdicts(results: Results) -> list[Verdict]:
    """Decide every goal from a run's results."""
    decided = []
    for goal in GOALS:
        outcome = results.of(goal.scenario)
        ours = outcome.of(goal.ours) if outcome else None
        other = outcome.of(goal.other) if outcome else None
        decided.append(Verdict(goal, _figure(goal, ours, other)))
    return decided


def _figure(goal: Goal, ours: Standing | None, other: Standing | None) -> float | None:
    """Return a goal's figure, None if it cannot be had."""
    if ours is None or other is None or not ours.best_ns or not other.best_ns:
        return None
    return goal.figure(ours.best_ns, other.best_ns)
