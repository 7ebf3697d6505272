"""Look up, or load: the lookup that calls a loader when there is nothing to be had."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, TypeVar, cast, overload

from velro_cache._engine import ManualClock, PreparedEntry
from velro_cache.config import OptimizedCacheConfig
from velro_cache.l2.contract import L2Backend, TwoSidedL2Backend
from velro_cache.l2.shared_load import Request
from velro_cache.l2.two_levels import TwoLevels
from velro_cache.loader import Flights, Ttl
from velro_cache.refill import RefillGate
from velro_cache.typed_entries import TypedEntries

__all__ = ["LoadingCache"]

T = TypeVar("T")

_MISS: Final = object()
_CONFIGURED: Final[Any] = object()
_BY_KEY: Final[Any] = object()

_text: Final = str.__str__
"""The text a key holds, whatever its class makes of comparing and hashing it."""


class LoadingCache(TypedEntries):
    """A store that loads what it does not have, once for everybody who asks.

    Args:
        config: Settings; None: the defaults.
        clock: A clock that tests move by hand; None: the system's.
        l2: Where values are shared with other hosts; None: in the Redis of ``redis_url``, if
            there is one.
    """

    __slots__ = ("_flights", "_l2")

    _flights: Flights
    _l2: TwoLevels | None

    def __init__(
        self,
        config: OptimizedCacheConfig | None = None,
        *,
        clock: ManualClock | None = None,
        l2: L2Backend | TwoSidedL2Backend | None = None,
    ) -> None:
        super().__init__(config, clock=clock)
        if self._config.log_address is None:
            self._flights = Flights(self)
        else:
            gate = RefillGate(self._config.refill_limit, self._is_refilling)
            self._flights = Flights(self, gate, has_other_hosts=True)
        shares = l2 is not None or self._config.redis_url is not None
        self._l2 = TwoLevels(self, self._config, l2) if shares else None

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
        permissive: bool | Callable[[T], bool] = True,
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
            permissive: Whether the value allows something, or a function of the loaded value that
                says so with True or False. What denies may be served while there is no news from
                the invalidation log, what allows may not. If in doubt, True.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: Another thread's load took too long.
            LoaderRecursionError: The loader asked for its own key.
            TypeError: ``permissive`` is neither a bool nor a function, or gave something else.
            Exception: Whatever the loader raised, for everybody who waited. Nothing is cached.
                Also what a function for ``ttl`` or ``permissive`` raised.

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
            permissive=permissive,
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
        permissive: bool | Callable[[T], bool] = True,
        l2_key: str | None = _BY_KEY,
        private_tags: Iterable[str] = (),
    ) -> T:
        """Do what :meth:`get_or_load` does after its lookup has missed.

        For callers that looked already: a second lookup would count a second miss.

        ``l2_key`` is the key under which other hosts look for the value. None: they could not find
        it, so L2 is neither asked nor told. Left out: ``key``. ``private_tags`` are those of
        ``tags`` that must not leave this host.
        """
        timeout = self._timeout(load_timeout_seconds)
        if not (isinstance(permissive, bool) or callable(permissive)):
            raise _not_a_flag(permissive)
        if self._l2 is not None:
            # Read twice: an iterator would be empty the second time.
            tags = tuple(tags) if isinstance(tags, Iterator) else tags
        entry = self._prepare(key, None if callable(ttl) else ttl, tags, priority, refresh)
        key = _text(key)
        l2 = self._l2_for(l2_key)
        if l2 is not None:
            other = None if l2_key is _BY_KEY else l2_key
            request = Request(
                key, tags, priority, ttl, refresh, timeout, permissive, other, private_tags
            )
            shared = l2.before(loader, entry, request)
            loader, ttl, timeout = shared.load, shared.ttl, shared.timeout_seconds
            entry = cast("PreparedEntry", shared)
        return cast("T", self._flights.load(key, entry, loader, ttl, timeout, refresh, permissive))

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
        permissive: bool | Callable[[T], bool] = True,
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
        permissive: bool | Callable[[T], bool] = True,
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
        permissive: bool | Callable[[T], bool] = True,
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
            permissive: As for ``get_or_load``.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: The load took too long.
            LoaderRecursionError: The loader asked for its own key.
            LoaderCancelledError: The loader raised ``CancelledError`` of its own accord.
            TypeError: ``permissive`` is neither a bool nor a function, or gave something else.
            Exception: Whatever the loader raised, for everybody who waited. Nothing is cached.
                Also what a function for ``ttl`` or ``permissive`` raised.

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
            permissive=permissive,
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
        permissive: bool | Callable[[T], bool] = True,
        l2_key: str | None = _BY_KEY,
        private_tags: Iterable[str] = (),
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
        permissive: bool | Callable[[T], bool] = True,
        l2_key: str | None = _BY_KEY,
        private_tags: Iterable[str] = (),
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
        permissive: bool | Callable[[T], bool] = True,
        l2_key: str | None = _BY_KEY,
        private_tags: Iterable[str] = (),
    ) -> T:
        """Do what :meth:`aget_or_load` does after its lookup has missed.

        For callers that looked already: a second lookup would count a second miss. ``l2_key`` and
        ``private_tags`` are as for :meth:`load_missing`.
        """
        timeout = self._timeout(load_timeout_seconds)
        if not (isinstance(permissive, bool) or callable(permissive)):
            raise _not_a_flag(permissive)
        if self._l2 is not None:
            # Read twice: an iterator would be empty the second time.
            tags = tuple(tags) if isinstance(tags, Iterator) else tags
        entry = self._prepare(key, None if callable(ttl) else ttl, tags, priority, refresh)
        key = _text(key)
        l2 = self._l2_for(l2_key)
        if l2 is not None:
            other = None if l2_key is _BY_KEY else l2_key
            request = Request(
                key, tags, priority, ttl, refresh, timeout, permissive, other, private_tags
            )
            shared = l2.before(loader, entry, request)
            loader, ttl, timeout = shared.aload, shared.ttl, shared.timeout_seconds
            entry = cast("PreparedEntry", shared)
        return cast(
            "T", await self._flights.aload(key, entry, loader, ttl, timeout, refresh, permissive)
        )

    def _l2_for(self, l2_key: str | None) -> TwoLevels | None:
        """What to ask before the loader of a value that other hosts know by this key."""
        if l2_key is None and self._l2 is not None:
            self._l2.pass_by()
            return None
        return self._l2

    def _l2_figures(self) -> dict[str, Any]:
        return {"enabled": False} if self._l2 is None else self._l2.figures()

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


def _not_a_flag(permissive: object) -> TypeError:
    kind = type(permissive).__name__
    return TypeError(f"permissive must be True, False or a function of the value, not {kind}")
