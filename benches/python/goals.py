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


GOALS: Final = (
    Goal(
        "hit via `manager.get` <= 2.5x `dict.get`",
        "hit",
        _times_as_long,
        "velro",
        "dict",
        2.5,
        at_most=True,
    ),
    Goal(
        "hit via `manager.get` >= 5x faster than the pure-Python manager",
        "hit",
        _times_faster,
        "velro",
        "pure",
        5.0,
        at_most=False,
    ),
    Goal(
        "`get_generation_access(str, str)` >= 10x faster than in pure Python",
        "generation_access",
        _times_faster,
        "velro",
        "pure",
        10.0,
        at_most=False,
    ),
    Goal(
        "decorated function <= 4x `functools.lru_cache`",
        "decorator_sync",
        _times_as_long,
        "velro",
        "lru_cache",
        4.0,
        at_most=True,
    ),
    Goal(
        "decorated async function <= 3x an awaited dict wrapper",
        "decorator_async",
        _times_as_long,
        "velro",
        "dict-awaited",
        3.0,
        at_most=True,
    ),
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
