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
import contextlib
import functools
import multiprocessing
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
    """Where the tables of this run lie."""

    folder: Path


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
    """Compare an invalidation of few entries with one of many."""
    lines = []
    effect: dict[int, float] = {}
    for size in (10, many):
        call, seen = [], []
        with worker(f"sizes-{size}", size=10) as other:
            here = cache(f"sizes-{size}", max_entries=2 * many, max_size_mb=4096)
            for _ in range(3 if size == many else max(20, rounds // 20)):
                for number in range(size):
                    here.set(f"item:{number}", number, tags=[TAG])
                if here.get_value("item:9") != 9:
                    raise RuntimeError("what was set is not there")
                begin, end, saw = other.watch(functools.partial(here.invalidate_by_tags, [TAG]))
                if here.get_value(f"item:{size - 1}") is not None:
                    raise RuntimeError("served after it was invalidated")
                call.append(end - begin)
                seen.append(saw - begin)
                here.sweep()
            here.stop()
        effect[size] = statistics.median(seen)
        lines.append((f"{size:,}", duration(effect[size]), duration(statistics.median(call))))
    ratio = effect[many] / effect[10]
    head = ("entries covered", "seen by another process after, median", "call, median")
    return (
        "## One tag over few entries and over many\n\n"
        + table(head, lines)
        + f"\n\nThe effect on {many:,} entries took {multiple(ratio)} the time of that on 10. The"
        " call looks at no more than 16,384 entries, to count what it drops; their memory, and"
        " that of the others, is given back in the background."
    )


def pauses(many: int) -> str:
    """Look for the longest time a reader waits while memory is given back."""
    here = cache("pauses", max_entries=2 * many, max_size_mb=4096)
    here.start()
    for number in range(many):
        here.set(f"item:{number}", number, tags=[TAG])
    here.set("mine", 1)
    times: list[int] = []
    done = threading.Event()

    def read() -> None:
        get, clock, note = here.get_value, time.perf_counter_ns, times.append
        while not done.is_set():
            for _ in range(1000):
                begin = clock()
                value = get("mine")
                note(clock() - begin)
                if value != 1:
                    raise RuntimeError("an entry that was not covered is gone")

    def gaps(seconds: float, work: Callable[[], object] | None) -> tuple[float, float]:
        times.clear()
        done.clear()
        reader = threading.Thread(target=read)
        reader.start()
        if work is not None:
            work()
            until(lambda: len(here) < 2, "everything is swept")
        else:
            time.sleep(seconds)
        done.set()
        reader.join()
        ordered = sorted(times)
        return ordered[-1], ordered[int(len(ordered) * 0.9999)]

    quiet = gaps(1.0, None)
    swept = gaps(0, lambda: here.invalidate_by_tags([TAG]))
    here.stop()
    lines = [
        ("nothing else happens", duration(quiet[0]), duration(quiet[1])),
        (f"{many:,} entries are invalidated and swept", duration(swept[0]), duration(swept[1])),
    ]
    head = ("a thread reads while", "longest lookup", "1 in 10,000 is longer than")
    return "## A reader while memory is given back\n\n" + table(head, lines)


def workers(rounds: int) -> str:
    """See how soon another worker of the host sees it."""
    here = cache("workers")
    seen, returned = [], []
    with worker("workers", size=1) as other:
        for _ in range(rounds):
            begin, end, saw = other.watch(functools.partial(here.invalidate_by_tags, [TAG]))
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
                    pass
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

    def watch(self, work: Callable[[], object]) -> tuple[int, int, int]:
        """Do something while the other process looks; return when it began, ended, was seen."""
        self._pipe.send("look")
        if self._pipe.recv() != "looking":
            raise RuntimeError("the other process does not look")
        time.sleep(0.0005)
        begin = time.perf_counter_ns()
        work()
        end = time.perf_counter_ns()
        seen: int = self._pipe.recv()
        return begin, end, seen


def _look(folder: str, host: str, size: int, pipe: Connection) -> None:
    Bench.folder = Path(folder)
    mine = cache(host)
    clock = time.perf_counter_ns
    while pipe.recv() == "look":
        for number in range(size):
            mine.set(f"item:{number}", number, tags=[TAG])
        if mine.get_value("item:0") != 0:
            raise RuntimeError("what was set is not there")
        pipe.send("looking")
        get = mine.get_value
        while get("item:0") is not None:
            pass
        pipe.send(clock())


@contextlib.contextmanager
def worker(host: str, size: int) -> Iterator[Other]:
    """Start another process on a host."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    arguments = (str(Bench.folder), host, size, theirs)
    process = context.Process(target=_look, args=arguments, daemon=True)
    process.start()
    try:
        yield Other(mine)
    finally:
        mine.send("end")
        process.join(10)


if __name__ == "__main__":
    main()
