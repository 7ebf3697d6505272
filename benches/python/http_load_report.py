"""What :mod:`http_load` measures for ``make bench-http``: sections of its page, and its goals."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from http_applications import (
    DOOR,
    GUARD,
    NO_OP,
    ROUTE,
    SOURCE_SECONDS,
    TOKEN,
    application,
    before_slow_source,
    served_ways,
)
from http_load import CONNECTIONS, MISS_EVERY, Answered, Slow, slow_source, throughput
from report import table

PER_SECOND: Final = 300.0
"""Load before the slow source: far less than a server can do, so that nothing waits in line."""


@dataclass(frozen=True)
class Load:
    """All that was measured over TCP.

    Attributes:
        throughput: By way, what came of each turn.
        slow: The slow source.
    """

    throughput: dict[str, list[Answered]]
    slow: Slow


def measure(*, quick: bool) -> Load:
    """Run it: about four minutes, or half a one."""
    rounds, seconds = (2, 0.5) if quick else (9, 2.0)
    answered = throughput(served_ways(), TOKEN, rounds, seconds)
    rounds, seconds = (2, 2.0) if quick else (7, 8.0)
    slow = slow_source(application, before_slow_source, TOKEN, rounds, seconds, PER_SECOND)
    return Load(answered, slow)


def _median(turns: list[Answered], figure: Callable[[Answered], float]) -> float:
    return statistics.median(figure(turn) for turn in turns)


def _share(load: Load, name: str, of: str) -> float:
    """Requests in a second of one way as a share of another's, turn by turn; the median."""
    pairs = zip(load.throughput[name], load.throughput[of], strict=True)
    return statistics.median(one.per_second / other.per_second for one, other in pairs)


def _mean_beyond(slow: Slow) -> float:
    """Milliseconds that the guarded route takes beyond the open one, turn by turn; the median."""
    pairs = zip(slow.guarded, slow.without, strict=True)
    return statistics.median(one.mean_ms - other.mean_ms for one, other in pairs)


def sections(load: Load) -> list[str]:
    """Two sections of the page."""
    rows = [
        [
            name,
            f"{_median(turns, lambda turn: turn.per_second):,.0f}",
            f"{_share(load, name, ROUTE):.2f}x",
            f"{min(turn.cpu_microseconds for turn in turns):.0f} us",
        ]
        for name, turns in load.throughput.items()
    ]
    slow = load.slow
    both = {"without authorization": slow.without, "guarded, 95 % from memory": slow.guarded}
    slow_rows = [
        [
            name,
            f"{_median(turns, lambda turn: turn.mean_ms):.2f} ms",
            f"{_median(turns, lambda turn: turn.slowest_ms):.1f} ms",
            f"{_median(turns, lambda turn: turn.per_second):,.0f}",
        ]
        for name, turns in both.items()
    ]
    return [
        "## Over a server",
        f"uvicorn, a process for each way; {CONNECTIONS} connections from one other process, each"
        " asking as soon as it was answered. The ways take turns; shares are taken turn by turn."
        " Medians, but for the processor time: the least of all turns.",
        table(["A request", "requests/s", "share of the route", "processor time"], rows),
        "## Before a slow source",
        f"The source needs {1000 * SOURCE_SECONDS:.0f} ms for an answer, and one request in"
        f" {MISS_EVERY} is for something it has not been asked for. Requests begin at fixed"
        f" moments, {slow.per_second:.0f} in a second, whether the ones before were answered or"
        " not; times count from then. Five misses in a hundred take a millisecond of the mean by"
        " themselves."
        f" {CONNECTIONS} requests at once for one thing asked the source"
        f" {slow.loads_of_a_herd} time{'s' * (slow.loads_of_a_herd != 1)}.",
        table(["Route", "mean", "slowest", "requests/s"], slow_rows),
    ]


def goals(load: Load) -> list[list[str]]:
    """Rows of the table of goals."""
    found = [
        ("requests/s with the middleware, share of its no-op", _share(load, DOOR, NO_OP), 0.95),
        ("requests/s with a guard, share of the open route", _share(load, GUARD, ROUTE), 0.75),
    ]
    rows = [
        [name, f"{figure:.2f}", f"at least {bound}", "yes" if figure >= bound else "no"]
        for name, figure, bound in found
    ]
    least = [
        ("slow source, 95 % from memory, beyond the open route: ms", _mean_beyond(load.slow), 1.2),
        ("loads for one thing that many ask for at once", float(load.slow.loads_of_a_herd), 1.0),
    ]
    return rows + [
        [name, f"{figure:.2f}", f"at most {bound:g}", "yes" if figure <= bound else "no"]
        for name, figure, bound in least
    ]
