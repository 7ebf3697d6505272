"""What every scenario shares: sizes, the contestants, the race, and how laps become standings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from contestants.base import Contestant, Group
from harness import WARMUP_ROUNDS, Lane, Runner, Timing, WrongAnswerError, check, race
from results import Outcome, Standing

KEYS: Final = 1_000
"""Distinct keys of most lookups: they stay in the processor's second-level cache."""

SHUFFLES: Final = 5
"""Different orders of the keys in one round."""

CAPACITY: Final = 10_000
"""Capacity of every bounded cache in every scenario but the memory one."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a run takes.

    Attributes:
        rounds: Rounds of a race at most.
        budget_seconds: Time after which a race ends early.
        zipf_warmup: Chunks of the Zipf sequence that only fill the caches.
        zipf_chunks: Chunks that count.
        memory_entries: Entries in the memory scenario.
        memory_repeats: Processes per contestant in the memory scenario.
        thread_rounds: Rounds of the thread scenario.
        thread_seconds: Length of one thread's round.
    """

    rounds: int
    budget_seconds: float
    zipf_warmup: int
    zipf_chunks: int
    memory_entries: int
    memory_repeats: int
    thread_rounds: int
    thread_seconds: float


FULL: Final = Scale(
    rounds=2_000,
    budget_seconds=8.0,
    zipf_warmup=60,
    zipf_chunks=120,
    memory_entries=200_000,
    memory_repeats=3,
    thread_rounds=20,
    thread_seconds=0.03,
)
QUICK: Final = Scale(
    rounds=30,
    budget_seconds=2.0,
    zipf_warmup=20,
    zipf_chunks=20,
    memory_entries=20_000,
    memory_repeats=1,
    thread_rounds=5,
    thread_seconds=0.01,
)


@dataclass(frozen=True, slots=True)
class Context:
    """What a scenario is given.

    Attributes:
        runner: Compiles and drives the loops.
        scale: How long to take.
        members: The contestants that were asked for and can be loaded.
        progress: Told the number of steps done and intended.
    """

    runner: Runner
    scale: Scale
    members: tuple[type[Contestant], ...]
    progress: Callable[[int, int], None]

    def contestants(
        self, group: Group, able: Callable[[type[Contestant]], object] = lambda member: True
    ) -> list[Contestant]:
        """Return fresh contestants.

        Args:
            group: The kind of scenario.
            able: Whether a contestant can do what the scenario asks.
        """
        return [
            member(self.runner)
            for member in self.members
            if group in member.groups and able(member)
        ]

    def race(self, lanes: Sequence[Lane]) -> dict[str, Timing]:
        """Race for as long as the scale says."""
        return race(
            lanes,
            rounds=self.scale.rounds,
            budget_seconds=self.scale.budget_seconds,
            progress=self.progress,
        )


Rows = Callable[[int], Sequence[Any]]
"""From the number of a round to what is asked in it."""


def empty_lane(runner: Runner, target: str, rows: Rows) -> Lane:
    """Return the loop with nothing in it, which the others are net of.

    Args:
        runner: Compiles the loop.
        target: Its loop variables.
        rows: What it goes over.
    """
    loop = runner.timed("pass", {"nothing": None}, target=target, label="empty")
    return Lane("empty", lambda number: loop(rows(number)), len(rows(0)))


def lane(
    runner: Runner,
    slug: str,
    statement: str,
    names: dict[str, object],
    *,
    target: str,
    rows: Rows,
    is_async: bool = False,
    prepare: Callable[[int], object] | None = None,
) -> Lane:
    """Return a lane that runs a statement per row.

    Args:
        runner: Compiles the loop.
        slug: Who runs.
        statement: What is timed.
        names: Its global names.
        target: Its loop variables.
        rows: What it goes over.
        is_async: Whether it awaits.
        prepare: What to do before each lap, untimed.
    """
    loop = runner.timed(statement, names, target=target, label=slug, is_async=is_async)
    return Lane(slug, lambda number: loop(rows(number)), len(rows(0)), prepare)


