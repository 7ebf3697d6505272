"""Timing: one loop per contestant, many short rounds, the smallest round counts.

How a figure comes about:

- A contestant gives the text of one operation, for instance ``cache.get(key)``, the way its
  documentation writes it. The text is put into a loop and compiled once per contestant (as the
  standard library's `timeit` does), so every contestant runs in a code object of its own: the
  interpreter specialises call sites in place, and a loop shared by all would be specialised for
  whoever came first.
- The contestants take turns in short rounds, and who begins changes from round to round. What
  disturbs the machine then disturbs all of them, and the smallest round of each is the one that
  was disturbed least. The median is kept beside it.
- The garbage collector is off inside a round. The time of the same loop around an empty body is
  subtracted.
- The very same text is compiled a second time into a loop that keeps the answers, and these are
  checked before and after the rounds.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import textwrap
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

MINIMUM_ROUNDS: Final = 10
"""Fewer rounds than this say nothing, whatever the time budget."""

WARMUP_ROUNDS: Final = 4
"""Rounds before the first that counts: the interpreter specialises, caches settle."""

MISSING: Final = object()
"""What a contestant's answer is translated to when it was a miss."""


class WrongAnswerError(AssertionError):
    """A contestant gave an answer that differs from the expected one."""


class ContestantError(RuntimeError):
    """A contestant raised something in the middle of a race."""


class Runner:
    """Runs compiled loops, plain or async, in one process.

    Async loops are driven by one event loop that stays open, so that a contestant's background
    tasks live as long as the contestant.
    """

    def __init__(self) -> None:
        """Open the event loop."""
        self._runner = asyncio.Runner()

    def close(self) -> None:
        """Close the event loop."""
        self._runner.close()

    def finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end and return its result."""
        return self._runner.run(coroutine)

    def timed(
        self,
        statement: str,
        names: Mapping[str, object],
        *,
        target: str = "key",
        label: str,
        is_async: bool = False,
    ) -> Callable[[Iterable[Any]], int]:
        """Compile a statement into a loop that returns its duration.

        Args:
            statement: The loop's body; may have several lines.
            names: The global names of the body; they become local variables of the loop.
            target: The loop variable, for instance ``key`` or ``key, value, tags``.
            label: Name of the code object, seen in tracebacks and profiles.
            is_async: Whether the body awaits.

        Returns:
            A function from the rows to nanoseconds, clock calls included once.
        """
        source = (
            f"{'async ' if is_async else ''}def loop(rows, clock, {', '.join(names)}):\n"
            f"    begin = clock()\n"
            f"    for {target} in rows:\n"
            f"{textwrap.indent(textwrap.dedent(statement).strip(), ' ' * 8)}\n"
            f"    return clock() - begin\n"
        )
        loop = _define(source, label)
        values = tuple(names.values())
        clock = time.perf_counter_ns
        if is_async:
            return lambda rows: cast(int, self.finish(loop(rows, clock, *values)))
        return lambda rows: cast(int, loop(rows, clock, *values))

    def collected(
        self,
        expression: str,
        names: Mapping[str, object],
        *,
        target: str = "key",
        label: str,
        is_async: bool = False,
    ) -> Callable[[Sequence[Any]], list[Any]]:
        """Compile an expression into an untimed loop that returns all its values.

        Args:
            expression: What to evaluate per row.
            names: As in `timed`.
            target: As in `timed`.
            label: As in `timed`.
            is_async: As in `timed`.
        """
        source = (
            f"{'async ' if is_async else ''}def loop(rows, {', '.join(names)}):\n"
            f"    answers = []\n"
            f"    for {target} in rows:\n"
            f"        answers.append({expression})\n"
            f"    return answers\n"
        )
        loop = _define(source, label)
        values = tuple(names.values())
        if is_async:
            return lambda rows: cast(list[Any], self.finish(loop(rows, *values)))
        return lambda rows: cast(list[Any], loop(rows, *values))


def _define(source: str, label: str) -> Callable[..., Any]:
    """Compile the source of one function named ``loop`` and return it."""
    scope: dict[str, Any] = {}
    exec(compile(source, f"<bench {label}>", "exec"), scope)  # noqa: S102 - our own text, as timeit
    return cast(Callable[..., Any], scope["loop"])


def check(
    contestant: str, rows: Sequence[Any], answers: Sequence[Any], expected: Sequence[Any]
) -> None:
    """Compare a contestant's answers with the expected ones.

    Args:
        contestant: Who answered.
        rows: What was asked.
        answers: What came back, misses already translated to `MISSING`.
        expected: What should have come back.

    Raises:
        WrongAnswerError: At the first difference.
    """
    if len(answers) != len(expected):
        raise WrongAnswerError(f"{contestant}: {len(answers)} answers to {len(expected)} questions")
    for row, answer, wanted in zip(rows, answers, expected, strict=True):
        if (answer is MISSING) is not (wanted is MISSING) or answer != wanted:
            raise WrongAnswerError(
                f"{contestant}: asked for {row!r}, got {_shown(answer)}, wanted {_shown(wanted)}"
            )


def _shown(answer: object) -> str:
    """Return an answer for an error message."""
    return "a miss" if answer is MISSING else repr(answer)


@dataclass(frozen=True, slots=True)
class Lane:
    """One contestant's part in a race.

    Attributes:
        slug: Who runs.
        lap: From the number of the round to nanoseconds.
        operations: How many operations one lap does.
        prepare: What to do, untimed, before each lap.
    """

    slug: str
    lap: Callable[[int], int]
    operations: int
    prepare: Callable[[int], object] | None = None


@dataclass(slots=True)
class Timing:
    """The laps of one contestant, in nanoseconds per operation."""

    laps: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The smallest lap."""
        return min(self.laps)

    @property
    def median(self) -> float:
        """The middle lap."""
        return statistics.median(self.laps)


def race(
    lanes: Sequence[Lane],
    *,
    rounds: int,
    budget_seconds: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warmup_rounds: int = WARMUP_ROUNDS,
) -> dict[str, Timing]:
    """Let the lanes take turns and return what each of them took.

    Args:
        lanes: The contestants; the order of the first round.
        rounds: How many rounds count at most.
        budget_seconds: After this time no further round begins, but never before
            `MINIMUM_ROUNDS`.
        progress: Told the number of rounds done and the number intended.
        warmup_rounds: How many rounds are run first and not counted.

    Returns:
        Timings by slug. Rounds are numbered from 0, warm-up included.

    Raises:
        ContestantError: A contestant raised an exception.
    """
    timings = {lane.slug: Timing() for lane in lanes}
    give_up = time.monotonic() + budget_seconds
    gc.collect()
    gc.freeze()
    try:
        for number in range(warmup_rounds + rounds):
            first = number % len(lanes)
            for lane in (*lanes[first:], *lanes[:first]):
                if lane.prepare is not None:
                    lane.prepare(number)
                gc.disable()
                try:
                    elapsed = lane.lap(number)
                except BaseException as error:  # a Rust panic is not an `Exception`
                    if isinstance(error, KeyboardInterrupt):
                        raise
                    raise ContestantError(
                        f"{lane.slug}: {type(error).__name__}: {error}"
                    ) from error
                finally:
                    gc.enable()
                if number >= warmup_rounds:
                    timings[lane.slug].laps.append(elapsed / lane.operations)
            done = number + 1 - warmup_rounds
            progress(max(0, done), rounds)
            if done >= MINIMUM_ROUNDS and time.monotonic() > give_up:
                break
    finally:
        gc.unfreeze()
    return timings
