"""Shared values in a Redis, through redis-py: plain methods and coroutine functions.

Values are read with ``GETRANGE``, so that the server never sends more than an envelope may hold,
whatever somebody else has put there. Nothing is tried twice: the caller has a loader, and no time.

A forked child makes its own clients and leaves its parent's alone.
"""

import contextlib
import os
import weakref
from typing import Any, Final

from velro_cache.l2.codec import MAX_ENVELOPE_BYTES
from velro_cache.l2.contract import LockAnswer
from velro_cache.l2.redis_clients import (
    RedisClients,
    as_redis_py_has_it,
    asynchronous_maker,
    import_what_connecting_imports,
    options_of_clients,
)

__all__ = ["RedisL2"]

# One round trip, and nobody comes between the question and the answer. An empty text stands for
# "useless": owners are never empty.
_TRY_LOCK: Final = """
local holder = redis.call('GET', KEYS[1])
if not holder then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 'mine'
end
if holder == '' then return 'useless' end
return 'taken'
"""
_UNLOCK: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
return 1
"""


class RedisL2:
    """An :class:`~velro_cache.l2.L2Backend` in a Redis. Connects when it is first used.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as for ``redis_url``.
        timeout_seconds: Longest wait for a connection, and for an answer.

    Raises:
        ConfigError: The package ``redis`` is not installed, or the address cannot be read.
    """

    def __init__(self, url: str, timeout_seconds: float = 0.1) -> None:
        make_asynchronous = asynchronous_maker(url, timeout_seconds)
        import redis
        from redis.backoff import NoBackoff

        address, options = as_redis_py_has_it(url), options_of_clients(timeout_seconds)

        def make() -> Any:
            retry = redis.retry.Retry(NoBackoff(), 0)
            return redis.Redis.from_url(address, **options, retry=retry)

        self._client = make()
        self._make = make
        import_what_connecting_imports(self._client)
        self._loops = RedisClients(make_asynchronous)
        _all_backends.add(self)

    def get(self, key: str, /) -> bytes | None:
        """See :meth:`velro_cache.l2.L2Backend.get`."""
        # One byte more than may be, so that what is too large is seen to be.
        found: bytes = self._client.getrange(_name(key), 0, MAX_ENVELOPE_BYTES)
        return found or None

    def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        """See :meth:`velro_cache.l2.L2Backend.set`."""
        self._client.set(_name(key), value, px=_millis(ttl_seconds))

    def delete(self, key: str, /) -> None:
        """See :meth:`velro_cache.l2.L2Backend.delete`."""
        self._client.delete(_name(key))

    def try_lock(self, key: str, owner: str, ttl_seconds: float, /) -> LockAnswer:
        """See :meth:`velro_cache.l2.L2Locks.try_lock`."""
        return _answer(self._client.eval(_TRY_LOCK, 1, _name(key), owner, _millis(ttl_seconds)))

    def unlock(self, key: str, owner: str, useless_seconds: float, /) -> None:
        """See :meth:`velro_cache.l2.L2Locks.unlock`."""
        self._client.eval(_UNLOCK, 1, _name(key), owner, round(useless_seconds * 1000))

    async def aget(self, key: str, /) -> bytes | None:
        """Do what :meth:`get` does."""
        async with self._loops.client() as client:
            found: bytes = await client.getrange(_name(key), 0, MAX_ENVELOPE_BYTES)
        return found or None

    async def aset(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        """Do what :meth:`set` does."""
        async with self._loops.client() as client:
            await client.set(_name(key), value, px=_millis(ttl_seconds))

    async def adelete(self, key: str, /) -> None:
        """Do what :meth:`delete` does."""
        async with self._loops.client() as client:
            await client.delete(_name(key))

    async def atry_lock(self, key: str, owner: str, ttl_seconds: float, /) -> LockAnswer:
        """Do what :meth:`try_lock` does."""
        async with self._loops.client() as client:
            life = _millis(ttl_seconds)
            return _answer(await client.eval(_TRY_LOCK, 1, _name(key), owner, life))

    async def aunlock(self, key: str, owner: str, useless_seconds: float, /) -> None:
        """Do what :meth:`unlock` does."""
        async with self._loops.client() as client:
            await client.eval(_UNLOCK, 1, _name(key), owner, round(useless_seconds * 1000))

    def close(self) -> None:
        """Close the connections of the plain methods, and have those of event loops closed.

        It can be used again afterwards.
        """
        with contextlib.suppress(Exception):
            self._client.close()
        self._loops.close()

    async def aclose(self) -> None:
        """Do what :meth:`close` does, and wait for those of the running event loop."""
        self.close()
        await self._loops.aclose()

    def _after_fork_in_child(self) -> None:
        # What belongs to the parent is kept, unclosed, so that no finalizer touches what the
        # parent goes on using; a thread of the parent's may have locked it, too.
        _inherited.append((self._client, self._loops.forget()))
        self._client = self._make()


def _name(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _millis(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _answer(reply: object) -> LockAnswer:
    if reply == b"mine":
        return "mine"
    return "useless" if reply == b"useless" else "taken"


_all_backends: "weakref.WeakSet[RedisL2]" = weakref.WeakSet()
_inherited: list[Any] = []


def _after_fork_in_child() -> None:
    for backend in list(_all_backends):
        backend._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
