"""What became of callers whose value was near its end, or past it."""

from collections import Counter
from typing import Any, Final, Literal

from velro_cache.fork_safety import ForkSafeLock

__all__ = ["FreshnessCounts", "Reload", "Stale"]

Stale = Literal["revalidating", "soft_timeout", "error", "hard_timeout"]
"""Why a value past its end was the answer."""

Reload = Literal["begun", "failed", "skipped"]
"""What became of loads that run beside an answer. ``skipped``: for want of room."""

_STALE: Final = ("revalidating", "soft_timeout", "error", "hard_timeout")
_MODES: Final = ("raise", "stale")
_TIMEOUTS: Final = ("soft", "hard")
_RELOADS: Final = ("begun", "failed", "skipped")


class FreshnessCounts:
    """Counters of one cache; exact, from any thread."""

    __slots__ = ("_counts", "_lock")

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def stale(self, why: Stale) -> None:
        """A value past its end was the answer."""
        self._count("stale_answers", why)

    def failed(self, mode: Literal["raise", "stale"]) -> None:
        """A caller's load failed or took too long, and this is what it got."""
        self._count("failures", mode)

    def timed_out(self, which: Literal["soft", "hard"]) -> None:
        """A caller has waited so long."""
        self._count("timeouts", which)

    def reload(self, what: Reload) -> None:
        """A load that runs beside an answer."""
        self._count("reloads", what)

    def figures(self) -> dict[str, Any]:
        """All of them, by what they count and by cause."""
        with self._lock:
            counts = Counter(self._counts)
        groups = {
            "stale_answers": _STALE,
            "failures": _MODES,
            "timeouts": _TIMEOUTS,
            "reloads": _RELOADS,
        }
        return {
            group: {name: counts[group, name] for name in names} for group, names in groups.items()
        }

    def _count(self, group: str, name: str) -> None:
        with self._lock:
            self._counts[group, name] += 1
