"""Lives chosen by how often values change and how often they are asked for.

What is learned is learned per *context*: a kind of key, one decorated function, or what a caller
named so. A hit pays nothing for it: uses are read off the counters there are, and changes are
seen where values are loaded again.

A life that the caller gave is never lengthened, and neither is that of a value that allows
something: what is chosen can only cut it. What was given no life and allows nothing lives from
``adaptive_ttl_min_seconds`` to ``adaptive_ttl_max_seconds``.
"""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from velro_cache._engine import keyed_digest
from velro_cache.fork_safety import ForkSafeLock
from velro_cache.freshness.change_rate import ChangeRate
from velro_cache.freshness.fingerprints import fingerprint
from velro_cache.freshness.life import best_life_seconds

__all__ = ["AdaptiveLives", "context_of"]

_MOST_CONTEXTS: Final = 64
"""What more there are share one."""

_REST: Final = "(others)"

_MOST_REMEMBERED: Final = 4_096
"""Keys of which is known when they were loaded last, and to what; about a megabyte."""

_LONGEST_CONTEXT: Final = 80

_SECONDS_BETWEEN_COUNTS: Final = 1.0
"""Between two readings of the counters of hits: they take longer than a lookup."""

_FAMILIES: Final = frozenset(
    {"auth:user", "auth:gen", "auth:project", "auth:team", "uuid:validation"}
)

Ttl = float | None | Callable[[Any], float | None]
Permissive = bool | Callable[[Any], bool]


class _Cache(Protocol):
    def _explain(self, key: str) -> dict[str, Any]: ...
    def _stats(self) -> dict[str, Any]: ...
    def _clock_seconds(self) -> float: ...


class _Seen(NamedTuple):
    """The last load of a key."""

    at_seconds: float
    print: int | None
    chosen: dict[str, Any]


class _Context:
    """What was learned of one context."""

    __slots__ = ("chosen_seconds", "loads", "rate")

    def __init__(self) -> None:
        self.rate = ChangeRate()
        self.loads = 0
        """Since uses were counted last."""
        self.chosen_seconds: float | None = None


