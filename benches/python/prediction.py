"""What loading ahead is worth, and what it costs where nothing can be foretold.

    python benches/python/prediction.py [--traces FOLDER] [--requests 10000] [--streams-only]

Streams of requests are answered by the authorization service, once with ``keep_warm()`` alone and
once with ``predict_next()``, over a source that takes 20 ms. It is the real service, cache and
predictor; only time is virtual (see ``virtual_time.py``), so waits and hit rates do not depend on
the machine. Every answer is checked. Then, in real time, a hit with and without.

Streams: sessions of users, made up (a user opens a project chosen by Zipf's law, among all or a few
of his own, and looks through what is in it, with detours); uniformly random questions, in which
there is nothing to be learned; and recorded accesses of other systems, if their folder is given
(one ``.u32.xz`` file each, key numbers as little-endian u32), taken as those of one user: quickly,
with room for a tenth of the keys; and slowly, with room for all, so that it is lives that end.
"""

from __future__ import annotations

import argparse
import asyncio
import lzma
import random
import statistics
import struct
import time
import tracemalloc
from bisect import bisect
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from report import table
from velro_cache import AuthorizationResult, OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock
from velro_cache.authorization import HighPerformanceAuthorizationService
from velro_cache.authorization.ahead import USER_AT
from velro_cache.warming import PredictionLimits, Predictor
from virtual_time import VirtualTimeLoop

SOURCE_SECONDS: Final = 0.02
NOON: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
TRACES: Final = ("c2k_web12", "lirs_sprite", "arc_OLTP")

Request = tuple[float, str, str]
"""At which second, what, and who."""


