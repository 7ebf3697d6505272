"""Puts the routes of the feed together.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

import asyncio
import math
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response, WebSocket
from fastapi.requests import HTTPConnection
from starlette.exceptions import HTTPException as AnyHTTPException

from velro_cache.fastapi.admin.cross_site import checked_origins, refuse_other_pages
from velro_cache.fastapi.answering import answer
from velro_cache.fastapi.dependencies import get_cache
from velro_cache.fastapi.feed.hub import Hub, TooManyClientsError
from velro_cache.fastapi.feed.listener import Listener, ask, checked_guard, listener_of
from velro_cache.fastapi.feed.session import FeedOptions, Session
from velro_cache.fastapi.feed.socket import TRY_AGAIN_LATER, talk
from velro_cache.fastapi.feed.stream import EventStream
from velro_cache.fastapi.feed.watching import MayWatch, Name, names_of
from velro_cache.manager import OptimizedCacheManager

__all__ = ["InvalidationFeedRouter", "create_invalidation_feed_router"]

_RETRY_AFTER_SECONDS: Final = 5
_MOST_ID_CHARACTERS: Final = 64
_NO_STORE: Final = {"Cache-Control": "no-store"}

Texts = Annotated[list[str], Query()]


class InvalidationFeedRouter(APIRouter):
    """The routes of a feed; made by :func:`create_invalidation_feed_router`."""

    def __init__(
        self,
        options: FeedOptions,
        make_hub: Callable[[OptimizedCacheManager], Hub],
        cache: OptimizedCacheManager | None,
        trusted_origins: frozenset[str],
        max_names: int,
        **router_options: Any,
    ) -> None:
        super().__init__(lifespan=self._until_the_end, **router_options)
        self._options, self._make_hub, self._cache = options, make_hub, cache
        self._trusted_origins, self._max_names = trusted_origins, max_names
        self._hubs: weakref.WeakKeyDictionary[OptimizedCacheManager, Hub] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def clients(self) -> int:
        """How many clients listen, in this process."""
        return sum(len(hub) for hub in self._hubs.values())

    def close(self) -> None:
        """End all connections of this process, from its event loop.

        Only servers need this that do not tell the application early enough that they end: uvicorn
        (and gunicorn with its workers) does, as long as it handles the signals.
        """
        for hub in self._hubs.values():
            hub.stop()

    async def hub_of(self, connection: HTTPConnection) -> Hub:
        """Where the connections of this event loop are.

        Args:
            connection: The request or WebSocket.
        """
        # An empty cache is false.
        cache = await get_cache(connection) if self._cache is None else self._cache
        hub = self._hubs.get(cache)
        if hub is None or hub.loop is not asyncio.get_running_loop():
            hub = self._hubs[cache] = self._make_hub(cache)
        return hub

    def names_for(self, texts: list[str]) -> tuple[Name, ...]:
        """Read what a client wants to watch. Whether it may is asked by :meth:`Session.admit`.

        Args:
            texts: Names as the client wrote them.

        Raises:
            HTTPException: 422: one is none. 403: nobody may watch any.
        """
        names = names_of(texts, self._max_names)
        if names and self._options.may_watch is None:
            raise HTTPException(403, "Nothing else can be watched", _NO_STORE)
        return names

    def session(
        self,
        hub: Hub,
        connection: HTTPConnection,
        listener: Listener,
        names: tuple[Name, ...],
        last_id: str | None,
    ) -> Session:
        """Begin a connection. It is not let in yet: see :meth:`Session.admit`.

        Raises:
            TooManyClientsError: There are enough.
            HTTPException: 422: one of the names is none.
        """
        client = hub.join(listener, names)
        return Session(hub, client, names, connection, self._options, last_id)

    def refuse_pages(self, connection: HTTPConnection) -> None:
        """Refuse pages of other sites: browsers send cookies along with what these ask for."""
        refuse_other_pages(connection, self._trusted_origins)

    @asynccontextmanager
    async def _until_the_end(self, _app: object) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self.close()


def create_invalidation_feed_router(
    guard: Callable[..., Any],
    prefix: str = "/feed",
    *,
    may_watch: MayWatch | None = None,
    cache: OptimizedCacheManager | None = None,
    trusted_origins: Collection[str] = (),
    websocket: bool = True,
    poll_interval_seconds: float = 0.1,
    heartbeat_seconds: float = 15.0,
    send_timeout_seconds: float = 10.0,
    max_lifetime_seconds: float = 3600.0,
    max_clients: int = 10_000,
    max_clients_per_user: int = 20,
    max_names: int = 32,
    now: Callable[[], float] = time.time,
) -> InvalidationFeedRouter:
    """Make routes by which clients hear that something they may see has changed.

    ``GET {prefix}/events`` gives server-sent events, ``{prefix}/socket`` is a WebSocket. A client
    hears ``changed`` with ``user`` when anything about its own user was invalidated, by whichever
    worker of this host, or by another host through the log; and with the names of resources it
    watches (``?watch=generation:g1&watch=team:t1``), if the application lets it. It hears neither
    of other users nor any value.

    Args:
        guard: Says who is asking: an async function of the connection (``HTTPConnection``) that
            raises ``HTTPException`` for whoever is unknown, and returns an :class:`Identity` or the
            id of a user; ``RequireIdentity()`` is one. It is asked twice when a client comes, the
            second time when nothing can be missed any more, and again whenever something about the
            user was invalidated. The connection ends when it refuses, when the identity ends, or
            when it names somebody else.
        prefix: Where the routes lie.
        may_watch: Whether a user may watch a resource: an async function of the user's id, the
            kind and the id of the resource. Asked again when something about either was
            invalidated. None: nothing but the own user can be watched.
        cache: Which cache. None: that of the application, as ``CacheManagerDep`` finds it.
        trusted_origins: Origins (``https://app.example``) besides that of the service itself whose
            pages may listen.
        websocket: Whether there is a WebSocket.
        poll_interval_seconds: How often each process asks the table of invalidations, 0.001 to 60:
            so long after an invalidation a client may be told.
        heartbeat_seconds: After so much silence there is a sign of life, 0.01 to 3600.
        send_timeout_seconds: A connection ends whose client takes nothing for so long, 0.01 to
            3600; also the longest time for the guard to be asked again.
        max_lifetime_seconds: The end of every connection, 0.01 to a year; clients come again.
        max_clients: Most connections of one process.
        max_clients_per_user: Most connections of one user to one process.
        max_names: Most resources that one connection watches.
        now: The wall clock, in seconds since 1970; for tests.

    Returns:
        A router for ``app.include_router(...)``.

    Raises:
        ValueError: ``guard`` is None; ``prefix``, an origin or a number cannot be used.
        TypeError: ``guard`` is no async function of one argument that says it is the connection.

    Consistency:
        Nothing is missed while a connection lasts. A client that comes again and says which message
        it saw last is told ``reload`` unless nothing of what it watches was invalidated since. Some
        messages come without cause: names share slots. They say "ask again", never what is so.
    Cost:
        A comparison for each ``poll_interval_seconds`` while nothing is invalidated, else some for
        each watched name. Memory for a client: its names, and what the server needs for a
        connection.
    """
    if not prefix.startswith("/") or prefix.endswith("/") or set(prefix) & set("{}?#"):
        raise ValueError(f"prefix must be like /feed, not {prefix!r:.80}")
    _in_range("poll_interval_seconds", poll_interval_seconds, 0.001, 60)
    _in_range("heartbeat_seconds", heartbeat_seconds, 0.01, 3600)
    _in_range("send_timeout_seconds", send_timeout_seconds, 0.01, 3600)
    _in_range("max_lifetime_seconds", max_lifetime_seconds, 0.01, 366 * 86_400)
    _in_range("max_clients", max_clients, 1, 1_000_000)
    _in_range("max_clients_per_user", max_clients_per_user, 1, 1_000_000)
    _in_range("max_names", max_names, 0, 1000)
    guard = checked_guard(guard)
    options = FeedOptions(
        guard, may_watch, heartbeat_seconds, send_timeout_seconds, max_lifetime_seconds, now
    )

    def make_hub(cache: OptimizedCacheManager) -> Hub:
        return Hub(cache, poll_interval_seconds, max_clients, max_clients_per_user)

    origins = checked_origins(trusted_origins)
    router = InvalidationFeedRouter(
        options, make_hub, cache, origins, max_names, prefix=prefix, tags=["invalidation feed"]
    )
    _add_events(router, guard)
    if websocket:
        _add_socket(router, guard)
    return router


def _add_events(router: InvalidationFeedRouter, guard: Callable[..., Any]) -> None:
    who = Depends(guard)

    @router.get(
        "/events",
        response_class=EventStream,
        summary="Hear what changes",
        responses={429: {"description": "Too many connections; see Retry-After"}},
    )
    async def events(
        request: Request,
        watch: Texts = [],  # noqa: B006
        last_event_id: str | None = None,
        identity: Any = who,
    ) -> Response:
        router.refuse_pages(request)
        listener = listener_of(identity)
        names = router.names_for(watch)
        hub = await router.hub_of(request)
        last_id = request.headers.get("last-event-id", last_event_id)

        def join() -> Session:
            try:
                return router.session(hub, request, listener, names, _known(last_id))
            except TooManyClientsError:
                headers = {"Retry-After": str(_RETRY_AFTER_SECONDS), **_NO_STORE}
                raise HTTPException(429, "Too many connections", headers) from None

        return EventStream(join)


def _add_socket(router: InvalidationFeedRouter, guard: Callable[..., Any]) -> None:
    @router.websocket("/socket")
    async def socket(
        websocket: WebSocket,
        watch: Texts = [],  # noqa: B006
        last_event_id: str | None = None,
    ) -> None:
        try:
            router.refuse_pages(websocket)
            listener = await ask(guard, websocket)
            names = router.names_for(watch)
            hub = await router.hub_of(websocket)
            session = router.session(hub, websocket, listener, names, _known(last_event_id))
        except AnyHTTPException as error:
            return await answer(websocket.scope, websocket.send, error, as_problem=False)
        except TooManyClientsError:
            # A page hears the code of a connection only once it was accepted.
            await websocket.accept()
            reason = f"too many connections; try again in {_RETRY_AFTER_SECONDS} s"
            return await websocket.close(TRY_AGAIN_LATER, reason)
        try:
            try:
                await session.admit()
            except AnyHTTPException as error:
                return await answer(websocket.scope, websocket.send, error, as_problem=False)
            await websocket.accept()
            await talk(websocket, session)
        finally:
            session.end()


def _known(last_id: str | None) -> str | None:
    """An id that a client sends, if it can be compared; one that can not is no known one."""
    return None if last_id is None or last_id == "" else last_id[:_MOST_ID_CHARACTERS]


def _in_range(name: str, number: float, least: float, most: float) -> None:
    if isinstance(number, bool) or not math.isfinite(number) or not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {number!r:.80}")
