"""The second level of one cache: put together from the settings, asked before a loader is.

Values are written after the callers have been answered: on an event loop by a task, elsewhere by a
worker. Nobody waits for a write, since nobody needs it; a write that is lost costs one load
somewhere else. Both are bounded, and what does not fit is not written, and counted.

Nothing is deleted from the second level when something is invalidated. Values carry the position in
the log at which they were loaded; every host that has applied the invalidation refuses them, and
the next load puts a new one in their place.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from velro_cache._engine import PreparedEntry
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import ConfigError
from velro_cache.l2.calls import FAILED, Calls
from velro_cache.l2.codec import Codec
from velro_cache.l2.contract import L2Backend, TwoSidedL2Backend
from velro_cache.l2.counters import Counters
from velro_cache.l2.seal import CallDigests, StorageKeys, seal_for
from velro_cache.l2.shared_load import Levels, Request, SharedLoad, SharingCache

__all__ = ["TwoLevels"]

_MOST_WRITES: Final = 1000
"""On event loops, at once; a value may take 1 MiB."""

_SEALS: Final = ("checksum", "signed", "encrypted")


class TwoLevels:
    """The second level of one cache.

    Args:
        cache: The first level.
        config: Settings of both.
        backend: Where shared values are kept; None: in the Redis of ``redis_url``.
        wall: The wall clock, in seconds.
        now: A clock that only goes forward, in seconds, for the breakers.

    Raises:
        ConfigError: There is no invalidation log, a package is missing, or the backend lacks what
            the settings ask for.
    """

    __slots__ = (
        "_backend",
        "_calls",
        "_counters",
        "_digests",
        "_levels",
        "_own",
        "_seal",
        "_tasks",
    )

    def __init__(
        self,
        cache: SharingCache,
        config: OptimizedCacheConfig,
        backend: L2Backend | TwoSidedL2Backend | None = None,
        *,
        wall: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.invalidation_log is None and config.redis_url is None:
            raise ConfigError(
                "values can be shared only where invalidations are: set invalidation_log or"
                " redis_url"
            )
        self._own: Any = None
        if backend is None:
            # Only here: whoever brings a backend of his own needs no redis.
            from velro_cache.l2.redis import RedisL2

            assert config.redis_url is not None  # noqa: S101 - checked by whoever makes this
            backend = self._own = RedisL2(config.redis_url, config.l2_timeout_seconds)
        seal = seal_for(config)
        self._backend: Any = backend
        self._seal = _SEALS[seal.mode]
        self._digests = CallDigests(config)
        self._counters = Counters()
        self._calls = Calls(backend, config.l2_timeout_seconds, self._counters, config.name, now)
        if config.l2_single_flight and not self._calls.has_locks:
            raise ConfigError(
                "l2_single_flight needs a backend with the methods of L2Locks: try_lock and unlock"
            )
        # Writes under way; the loop itself only keeps weak references.
        self._tasks: set[asyncio.Task[None]] = set()
        self._levels = Levels(
            cache=cache,
            calls=self._calls,
            codec=Codec(config.name, seal),
            names=StorageKeys(config),
            counters=self._counters,
            default_ttl_seconds=config.default_ttl_seconds,
            max_ttl_seconds=config.max_ttl_seconds,
            timeout_seconds=config.l2_timeout_seconds,
            single_flight=config.l2_single_flight,
            write_later=self._write_later,
            unlock_later=self._unlock_later,
            wall=wall,
        )

    def before(
        self, loader: Callable[[], Any], entry: PreparedEntry, request: Request
    ) -> SharedLoad:
        """Put the second level before a loader.

        Args:
            loader: The loader.
            entry: Where its value goes in the first level.
            request: What the caller asked for; checked already.

        Returns:
            What takes the place of loader, life and entry.
        """
        return SharedLoad(self._levels, request, entry, loader)

    @property
    def has_secret(self) -> bool:
        """Whether hosts have a key in common, for signing or encryption."""
        return self._digests.has_secret

    def digest_of_call(self, function: str, arguments: bytes) -> str:
        """Digest the arguments of a call as all hosts do; only if :attr:`has_secret`.

        Args:
            function: The name of the function, the same on all hosts.
            arguments: Its arguments; see :mod:`velro_cache.l2.arguments`.
        """
        return self._digests.digest(function, arguments)

    def pass_by(self) -> None:
        """Count a load that is nothing to other processes."""
        self._counters.skipped("process_key")

    def figures(self) -> dict[str, Any]:
        """What happened, for ``get_stats()``."""
        return {
            "enabled": True,
            "backend": type(self._backend).__name__,
            "seal": self._seal,
            **self._counters.figures(),
            "reading": self._calls.reading.state,
            "writing": self._calls.writing.state,
            "breaker_opened": self._calls.reading.opened + self._calls.writing.opened,
        }

    def close(self) -> None:
        """Let threads and connections go. Loads that come later have new ones.

        A backend of the user's own is left to the user.
        """
        self._calls.close()
        if self._own is not None:
            self._own.close()

    async def aclose(self) -> None:
        """Do what :meth:`close` does, and wait for the connections of the running event loop."""
        self._calls.close()
        if self._own is not None:
            await self._own.aclose()

    def _write_later(self, load: SharedLoad, data: bytes, ttl_seconds: float) -> None:
        name = self._levels.names.value(load.shared_key)
        if load.loop is None:

            def written(answer: Any) -> None:
                self._written(load, answer)

            self._calls.begin("set", name, data, ttl_seconds, then=written)
        elif len(self._tasks) >= _MOST_WRITES:
            self._written(load, FAILED)
        else:
            self._begin(load.loop, self._awrite(load, name, data, ttl_seconds))

    async def _awrite(self, load: SharedLoad, name: str, data: bytes, ttl_seconds: float) -> None:
        self._written(load, await self._calls.acall("set", name, data, ttl_seconds))

    def _written(self, load: SharedLoad, answer: Any) -> None:
        if answer is FAILED:
            self._counters.unshared("write")
        else:
            self._counters.count("writes")
        if load.owner:
            self._unlock_later(load, 1.0 if answer is FAILED else 0.0)

    def _unlock_later(self, load: SharedLoad, useless_seconds: float) -> None:
        owner, load.owner = load.owner, ""
        arguments = (self._levels.names.lock(load.shared_key), owner, useless_seconds)
        if load.loop is None or load.loop.is_closed():
            # An answer that is not waited for; a lock that is not given back ends by itself.
            self._calls.begin("unlock", *arguments, then=_ignore)
        else:
            self._begin(load.loop, self._aunlock(arguments))

    async def _aunlock(self, arguments: tuple[str, str, float]) -> None:
        await self._calls.acall("unlock", *arguments)

    def _begin(self, loop: asyncio.AbstractEventLoop, work: Any) -> None:
        task = loop.create_task(work, name="velro-cache-l2")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ignore(_: Any) -> None:
    return None
