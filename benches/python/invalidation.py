"""What a revocation costs, and how soon it is seen.

    python benches/python/invalidation.py [--write] [--quick]

Five questions, each answered beside what it is to be compared with, in one run:

- What does a hit cost that is checked against a shared table, with six dependencies, and with a
  lease? Beside it: a hit in a table of one process without tags, and a dict.
- Does an invalidation cost more if it covers more? Until it is in effect for another process, and
  until the call returns, for ten entries and for a million.
- How long does a thread wait that reads meanwhile?
- How soon do other workers of the host see it? From before the call to the first lookup in another
  process that is a miss.
- How soon do other hosts see it, through Redis and through PostgreSQL?

Every round checks its answer: a lookup that should hit and does not, or the other way round, ends
the run. ``--write`` writes docs/benchmarks-invalidation.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import machine  # noqa: E402
from harness import Lane, Runner, race  # noqa: E402
from report import duration, multiple, table  # noqa: E402
from services.postgres import PostgresServer  # noqa: E402
from services.redis import RedisServer  # noqa: E402
from velro_cache.config import OptimizedCacheConfig  # noqa: E402
from velro_cache.manager import OptimizedCacheManager  # noqa: E402

KEY: Final = "auth:gen:g1:user:u1:access"
TAG: Final = "bench:all"
TAGS: Final = ["auth", "generation_access", "generation:g1", "user:u1", "team:t1", "project:p1"]
NANOS: Final = 1e9
WARM_UP_CALLS: Final = 20
PAUSE_ROUNDS: Final = 3
READER_RESTS_SECONDS: Final = 100e-6
LOOK_EVERY_SECONDS: Final = 50e-6
"""At another host, while something is on its way; part of what is measured there."""


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it runs")
    options = parser.parse_args()
    rounds = 60 if options.quick else 1000
    many = 50_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="velro-bench-", dir=_in_memory()) as folder:
        Bench.folder = Path(folder)
        parts = [hits(rounds), sizes(rounds, many), pauses(many), workers(rounds), hosts(rounds)]
    about = machine.describe(ROOT, "make bench-invalidation")
    page = "\n\n".join(
        ["# What a revocation costs, and how soon it is seen", _about(about), *parts]
    )
    print(page)
    if options.write:
        (ROOT / "docs" / "benchmarks-invalidation.md").write_text(page + "\n", encoding="utf-8")


class Bench:
    """Where the tables of this run lie, and what it may run on."""

    folder: Path
    processors: Final = os.sched_getaffinity(0)


def _in_memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of our own


def _about(about: machine.Machine) -> str:
    return (
        f"Made by `{about.command}` on {about.date}, commit {about.commit}: {about.processor},"
        f" {about.cores} cores, {about.system}, {about.python}, load average"
        f" {about.load_average:.1f} at the end. Absolute times differ from machine to machine and"
        " from run to run; compare within a table."
    )


def cache(host: str, **settings: Any) -> OptimizedCacheManager:
    """Make a cache on a host of its own, as far as its table is concerned."""
    folder = Bench.folder / host
    folder.mkdir(exist_ok=True)
    settings.setdefault("shared_memory_directory", str(folder))
    return OptimizedCacheManager(OptimizedCacheConfig(**settings))


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for something that is bound to happen."""
    end = time.monotonic() + 30
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError(f"this did not happen: {what}")
        time.sleep(0.001)


def hits(rounds: int) -> str:
    """Race hits with more and less to be checked."""
    with RedisServer() as redis:
        alone = cache("hits", share_invalidations=False)
        shared = cache("hits", name="shared")
        leased = cache("hits", name="leased", invalidation_log=redis.url)
        log = lambda: leased.get_stats()["log"]["has_lease"]  # noqa: E731
        until(log, "the cache hears from the log")
        contestants: dict[str, tuple[Any, str]] = {
            "dict.get": ({KEY: 1}.get, "a dict"),
            "alone": (alone.get_value, "a table of this process, no tags"),
            "shared": (shared.get_value, "a shared table, six tags"),
            "leased": (leased.get_value, "the same, and a lease"),
        }
        alone.set(KEY, 1)
        shared.set(KEY, 1, tags=TAGS)
        leased.set(KEY, 1, tags=TAGS)
        runner = Runner()
        rows = [KEY] * 2_000
        lanes = []
        empty = runner.timed("pass", {}, label="empty")
        lanes.append(Lane("empty", lambda _: empty(rows), len(rows)))
        for slug, (get, _) in contestants.items():
            if get(KEY) != 1:
                raise RuntimeError(f"{slug} does not hit")
            lap = runner.timed("get(key)", {"get": get}, label=slug)
            lanes.append(Lane(slug, lambda _, lap=lap: lap(rows), len(rows)))
        times = race(lanes, rounds=400, budget_seconds=2.0 if rounds < 100 else 12.0)
        for slug, (get, _) in contestants.items():
            if get(KEY) != 1:
                raise RuntimeError(f"{slug} does not hit any more")
        runner.close()
        for each in (alone, shared, leased):
            each.stop()
    loop = times["empty"].best
    best = {slug: times[slug].best - loop for slug in contestants}
    lines = [
        (
            title,
            duration(best[slug]),
            multiple(best[slug] / best["dict.get"]),
            multiple(best[slug] / best["alone"]),
            f"{best[slug] - best['alone']:+.1f} ns",
        )
        for slug, (_, title) in contestants.items()
    ]
    head = ("hit on", "per operation", "to dict", "to the table of one process", "more than it")
    return "## A hit\n\n" + table(head, lines)


