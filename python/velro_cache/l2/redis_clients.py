"""Clients of a Redis, through redis-py: one for each event loop, closed when its loop shuts down.

Nothing is tried twice: whoever asks has another way, and no time.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from velro_cache.exceptions import ConfigError
from velro_cache.fork_safety import ForkSafeLock

__all__ = [
    "RedisClients",
    "as_redis_py_has_it",
    "asynchronous_maker",
    "import_what_connecting_imports",
    "options_of_clients",
]

_MOST_CONNECTIONS_OF_A_LOOP: Final = 16
"""A loop that misses a thousand keys at once need not open a thousand connections."""


def options_of_clients(timeout_seconds: float) -> dict[str, Any]:
    """What clients of both kinds are made with."""
    return {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "health_check_interval": 0,
        # Older servers know this one too, and it saves a round trip.
        "protocol": 2,
    }


def asynchronous_maker(url: str, timeout_seconds: float) -> Callable[[], Any]:
    """Get ready to make asynchronous clients.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as for ``redis_url``.
        timeout_seconds: Longest wait for a connection, and for an answer.

    Returns:
        What makes one; it was tried once.

    Raises:
        ConfigError: The package ``redis`` is not installed, or the address cannot be read.
    """
    try:
        import redis.asyncio
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise ConfigError(
            "redis_url needs the package redis: pip install 'velro-cache[redis]'"
        ) from error
    address = as_redis_py_has_it(url)

    def make() -> Any:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        return redis.asyncio.Redis.from_url(
            address, **options_of_clients(timeout_seconds), retry=retry
        )

    try:
        import_what_connecting_imports(make())
    except (ValueError, TypeError):
        # What is wrong with it is not shown: it may hold a password.
        raise ConfigError("redis_url cannot be read; see its description") from None
    return make


class _Connected:
    """The client of one event loop, and who may use it."""

    __slots__ = ("client", "closing", "free")

    def __init__(self, client: Any, closing: AsyncGenerator[None]) -> None:
        self.client = client
        # The client itself would open connections without end.
        self.free = asyncio.Semaphore(_MOST_CONNECTIONS_OF_A_LOOP)
        self.closing = closing


class RedisClients:
    """Clients by event loop.

    Args:
        make: Makes one.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = ForkSafeLock()
        self._connected: dict[asyncio.AbstractEventLoop, _Connected] = {}

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncGenerator[Any]:
        """The client of the running event loop, for a block; waits while too many use it."""
        loop = asyncio.get_running_loop()
        connected = self._connected.get(loop)
        if connected is None:
            client = self._make()
            connected = _Connected(client, self._until_the_loop_ends(loop, client))
            with self._lock:
                # Of those that ended without telling anybody.
                for other in [other for other in self._connected if other.is_closed()]:
                    del self._connected[other]
                self._connected[loop] = connected
            await anext(connected.closing)
        async with connected.free:
            yield connected.client

    async def _until_the_loop_ends(
        self, loop: asyncio.AbstractEventLoop, client: Any
    ) -> AsyncGenerator[None]:
        # An event loop that shuts down closes the generators that were begun on it: the one way
        # to be told of its end.
        try:
            yield
        finally:
            with self._lock:
                connected = self._connected.get(loop)
                if connected is not None and connected.client is client:
                    del self._connected[loop]
            with contextlib.suppress(Exception):
                await client.aclose()

    def close(self) -> None:
        """Have the clients of other event loops closed, there."""
        with self._lock:
            connected = list(self._connected.items())
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        for loop, one in connected:
            if loop is not running and loop.is_running():
                with contextlib.suppress(RuntimeError):
                    asyncio.run_coroutine_threadsafe(_close(one), loop)

    async def aclose(self) -> None:
        """Close the client of the running event loop."""
        loop = asyncio.get_running_loop()
        connected = self._connected.get(loop)
        if connected is not None:
            await _close(connected)

    def forget(self) -> object:
        """Begin anew; returns what there was."""
        before, self._connected = self._connected, {}
        return before


async def _close(connected: _Connected) -> None:
    await connected.closing.aclose()


def import_what_connecting_imports(client: Any) -> None:
    """Have nothing left to import for a connection.

    A child that is forked while another thread imports a module waits for ever where it imports
    the same.
    """
    # The client looks up its own version, Python the address.
    client.connection_pool.make_connection()
    "localhost".encode("idna")


def as_redis_py_has_it(url: str) -> str:
    """Rename what other clients call otherwise in the address of a unix socket."""
    place, mark, query = url.partition("?")
    if not url.startswith("unix://") or not mark:
        return url
    names = {"pass": "password", "user": "username"}
    pairs = parse_qsl(query, keep_blank_values=True)
    return f"{place}?{urlencode([(names.get(name, name), value) for name, value in pairs])}"
