"""The data of the scenarios: keys, values, ids and request sequences.

Everything comes from one fixed seed, so that two runs and all contestants see the same keys in
the same order. Keys look like the real ones (`auth:user:<uuid>:profile`, 54 characters), values
are short distinct strings: distinct so that a wrong answer shows, strings so that nobody has to
copy them.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

SEED: Final = 20_240_607

_Item = TypeVar("_Item")

Row = tuple[str, str, tuple[str, ...]]
"""A key, its value, and the tags it is stored with."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A source of reproducible data; each scenario makes its own.

    Attributes:
        rng: The generator everything is drawn from.
    """

    rng: random.Random

    @classmethod
    def seeded(cls, salt: int = 0) -> Workload:
        """Return a workload with a generator of its own.

        Args:
            salt: Different values give independent data.
        """
        return cls(random.Random(SEED + salt))

    def uuid(self) -> UUID:
        """Return a new random UUID."""
        return UUID(int=self.rng.getrandbits(128), version=4)

    def ids(self, count: int) -> list[str]:
        """Return distinct UUID strings."""
        return [str(self.uuid()) for _ in range(count)]

    def rows(self, count: int, label: str = "profile") -> list[Row]:
        """Return distinct keys with their values and tags.

        Args:
            count: How many.
            label: First part of the values.

        Returns:
            Rows whose tags are the kind and one user tag that twenty rows share. The hashes of
            the keys are already computed, as they are for a key that was used before.
        """
        rows: list[Row] = []
        for number, user in enumerate(self.ids(count)):
            key = f"auth:user:{user}:profile"
            hash(key)
            rows.append((key, f"{label}-{number}", ("auth", f"user:{number // 20}")))
        return rows

    def shuffles(self, items: list[_Item], times: int) -> list[_Item]:
        """Return ``times`` different shuffles of the items, one after the other.

        One fixed order repeated would be learned by the processor's prefetcher.
        """
        sequence: list[_Item] = []
        for _ in range(times):
            order = list(items)
            self.rng.shuffle(order)
            sequence += order
        return sequence

    def zipf(self, population: int, requests: int, skew: float) -> list[int]:
        """Return item numbers drawn from a Zipf distribution.

        Args:
            population: How many items there are; item 0 is the most popular.
            requests: How many draws.
            skew: The exponent; 0.99 is the usual choice (YCSB).
        """
        weights = itertools.accumulate(1.0 / rank**skew for rank in range(1, population + 1))
        return self.rng.choices(range(population), cum_weights=list(weights), k=requests)
