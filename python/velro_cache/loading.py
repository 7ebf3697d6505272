"""Look up, or load: the lookup that calls a loader when there is nothing to be had."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, Unpack, cast, overload

from velro_cache._engine import ManualClock, PreparedEntry
from velro_cache.config import OptimizedCacheConfig
from velro_cache.freshness.adaptive import AdaptiveLives
from velro_cache.freshness.answers import Answers
from velro_cache.freshness.policy import Freshness
from velro_cache.l2.contract import L2Backend, TwoSidedL2Backend
from velro_cache.l2.shared_load import Request, SharedLoad
from velro_cache.l2.two_levels import TwoLevels
from velro_cache.load_request import CONFIGURED, LoadOptions, LoadRequest, requested
from velro_cache.loader import Flights, Ttl
from velro_cache.refill import RefillGate
from velro_cache.typed_entries import TypedEntries

__all__ = ["LoadingCache", "LoadsObserver"]

T = TypeVar("T")

LoadsObserver = Callable[[str, Callable[[], Any]], Callable[[], Any]]
"""Puts something around a loader: from a key and its loader to what is called in its place."""

_MISS: Final = object()

_text: Final = str.__str__
"""The text a key holds, whatever its class makes of comparing and hashing it."""


class LoadingCache(TypedEntries):
    """A store that loads what it does not have, once for everybody who asks.

    Args:
        config: Settings; None: the defaults.
        clock: A clock that tests move by hand; None: the system's.
        l2: Where values are shared with other hosts; None: in the Redis of ``redis_url``, if
            there is one.

    Attributes:
        loads_observer: Puts something around each loader; None: nothing. Asked after a miss only.
    """

    __slots__ = ("_answers", "_flights", "_l2", "_lives", "loads_observer")

    _answers: Answers
    _flights: Flights
    loads_observer: LoadsObserver | None
    _lives: AdaptiveLives
    _l2: TwoLevels | None

    def __init__(
        self,
        config: OptimizedCacheConfig | None = None,
        *,
        clock: ManualClock | None = None,
        l2: L2Backend | TwoSidedL2Backend | None = None,
    ) -> None:
        super().__init__(config, clock=clock)
        self.loads_observer = None
        if self._config.log_address is None:
            self._flights = Flights(self)
        else:
            gate = RefillGate(self._config.refill_limit, self._is_refilling)
            self._flights = Flights(self, gate, has_other_hosts=True)
        limit, name = self._config.reload_concurrency, self._config.name
        self._answers = Answers(self, self._flights, limit, name)
        least, most = self._config.adaptive_ttl_bounds
        self._lives = AdaptiveLives(self, self._config.default_ttl_seconds, least, most)
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
        load_timeout_seconds: float | None = CONFIGURED,
        refresh: bool = False,
        permissive: bool | Callable[[T], bool] = True,
        freshness: Freshness | None = None,
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
            freshness: What is done when the value is near its end, or past it, or its load takes
                long; see :class:`~velro_cache.freshness.Freshness`. None: nothing, it is loaded.

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
        found = _MISS if refresh else self.get_value(key, _MISS)
        if found is not _MISS and (freshness is None or not self._is_due(key, freshness)):
            return cast("T", found)
        request = self._request(
            key,
            loader,
            ttl=ttl,
            tags=tags,
            priority=priority,
            load_timeout_seconds=load_timeout_seconds,
            refresh=refresh or found is not _MISS,
            permissive=permissive,
            freshness=freshness,
        )
        if found is _MISS:
            return cast("T", self._answer(request))
        self._answers.used(key, partial(self._load, request))
        return cast("T", found)

    def load_missing(self, key: str, loader: Callable[[], T], **options: Unpack[LoadOptions]) -> T:
        """Do what :meth:`get_or_load` does after its lookup has missed.

        For callers that looked already: a second lookup would count a second miss.
        """
        return cast("T", self._answer(self._request(key, loader, **options)))

    @overload
    async def aget_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[T]],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = CONFIGURED,
        refresh: bool = False,
        permissive: bool | Callable[[T], bool] = True,
        freshness: Freshness | None = None,
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
        load_timeout_seconds: float | None = CONFIGURED,
        refresh: bool = False,
        permissive: bool | Callable[[T], bool] = True,
        freshness: Freshness | None = None,
    ) -> T: ...
    async def aget_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[T] | T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = CONFIGURED,
        refresh: bool = False,
        permissive: bool | Callable[[T], bool] = True,
        freshness: Freshness | None = None,
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
            freshness: As for ``get_or_load``. A load beside an answer runs in a task of this event
                loop.

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
        found = _MISS if refresh else self.get_value(key, _MISS)
        if found is not _MISS and (freshness is None or not self._is_due(key, freshness)):
            return cast("T", found)
        request = self._request(
            key,
            loader,
            ttl=ttl,
            tags=tags,
            priority=priority,
            load_timeout_seconds=load_timeout_seconds,
            refresh=refresh or found is not _MISS,
            permissive=permissive,
            freshness=freshness,
        )
        if found is _MISS:
            return cast("T", await self._aanswer(request))
        self._answers.aused(key, partial(self._aload, request))
        return cast("T", found)

    async def aload_missing(
        self, key: str, loader: Callable[[], Awaitable[T]], **options: Unpack[LoadOptions]
    ) -> T:
        """Do what :meth:`aget_or_load` does after its lookup has missed.

        For callers that looked already: a second lookup would count a second miss.
        """
        return cast("T", await self._aanswer(self._request(key, loader, **options)))

    def _is_due(self, key: str, freshness: Freshness) -> bool:
        """Whether a value that was just found is to be loaded anew before its end."""
        return self._answers.is_due(key, freshness)

    def _aload_ahead(
        self, key: str, loader: Callable[[], Any], **options: Unpack[LoadOptions]
    ) -> None:
        """Load a value that is due anew, in a task beside its caller."""
        request = self._request(key, loader, **options)._replace(refresh=True)
        self._answers.aused(key, partial(self._aload, request))

    def _answer(self, request: LoadRequest) -> Any:
        load, freshness = partial(self._load, request), request.freshness
        if freshness is not None:
            return self._answers.answer(
                request.key,
                freshness,
                load,
                refresh=request.refresh,
                timeout_seconds=request.load_timeout_seconds,
            )
        try:
            return load()
        except Exception:
            self._answers.counts.failed("raise")
            raise

    async def _aanswer(self, request: LoadRequest) -> Any:
        load, freshness = partial(self._aload, request), request.freshness
        if freshness is not None:
            refresh = request.refresh
            return await self._answers.aanswer(request.key, freshness, load, refresh=refresh)
        try:
            return await load()
        except Exception:
            self._answers.counts.failed("raise")
            raise

    def _load(self, request: LoadRequest) -> Any:
        """Load in this thread, or wait for whoever is loading."""
        load = self._arranged(request)
        loader = load.loader if load.shared is None else load.shared.load
        value = self._flights.load(
            load.key,
            load.entry,
            loader,
            load.ttl,
            load.timeout_seconds,
            request.refresh,
            request.permissive,
        )
        self._loaded(load.key, request.freshness)
        return value

    async def _aload(self, request: LoadRequest) -> Any:
        """Load in a task of its own, or wait for whoever is loading."""
        load = self._arranged(request)
        loader = load.loader if load.shared is None else load.shared.aload
        value = await self._flights.aload(
            load.key,
            load.entry,
            loader,
            load.ttl,
            load.timeout_seconds,
            request.refresh,
            request.permissive,
        )
        self._loaded(load.key, request.freshness)
        return value

    def _arranged(self, request: LoadRequest) -> "_Arranged":
        """Put all that belongs to a load around its loader."""
        entry = self._prepare(
            request.key,
            request.life_seconds,
            request.tags,
            request.priority,
            request.refresh,
            request.grace_seconds,
        )
        key, ttl, freshness = _text(request.key), request.ttl, request.freshness
        if self._is_adaptive(freshness):
            context = None if freshness is None else freshness.context
            ttl = self._lives.ttl_for(request.key, ttl, request.permissive, context)
        loader = request.loader
        if self.loads_observer is not None:
            loader = self.loads_observer(key, loader)
        l2 = self._l2_for(request)
        if l2 is None:
            return _Arranged(key, entry, loader, ttl, request.load_timeout_seconds, None)
        shared = l2.before(loader, entry, _for_l2(request, key, ttl))
        stored = cast("PreparedEntry", shared)
        return _Arranged(key, stored, loader, shared.ttl, shared.timeout_seconds, shared)

    def _loaded(self, key: str, freshness: Freshness | None) -> None:
        if freshness is not None:
            self._answers.loaded(key, freshness)

    def _is_adaptive(self, freshness: Freshness | None) -> bool:
        asked = None if freshness is None else freshness.adaptive_ttl
        return self._config.adaptive_ttl if asked is None else asked

    def _request(
        self, key: str, loader: Callable[[], Any], **options: Unpack[LoadOptions]
    ) -> LoadRequest:
        return requested(key, loader, self._config.load_timeout_seconds, **options)

    def _l2_for(self, request: LoadRequest) -> TwoLevels | None:
        """What to ask before the loader of a value that other hosts know by its key."""
        if request.l2_key is None and self._l2 is not None:
            self._l2.pass_by()
            return None
        return self._l2

    def _l2_figures(self) -> dict[str, Any]:
        return {"enabled": False} if self._l2 is None else self._l2.figures()


class _Arranged(NamedTuple):
    """One load, with all that was put around it."""

    key: str
    entry: PreparedEntry
    loader: Callable[[], Any]
    ttl: Ttl
    timeout_seconds: float | None
    shared: SharedLoad | None
    """What stands for loader and entry where values are shared."""


def _for_l2(request: LoadRequest, key: str, ttl: Ttl) -> Request:
    return Request(
        key=key,
        tags=request.tags,
        priority=request.priority,
        ttl=ttl,
        refresh=request.refresh,
        load_timeout_seconds=request.load_timeout_seconds,
        permissive=request.permissive,
        shared_key=_text(request.l2_key or key),
        private_tags=request.private_tags,
    )
