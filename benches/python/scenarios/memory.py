"""Bytes per entry: how much a process grows when a cache is filled.

Each contestant is filled in a fresh process. Keys and values are made one at a time and given
away to the cache, so the growth of the resident set is all that the cache keeps, keys and values
included. "Net" is that growth minus the size of the key and value objects as Python counts them;
a cache that keeps keys in a more compact form than Python's `str` gets the difference credited.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from contestants import CONTESTANTS
from contestants.base import Contestant
from harness import MISSING, ContestantError, Runner, check
from results import Outcome, Standing
from scenarios.context import Context
from workload import Row, Workload

RUN = Path(__file__).resolve().parent.parent / "run.py"
"""The command line, which is called again for each contestant."""

SAMPLE = 1_000
"""Entries that are looked up again to see whether they are right."""


def run(context: Context) -> Outcome:
    """Fill every contestant in processes of its own."""
    able = [
        member
        for member in context.members
        if "memory" in member.groups and (member.put is not None or member.read_through)
    ]
    table = []
    for number, member in enumerate(able):
        samples = [
            _in_child(member.slug, context.scale.memory_entries)
            for _ in range(context.scale.memory_repeats)
        ]
        table.append(
            Standing(
                slug=member.slug,
                title=TITLES.get(member.slug, member.title),
                extra={
                    name: statistics.median(sample[name] for sample in samples)
                    for name in ("bytes_per_entry", "net_bytes_per_entry")
                },
            )
        )
        context.progress(number + 1, len(able))
    return Outcome("memory", table, context.scale.memory_repeats)


TITLES = {"velro": "**velro-cache**, two tags per entry"}


def _in_child(slug: str, entries: int) -> dict[str, float]:
    """Measure one contestant in a fresh process and return its figures.

    Raises:
        ContestantError: The process failed; it has said why.
    """
    finished = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(RUN), "--child-memory", slug, "--entries", str(entries)],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    if finished.returncode != 0:
        raise ContestantError(f"{slug}: its process ended with status {finished.returncode}")
    figures: dict[str, float] = json.loads(finished.stdout)
    return figures


def measure(slug: str, entries: int) -> dict[str, float]:
    """Fill one contestant in this process.

    Args:
        slug: Which one.
        entries: How many entries; also its capacity.

    Returns:
        ``bytes_per_entry`` and ``net_bytes_per_entry``, per entry that it holds in the end.

    Raises:
        WrongAnswerError: It does not hold what it was given.
    """
    (member,) = (member for member in CONTESTANTS if member.slug == slug)
    member.load_library()
    runner = Runner()
    # Once small and thrown away: what a first use allocates for good is not the entries'.
    _fill(member(runner), 100)
    before = _resident_bytes()
    contestant = member(runner)
    _fill(contestant, entries)
    grown = _resident_bytes() - before
    _check(contestant, entries)
    held = contestant.size() or entries
    sizes = [sys.getsizeof(key) + sys.getsizeof(value) for key, value, _tags in _rows(1_000)]
    return {
        "bytes_per_entry": grown / held,
        "net_bytes_per_entry": grown / held - statistics.mean(sizes),
    }


def _rows(count: int) -> Iterator[Row]:
    """Make rows one at a time; all values have one length."""
    data = Workload.seeded(10)
    for number in range(count):
        key = f"auth:user:{data.uuid()}:profile"
        yield key, f"profile-{number:06d}", ("auth", f"user:{number // 20}")


def _fill(contestant: Contestant, entries: int) -> None:
    """Store rows that nobody else holds on to."""
    values = _Values()
    contestant.open(entries, values.load)
    if contestant.put is not None:
        contestant.fill(_rows(entries))
    else:
        for key, value, _tags in _rows(entries):
            values.next_value = value
            contestant.cache(key)


class _Values:
    """The source behind a cache that can only wrap a function: gives what it is told to."""

    next_value = ""

    def load(self, key: str) -> str:
        """Return the value that belongs to the key being stored."""
        return self.next_value


def _check(contestant: Contestant, entries: int) -> None:
    """Look entries from everywhere in the sequence up again.

    A cache in several parts may have dropped a few: one part is full before the others are.
    """
    rows = list(itertools.islice(_rows(entries), None, None, max(1, entries // SAMPLE)))
    ask = contestant.runner.collected(
        str(contestant.get).format(key="key"),
        contestant.names(),
        label=contestant.slug,
        is_async=contestant.is_async,
    )
    keys = [key for key, _value, _tags in rows]
    found = [contestant.unwrap(answer) for answer in ask(keys)]
    wanted: list[object] = [value for _key, value, _tags in rows]
    kept = sum(answer is not MISSING for answer in found)
    if kept >= 0.8 * len(rows):
        wanted = [
            MISSING if answer is MISSING else value
            for answer, value in zip(found, wanted, strict=True)
        ]
    check(contestant.slug, keys, found, wanted)


def _resident_bytes() -> int:
    """Return the resident set after everything that can be given back was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
