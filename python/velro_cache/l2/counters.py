"""What happened between the two levels, for ``get_stats()["l2"]``."""

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Final

from velro_cache.fork_safety import ForkSafeLock

__all__ = ["Counters"]

_SAMPLES: Final = 1024
"""The last so many times are kept; the 99th percentile of them has ten behind it."""


class Counters:
    """Counts of one cache. Safe to use from any thread."""

    __slots__ = ("_errors", "_lock", "_plain", "_refused", "_seconds", "_skipped", "_unshared")

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._plain: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._unshared: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._seconds: deque[float] = deque(maxlen=_SAMPLES)

    def count(self, what: str) -> None:
        """Count something that has a name of its own in the figures."""
        with self._lock:
            self._plain[what] += 1

    def refused(self, reason: str) -> None:
        """Count a value that was there and not believed."""
        with self._lock:
            self._refused[reason] += 1

    def unshared(self, reason: str) -> None:
        """Count a value that was loaded and not written."""
        with self._lock:
            self._unshared[reason] += 1

    def skipped(self, reason: str) -> None:
        """Count a lookup that was not even tried."""
        with self._lock:
            self._skipped[reason] += 1

    def failed(self, kind: str) -> None:
        """Count an operation that ended with an error, by the class of the error."""
        with self._lock:
            self._plain["errors"] += 1
            self._errors[kind] += 1

    def took(self, seconds: float) -> None:
        """Take note of how long a lookup that was answered took."""
        with self._lock:
            self._seconds.append(seconds)

    def figures(self) -> dict[str, Any]:
        """All of them, by name."""
        with self._lock:
            seconds = sorted(self._seconds)
            figures: dict[str, Any] = {name: self._plain[name] for name in _PLAIN}
            by_reason: Mapping[str, Counter[str]] = {
                "refused": self._refused,
                "not_shared": self._unshared,
                "skipped": self._skipped,
                "errors_by_kind": self._errors,
            }
            figures |= {name: dict(counter) for name, counter in by_reason.items()}
        figures["latency_ms"] = _percentiles([1000 * second for second in seconds])
        return figures


_PLAIN: Final = ("hits", "misses", "writes", "errors", "timeouts", "waits", "waits_in_vain")


def _percentiles(ordered: list[float]) -> dict[str, float]:
    if not ordered:
        return {"mean": 0.0, "p50": 0.0, "p90": 0.0, "p99": 0.0}
    found = {"mean": sum(ordered) / len(ordered)}
    for percent in (50, 90, 99):
        found[f"p{percent}"] = ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
    return found
