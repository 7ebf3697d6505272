"""A cache in mixed use for very many operations: does the process grow?

    python benches/python/soak.py [operations] [--write]

All operations of an everyday cache, drawn at random with fixed seeds, on a cache that is too small
for its keys: hits, misses, sets of seven kinds of values, loads, typed entries, decorated calls,
deletions, invalidations, expired lives, and evictions by entries and by bytes. The resident set is
read a hundred times on the way. ``--write`` writes docs/soak.md and docs/soak.svg.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import machine
from chart import DARK, LIGHT
from velro_cache.config import OptimizedCacheConfig
from velro_cache.decorators import cached_authorization
from velro_cache.manager import OptimizedCacheManager

ROOT: Final = Path(__file__).resolve().parents[2]
MIB: Final = 2**20
SAMPLES: Final = 100
KEYS: Final = 40_000
DRAWN: Final = 1 << 16
"""Keys and operations drawn at first, to be combined."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A value that is copied from a template."""

    user: str
    allowed: bool
    roles: list[str]


class Profile:
    """A value that is copied by `copy.deepcopy`."""

    def __init__(self, number: int) -> None:
        self.name = f"user-{number}"
        self.numbers = [number, number + 1]


MAKERS: Final[tuple[Callable[[int], object], ...]] = (
    *[lambda n: f"value-{n:08d}"] * 6,
    *[lambda n: n + 10**6] * 3,
    *[lambda n: n % 2 == 0] * 3,
    *[lambda n: {"user": f"u{n}", "view": True, "n": n + 1000}] * 5,
    lambda n: {"user": f"u{n}", "roles": [f"r{n}", "member"]},
    lambda n: Grant(f"u{n}", True, ["member", f"r{n}"]),
    Profile,
)
"""Values by the number of their key: those that take longest to copy are rarest."""

SHARES: Final = {
    "get": 0.40,
    "get_value": 0.15,
    "get_generation_access": 0.10,
    "decorated call": 0.10,
    "set": 0.19,
    "set for a millisecond": 0.02,
    "get_or_load": 0.02,
    "delete": 0.0198,
    "invalidate_by_tags": 0.0002,
}
"""How often each operation is drawn."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The process at one moment."""

    operations: int
    seconds: float
    resident_bytes: int
    blocks: int
    entries: int
    counted_bytes: int


class Soak:
    """A cache, its keys, and the operations on it."""

    def __init__(self) -> None:
        self.cache = OptimizedCacheManager(OptimizedCacheConfig(max_size_mb=4, max_entries=10_000))
        self.keys = [f"auth:user:{n:08d}:profile" for n in range(KEYS)]
        self.draw = draw = random.Random(1)
        # Some keys much more often than others.
        self.numbers = [int(KEYS * draw.random() ** 2) for _ in range(DRAWN)]
        self.names = draw.choices(list(SHARES), list(SHARES.values()), k=DRAWN)

        @cached_authorization(cache=self.cache)
        def check(user: int) -> bool:
            return user % 3 == 0

        self.check = check

    def round(self, operations: int) -> None:
        """Run so many operations."""
        while operations > 0:
            self._run(min(DRAWN, operations))
            operations -= DRAWN

    def _run(self, operations: int) -> None:
        cache, keys, check = self.cache, self.keys, self.check
        get, get_value, set_one = cache.get, cache.get_value, cache.set
        access, load, delete = cache.get_generation_access, cache.get_or_load, cache.delete
        makers = len(MAKERS)
        # What was drawn in another combination every time.
        first = self.draw.randrange(DRAWN)
        numbers = self.numbers[first:] + self.numbers[:first]
        for n, name in zip(numbers[:operations], self.names, strict=False):
            if name == "get":
                get(keys[n])
            elif name == "get_value":
                get_value(keys[n])
            elif name == "get_generation_access":
                access(keys[n >> 6], keys[n & 63])
            elif name == "decorated call":
                check(n)
            elif name == "set":
                set_one(keys[n], MAKERS[n % makers](n), tags=(f"user:{n // 20}",))
            elif name == "set for a millisecond":
                set_one(f"short:{n}", MAKERS[n % makers](n), ttl=0.001)
            elif name == "get_or_load":
                load(keys[n], lambda n=n: MAKERS[n % makers](n))
            elif name == "delete":
                delete(keys[n])
            else:
                cache.invalidate_by_tags([f"user:{n // 20}"])


