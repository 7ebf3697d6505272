"""One connection, from the first message to the last, whatever it goes over."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import WebSocketException
from fastapi.requests import HTTPConnection
from starlette.exceptions import HTTPException

from velro_cache.fastapi.feed.hub import Client, Hub
from velro_cache.fastapi.feed.listener import Guard, ask
from velro_cache.fastapi.feed.messages import Message, Reason
from velro_cache.fastapi.feed.watching import OWN, MayWatch, Name

__all__ = ["Emit", "FeedOptions", "Session"]

log = logging.getLogger("velro_cache")

Emit: TypeAlias = Callable[[Message | None], Awaitable[None]]
"""Sends a message to the client; None: a sign of life."""


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What all connections of one router have in common.

    Attributes:
        guard: Says who is asking.
        may_watch: Says what they may watch; None: nothing but what is about themselves.
        heartbeat_seconds: After so much silence there is a sign of life.
        send_timeout_seconds: So long may a client not take what is sent, or the guard not answer.
        max_lifetime_seconds: The end of a connection, whatever its credentials say.
        now: The wall clock, in seconds since 1970.
    """

    guard: Guard
    may_watch: MayWatch | None
    heartbeat_seconds: float
    send_timeout_seconds: float
    max_lifetime_seconds: float
    now: Callable[[], float] = time.time


class _EndError(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Session:
    """One connection.

    Args:
        hub: Where it has joined.
        client: As what.
        names: What it watches, besides its user.
        connection: The request or WebSocket, about which the guard is asked again.
        options: What all have in common.
        last_id: What the client says it has seen; None: it comes for the first time.
    """

    def __init__(
        self,
        hub: Hub,
        client: Client,
        names: tuple[Name, ...],
        connection: HTTPConnection,
        options: FeedOptions,
        last_id: str | None,
    ) -> None:
        self._hub, self._client, self._connection = hub, client, connection
        self._names = {name.text: name for name in names}
        self._options, self._last_id = options, last_id
        ends = [options.now() + options.max_lifetime_seconds]
        if client.listener.ends_at is not None:
            ends.append(client.listener.ends_at)
        self._ends_at = min(ends)

    async def admit(self) -> None:
        """Ask who the client is and what it may watch, now that the hub has taken it in.

        To be called once, before the client is answered. What was invalidated before it was taken
        in is among the counters that were found then, and is told to nobody; so it has to be asked
        after that, or somebody whose rights ended a moment ago would listen on.

        Raises:
            HTTPException: What the guard raised. 403: it names somebody else than before, or one
                of the names may not be watched. 503: nobody can tell in time.
            Exception: What else the guard or the filter raised.
        """
        try:
            async with asyncio.timeout(self._options.send_timeout_seconds):
                allowed = await self._ask_who()
                for name in self._names.values():
                    # Whatever is not True is no.
                    allowed = allowed and await self._may(name) is True
        except TimeoutError:
            raise HTTPException(503, "Whether this is allowed is not known") from None
        if not allowed:
            raise HTTPException(403, "Access denied", {"Cache-Control": "no-store"})

    async def run(self, emit: Emit) -> Reason:
        """Tell the client what happens, until something ends it.

        To be called after :meth:`admit`.

        Args:
            emit: Sends a message.

        Returns:
            What ended it. The client knows, unless it was too slow to be told.
        """
        try:
            await self._greet(emit)
            while True:
                await self._wait(emit)
                await self._tell(emit)
        except _EndError as end:
            if end.reason != "slow":
                try:
                    await self._send(emit, Message("ended", {"reason": end.reason}))
                except _EndError:
                    return "slow"
            return end.reason

    def end(self) -> None:
        """Leave the hub. To be called once nothing runs any more."""
        self._hub.leave(self._client)

    async def _greet(self, emit: Emit) -> None:
        state = self._hub.state(self._client)
        data = {"heartbeat_seconds": self._options.heartbeat_seconds}
        await self._send(emit, Message("hello", data, state))
        if self._last_id is not None and not hmac.compare_digest(
            self._last_id.encode(), state.encode()
        ):
            await self._send(emit, Message("reload", {"reason": "missed"}, state))

    async def _wait(self, emit: Emit) -> None:
        woken = self._client.woken
        while not woken.is_set():
            left = self._ends_at - self._options.now()
            if left <= 0:
                break
            silence = self._options.heartbeat_seconds
            try:
                async with asyncio.timeout(min(left, silence)):
                    await woken.wait()
            except TimeoutError:
                # Timers may be a little early: just before the end is no time for a sign of life.
                if silence < left:
                    await self._send(emit, None)
        woken.clear()
        if self._client.stopping:
            raise _EndError("shutdown")
        if self._options.now() >= self._ends_at:
            ends_at = self._client.listener.ends_at
            raise _EndError("expired" if ends_at == self._ends_at else "lifetime")

    async def _tell(self, emit: Emit) -> None:
        client = self._client
        # Taken together, with nothing in between: the id says that these were told.
        news, everything = sorted(client.news), client.everything
        state = self._hub.state(client)
        client.news.clear()
        client.everything = False
        if not news and not everything:
            return
        gone = await self._check(news, everything)
        message = (
            Message("reload", {"reason": "everything"}, state)
            if everything
            else Message("changed", {"names": news}, state)
        )
        await self._send(emit, message)
        if gone:
            for name in gone:
                self._hub.unwatch(client, name)
            data: dict[str, Any] = {"names": gone}
            await self._send(emit, Message("unwatched", data, self._hub.state(client)))

    async def _check(self, news: list[str], everything: bool) -> list[str]:
        """Ask anew who the client is and what it may watch. Gives names it may watch no more."""
        about_user = everything or OWN in news
        asked = [
            name for name in self._client.watched if name != OWN and (about_user or name in news)
        ]
        if not about_user and not asked:
            return []
        try:
            async with self._hub.checks, asyncio.timeout(self._options.send_timeout_seconds):
                if about_user and not await self._ask_who():
                    raise _EndError("refused")
                return [name for name in asked if not await self._may_watch(self._names[name])]
        except (HTTPException, WebSocketException):
            raise _EndError("refused") from None
        except _EndError:
            raise
        except Exception as error:
            # Without its text, which may hold what was asked about.
            log.warning("a feed could not check a client anew: %s", type(error).__name__)
            raise _EndError("unavailable") from None

    async def _ask_who(self) -> bool:
        """Ask the guard anew, and heed when the identity ends. Whether it is the same user."""
        listener = await ask(self._options.guard, self._connection)
        if listener.user != self._client.listener.user:
            return False
        if listener.ends_at is not None:
            self._ends_at = min(self._ends_at, listener.ends_at)
        return True

    async def _may(self, name: Name) -> Any:
        may_watch = self._options.may_watch
        if may_watch is None:
            return False
        return await may_watch(self._client.listener.user_id, name.kind, name.id)

    async def _may_watch(self, name: Name) -> bool:
        answer = await self._may(name)
        if not isinstance(answer, bool):
            raise TypeError(f"may_watch must return a bool, not {type(answer).__name__}")
        return answer

    async def _send(self, emit: Emit, message: Message | None) -> None:
        try:
            async with asyncio.timeout(self._options.send_timeout_seconds):
                await emit(message)
        except TimeoutError:
            raise _EndError("slow") from None