@dataclass(frozen=True, slots=True)
class Question:
    """A contestant's lookup over fixed rows: as a lane to race in, and as answers to check.

    Attributes:
        lane: The timed form.
        verify: Asks everything once and raises `WrongAnswerError` at a wrong answer.
    """

    lane: Lane
    verify: Callable[[], None]


def question(
    runner: Runner,
    slug: str,
    expression: str,
    names: dict[str, object],
    *,
    target: str,
    rows: Sequence[Any],
    expected: Sequence[object],
    unwrap: Callable[[Any], object],
) -> Question:
    """Compile one expression into its timed and its checking form.

    Args:
        runner: Compiles the loops.
        slug: Who is asked.
        expression: The lookup; async if it begins with ``await``.
        names: Its global names.
        target: Its loop variables.
        rows: What is asked.
        expected: The right answers.
        unwrap: Turns an answer into a value or `MISSING`.
    """
    is_async = expression.startswith("await ")
    loop = runner.timed(expression, names, target=target, label=slug, is_async=is_async)
    ask = runner.collected(expression, names, target=target, label=slug, is_async=is_async)
    # An untimed pass before each lap: the lane before may have emptied the processor's caches.
    warm = rows[: max(1, len(rows) // SHUFFLES)]

    def verify() -> None:
        check(slug, rows, [unwrap(answer) for answer in ask(rows)], expected)

    return Question(
        Lane(slug, lambda number: loop(rows), len(rows), lambda number: loop(warm)), verify
    )


def race_questions(
    context: Context,
    target: str,
    rows: Sequence[Any],
    questions: Sequence[Question],
    others: Sequence[Lane] = (),
) -> dict[str, Timing]:
    """Check, race, and check again.

    Args:
        context: What a scenario is given.
        target: Loop variables.
        rows: What is asked.
        questions: Who is asked.
        others: Lanes beside them that have no answers.

    Raises:
        WrongAnswerError: Somebody answered wrongly, before or after.
    """
    for item in questions:
        item.verify()
    empty = empty_lane(context.runner, target, lambda number: rows)
    timings = context.race([empty, *others, *(item.lane for item in questions)])
    for item in questions:
        item.verify()
    return timings


def outcome(slug: str, timings: dict[str, Timing], titles: dict[str, str]) -> Outcome:
    """Turn laps into standings, net of the empty loop and relative to the dict.

    Args:
        slug: The scenario.
        timings: Laps by slug; ``empty`` and ``dict`` among them.
        titles: Name in the table, by slug.
    """
    empty = timings["empty"]
    yardstick = timings["dict"].best - empty.best
    table = [
        Standing(
            slug=name,
            title=titles[name],
            best_ns=timing.best - empty.best,
            median_ns=timing.median - empty.median,
            # A yardstick below the empty loop is noise, not a measure.
            ratio=(timing.best - empty.best) / yardstick if yardstick > 0.0 else None,
        )
        for name, timing in timings.items()
        if name != "empty"
    ]
    return Outcome(slug, table, len(empty.laps))


def relate(result: Outcome, reference: str) -> None:
    """Add to each standing its time over the reference's, if the reference took part."""
    base = result.of(reference)
    if base is None or base.best_ns is None or base.best_ns <= 0.0:
        return
    for standing in result.standings:
        if standing.best_ns is not None:
            standing.extra["to_reference"] = standing.best_ns / base.best_ns


def last_round(timings: dict[str, Timing]) -> int:
    """Return the number of the last round that was run."""
    return WARMUP_ROUNDS + len(timings["empty"].laps) - 1


def check_size(contestant: Contestant, *, at_least: int = 0) -> None:
    """See that a bounded cache keeps to its capacity.

    Raises:
        WrongAnswerError: It holds more, or less than it should.
    """
    if contestant.slug == "dict":
        return
    size = contestant.size()
    # One in twenty of slack: some caches drop what is too much in batches.
    if size is not None and not at_least <= size <= CAPACITY * 21 // 20:
        raise WrongAnswerError(f"{contestant.slug}: holds {size} entries, capacity {CAPACITY}")


def close_all(contestants: Sequence[Contestant]) -> None:
    """Let all caches go."""
    for contestant in contestants:
        contestant.close()