def sizes(rounds: int, many: int) -> str:
    """Compare an invalidation of few entries with one of many, of the same cache."""
    few = 10
    call: dict[int, list[float]] = {few: [], many: []}
    seen: dict[int, list[float]] = {few: [], many: []}
    with worker("sizes") as other:
        here = cache("sizes", max_entries=2 * many, max_size_mb=4096)
        for _ in range(max(3, rounds // 50)):
            for number in range(many):
                here.set(f"item:{number}", number, tags=[TAG, f"part:{number // few}"])
            for size, tag in ((few, "part:0"), (many, TAG)):
                if here.get_value(f"item:{many - 1}") != many - 1:
                    raise RuntimeError("what was set is not there")
                for _ in range(WARM_UP_CALLS):
                    # Filling the cache took the code of the call out of the processor's.
                    here.invalidate_by_tags(["bench:nothing"])
                work = functools.partial(here.invalidate_by_tags, [tag])
                begin, end, saw = other.watch(work, tag)
                if here.get_value(f"item:{size - 1}") is not None:
                    raise RuntimeError("served after it was invalidated")
                call[size].append(end - begin)
                seen[size].append(saw - begin)
            here.sweep()
        here.stop()
    median = statistics.median
    lines = [
        (f"{size:,}", duration(median(seen[size])), duration(median(call[size]))) for size in call
    ]
    ratio = median(seen[many]) / median(seen[few])
    head = ("entries covered", "seen by another process after, median", "call, median")
    return (
        "## One tag over few entries and over many\n\n"
        + table(head, lines)
        + f"\n\nOf a cache that holds {many:,}. The effect on all of them took {multiple(ratio)}"
        " the time of that on ten, which always comes first and finds the processor's caches"
        " colder: what is below 1 says no more. In a cache so large, the call looks at no more than"
        " 1,024 entries, to count what it drops; their memory, and that of the others, is given"
        " back in the background."
    )


def pauses(many: int) -> str:
    """Look for the longest time a reader waits while memory is given back."""
    here = cache("pauses", max_entries=2 * many, max_size_mb=4096)
    lines = []
    with _ahead_of_others() as ahead:
        here.start()  # the sweeper, too
        for _ in range(PAUSE_ROUNDS):
            for number in range(many):
                here.set(f"item:{number}", number, tags=[TAG])
            here.set("mine", 1)
            with _reading(here) as quiet:
                time.sleep(1.0)
            with _reading(here) as swept:
                here.invalidate_by_tags([TAG])
                until(lambda: len(here) < 2, "everything is swept")
            lines += [("nothing else happens", *quiet.row())]
            lines += [(f"{many:,} entries are invalidated and swept", *swept.row())]
    here.stop()
    head = ("a thread reads while", "it read for", "longest gap", "gaps above 1 ms", "99th of 100")
    first = (
        "All of it runs with real-time priority, ahead of other programs."
        if ahead
        else "Real-time priority was not to be had: some gaps are the fault of other programs."
    )
    return (
        "## A reader while memory is given back\n\n"
        "A thread looks a key up 1,000 times, rests for 0.1 ms, and so on. A gap lies between two"
        f" lookups and is longer than that rest. {first} What the machine itself takes shows"
        " where nothing else happens.\n\n" + table(head, lines)
    )


class _Gaps:
    """What a reader waited for."""

    def __init__(self) -> None:
        self.found: list[int] = []
        self.seconds = 0.0

    def row(self) -> tuple[str, str, str, str]:
        """What the table shows of it."""
        ordered = sorted(self.found)
        above = sum(gap > NANOS / 1000 for gap in ordered)
        high = ordered[int(len(ordered) * 0.99)]
        return f"{self.seconds:.1f} s", duration(ordered[-1]), f"{above}", duration(high)


@contextlib.contextmanager
def _reading(here: OptimizedCacheManager) -> Iterator[_Gaps]:
    """Read in another thread meanwhile, and note the gaps."""
    gaps, done = _Gaps(), threading.Event()

    def read() -> None:
        get, clock, note = here.get_value, time.perf_counter_ns, gaps.found.append
        before = begin = clock()
        while not done.is_set():
            time.sleep(READER_RESTS_SECONDS)
            for _ in range(1000):
                value = get("mine")
                now = clock()
                if now - before > READER_RESTS_SECONDS * NANOS:
                    note(now - before)
                before = now
                if value != 1:
                    raise RuntimeError("an entry that was not covered is gone")
        gaps.seconds = (clock() - begin) / NANOS

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        time.sleep(0.05)
        yield gaps
        done.set()
        reader.result()


@contextlib.contextmanager
def _ahead_of_others() -> Iterator[bool]:
    """Run before all ordinary programs, where that is allowed; says whether it is."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except OSError:
        yield False
        return
    yield True
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def workers(rounds: int) -> str:
    """See how soon another worker of the host sees it."""
    here = cache("workers")
    seen, returned = [], []
    with worker("workers") as other:
        for _ in range(rounds):
            begin, end, saw = other.watch(functools.partial(here.invalidate_by_tags, [TAG]), TAG)
            seen.append(saw - begin)
            returned.append(saw - end)
    here.stop()
    seen.sort()
    late = sum(1 for gap in returned if gap > 0)
    lines = [
        (
            duration(seen[len(seen) // 2]),
            duration(seen[int(len(seen) * 0.99)]),
            duration(seen[-1]),
            f"{late} of {len(seen)}",
        )
    ]
    head = ("p50", "p99", "longest", "first seen after the call had returned")
    return (
        "## Other workers of the host\n\n"
        "From before the call until another process, which does nothing but look up, gets a miss."
        " A lookup that *starts* after the return is a miss always; these may have started before,"
        " or the processor may have been given to somebody else.\n\n" + table(head, lines)
    )


def hosts(rounds: int) -> str:
    """See how soon another host sees it."""
    lines = []
    for title, server in (("Redis", RedisServer()), ("PostgreSQL", PostgresServer())):
        with server as log:
            pair = [
                cache(f"{title}-{name}", invalidation_log=log.url, log_timeout_seconds=20.0)
                for name in ("here", "there")
            ]
            here, there = pair
            for each in pair:
                until(lambda each=each: each.get_stats()["log"]["has_lease"], "there is news")
            seen, waited, fleet = [], [], []
            for number in range(rounds // 5):
                there.set(KEY, number)
                if there.get_value(KEY) != number:
                    raise RuntimeError("what was set is not there")
                begin = time.perf_counter_ns()
                here.invalidate_user_data("u1")
                while there.get_value(KEY) is not None:
                    # Leaves a processor to the log's server.
                    time.sleep(LOOK_EVERY_SECONDS)
                seen.append(time.perf_counter_ns() - begin)
                begin = time.perf_counter_ns()
                here.invalidate_user_data("u2", wait="bus")
                waited.append(time.perf_counter_ns() - begin)
                begin = time.perf_counter_ns()
                here.invalidate_user_data("u2", wait="fleet")
                fleet.append(time.perf_counter_ns() - begin)
            for each in pair:
                each.stop()
        seen.sort()
        lines.append(
            (
                title,
                duration(statistics.median(seen)),
                duration(seen[int(len(seen) * 0.99)]),
                duration(statistics.median(waited)),
                duration(statistics.median(fleet)),
            )
        )
    head = ("log", "seen there, p50", "p99", 'wait="bus", p50', 'wait="fleet", p50')
    return "## Other hosts\n\nTwo hosts on this machine, the log's server on loopback.\n\n" + table(
        head, lines
    )


class Other:
    """Another process that looks one key up again and again."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def watch(self, work: Callable[[], object], tag: str) -> tuple[int, int, int]:
        """Do something while the other process looks; return when it began, ended, was seen."""
        self._pipe.send(tag)
        if self._pipe.recv() != "looking":
            raise RuntimeError("the other process does not look")
        time.sleep(0.0005)
        begin = time.perf_counter_ns()
        work()
        end = time.perf_counter_ns()
        seen: int = self._pipe.recv()
        return begin, end, seen


def _look(folder: str, host: str, pipe: Connection) -> None:
    Bench.folder = Path(folder)
    _keep_to(-1)
    mine = cache(host)
    clock = time.perf_counter_ns
    while tag := pipe.recv():
        mine.set("item:0", 0, tags=[tag])
        if mine.get_value("item:0") != 0:
            raise RuntimeError("what was set is not there")
        pipe.send("looking")
        get = mine.get_value
        while get("item:0") is not None:
            pass
        pipe.send(clock())


def _keep_to(which: int) -> None:
    """Stay on one processor, so that the two processes are never both on the same."""
    os.sched_setaffinity(0, {sorted(Bench.processors)[which]})


@contextlib.contextmanager
def worker(host: str) -> Iterator[Other]:
    """Start another process on a host."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    arguments = (str(Bench.folder), host, theirs)
    process = context.Process(target=_look, args=arguments, daemon=True)
    process.start()
    _keep_to(0)
    try:
        yield Other(mine)
    finally:
        os.sched_setaffinity(0, Bench.processors)
        mine.send("")
        process.join(10)


if __name__ == "__main__":
    main()
