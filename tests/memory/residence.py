"""Programs that look at the memory of their own process, each in a fresh one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

__all__ = ["needs_linux", "output_of"]

LIMIT_SECONDS = 90

needs_linux = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="tells its memory only on Linux"
)

PRELUDE = """
import ctypes, dataclasses, gc, json, os, random, sys, uuid
from velro_cache import *

MIB = 2**20


def resident():
    '''Bytes of the process in memory, after all was given back that can be.'''
    gc.collect()
    # glibc keeps what was freed for the next use, until it is told to give it back.
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass
class Record:
    user: str
    generation: str
    may_edit: bool
    roles: list


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    user: str
    allowed: bool
    number: int


class Profile:
    def __init__(self, n):
        self.name = f"user-{n}"
        self.numbers = [n, n + 1]


VALUES = {
    "text": lambda n: f"value-{n:08d}" * 3,
    "other characters": lambda n: f"ключ-{n:08d}" * 3,
    "long text": lambda n: random.randbytes(700).hex(),
    "bytes": lambda n: random.randbytes(200),
    "bytearray": lambda n: bytearray(random.randbytes(100)),
    "number": lambda n: n + 10**6,
    "truth": lambda n: True,
    "uuid": lambda n: uuid.uuid4(),
    "tuple": lambda n: (f"u{n}", n + 1000, 1.5 * n),
    "nested tuple": lambda n: (f"u{n}", [f"a{n}", n + 1000], (1.5 * n,)),
    "list": lambda n: [n + 1000 + at for at in range(20)],
    "set": lambda n: {f"u{n}", f"v{n}", n + 1000},
    "dict": lambda n: {"user": f"u{n}", "view": True, "edit": False, "n": n + 1000},
    "nested dict": lambda n: {"user": f"u{n}", "may": [f"p{n}"], "in": {"a": n + 1000}},
    "parsed json": lambda n: json.loads(
        json.dumps({"user": f"u{n}", "roles": [{"name": f"r{n}", "level": at} for at in range(5)]})
    ),
    "dataclass": lambda n: Record(f"u{n}", f"g{n}", True, ["a", "b"]),
    "dataclass with slots": lambda n: Decision(f"u{n}", True, n + 1000),
    "object": Profile,
}


def key(n):
    return f"auth:user:{n:08d}:profile"


def fill(cache, make, begin=0, entries=10**9):
    '''Set entries, until so many are set or the first is evicted.'''
    for n in range(begin, begin + entries):
        cache.set(key(n), make(n), tags=[f"user:{n // 20}", "auth"])
        if n % 1000 == 0 and cache.get_stats()["evictions"]:
            break


def cache_of(mib, **settings):
    return OptimizedCacheManager(
        OptimizedCacheConfig(max_size_mb=mib, max_entries=10_000_000, **settings)
    )


def warm_up(make):
    '''What a first use allocates for good is not the entries'.'''
    fill(cache_of(1), make, entries=300)
"""


def output_of(program: str) -> str:
    """Run a program that must succeed, and return what it printed.

    Not with Python's development mode: its allocator takes more than the one of production.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