def run(operations: int) -> list[Sample]:
    """Run the operations and return what the process looked like on the way."""
    soak = Soak()
    samples = []
    begin = time.perf_counter()
    each = max(1, operations // SAMPLES)
    for number in range(1, SAMPLES + 1):
        soak.round(each)
        stats = soak.cache.get_stats()
        samples.append(
            Sample(
                operations=number * each,
                seconds=time.perf_counter() - begin,
                resident_bytes=_resident_bytes(),
                blocks=sys.getallocatedblocks(),
                entries=len(soak.cache),
                counted_bytes=int(float(stats["total_size_mb"]) * MIB),
            )
        )
        _show(number, samples[-1])
    print(file=sys.stderr)
    return samples


def _show(number: int, sample: Sample) -> None:
    print(
        f"\r{number:3} %  {sample.operations:>13,} operations  {sample.seconds:6.0f} s  "
        f"{sample.resident_bytes / MIB:6.1f} MiB",
        end="",
        file=sys.stderr,
        flush=True,
    )


def _resident_bytes() -> int:
    """Return the resident set after everything that can be given back was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def page(samples: list[Sample], about: Any) -> str:
    """Write the page."""
    after = samples[len(samples) // 10 :]
    least, most = (pick(s.resident_bytes for s in after) / MIB for pick in (min, max))
    total = samples[-1]
    rows = [
        f"| {s.operations:,} | {s.seconds:,.0f} s | {s.resident_bytes / MIB:.1f} MiB | "
        f"{s.blocks:,} | {s.entries:,} | {s.counted_bytes / MIB:.2f} MiB |"
        for s in (samples[0], *samples[9::10])
    ]
    shares = ",\n".join(f"{share * 100:g} % {name}" for name, share in SHARES.items())
    return f"""# Soak

**TL;DR** {total.operations:,} mixed operations on one cache: after the first tenth, the process had
between {least:.1f} and {most:.1f} MiB in memory.

![Memory of the process over the operations](soak.svg)

| Operations | Time | Resident set | Python's blocks | Entries | Counted |
|---:|---:|---:|---:|---:|---:|
{chr(10).join(rows)}

One thread, a cache of 10,000 entries and 4 MiB, {KEYS:,} keys of which some are asked for much
more often than others, values of seven kinds: texts, numbers, truths, dicts,
dicts with lists in them, dataclasses, objects of a class of one's own. Drawn at random: {shares}.
Before the resident set is read, garbage is collected and glibc is told to give back what is free.

{about.processor}, {about.system}, {about.python}, commit {about.commit}, {about.date}.
Made by `{about.command}`; the time is that of a machine with other work, and says little.
"""


def chart(samples: list[Sample]) -> str:
    """Draw the resident set over the operations, for light and dark pages."""
    width, height, left, bottom, top = 760, 260, 60, 40, 30
    highest = 10 * (int(max(s.resident_bytes for s in samples) / MIB) // 10 + 2)
    most = samples[-1].operations

    def x(operations: float) -> float:
        return left + (width - left - 20) * operations / most

    def y(mib: float) -> float:
        return height - bottom - (height - bottom - top) * mib / highest

    line = " ".join(f"{x(s.operations):.1f},{y(s.resident_bytes / MIB):.1f}" for s in samples)
    grid = "".join(
        f'<line class="grid" x1="{left}" x2="{width - 20}" y1="{y(mib):.1f}" y2="{y(mib):.1f}"/>'
        f'<text x="{left - 8}" y="{y(mib) + 4:.1f}" text-anchor="end">{mib}</text>'
        for mib in range(0, highest + 1, max(10, highest // 50 * 10))
    )
    ticks = "".join(
        f'<text x="{x(most * part / 4):.1f}" y="{height - 18}" text-anchor="middle">'
        f"{most * part / 4e6:g} M</text>"
        for part in range(5)
    )
    styles = [
        f"text{{fill:{colours['muted']}}}.grid{{stroke:{colours['grid']}}}"
        f".ours{{stroke:{colours['ours']}}}.page{{fill:{colours['page']}}}"
        for colours in (LIGHT, DARK)
    ]
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
font-family="system-ui, sans-serif" font-size="12">
<title>Resident set in MiB over operations</title>
<style>{styles[0]}@media (prefers-color-scheme: dark){{{styles[1]}}}</style>
<rect class="page" width="{width}" height="{height}"/>
<text x="{left}" y="18">Resident set, MiB, over operations</text>
{grid}{ticks}
<polyline class="ours" fill="none" stroke-width="2" points="{line}"/>
</svg>
"""


def main() -> None:
    """Run, print the page, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("operations", nargs="?", type=int, default=100_000_000)
    parser.add_argument("--write", action="store_true", help="write docs/soak.md and docs/soak.svg")
    options = parser.parse_args()
    samples = run(options.operations)
    command = f"make soak ARGS='{options.operations}'"
    text = page(samples, machine.describe(ROOT, command))
    if options.write:
        (ROOT / "docs" / "soak.md").write_text(text, encoding="utf-8")
        (ROOT / "docs" / "soak.svg").write_text(chart(samples), encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
