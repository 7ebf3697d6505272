"""Look up, or load: the lookup that calls a loader when there is nothing to be had."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar, cast, overload

from velro_cache._engine import ManualClock
from velro_cache.config import OptimizedCacheConfig
from velro_cache.loader import Flights, Ttl
from velro_cache.typed_entries import TypedEntries

__all__ = ["LoadingCache"]

T = TypeVar("T")

_MISS: Final = object()
_CONFIGURED: Final[Any] = object()

_text: Final = str.__str__
"""The text a key holds, whatever its class makes of comparing and hashing it."""


class LoadingCache(TypedEntries):
    """A store that loads what it does not have, once for everybody who asks.

    Args:
        config: Settings; None: the defaults.
        clock: A clock that tests move by hand; None: the system's.
    """

    __slots__ = ("_flights",)

    _flights: Flights

    def __init__(
        self, config: OptimizedCacheConfig | None = None, *, clock: ManualClock | None = None
    ) -> None:
        super().__init__(config, clock=clock)
        self._flights = Flights(self)

    def get_or_load(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T:
        """Look a key up; on a miss, load it once for everybody who asks meanwhile.

        Args:
            key: Name of the entry.
            loader: Called without arguments on a miss. What it returns is cached, None too.
            ttl: Life in seconds, or a function from the loaded value to it (0 or less: do not
                cache). None: ``default_ttl_seconds``.
            tags: As for ``set``.
            priority: As for ``set``.
            load_timeout_seconds: Longest wait for a load in another thread; None: no limit.
                Left out: as configured. A load in this thread is not interrupted.
            refresh: Load even if there is a value, and even if somebody else is loading: for a
                caller that must see the state of now.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: Another thread's load took too long.
            LoaderRecursionError: The loader asked for its own key.
            Exception: Whatever the loader raised, for everybody who waited. Nothing is cached.

        Consistency: a value invalidated while it was being loaded is not stored, and given only
        to callers that had asked before the invalidation.
        """
        if not refresh:
            found = self.get_value(key, _MISS)
            if found is not _MISS:
                return cast("T", found)
        return self.load_missing(
            key,
            loader,
            ttl=ttl,
            tags=tags,
            priority=priority,
            load_timeout_seconds=load_timeout_seconds,
            refresh=refresh,
        )

    def load_missing(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T:
        """Do what :meth:`get_or_load` does after its lookup has missed.

        For callers that looked already: a second lookup would count a second miss.
        """
        timeout = self._timeout(load_timeout_seconds)
        entry = self._prepare(key, None if callable(ttl) else ttl, tags, priority, refresh)
        key = _text(key)
        return cast("T", self._flights.load(key, entry, loader, ttl, timeout, refresh))

    @overload
    async def aget_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[T]],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T: ...
    @overload
    async def aget_or_load(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T: ...
    async def aget_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[T] | T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T:
        """Look a key up; on a miss, await its loader once for everybody who asks meanwhile.

        Args:
            key: Name of the entry.
            loader: Called without arguments on a miss; may be a coroutine function. What it
                returns is cached, None too. It runs in a task of its own, so a caller that is
                cancelled does not take the load away from the others.
            ttl: As for ``get_or_load``.
            tags: As for ``set``.
            priority: As for ``set``.
            load_timeout_seconds: Longest time for the load, after which it is cancelled; None:
                no limit. Left out: as configured.
            refresh: As for ``get_or_load``.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: The load took too long.
            LoaderRecursionError: The loader asked for its own key.
            LoaderCancelledError: The loader raised ``CancelledError`` of its own accord.
            Exception: Whatever the loader raised, for everybody who waited. Nothing is cached.

        Consistency: as for ``get_or_load``.
        """
        if not refresh:
            found = self.get_value(key, _MISS)
            if found is not _MISS:
                return cast("T", found)
        return await self.aload_missing(
            key,
            cast("Callable[[], Awaitable[T]]", loader),
            ttl=ttl,
            tags=tags,
            priority=priority,
            load_timeout_seconds=load_timeout_seconds,
            refresh=refresh,
        )

    @overload
    async def aload_missing(
        self,
        key: str,
        loader: Callable[[], Awaitable[T]],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T: ...
    @overload
    async def aload_missing(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T: ...
    async def aload_missing(
        self,
        key: str,
        loader: Callable[[], Awaitable[T] | T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T:
        """Do what :meth:`aget_or_load` does after its lookup has missed.

        For callers that looked already: a second lookup would count a second miss.
        """
        timeout = self._timeout(load_timeout_seconds)
        entry = self._prepare(key, None if callable(ttl) else ttl, tags, priority, refresh)
        key = _text(key)
        return cast("T", await self._flights.aload(key, entry, loader, ttl, timeout, refresh))

    def _timeout(self, asked: float | None) -> float | None:
        if asked is _CONFIGURED:
            return self._config.load_timeout_seconds
        if asked is None:
            return None
        if isinstance(asked, bool) or not isinstance(asked, (int, float)):
            raise TypeError(f"load_timeout_seconds must be a number, not {type(asked).__name__}")
        if not asked > 0:
            raise ValueError(f"load_timeout_seconds must be above 0, not {asked!r}")
        return asked
