"""Hits from one and from two threads at a time.

With the interpreter's lock two threads share one core's worth of Python, so the best that can
happen is that the time per lookup stays the same; what a cache's own lock adds shows as a loss.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from contestants.base import Contestant
from harness import Lane, race
from results import Outcome, Standing
from scenarios.context import CAPACITY, KEYS, SHUFFLES, Context, close_all, question
from workload import Workload

Loop = Callable[[Sequence[Any]], int]


def run(context: Context) -> Outcome:
    """Race hits from one thread against hits from two."""
    data = Workload.seeded(11)
    stored = data.rows(KEYS)
    order = data.shuffles(stored, SHUFFLES)
    rows = [key for key, _value, _tags in order]
    values = {key: value for key, value, _tags in stored}
    contestants = context.contestants(
        "threads", lambda member: member.get is not None and not member.is_async
    )
    runner = context.runner
    lanes = _lanes("empty", runner.timed("pass", {"nothing": None}, label="empty"), rows, context)
    verifications = []
    for contestant in contestants:
        contestant.open(CAPACITY, values.__getitem__)
        contestant.fill(stored)
        item = question(
            runner,
            contestant.slug,
            str(contestant.get).format(key="key"),
            contestant.names(),
            target="key",
            rows=rows,
            expected=[values[key] for key in rows],
            unwrap=contestant.unwrap,
        )
        verifications.append(item.verify)
        lanes += _lanes(contestant.slug, _loop(context, contestant), rows, context)
    for verify in verifications:
        verify()
    timings = race(
        lanes,
        rounds=context.scale.thread_rounds,
        budget_seconds=float("inf"),
        progress=context.progress,
        warmup_rounds=1,
    )
    for verify in verifications:
        verify()
    titles = {item.slug: item.title for item in contestants}
    table = []
    yardstick = timings["dict 1"].best - timings["empty 1"].best
    for slug, title in titles.items():
        single, double = timings[f"{slug} 1"], timings[f"{slug} 2"]
        best = single.best - timings["empty 1"].best
        both = double.best - timings["empty 2"].best
        table.append(
            Standing(
                slug=slug,
                title=title,
                best_ns=best,
                median_ns=single.median - timings["empty 1"].median,
                ratio=best / yardstick,
                extra={"two_threads_ns": both, "two_threads_ratio": both / yardstick},
            )
        )
    close_all(contestants)
    return Outcome("threads", table, context.scale.thread_rounds)


def _loop(context: Context, contestant: Contestant) -> Loop:
    """Return the timed loop; a cache that asks for a lock gets one, as its users must do."""
    text = str(contestant.get).format(key="key")
    names = contestant.names()
    if not contestant.thread_safe:
        text = f"with lock:\n    {text}"
        names |= {"lock": threading.Lock()}
    return context.runner.timed(text, names, label=contestant.slug)


def _lanes(slug: str, loop: Loop, rows: list[str], context: Context) -> list[Lane]:
    """Return a lane with one thread and one with two, long enough to be switched between."""
    once = min(loop(rows) for _ in range(3))
    repeats = max(1, round(context.scale.thread_seconds * 1e9 / once))
    long = rows * repeats
    return [Lane(f"{slug} {count}", _lap(loop, long, count), count * len(long)) for count in (1, 2)]


def _lap(loop: Loop, rows: list[str], count: int) -> Callable[[int], int]:
    """Return a lap that runs the loop in a number of threads and takes the time of all."""

    def lap(number: int) -> int:
        ready = threading.Barrier(count)
        spans: list[tuple[int, int]] = []

        def work() -> None:
            ready.wait()
            begin = time.perf_counter_ns()
            loop(rows)
            spans.append((begin, time.perf_counter_ns()))

        workers = [threading.Thread(target=work) for _ in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return max(end for _begin, end in spans) - min(begin for begin, _end in spans)

    return lap
