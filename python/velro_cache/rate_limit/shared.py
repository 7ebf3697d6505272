"""Buckets in Redis: one call for each question, within a time limit, behind a breaker."""

import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from velro_cache.l2.breaker import CircuitBreaker
from velro_cache.l2.redis_clients import RedisClients, asynchronous_maker
from velro_cache.l2.within import LoopWasBusyError, wait_within
from velro_cache.rate_limit.script import DIGEST, SCRIPT, Found, Wish, arguments, read
from velro_cache.rate_limit.statistics import Tally

__all__ = ["SharedBuckets"]

_SCRIPT_IS_NEW: Final = "NoScriptError"


class SharedBuckets:
    """The buckets of a limiter, in a Redis.

    Args:
        name: Of the limiter: the same for all processes that share buckets.
        url: Of the Redis.
        timeout_seconds: Longest wait for an answer.
        tally: Where failures are counted.
        now: A clock that only goes forward, in seconds, for the breaker.

    Raises:
        ConfigError: The package ``redis`` is not installed, or the address cannot be read.
    """

    def __init__(
        self,
        name: str,
        url: str,
        timeout_seconds: float,
        tally: Tally,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._timeout = timeout_seconds
        self._tally = tally
        self._clients = RedisClients(asynchronous_maker(url, timeout_seconds))
        self.breaker = CircuitBreaker(now=now)
        _all_buckets.add(self)

    async def take(self, wishes: Sequence[Wish]) -> tuple[bool, list[Found]] | None:
        """Take tokens, of all names or of none.

        Returns:
            Whether all names had the fewest that were wished for, and what was found. None: Redis
            could not be asked. It may have taken them all the same.
        """
        began = self.breaker.begin()
        if began is None:
            self._tally.count("skipped")
            return None
        try:
            reply = await wait_within(self._run(arguments(self._name, wishes)), self._timeout)
            found = read(reply, len(wishes))
        except Exception as error:
            self._failed(began, error)
            return None
        except BaseException:
            self.breaker.give_back()
            raise
        self.breaker.record(began, worked=True)
        self._tally.count("trips")
        return found

    def close(self) -> None:
        """Close the connections of other event loops."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, too."""
        self.close()
        await self._clients.aclose()

    async def _run(self, given: list[str | int]) -> Any:
        count = len(given) // 7
        async with self._clients.client() as client:
            try:
                return await client.evalsha(DIGEST, count, *given)
            except Exception as error:
                # The server was started anew, or is another one by now.
                if type(error).__name__ != _SCRIPT_IS_NEW:
                    raise
                return await client.eval(SCRIPT, count, *given)

    def _failed(self, began: float, error: Exception) -> None:
        excused = isinstance(error, LoopWasBusyError)
        self.breaker.record(began, worked=False, excused=excused)
        # The client has an error of this name that is not Python's.
        late = excused or type(error).__name__ == "TimeoutError"
        self._tally.count("timeouts" if late else "errors")

    def _after_fork_in_child(self) -> None:
        _inherited.append(self._clients.forget())


_all_buckets: "weakref.WeakSet[SharedBuckets]" = weakref.WeakSet()
_inherited: list[Any] = []
"""What belongs to a parent, unclosed: it goes on using it."""


def _after_fork_in_child() -> None:
    for buckets in list(_all_buckets):
        buckets._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
