"""A million made-up API keys against a cache of a thousand real ones.

    python benches/python/api_key_flood.py [--keys 1000000]

Keys of the right shape that nobody made are asked for, one after the other, on a clock of their own
that goes on by a millisecond with each: 1,000 in a second. Beside each hundred of them, ten real
keys are asked for. Shown is what reached the database, an SQLite file; how many real keys were
answered from memory; and how much memory the process took in between.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import event

from velro_cache.api_keys import ApiKeyCache, KeyFormat, KeyUnknown, MissBudgetExceeded, Peppers
from velro_cache.api_keys.sql import SqlApiKeys
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager

PEPPERS = Peppers.one(b"a pepper for a benchmark")
REAL = 1000


class Clock:
    """Seconds, moved by hand."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        """The moment it stands at."""
        return self.now


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


async def flood(folder: str, count: int) -> dict[str, Any]:
    """Ask for so many keys that nobody made."""
    clock, form = Clock(), KeyFormat()
    outcomes: Counter[str] = Counter()
    statements = 0
    with OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False)) as manager:
        async with SqlApiKeys(f"sqlite:///{folder}/keys.db", peppers=PEPPERS, clock=clock) as store:
            await store.migrate()
            await store.create_organization("Acme", organization_id="acme")
            real = [(await store.create_key("acme")).plain.reveal() for _ in range(REAL)]
            keys = ApiKeyCache(
                store, peppers=PEPPERS, cache_manager=manager, now=clock, monotonic=clock
            )
            assert await keys.warm() == REAL

            def count_statement(*_: Any) -> None:
                nonlocal statements
                statements += 1

            event.listen(store.engine.sync_engine, "before_cursor_execute", count_statement)
            hits = asked = 0
            before = 0.0
            for number in range(count):
                clock.now += 0.001
                try:
                    await keys.verify(form.generate())
                except KeyUnknown:
                    outcomes["unknown"] += 1
                except MissBudgetExceeded:
                    outcomes["not asked about"] += 1
                if number % 100 == 0:
                    for at in range(10):
                        asked += 1
                        hits += keys.recall(real[(number + at) % REAL]) is not None
                if number % 600_000 == 0:
                    # As a refresh does.
                    await keys.warm()
                if number == count // 10:
                    gc.collect()
                    before = resident_mb()
            gc.collect()
            assert sum(outcomes.values()) == count
            return {
                "made_up": count,
                **outcomes,
                "statements": statements,
                "statements_per_second": round(statements / (count / 1000), 1),
                "real_keys_asked": asked,
                "real_keys_from_memory": hits,
                "unknown_keys_remembered": keys.stats()["unknown_keys"],
                "memory_growth_mb": round(resident_mb() - before, 1),
            }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(asyncio.run(flood(folder, options.keys))) + "\n")


if __name__ == "__main__":
    main()
