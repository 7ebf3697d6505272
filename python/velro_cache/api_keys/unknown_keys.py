"""Keys that let nobody in, remembered for seconds, and few of them.

Apart from the cache, so that they take no room there.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from velro_cache.exceptions import ApiKeyError

__all__ = ["UnknownKeys"]


class UnknownKeys:
    """Digests of keys that were refused, and why. For one thread at a time.

    Args:
        ttl_seconds: How long each is remembered. 0: not at all.
        most: How many at the most; then the oldest go.
        now: A clock that only goes forward, in seconds.
    """

    def __init__(self, ttl_seconds: float, most: int, now: Callable[[], float]) -> None:
        self._ttl = ttl_seconds
        self._most = most
        self._now = now
        self._refused: OrderedDict[bytes, tuple[float, type[ApiKeyError], int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refused)

    @property
    def digests(self) -> Mapping[bytes, object]:
        """Those that are remembered, as they are now and will be."""
        return self._refused

    def why(self, digest: bytes) -> type[ApiKeyError] | None:
        """Why a key was refused lately; None: it was not, or nobody remembers."""
        found = self._refused.get(digest)
        if found is None:
            return None
        until, why, _ = found
        if self._now() < until:
            return why
        del self._refused[digest]
        return None

    def is_newer(self, digest: bytes, stamp: int) -> bool:
        """Whether a key was refused by what was read since a stamp, and that is remembered."""
        found = self._refused.get(digest)
        return found is not None and found[2] >= stamp

    def add(self, digest: bytes, why: type[ApiKeyError], stamp: int) -> None:
        """Remember a refusal, and the stamp from before it was read."""
        if self._ttl <= 0 or self._most <= 0:
            return
        self._refused.pop(digest, None)
        self._refused[digest] = (self._now() + self._ttl, why, stamp)
        if len(self._refused) > self._most:
            self._refused.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        """Forget one: the key is there now."""
        self._refused.pop(digest, None)

    def purge(self) -> int:
        """Drop those whose time is over, and tell how many."""
        now, before = self._now(), len(self._refused)
        while self._refused:
            digest, (until, *_) = next(iter(self._refused.items()))
            # All live equally long, so the oldest end first.
            if now < until:
                break
            del self._refused[digest]
        return before - len(self._refused)

    def clear(self) -> None:
        """Forget all."""
        self._refused.clear()
