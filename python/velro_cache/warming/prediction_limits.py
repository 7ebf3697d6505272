"""How much may be loaded ahead, and when it counts as worth it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

__all__ = ["PredictionLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionLimits:
    """How much may be loaded ahead, and when it counts as worth it.

    Attributes:
        least_probability: How often something must have followed, as a part of the times that what
            it follows was asked for.
        least_precision: Which part of what is loaded ahead must be used; below it is switched off.
        window: Of how many of the last loads that is judged.
        trial: How many loads are made before anything is known, and after each pause.
        pause_seconds: For how long it is off after it did not pay.
        per_miss: How many loads ahead one load earns that somebody waited for; what is used gives
            back what it cost. So this bounds what is loaded in vain.
        max_per_second: How many are begun per second in the long run.
        concurrency: How many run at once; what is likely beyond that is left out.
        max_at_once: How many one access may begin.
        max_outstanding: How many may be there that were not asked for yet.
        max_outstanding_per_user: The same for one user.
        lookahead: Within how many accesses of a user something follows.
        session_seconds: Longest pause between two accesses of which one follows the other.
        width: Followers that are remembered of each name.
        max_sources: Names of which followers are remembered; at times twice as many.
        max_users: Users whose last accesses are remembered.
        share_of_users: Whose accesses are looked at, as a part of all users. Under load it is less.
        every_seconds: How often it is looked what to do.
        hash_ids: Whether users, and the names they come from, are kept as digests. What is to be
            loaded cannot be; it is kept without the user.

    Raises:
        TypeError: A number is none.
        ValueError: It is out of range; see the table in ``docs/warming.md``.
    """

    least_probability: float = 0.4
    least_precision: float = 0.4
    window: int = 200
    trial: int = 20
    pause_seconds: float = 600.0
    per_miss: float = 1.0
    max_per_second: float = 50.0
    concurrency: int = 8
    max_at_once: int = 4
    max_outstanding: int = 1000
    max_outstanding_per_user: int = 16
    lookahead: int = 3
    session_seconds: float = 300.0
    width: int = 6
    max_sources: int = 2048
    max_users: int = 4096
    share_of_users: float = 1.0
    every_seconds: float = 0.05
    hash_ids: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "hash_ids":
                if not isinstance(value, bool):
                    raise TypeError("hash_ids must be True or False")
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{field.name} must be a number, not {type(value).__name__}")
            if isinstance(field.default, int) and not isinstance(value, int):
                raise TypeError(f"{field.name} must be an integer, not {value!r}")
            low, high = _RANGES[field.name]
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"{field.name} must be {low:g} to {high:g}, not {value!r:.80}")


_RANGES: Final[dict[str, tuple[float, float]]] = {
    "least_probability": (0.05, 1),
    "least_precision": (0.05, 1),
    "window": (10, 10_000),
    "trial": (1, 1_000),
    "pause_seconds": (1, 86_400),
    "per_miss": (0.01, 10),
    "max_per_second": (0.1, 10_000),
    "concurrency": (1, 256),
    "max_at_once": (1, 64),
    "max_outstanding": (1, 100_000),
    "max_outstanding_per_user": (1, 1_000),
    "lookahead": (1, 16),
    "session_seconds": (1, 86_400),
    "width": (1, 64),
    "max_sources": (16, 1_000_000),
    "max_users": (16, 1_000_000),
    "share_of_users": (1 / 1024, 1),
    "every_seconds": (0.005, 10),
}
