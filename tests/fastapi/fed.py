"""An application with a feed, and clients of it that speak HTTP and WebSocket.

No ``from __future__ import annotations`` here: the guard is an object, and older versions of
FastAPI do not read annotations of objects if they are texts.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException
from fastapi.requests import HTTPConnection

from velro_cache.authorization.identity import Identity
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import CacheManagerDep, create_invalidation_feed_router, velro_lifespan
from velro_cache.fastapi.dependencies import get_cache
from velro_cache.manager import OptimizedCacheManager

Event = tuple[str, Any, str | None]


class Users:
    """The guard: users by token, as long as they are not barred.

    Attributes:
        barred: Users who are refused.
        calls: How often it was asked.
        fields: Of the identities.
        answer: Returned or raised instead, if set.
        watchable: Resources by user.
        then: Called once, when the next answer is known and not yet given.
    """

    def __init__(self) -> None:
        self.barred: set[str] = set()
        self.calls = 0
        self.fields: dict[str, Any] = {}
        self.answer: Any = None
        self.watchable: set[tuple[str, str]] = set()
        self.watch_answer: Any = None
        self.then: Callable[[OptimizedCacheManager], None] | None = None
        self._cache: OptimizedCacheManager | None = None

    async def __call__(self, connection: HTTPConnection) -> Any:
        self.calls += 1
        self._cache = await get_cache(connection)
        _, _, token = connection.headers.get("authorization", "").partition(" ")
        token = token or connection.cookies.get("session", "")
        user = token.removeprefix("token-of-")
        if user in ("", token) or user in self.barred:
            raise HTTPException(401, "Not authenticated")
        if isinstance(self.answer, Exception):
            raise self.answer
        self._before_answer()
        return Identity(user, **self.fields) if self.answer is None else self.answer

    async def may_watch(self, user_id: Any, kind: str, resource_id: str) -> Any:
        if isinstance(self.watch_answer, Exception):
            raise self.watch_answer
        may = (str(user_id), f"{kind}:{resource_id}") in self.watchable
        self._before_answer()
        return may if self.watch_answer is None else self.watch_answer

    def _before_answer(self) -> None:
        then, self.then = self.then, None
        if then is not None:
            assert self._cache is not None
            then(self._cache)


def bearer(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer token-of-{user}"}


class Fed:
    """An application with a feed."""

    def __init__(self, config: OptimizedCacheConfig | None = None, **options: Any) -> None:
        self.users = Users()
        options = {"poll_interval_seconds": 0.005, "may_watch": self.users.may_watch} | options
        self.router = create_invalidation_feed_router(self.users, **options)
        self.app = FastAPI(lifespan=velro_lifespan(config))
        self.app.include_router(self.router)

        @self.app.post("/invalidate")
        async def invalidate(tag: str, cache: CacheManagerDep) -> dict[str, int]:
            cache.invalidate_by_tags([tag])
            return {"process_id": os.getpid(), "clients": self.router.clients}

        @self.app.post("/wildcard")
        async def wildcard(pattern: str, cache: CacheManagerDep) -> None:
            cache.invalidate_by_pattern(pattern)

        @self.app.post("/clear")
        async def clear(cache: CacheManagerDep) -> None:
            cache.clear()

        @self.app.get("/clients")
        async def clients() -> dict[str, int]:
            return {"process_id": os.getpid(), "clients": self.router.clients}


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    """Read server-sent events as the standard says (WHATWG HTML, 9.2.6); comments are events
    without a name."""
    name, data, last_id = "message", [], None
    for line in lines:
        if line == "":
            if data:
                yield name, json.loads("\n".join(data)), last_id
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "":
            yield "", value, last_id
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last_id = value


@contextmanager
def listening(
    client: httpx.Client, user: str, *, headers: dict[str, str] | None = None, **params: Any
) -> "Iterator[Listening]":
    """Open a stream; gives its events after the first."""
    every = {**bearer(user), **(headers or {})}
    with client.stream("GET", "/feed/events", params=params, headers=every) as stream:
        assert stream.status_code == 200, stream.read()
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        events = parsed(stream.iter_lines())
        hello = next(events)
        assert hello[0] == "hello"
        yield Listening(hello, events)


class Listening:
    """Events, and the greeting that came before them."""

    def __init__(self, hello: Event, events: Iterator[Event]) -> None:
        self.hello, self._events = hello, events

    def __iter__(self) -> "Listening":
        return self

    def __next__(self) -> Event:
        return next(self._events)
