"""A cache of API keys: what ``test_no_key_in_memory.py`` searches.

Keys arrive through a pipe, are used as text and as bytes, and are let go; or through a server,
once it is told to serve. What was said about them, in logs, errors and statistics, is held until
the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import socket
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final

from keyed import behind_keys

from velro_cache.api_keys import (
    ApiKeyCache,
    KeyAdministration,
    KeyLimits,
    LastUsedWriter,
    Peppers,
    RefreshManager,
)
from velro_cache.api_keys.sql import SqlApiKeys
from velro_cache.api_keys.usage import BatchedUsage, LogUsage
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import VelroCacheError
from velro_cache.manager import OptimizedCacheManager
from velro_cache.prometheus import CacheCollector
from velro_cache.rate_limit import RateLimiter

PEPPERS: Final = Peppers.one(os.environ["SEARCHED_PEPPER"].encode())
HELD: list[Any] = []
"""What was said; it is searched with all the rest."""


class Told(logging.Handler):
    """Holds log records as they are written, and all their fields."""

    def emit(self, record: logging.LogRecord) -> None:
        HELD.append(logging.Formatter().format(record))
        HELD.append(repr(record.__dict__))


class Away:
    """A database that can be taken away."""

    def __init__(self, store: SqlApiKeys) -> None:
        self.store = store
        self.is_away = False

    async def get(self, digest: bytes) -> Any:
        if self.is_away:
            raise ConnectionError("away")
        return await self.store.get(digest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Kept:
    """All that belongs to the keys of a service."""

    def __init__(self) -> None:
        self.now = time.time()
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        self.store = SqlApiKeys(os.environ["SEARCHED_DATABASE"], peppers=PEPPERS)
        self.repository = Away(self.store)
        config = OptimizedCacheConfig(share_invalidations=False)
        self.manager = OptimizedCacheManager(config)
        self.cache = ApiKeyCache(
            self.repository,
            peppers=PEPPERS,
            cache_manager=self.manager,
            accept_other_formats=True,
            misses_per_second=100_000.0,
            miss_burst=100_000,
            now=clock,
        )
        self.administration = KeyAdministration(self.cache, self.store)
        self.refresh = RefreshManager(self.cache, share_on_host=False)
        self.usage = BatchedUsage(LogUsage())
        self.last_used = LastUsedWriter(self.store)
        self.app = behind_keys(
            self,  # type: ignore[arg-type]
            limiter=RateLimiter(),
            usage=self.usage,
            last_used=self.last_used,
        )
        self.ids: list[str] = []
        self.server: Any = None
        self.serving: asyncio.Task[None] | None = None

    async def make(self, _text: str) -> str:
        """A key that was just made is told once."""
        if not self.ids:
            await self.store.migrate()
            limits = KeyLimits(requests_per_minute=1_000_000)
            await self.store.create_organization("one", organization_id="o1", limits=limits)
        made = await self.administration.create(
            "o1", scopes=["read"], limits=KeyLimits(requests_per_minute=600)
        )
        self.ids.append(made.key.id)
        HELD.append(repr(made))
        return made.plain.reveal()

    async def use(self, text: str) -> str:
        """All that may happen to a key that somebody sends."""
        said = []
        for plain in (text, text.encode(), text + "\x00", f"{text}{text}", f"Bearer {text}"):
            HELD.append(repr(self.cache.recall(plain)))
            try:
                HELD.append(repr(await self.cache.verify(plain, source="here")))
                said.append("good")
            except VelroCacheError as error:
                HELD.append("".join(traceback.format_exception(error)))
                said.append(type(error).__name__)
            with contextlib.suppress(VelroCacheError):
                HELD.append(repr(await self.cache.get(plain)))
        return " ".join(said)

    async def check(self, text: str) -> str:
        """Nothing but what a request asks."""
        return "nobody" if await self.cache.get(text) is None else "good"

    async def away(self, text: str) -> str:
        self.repository.is_away = True
        try:
            return await self.use(text)
        finally:
            self.repository.is_away = False

    async def late(self, text: str) -> str:
        """After the time of what was read, and while nobody can be asked."""
        self.now += 1000.0
        return await self.away(text)

    async def request(self, text: str) -> str:
        """As a server hands requests over, without a server."""
        statuses = []
        for headers in (
            [(b"authorization", b"Bearer " + text.encode())],
            [(b"x-api-key", text.encode())],
            [(b"x-api-key", text.encode() + b"!")],
            [(b"x-api-key", text.encode()), (b"authorization", b"Bearer " + text[::-1].encode())],
            [(b"authorization", b"Basic " + text.encode())],
        ):
            statuses.append(await self._answer(headers))
        return " ".join(statuses)

    async def _answer(self, headers: list[tuple[bytes, bytes]]) -> str:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/whose",
            "raw_path": b"/whose",
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "headers": headers,
            "client": ("192.0.2.1", 4711),
            "server": ("t", 80),
            "asgi": {"version": "3.0"},
        }
        started: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            HELD.append(repr(message))
            started.append(message)

        await self.app(scope, receive, send)
        return str(started[0]["status"])

    async def revoke(self, number: str) -> str:
        HELD.append(repr(await self.administration.revoke(self.ids[int(number)], reason="leaked")))
        return "revoked"

    async def rotate(self, number: str) -> str:
        made = await self.administration.rotate(self.ids[int(number)])
        HELD.append(repr(made))
        return made.plain.reveal()

    async def observe(self, _text: str) -> str:
        """Whatever can be asked for about a cache."""
        HELD.append(repr(await self.refresh.refresh_now()))
        await self.usage.flush()
        await self.last_used.flush()
        for told in (
            self.cache,
            self.cache.stats(),
            self.manager.get_stats(),
            self.manager.get_top_keys(),
            self.manager.get_recent_invalidations(),
            self.refresh,
            self.usage.statistics(),
            self.last_used.statistics(),
            list(CacheCollector(self.manager).collect()),
        ):
            HELD.append(repr(told))
        return "observed"

    async def serve(self, http: str) -> str:
        """Serve, with one of uvicorn's parsers, and say at which port."""
        import uvicorn

        listener = socket.create_server(("127.0.0.1", 0))
        # All is logged that a service would log.
        config = uvicorn.Config(self.app, http=http, log_config=None, log_level="debug")
        self.server = uvicorn.Server(config)
        self.serving = asyncio.create_task(self.server.serve(sockets=[listener]))
        return str(listener.getsockname()[1])

    async def closed(self, _text: str) -> str:
        """Wait until no client is connected."""
        async with asyncio.timeout(30):
            while self.server.server_state.connections:  # noqa: ASYNC110 - for what clients do
                await asyncio.sleep(0.01)
        return "closed"

    async def hold(self, text: str) -> str:
        """What the search has to find."""
        HELD.append(text)
        return "held"

    async def free(self, text: str) -> str:
        """What it has not."""
        return str(len(bytearray(text.encode())))


def let_go() -> None:
    """Leave nothing by chance: no cycles, nor what was on the stack."""
    gc.collect()
    # The arguments of a call of C lie there, one after the other.
    ctypes.CDLL(None).labs(*range(1000))


async def next_line() -> bytes:
    """What comes through the pipe, without a buffer between."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(0, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(0)
    return os.read(0, 65536)


async def main() -> None:
    handler = Told()
    logging.basicConfig(level=logging.DEBUG, handlers=[handler])
    kept = Kept()
    known: dict[str, Callable[[str], Coroutine[Any, Any, str]]] = {
        name: getattr(kept, name)
        for name in (
            *("make", "use", "check", "away", "late", "request", "revoke", "rotate", "observe"),
            *("serve", "closed", "hold", "free"),
        )
    }
    while line := await next_line():
        what, _, text = line.decode().rstrip("\n").partition(" ")
        del line
        said = await known[what](text)
        del text
        if what != "check":
            let_go()
        os.write(1, f"{said}\n".encode())
        del said
    if kept.serving is not None:
        kept.server.should_exit = kept.server.force_exit = True
        await kept.serving


if __name__ == "__main__":
    asyncio.run(main())