class Source:
    """Grants everything, after 20 ms; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def _yes(self, *_: Any, **__: Any) -> AuthorizationResult:
        self.asked += 1
        await asyncio.sleep(SOURCE_SECONDS)
        return AuthorizationResult(True)

    validate_generation_media_access: Any = _yes
    validate_direct_ownership: Any = _yes
    validate_team_access: Any = _yes
    validate_project_access: Any = _yes


@dataclass
class Stream:
    """Requests, and how they are answered."""

    name: str
    requests: list[Request]
    max_entries: int
    group_of: Callable[[str], str] | None
    limits: PredictionLimits


@dataclass
class Outcome:
    """What became of a stream."""

    hit_rate: float
    mean_wait_ms: float
    asked: int
    figures: dict[str, Any] | None


def sessions(
    count: int,
    *,
    users_per_role: int = 60,
    own_projects: int | None = None,
    per_second: float = 20.0,
    seed: int = 1,
) -> list[Request]:
    """Users of two roles who look through projects, each role in an order of its own."""
    chance = random.Random(seed)
    projects = 400
    weights = list(accumulate(1 / (rank + 1) for rank in range(projects)))
    requests: list[Request] = []
    roles = ("editor", "owner")
    users = [f"{role}-{number}" for role in roles for number in range(users_per_role)]
    # Without projects of their own all choose among all, anew each time.
    own: dict[str, list[int]] = {}
    while len(requests) < count:
        # Sessions begin at any time; a user's own ones may overlap.
        at = chance.random() * count / per_second
        user = chance.choice(users)
        project = bisect(weights, chance.random() * weights[-1])
        if own_projects is not None:
            mine = own.setdefault(user, [])
            if len(mine) < own_projects:
                mine.append(project)
            project = chance.choice(mine)
        order = range(12) if user.startswith("editor") else range(11, -1, -1)
        for page in order:
            if chance.random() < 0.15:
                continue
            resource = f"p{project}-{page}"
            if chance.random() < 0.15:
                resource = f"p{chance.randrange(projects)}-{chance.randrange(12)}"
            requests.append((at, resource, user))
            at += chance.expovariate(1 / 2.0)
    return sorted(requests)[:count]


def at_random(count: int, seed: int = 2) -> list[Request]:
    """Nothing follows anything."""
    chance = random.Random(seed)
    return [(n / 20, f"r{chance.randrange(200)}", f"u{chance.randrange(50)}") for n in range(count)]


def recorded(path: Path, count: int, per_second: float) -> list[Request]:
    """A recorded stream, at an even pace."""
    with lzma.open(path) as file:
        data = file.read(4 * count)
    keys = struct.unpack(f"<{len(data) // 4}I", data)
    return [(n / per_second, f"k{key}", "all") for n, key in enumerate(keys)]


def streams(count: int, traces: Path | None) -> Iterator[Stream]:
    """All streams there are."""
    usual = PredictionLimits()
    by_role: Callable[[str], str] = lambda user: user.partition("-")[0]  # noqa: E731
    yield Stream("sessions, by role", sessions(count), 20_000, by_role, usual)
    yield Stream("the same, each user alone", sessions(count), 20_000, None, usual)
    few = sessions(count, users_per_role=20, own_projects=3, per_second=2)
    yield Stream("own projects, each user alone", few, 20_000, None, usual)
    yield Stream("random", at_random(count), 20_000, None, usual)
    yield Stream("random, by group", at_random(count), 20_000, lambda _: "all", usual)
    # One user stands for all of them there, so the bound on one user's share has no meaning.
    together = PredictionLimits(max_outstanding_per_user=1000)
    for name in TRACES if traces else ():
        assert traces is not None
        for per_second, part, room in ((100, 0.1, "10 % fit"), (5, 2, "all fit")):
            requests = recorded(traces / f"{name}.u32.xz", count, per_second)
            keys = len({resource for _, resource, _ in requests})
            title = f"{name}, {per_second} per second, {room}"
            yield Stream(title, requests, max(16, int(keys * part)), None, together)


def run(stream: Stream, predicts: bool) -> Outcome:
    """Answer a stream."""
    clock = ManualClock()
    config = OptimizedCacheConfig(
        auth_ttl_seconds=600, max_entries=stream.max_entries, max_size_mb=512
    )
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(clock.advance)) as runner:
        return runner.run(_answer(stream, predicts, OptimizedCacheManager(config, clock=clock)))


async def _answer(stream: Stream, predicts: bool, cache: OptimizedCacheManager) -> Outcome:
    loop = asyncio.get_running_loop()
    source = Source()
    service = HighPerformanceAuthorizationService(
        source, cache, now=lambda: NOON + timedelta(seconds=loop.time())
    )
    service.keep_warm()
    predictor = None
    work = None
    if predicts:
        warmers = cache.warmers
        predictor = Predictor(
            warmers.hot_keys,
            USER_AT,
            warmers._predictable.get,
            stream.limits,
            stream.group_of,
            loop.time,
        )
        work = asyncio.create_task(predictor.run())
    waits: list[float] = []

    async def ask(resource: str, user: str) -> None:
        began = loop.time()
        answer = await service.validate_project_access(resource, user)
        assert answer.granted
        waits.append(loop.time() - began)

    async with asyncio.TaskGroup() as group:
        for at, resource, user in stream.requests:
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            group.create_task(ask(resource, user))
    figures = None if predictor is None else predictor.figures()
    if work is not None:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
    return Outcome(
        100 * sum(wait == 0 for wait in waits) / len(waits),
        1000 * statistics.fmean(waits),
        source.asked,
        figures,
    )


def worth(count: int, traces: Path | None) -> Iterator[str]:
    """The table of all streams, line by line: a stream takes a while."""
    head = [
        *("Stream", "Hits %", "with", "Mean wait ms", "with"),
        *("Loads % more", "Loaded ahead", "Used", "Pauses"),
    ]
    yield table(head, []).rstrip()
    for stream in streams(count, traces):
        without, with_it = run(stream, predicts=False), run(stream, predicts=True)
        figures = with_it.figures
        assert figures is not None
        row = [
            stream.name,
            f"{without.hit_rate:.1f}",
            f"{with_it.hit_rate:.1f}",
            f"{without.mean_wait_ms:.2f}",
            f"{with_it.mean_wait_ms:.2f}",
            f"{100 * (with_it.asked / without.asked - 1):+.2f}",
            f"{figures['preloaded']:,}",
            f"{figures['used']:,}",
            str(figures["pauses"]),
        ]
        yield f"| {' | '.join(row)} |"


def price() -> str:
    """What a hit costs with and without, and what is done aside for it."""
    return asyncio.run(_price())


async def _price() -> str:
    cache = OptimizedCacheManager(OptimizedCacheConfig(auth_ttl_seconds=3600))
    service = HighPerformanceAuthorizationService(Source(), cache)
    service.keep_warm()
    ids = [(f"p{n % 50}", f"u{n % 20}") for n in range(1000)]
    for resource, user in ids:
        await service.validate_project_access(resource, user)
    warmers = cache.warmers
    # So many accesses, all of which are looked at, are those of a second.
    limits = PredictionLimits(every_seconds=1)
    predictor = Predictor(warmers.hot_keys, USER_AT, warmers._predictable.get, limits)
    laps: dict[str, list[float]] = {"without": [], "with": [], "aside": []}
    for lap in range(200):
        for way in ("without", "with") if lap % 2 else ("with", "without"):
            warmers.hot_keys.heard = predictor._queue.append if way == "with" else None
            begun = time.thread_time_ns()
            for resource, user in ids:
                await service.validate_project_access(resource, user)
            laps[way].append((time.thread_time_ns() - begun) / len(ids))
        begun = time.thread_time_ns()
        predictor.step()
        laps["aside"].append((time.thread_time_ns() - begun) / len(ids))
    assert predictor.figures()["share_of_users"] == 1
    # The two ways of one lap are neighbours in time: what else the machine does meets both.
    ratio = statistics.median(
        with_it / without for with_it, without in zip(laps["with"], laps["without"], strict=True)
    )
    without, with_it, aside = (min(laps[way]) for way in ("without", "with", "aside"))
    return (
        f"A hit with `keep_warm()` alone {without:,.0f} ns, with `predict_next()`"
        f" {with_it:,.0f} ns, the least of {len(laps['with'])} laps; the median of their ratios is"
        f" {ratio:.3f}. Aside: {aside:,.0f} ns for each access that is looked at."
    )


def memory() -> str:
    """What a full sketch takes."""
    from velro_cache.warming.habits import Habits

    limits = PredictionLimits()
    tracemalloc.start()
    habits = Habits(
        limits.max_sources,
        limits.width,
        limits.lookahead,
        limits.session_seconds,
        limits.max_users,
        limits.hash_ids,
    )
    chance = random.Random(3)
    for n in range(60_000):
        user = f"user-{chance.randrange(10_000)}"
        item = ("project_access", f"project-{chance.randrange(100_000)}", "viewer")
        habits.learn(f"user {user}", user, item, n / 1000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return f"A sketch that is full holds {held / 1024 / 1024:.1f} MiB."


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, help="folder of recorded streams")
    parser.add_argument("--requests", type=int, default=10_000, help="of each stream (10000)")
    parser.add_argument("--streams-only", action="store_true", help="leave the price of a hit out")
    options = parser.parse_args()
    if not options.streams_only:
        print(price(), flush=True)
        print(memory(), flush=True)
    for line in worth(options.requests, options.traces):
        print(line, flush=True)


if __name__ == "__main__":
    main()