class AdaptiveLives:
    """Chooses the lives of the entries of one cache.

    Args:
        cache: The cache.
        default_seconds: The life of entries for which none was given.
        least_seconds: What is chosen is no shorter.
        most_seconds: What is chosen is no longer.
    """

    __slots__ = (
        "_cache",
        "_contexts",
        "_counted_at",
        "_default",
        "_hits_before",
        "_least",
        "_lock",
        "_most",
        "_seen",
    )

    def __init__(
        self, cache: _Cache, default_seconds: float, least_seconds: float, most_seconds: float
    ) -> None:
        self._cache = cache
        self._default = default_seconds
        self._least = least_seconds
        self._most = most_seconds
        self._lock = ForkSafeLock()
        self._contexts: dict[str, _Context] = {}
        # By keyed digests: a key may be long, and a table of them tells who was here.
        self._seen: dict[bytes, _Seen] = {}
        self._counted_at = -math.inf
        self._hits_before: dict[str, int] = {}

    def ttl_for(
        self, key: str, ttl: Ttl, permissive: Permissive, context: str | None = None
    ) -> Ttl:
        """Return what to give for a life in the place of what the caller gave.

        Args:
            key: The key that is loaded.
            ttl: What the caller gave.
            permissive: What the caller gave.
            context: What to learn under; None: what :func:`context_of` says.

        Returns:
            A function of the loaded value.
        """
        name = context_of(key) if context is None else context
        decided: list[tuple[Any, float | None]] = []

        def life_seconds(value: Any) -> float | None:
            # Asked again about one value: that is no second look. A load may come by another one
            # first, which it does not use.
            if not decided or decided[0][0] is not value:
                decided[:] = [(value, decide(value))]
            return decided[0][1]

        def decide(value: Any) -> float | None:
            asked = ttl(value) if callable(ttl) else ttl
            if asked is not None and not asked > 0:
                # Not to be kept; or no number at all, about which others complain.
                return asked
            allows = permissive(value) if callable(permissive) else permissive
            return self._choose(key, name, value, asked, allows is not False)

        return life_seconds

    def explain(self, key: str) -> dict[str, Any] | None:
        """Say which life was chosen at the last load of a key, and why; None: none was."""
        with self._lock:
            seen = self._seen.get(_digest(key))
        return None if seen is None else dict(seen.chosen)

    def figures(self) -> dict[str, dict[str, Any]]:
        """What was learned, by context."""
        with self._lock:
            return {
                name: {
                    "looks": context.rate.looks,
                    "changes_per_hour": _per_hour(context.rate.changes_per_second),
                    "uses_per_hour": _per_hour(context.rate.uses_per_second),
                    "ttl_seconds": context.chosen_seconds,
                }
                for name, context in self._contexts.items()
            }

    def _choose(
        self, key: str, context_name: str, value: Any, asked: float | None, allows: bool
    ) -> float | None:
        printed = fingerprint(value)
        was_invalidated = self._cache._explain(key)["why_not"] == "invalidated"
        now = self._cache._clock_seconds()
        digest = _digest(key)
        with self._lock:
            name, context = self._context(context_name)
            before = self._seen.pop(digest, None)
            context.loads += 1
            if before is not None:
                knows = printed is not None and before.print is not None
                if knows or was_invalidated:
                    changed = was_invalidated or printed != before.print
                    context.rate.looked(now - before.at_seconds, changed=changed)
            self._count_uses(now)
            seconds, chosen = self._reasons(name, context.rate, asked, allows)
            context.chosen_seconds = chosen["ttl_seconds"]
            if len(self._seen) >= _MOST_REMEMBERED:
                # The one that was loaded longest ago.
                del self._seen[next(iter(self._seen))]
            self._seen[digest] = _Seen(now, printed, chosen)
        return seconds

    def _reasons(
        self, name: str, rate: ChangeRate, asked: float | None, allows: bool
    ) -> tuple[float | None, dict[str, Any]]:
        """The life for an entry (None: that without all this), and what led to it."""
        changes, uses = rate.changes_per_second, rate.uses_per_second
        given = self._default if asked is None else asked
        seconds, best, decided_by = given, None, "too few looks"
        if changes is not None:
            best = best_life_seconds(changes, uses)
            seconds, decided_by = best, "estimate"
            if seconds < self._least:
                seconds, decided_by = self._least, "adaptive_ttl_min_seconds"
            if seconds > self._most:
                seconds, decided_by = self._most, "adaptive_ttl_max_seconds"
            if seconds > given and asked is not None:
                seconds, decided_by = given, "the life that was given"
            elif seconds > given and allows:
                seconds, decided_by = given, "the default life, since it allows something"
        chosen = {
            "ttl_seconds": seconds,
            "decided_by": decided_by,
            "context": name,
            "looks": rate.looks,
            "changes_per_hour": _per_hour(changes),
            "uses_per_hour": _per_hour(uses),
            "estimate_seconds": best if best is None or math.isfinite(best) else None,
            "min_seconds": self._least,
            "max_seconds": self._most,
        }
        return (asked if changes is None else seconds), chosen

    def _context(self, name: str) -> tuple[str, _Context]:
        context = self._contexts.get(name)
        if context is None:
            if len(self._contexts) >= _MOST_CONTEXTS:
                name = _REST
            context = self._contexts.setdefault(name, _Context())
        return name, context

    def _count_uses(self, now: float) -> None:
        """Read how many hits there were, for all contexts, now and then."""
        if now - self._counted_at < _SECONDS_BETWEEN_COUNTS and now >= self._counted_at:
            return
        self._counted_at = now
        hits = {family["name"]: family["hits"] for family in self._cache._stats()["families"]}
        loads: dict[str, int] = {}
        for name, context in self._contexts.items():
            family = _family_of(name)
            loads[family] = loads.get(family, 0) + context.loads
        for name, context in self._contexts.items():
            if context.loads:
                # Contexts of one kind share its hits by their loads.
                family = _family_of(name)
                since = hits.get(family, 0) - self._hits_before.get(family, 0)
                context.rate.used(context.loads, round(since * context.loads / loads[family]))
                context.loads = 0
        # Hits of a kind that loaded nothing count with the loads that are to come.
        for family in (family for family, count in loads.items() if count):
            self._hits_before[family] = hits.get(family, 0)


def context_of(key: str) -> str:
    """Return the context of a key: its kind, or its function.

    Keys of the application's own share one: their beginnings may be ids, and contexts are shown.

    Args:
        key: A whole key.
    """
    first, _, rest = key.partition(":")
    second, _, rest = rest.partition(":")
    kind = f"{first}:{second}"
    if kind == "auth:call":
        return f"auth:call:{rest.partition(':')[0]}"[:_LONGEST_CONTEXT]
    return kind if kind in _FAMILIES else _REST


def _family_of(context: str) -> str:
    """The counter of hits that a context belongs to."""
    if context.startswith("auth:call:"):
        return "auth:call"
    return context if context in _FAMILIES else "other"


def _digest(key: str) -> bytes:
    return keyed_digest(key.encode("utf-8", "surrogatepass"))[:8]


def _per_hour(per_second: float | None) -> float | None:
    return None if per_second is None else round(per_second * 3600, 6)
