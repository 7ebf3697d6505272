"""All connections of a process, and who has to be told what.

One task asks the table of invalidations, again and again, what happened to all watched names, and
notes it with the clients that watch them. It needs no message from whoever invalidates: another
thread, another worker of this host, or the follower that applies what other hosts say. A client
that is slow gathers names, each once, and no messages.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from velro_cache._engine import Subscriptions
from velro_cache.fastapi.feed.listener import Listener
from velro_cache.fastapi.feed.stopping import is_server_stopping
from velro_cache.fastapi.feed.watching import OWN, Name, watch_of
from velro_cache.manager import OptimizedCacheManager

__all__ = ["Client", "Hub", "TooManyClientsError"]

_CHECKS_AT_ONCE: Final = 16
"""So many clients are checked anew at a time: something may be invalidated for all of them."""


class TooManyClientsError(Exception):
    """There is no room for another connection."""


@dataclass(eq=False, slots=True)
class Client:
    """One connection, as the hub sees it.

    Attributes:
        listener: Whose it is.
        news: What has to be told: ``user``, or names of resources.
        everything: Whether anything may have changed.
        stopping: Whether the server ends.
        woken: Set when there is something to do.
        watched: Numbers of the subscriptions by name, ``user`` first.
    """

    listener: Listener
    news: set[str] = field(default_factory=set)
    everything: bool = False
    stopping: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    watched: dict[str, int] = field(default_factory=dict)


class Hub:
    """The connections of one process to one cache.

    Args:
        cache: The cache.
        poll_interval_seconds: How often the table is asked.
        max_clients: Most connections.
        max_clients_per_user: Most connections of one user.
        is_stopping: Whether the server wants to end; for tests.
    """

    def __init__(
        self,
        cache: OptimizedCacheManager,
        poll_interval_seconds: float,
        max_clients: int,
        max_clients_per_user: int,
        is_stopping: Callable[[], bool] = is_server_stopping,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.checks = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self._subscriptions = Subscriptions(cache)
        self._interval_seconds = poll_interval_seconds
        self._max_clients, self._max_per_user = max_clients, max_clients_per_user
        self._is_stopping = is_stopping
        self._clients: set[Client] = set()
        self._per_user: Counter[str] = Counter()
        # One subscription for all clients of one user with one name.
        self._numbers: dict[tuple[str, str], int] = {}
        self._watchers: dict[int, dict[Client, str]] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._clients)

    def join(self, listener: Listener, names: Iterable[Name]) -> Client:
        """Take a connection in.

        Args:
            listener: Whose it is.
            names: Resources it watches, besides its user.

        Raises:
            TooManyClientsError: There are enough, of this user or altogether.
            HTTPException: 422: one of the names is none.
        """
        user = listener.user
        own = self._per_user.get(user, 0)
        if len(self._clients) >= self._max_clients or own >= self._max_per_user:
            raise TooManyClientsError
        client = Client(listener)
        self._clients.add(client)
        self._per_user[user] += 1
        try:
            self._watch(client, OWN, None)
            for name in names:
                self._watch(client, name.text, name)
        except BaseException:
            self.leave(client)
            raise
        if self._task is None or self._task.done():
            self._task = self.loop.create_task(self._poll_until_empty(), name="velro-cache-feed")
        return client

    def leave(self, client: Client) -> None:
        """Forget a connection. Without effect if it is forgotten."""
        if client not in self._clients:
            return
        self._clients.discard(client)
        user = client.listener.user
        self._per_user[user] -= 1
        if not self._per_user[user]:
            del self._per_user[user]
        for name in tuple(client.watched):
            self.unwatch(client, name)
        if not self._clients and self._task is not None:
            self._task.cancel()
            self._task = None

    def unwatch(self, client: Client, name: str) -> None:
        """Tell a client no more of a name.

        Args:
            client: The connection.
            name: One that it watches.
        """
        number = client.watched.pop(name)
        client.news.discard(name)
        watchers = self._watchers[number]
        del watchers[client]
        if not watchers:
            del self._watchers[number]
            del self._numbers[client.listener.user, name]
            self._subscriptions.remove(number)

    def state(self, client: Client) -> str:
        """Say what a client has been told of, or is about to be, as 32 hexadecimal digits.

        The same, on any worker of this host, as long as nothing more has to be told.
        """
        return self._subscriptions.state(list(client.watched.values())).hex()

    def poll(self) -> None:
        """Note with all clients what has happened since this was called before.

        Cost: a comparison while nothing at all was invalidated; else some for each watched name.
        """
        numbers, everything = self._subscriptions.poll()
        if everything:
            for client in self._clients:
                client.everything = True
                client.woken.set()
        for number in numbers:
            # Gone meanwhile, perhaps.
            for client, name in self._watchers.get(number, {}).items():
                client.news.add(name)
                client.woken.set()

    def stop(self) -> None:
        """End all connections."""
        for client in self._clients:
            client.stopping = True
            client.woken.set()

    async def _poll_until_empty(self) -> None:
        while True:
            self.poll()
            if self._is_stopping():
                self.stop()
            await asyncio.sleep(self._interval_seconds)

    def _watch(self, client: Client, text: str, name: Name | None) -> None:
        key = (client.listener.user, text)
        number = self._numbers.get(key)
        if number is None:
            watch = watch_of(client.listener, name)
            number = self._numbers[key] = self._subscriptions.add(watch.keys, watch.tags)
            self._watchers[number] = {}
        self._watchers[number][client] = text
        client.watched[text] = number
