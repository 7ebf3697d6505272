"""One thread and two at once, in an interpreter without a GIL.

    python benches/python/free_threaded.py [--rounds N] [--write]

Every thread works on keys of its own in one cache, which is the best case for a cache: what two
threads then lose, they lose to the cache's own locks and counters. Beside it stand a dict, and a
cache for each thread, which share nothing and show what the machine allows.

A round of two threads lasts from the first that begins to the last that ends, and counts only if
both ran all the time: if they overlap by nine tenths, and if the system took neither off its
processor. On a busy machine threads that take turns would else pass for threads that do not
disturb each other. As everywhere here, contestants take turns, the smallest round counts, and the
time of the empty loop is subtracted.
"""

from __future__ import annotations

import argparse
import gc
import queue
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import machine
from harness import Runner
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager

ROOT: Final = Path(__file__).resolve().parents[2]
KEYS: Final = 512
REPEATS: Final = 30
"""Times a thread goes through its keys in a round: a millisecond, in which little can happen."""
OPERATIONS: Final = KEYS * REPEATS
LEAST_OVERLAP: Final = 0.9
MOST_TRIES: Final = 100
"""Rounds tried per round that counts."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An operation, and what it needs.

    Attributes:
        title: What the table says.
        statement: The body of the loop.
        target: The loop's variables.
        names: From the number of a thread to the body's names; called in that thread.
        rows: From the number of a thread to what the loop goes through; called in that thread.
    """

    title: str
    statement: str
    target: str
    names: Callable[[int], dict[str, object]]
    rows: Callable[[int], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Lap:
    """One thread's part in a round."""

    begin: int
    end: int
    was_interrupted: bool


@dataclass(slots=True)
class Rounds:
    """The rounds of one subject that counted, in nanoseconds, and those that did not."""

    counted: list[float] = field(default_factory=list)
    discarded: int = 0


class Start:
    """Where threads meet, to begin at one moment: a thread that sleeps wakes late."""

    def __init__(self, threads: int) -> None:
        self._barrier = threading.Barrier(threads, action=self._agree)
        self._moment = 0

    def _agree(self) -> None:
        self._moment = time.perf_counter_ns() + 300_000

    def wait(self) -> None:
        """Return when all have come, and are awake."""
        self._barrier.wait()
        while time.perf_counter_ns() < self._moment:
            pass


Part = Callable[[Start], Lap]


class Worker:
    """A thread that lives on, so that what it made is its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._work: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def begin(self, work: Callable[[], Any]) -> None:
        """Have something done."""
        self._work.put(work)

    def answer(self) -> Any:
        """Return what came of it."""
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self._answers.put(work())
            except BaseException as error:
                self._answers.put(error)


def subjects() -> list[Subject]:
    """Make the operations."""

    def make() -> OptimizedCacheManager:
        return OptimizedCacheManager(OptimizedCacheConfig(max_entries=100_000))

    own = [make(), make()]
    dicts: list[dict[str, str]] = [{}, {}]
    texts: dict[int, list[str]] = {}

    def keys(number: int) -> list[str]:
        # The same objects for all subjects: of several equal texts, an entry knows one best.
        if number not in texts:
            texts[number] = [f"auth:user:{number}-{at}:profile" for at in range(KEYS)]
        return texts[number]

    def filled(cache: OptimizedCacheManager, number: int) -> list[str]:
        rows = keys(number)
        for key in rows:
            cache.set(key, f"value of {key}")
            assert cache.get_value(key) == f"value of {key}"
        return rows

    def in_dict(number: int) -> list[str]:
        rows = keys(number)
        dicts[number].update({key: f"value of {key}" for key in rows})
        return rows

    def access(cache: OptimizedCacheManager, number: int) -> list[tuple[str, str]]:
        pairs = [(f"generation-{number}-{at}", f"user-{at}") for at in range(KEYS)]
        for pair in pairs:
            cache.set_generation_access(*pair, f"access {pair}")
            assert cache.get_generation_access(*pair) == (f"access {pair}", True)
        return pairs

    def of_cache(
        title: str,
        statement: str,
        method: str,
        rows: Callable[[OptimizedCacheManager, int], Sequence[Any]],
        target: str = "key",
    ) -> Subject:
        # One for each subject: what one looks up must not change what another finds.
        cache = make()
        return Subject(
            title,
            statement,
            target,
            lambda _: {"call": getattr(cache, method)},
            lambda number: rows(cache, number),
        )

    spacers: list[list[str]] = []

    def apart(cache: OptimizedCacheManager, number: int) -> list[str]:
        # Each thread allocates in a region of its own, all alike: move the second one's on.
        spacers.append([f"spacer number {at} of thread {number}" for at in range(3_000 * number)])
        rows = [f"apart:user:{number}-{at}:profile" for at in range(KEYS)]
        for key in rows:
            cache.set(key, f"value of {key}")
            assert cache.get_value(key) == f"value of {key}"
        return rows

    def missing(_: OptimizedCacheManager, number: int) -> list[str]:
        return [f"missing:{key}" for key in keys(number)]

    def with_values(cache: OptimizedCacheManager, number: int) -> list[tuple[str, str]]:
        return [(key, f"value of {key}") for key in filled(cache, number)]

    return [
        Subject("empty", "pass", "key", lambda _: {"call": None}, keys),
        Subject(
            "`dict.get`, a dict for each thread",
            "call(key)",
            "key",
            lambda number: {"call": dicts[number].get},
            in_dict,
        ),
        Subject(
            "`get`, a cache for each thread",
            "call(key)",
            "key",
            lambda number: {"call": own[number].get},
            lambda number: filled(own[number], number),
        ),
        of_cache("`get`", "call(key)", "get", filled),
        of_cache("`get_value`", "call(key)", "get_value", filled),
        of_cache("`get`, texts apart", "call(key)", "get", apart),
        of_cache(
            "`get_generation_access`", "call(one, two)", "get_generation_access", access, "one, two"
        ),
        of_cache("`get`, a miss", "call(key)", "get", missing),
        of_cache("`set`", "call(key, value)", "set", with_values, "key, value"),
    ]


def prepared(subject: Subject, runner: Runner, number: int) -> Part:
    """Make a thread's part of a subject, in that thread."""
    rows = [*subject.rows(number)] * REPEATS
    loop = runner.timed(
        subject.statement, subject.names(number), target=subject.target, label=f"thread {number}"
    )

    def run(start: Start) -> Lap:
        start.wait()
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        begin = time.perf_counter_ns()
        loop(rows)
        end = time.perf_counter_ns()
        after = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        return Lap(begin, end, after > before)

    return run


def play(parts: Sequence[Part], workers: Sequence[Worker]) -> float:
    """Run one round; return nanoseconds per operation of a thread, or NaN if it does not count."""
    start = Start(len(parts))
    for worker, part in zip(workers, parts, strict=False):
        worker.begin(lambda part=part: part(start))
    laps = [worker.answer() for worker, _ in zip(workers, parts, strict=False)]
    first, last = min(lap.begin for lap in laps), max(lap.end for lap in laps)
    together = min(lap.end for lap in laps) - max(lap.begin for lap in laps)
    if any(lap.was_interrupted for lap in laps) or together < LEAST_OVERLAP * (last - first):
        return float("nan")
    return (last - first) / OPERATIONS


def race(rounds: int) -> tuple[list[Subject], dict[tuple[str, int], Rounds]]:
    """Let subjects and numbers of threads take turns until enough rounds counted."""
    runner, workers = Runner(), [Worker(0), Worker(1)]
    everybody = subjects()
    parts: dict[str, list[Part]] = {}
    for subject in everybody:
        parts[subject.title] = []
        for worker in workers:
            worker.begin(lambda s=subject, w=worker: prepared(s, runner, w.number))
            parts[subject.title].append(worker.answer())
    results = {(s.title, threads): Rounds() for s in everybody for threads in (1, 2)}
    # The empty loop shares nothing, and is too short to be caught side by side.
    del results["empty", 2]
    gc.disable()
    for number in range(rounds * MOST_TRIES):
        for (title, threads), result in results.items():
            if len(result.counted) >= rounds:
                continue
            nanoseconds = play(parts[title][:threads], workers)
            if nanoseconds != nanoseconds:
                result.discarded += 1
            elif number > 1:  # the first rounds warm up
                result.counted.append(nanoseconds)
        if all(len(result.counted) >= rounds for result in results.values()):
            break
    gc.enable()
    runner.close()
    return everybody, results


def page(
    everybody: Sequence[Subject], results: dict[tuple[str, int], Rounds], rounds: int, about: Any
) -> str:
    """Write the page.

    Raises:
        RuntimeError: The machine is too busy: hardly a round of two threads counted.
    """
    for (title, threads), result in results.items():
        if len(result.counted) < min(5, rounds):
            raise RuntimeError(
                f"{title}, {threads} at once: {len(result.counted)} rounds counted and "
                f"{result.discarded} did not; the machine is too busy to tell"
            )

    def net(title: str, threads: int, pick: Callable[[list[float]], float] = min) -> float:
        return pick(results[title, threads].counted) - min(results["empty", 1].counted)

    lines = []
    for subject in everybody[1:]:
        one, two = net(subject.title, 1), net(subject.title, 2)
        middle = [net(subject.title, threads, statistics.median) for threads in (1, 2)]
        ratio = one / net(everybody[1].title, 1)
        lines.append(
            f"| {subject.title} | {one:.0f} ns | {ratio:.1f}x | {two:.0f} ns | "
            f"**{2 * one / two:.2f}x** | {2 * middle[0] / middle[1]:.2f}x |"
        )
    counted = sum(len(result.counted) for result in results.values())
    discarded = sum(result.discarded for result in results.values())
    reached = 2 * net("`get`", 1) / net("`get`", 2)
    floor = 2 * net("`get`, a cache for each thread", 1) / net("`get`, a cache for each thread", 2)
    return f"""# Without a GIL

**TL;DR** In an interpreter without a GIL, two threads that look up different keys of one cache do
{reached:.2f} times the lookups of one; two threads with a cache each, {floor:.2f} times.

| Operation | One thread | to `dict.get` | Two, each | Scaling, best | median |
|---|---:|---:|---:|---:|---:|
{chr(10).join(lines)}

Scaling is what two threads do in the time in which one does one; 2.00x is all there is. Each
thread has {KEYS} keys of its own. A round counts only if both threads ran side by side without a
pause; {counted} rounds did, {discarded} did not. Net of the empty loop.

What is still shared is the lock and the counters of a part: a cache is divided into parts with a
lock each, and these move between processors when both threads have keys in one. "Texts apart" is
`get` where the second thread's texts lie at other addresses, which decide where their places are
remembered.

{about.processor}, {about.cores} processors, {about.system}, {about.python} without a GIL,
commit {about.commit}, {about.date}, load {about.load_average:.1f}. Made by `{about.command}`.
"""


def main() -> None:
    """Run, print the page, and write it if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", action="store_true", help="write docs/free-threaded.md")
    options = parser.parse_args()
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        sys.exit("this interpreter has a GIL; see `make bench-free-threaded`")
    about = machine.describe(ROOT, "make bench-free-threaded")
    text = page(*race(options.rounds), options.rounds, about)
    if options.write:
        (ROOT / "docs" / "free-threaded.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
