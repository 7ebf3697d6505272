"""What operators ask of a cache: the hottest names, the last minutes, one key.

Nothing here returns a value that is cached, and nothing of it costs anything on a hit.
"""

from typing import Any

from velro_cache.hidden_ids import hidden_key, hidden_tag
from velro_cache.loading import LoadingCache

__all__ = ["ObservedCache"]


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

        Consistency: estimates from one lookup in 128, of this process. The chance of sampling comes
        on top of ``error_bound``: about 11 times the root of the estimate.
        """
        name = hidden_key if hash_ids else _as_it_is
        return [_hot("key", name(key), *rest) for key, *rest in self._top(False, limit)]

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

        Consistency: as for :meth:`get_top_keys`, from one lookup in 512.
        """
        name = hidden_tag if hash_ids else _as_it_is
        return [_hot("tag", name(tag), *rest) for tag, *rest in self._top(True, limit)]


def _as_it_is(name: str) -> str:
    return name


def _hot(kind: str, name: str, requests: int, hits: int, error: int) -> dict[str, Any]:
    return {
        kind: name,
        "estimated_requests": requests,
        "estimated_hits": hits,
        "error_bound": error,
    }
