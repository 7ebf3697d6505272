"""A cache in use does not grow, and gives back what it no longer holds."""

from __future__ import annotations

import json
import sys
import textwrap

import pytest
from residence import needs_linux, output_of

ISOLATIONS = ("copy", "shared")

MIXED = """
def churn(cache, operations, seed):
    '''Sets, lookups, deletions, invalidations, and evictions by both bounds.'''
    draw = random.Random(seed).random
    makes = [VALUES[kind] for kind in ("text", "number", "dict", "list", "dataclass", "object")]
    kinds = len(makes)
    for at in range(operations):
        n = int(draw() * 30_000)
        what = draw()
        if what < 0.55:
            cache.get(key(n))
        elif what < 0.97:
            cache.set(key(n), makes[n % kinds](n), tags=[f"user:{n // 20}"])
        elif what < 0.9999:
            cache.delete(key(n))
        elif what < 0.99999:
            cache.invalidate_by_tags([f"user:{n // 20}"])
        else:
            cache.clear()
"""


@needs_linux
def test_memory_does_not_grow_with_the_operations() -> None:
    program = """
        cache = OptimizedCacheManager(OptimizedCacheConfig(max_size_mb=4, max_entries=8_000))
        churn(cache, 600_000, 1)
        sizes = []
        for seed in range(2, 9):
            churn(cache, 200_000, seed)
            sizes.append(resident())
        print(json.dumps([sizes, cache.get_stats()["evictions"]]))
    """
    sizes, evictions = json.loads(output_of(MIXED + textwrap.dedent(program)))
    assert evictions > 100_000
    # Several each, because where objects come to lie is a matter of luck.
    first, last = sizes[:3], sizes[-3:]
    assert sum(last) < 1.05 * sum(first), [size >> 10 for size in sizes]


@needs_linux
@pytest.mark.parametrize("kind", ["dict", "list", "nested dict", "dataclass", "object", "uuid"])
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_what_was_evicted_is_gone_whatever_the_program_calls(kind: str, isolation: str) -> None:
    program = f"""
        cache = OptimizedCacheManager(
            OptimizedCacheConfig(max_entries=500, isolation={isolation!r})
        )
        make = VALUES[{kind!r}]

        def blocks_after(sets):
            for n in range(sets):
                # Nothing but this: other calls may clear up behind it.
                cache.set(key(n), make(n))
            return sys.getallocatedblocks()

        print(json.dumps([blocks_after(2_000), blocks_after(5_000), blocks_after(5_000)]))
    """
    blocks = json.loads(output_of(program))
    assert blocks[2] - blocks[1] < 500, blocks


@needs_linux
@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="the allocator of an interpreter without a GIL keeps what was freed",
)
@pytest.mark.parametrize("ending", ["cache.clear()", "cache.stop()", "del cache"])
@pytest.mark.parametrize("kind", ["text", "dict"])
def test_memory_comes_back_after(ending: str, kind: str) -> None:
    program = f"""
        make = VALUES[{kind!r}]
        warm_up(make)
        before = resident()
        cache = cache_of(16)
        fill(cache, make)
        full = resident()
        {ending}
        print(json.dumps([full - before, resident() - before]))
    """
    grown, left = json.loads(output_of(program))
    assert grown > 12 * 2**20
    # The interpreter gives its memory back by the megabyte, if nothing is left in one.
    assert left < grown / 3, (grown, left)
