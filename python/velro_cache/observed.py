"""What operators ask of a cache: the hottest names, the last minutes, one key.

Nothing here returns a value that is cached, and nothing of it costs anything on a hit but for one
in 128, which is timed anyway.
"""

import time
from typing import Any, Final

from velro_cache.hidden_ids import hidden_key, hidden_name, hidden_tag
from velro_cache.loading import LoadingCache

__all__ = ["ObservedCache"]

_MOST_KEYS_OF_A_PAGE: Final = 1000

_FACTORS: Final = (0.5, 1.0, 2.0)

_COUNTS: Final = ("hits", "misses", "loads", "evictions", "expirations", "invalidations")
_LEVELS: Final = ("entries", "bytes", "samples")
_TIMES: Final = ("p50_ns", "p99_ns")


class ObservedCache(LoadingCache):
    """A cache that tells what becomes of its lookups."""

    __slots__ = ()

    def get_top_keys(self, limit: int = 20, *, hash_ids: bool = False) -> list[dict[str, Any]]:
        """List the keys asked for most in the last five to ten minutes.

        Args:
            limit: Most keys to return; about 500 are there at the most.
            hash_ids: Show the kind of a key and a digest in the place of the rest. The digest of a
                key is always the same, in this process alone.

        Returns:
            Dicts, the most requests first: ``key`` (its first 256 bytes), ``estimated_requests``,
            ``estimated_hits`` (of these, answered from memory; rather too few) and
            ``error_bound`` (by so much the requests may be too many).

        Raises:
            ValueError: ``limit`` is negative.

        Consistency: estimates from one lookup in 128, of this process. The chance of sampling comes
        on top of ``error_bound``: about 11 times the root of the estimate.
        """
        name = hidden_key if hash_ids else _as_it_is
        top = self._top(False, _not_negative("limit", limit))
        return [_hot("key", name(key), *rest) for key, *rest in top]

    def get_top_tags(self, limit: int = 20, *, hash_ids: bool = False) -> list[dict[str, Any]]:
        """List the tags whose entries were asked for most in the last five to ten minutes.

        Tags that follow from the shape of a key (``user:{id}`` ...) count like those that were
        given. Of lookups that were not answered, these alone are known.

        Args:
            limit: Most tags to return; about 500 are there at the most.
            hash_ids: Show a digest in the place of the id; as for :meth:`get_top_keys`.

        Returns:
            As for :meth:`get_top_keys`, with ``tag`` for ``key``. Entries hold numbers for tags. So
            a tag whose name was not met lately is left out, and two that share a number (one of
            65,536) are counted as one.

        Raises:
            ValueError: ``limit`` is negative.

        Consistency: as for :meth:`get_top_keys`, from one lookup in 512.
        """
        name = hidden_tag if hash_ids else _as_it_is
        top = self._top(True, _not_negative("limit", limit))
        return [_hot("tag", name(tag), *rest) for tag, *rest in top]

    def get_history(self, seconds: int = 900) -> dict[str, list[Any]]:
        """Tell how the last seconds were, one point for each.

        The sweeper notes once a second how things stand, and so does this method. Without
        ``start()`` there are points for those seconds alone in which it was called.

        Args:
            seconds: How far back, 1 to 900.

        Returns:
            Lists of one length, oldest first: ``timestamps`` (seconds since 1970), ``seconds`` (how
            many seconds the counts are of: those since the point before), the counts ``hits``,
            ``misses``, ``loads`` (loaders called), ``evictions``, ``expirations``,
            ``invalidations``, the levels ``entries`` and ``bytes``, ``samples`` (lookups that were
            timed) and their ``p50_ns`` and ``p99_ns``. A second in which nobody looked has None in
            all lists but the first; the point after it is about that second, too. Percentiles are
            None without samples.

        Raises:
            ValueError: ``seconds`` is out of range.

        Cost: at most once a second, that of reading the counters.
        """
        if not 1 <= seconds <= 900:
            raise ValueError(f"seconds must be 1 to 900, not {seconds!r:.80}")
        now, points = self._history(seconds)
        columns: dict[str, list[Any]] = {
            name: [] for name in ("timestamps", "seconds", *_COUNTS, *_LEVELS, *_TIMES)
        }
        began_at = time.time() - now
        expected = None
        for point in points:
            second = point["second"]
            for missed in range(second if expected is None else expected, second):
                _add(columns, began_at + missed, {})
            _add(columns, began_at + second, _of_point(point))
            expected = second + 1
        return columns

    def get_what_if(self) -> dict[str, Any] | None:
        """Estimate the hit rate at half and at double the size, and with other lives.

        One key in 16 or fewer, chosen by its hash, is followed through five small caches with the
        eviction policy of this one.

        Returns:
            ``sampled_keys`` (followed now), ``sampling_rate`` (their share of all keys),
            ``lookups`` (that the rates are about; those of former hours count less),
            ``measured_hit_rate`` of these (0 to 1), and ``estimates``: dicts with ``change``
            (``"size"`` or ``"ttl"``), ``factor`` (0.5, 1.0 or 2.0) and ``estimated_hit_rate`` (0 to
            1; None: the small cache holds too few keys to be a likeness). With ``factor`` 1.0
            nothing is changed: how far that estimate is from what was measured tells how far the
            others may be off. None as a whole: fewer than 1,000 lookups of followed keys (16,000
            of all), or fewer than 32 followed keys (about 512 of all).

        Consistency: of this process. Lookups of a followed key are looked at once in about 128
        lookups, so a change of habit shows a little late.
        """
        found = self._what_if()
        if found is None:
            return None
        estimates = [
            {"change": change, "factor": factor, "estimated_hit_rate": rate}
            for change, rates in (("size", found["by_size"]), ("ttl", found["by_ttl"]))
            for factor, rate in zip(_FACTORS, rates, strict=True)
        ]
        names = ("sampled_keys", "sampling_rate", "lookups", "measured_hit_rate")
        return {**{name: found[name] for name in names}, "estimates": estimates}

    def get_recent_invalidations(
        self, limit: int = 100, *, hash_ids: bool = False
    ) -> list[dict[str, Any]]:
        """List what this process has invalidated lately.

        Args:
            limit: Most invalidations to return; the last 500 are kept.
            hash_ids: Show digests in the place of ids; as for :meth:`get_top_keys`. Without it, the
                names are those that callers gave: tags, keys, ids of users. ``actor`` and
                ``reason`` are always shown as they were given.

        Returns:
            Dicts, newest first: ``timestamp`` (seconds since 1970), ``seconds_ago``, ``names`` (the
            first five, each a dict with ``kind``: tag, user, generation, key, pattern or
            everything, and ``name``), ``named`` (how many there were), ``dropped`` (live entries
            that left before the call returned), ``unfinished`` (whether more may have left later),
            ``actor`` and ``reason``.

        Raises:
            ValueError: ``limit`` is negative.

        Consistency: of this process alone; what others have invalidated takes effect here all the
        same. It is no audit log that survives the process.
        """
        name = hidden_name if hash_ids else _name_as_it_is
        now = time.time()
        return [
            {
                "timestamp": now - ago,
                "seconds_ago": ago,
                "names": [{"kind": kind, "name": name(kind, text)} for kind, text in names],
                "named": named,
                "dropped": dropped,
                "unfinished": unfinished,
                "actor": actor,
                "reason": reason,
            }
            for names, named, dropped, unfinished, ago, actor, reason in (
                self._recent_invalidations(_not_negative("limit", limit))
            )
        ]

    def explain(self, key: str) -> dict[str, Any]:
        """Tell what is known of a key, and never its value.

        Args:
            key: A whole key.

        Returns:
            ``held`` (whether there is an entry), ``valid`` (whether a lookup would be answered by
            it now) and ``why_not``: None, or ``"expired"``, ``"invalidated"``, ``"lease"`` (no
            news from the log) for an entry; for a key that is not held why it left last, or
            ``"cold"`` if nobody remembers one. Of an entry, and None otherwise: ``age_seconds``
            (since its key came in; setting it over does not count), ``seconds_left``, ``tags``
            (how many, those that follow from its key among them), ``bytes``, ``permissive`` and
            ``priority``. ``adaptive_ttl``: the life that was chosen when it was loaded last, and
            what decided it; None if none was chosen, or that is too long ago.

        Raises:
            InvalidKeyError, TypeError: It is no key.

        Consistency: as of now; leaves no trace in the statistics.
        """
        return {**self._explain(key), "adaptive_ttl": self._lives.explain(key)}

    def keys_by_prefix(
        self, prefix: str, limit: int = 100, *, after: int | None = None
    ) -> dict[str, Any]:
        """List keys page by page, and never values.

        Args:
            prefix: What the keys begin with; empty: all keys.
            limit: Most keys of a page, 1 to 1,000.
            after: ``after`` of the page before; None: the first page.

        Returns:
            ``keys``, in no particular order, and ``after`` for the next page, None on the last one.
            A page looks at 16,384 entries at the most; so one may be short, or empty, and not be
            the last.

        Raises:
            ValueError: ``limit`` or ``after`` is out of range.

        Consistency: an entry that is there from the first page to the last is listed once. One that
        is set or leaves meanwhile may be or not.
        """
        if not 1 <= limit <= _MOST_KEYS_OF_A_PAGE:
            raise ValueError(f"limit must be 1 to {_MOST_KEYS_OF_A_PAGE}, not {limit!r:.80}")
        mark = 0 if after is None else after
        if not 0 <= mark < 1 << 64:
            raise ValueError("after must be that of the page before")
        keys, following = self._keys_by_prefix(prefix, limit, mark)
        return {"keys": keys, "after": following}


def _as_it_is(name: str) -> str:
    return name


def _name_as_it_is(kind: str, name: str) -> str:
    return name


def _not_negative(name: str, value: int) -> int:
    if value < 0:
        raise ValueError(f"{name} must not be negative, not {value!r:.80}")
    return value


def _hot(kind: str, name: str, requests: int, hits: int, error: int) -> dict[str, Any]:
    return {
        kind: name,
        "estimated_requests": requests,
        "estimated_hits": hits,
        "error_bound": error,
    }


def _of_point(point: dict[str, Any]) -> dict[str, Any]:
    levels = point["levels"]
    figures = {"seconds": point["seconds"], **point["counts"], **levels}
    if not levels["samples"]:
        figures.update(dict.fromkeys(_TIMES))
    return figures


def _add(columns: dict[str, list[Any]], timestamp: float, figures: dict[str, Any]) -> None:
    for name, column in columns.items():
        column.append(round(timestamp) if name == "timestamps" else figures.get(name))
