"""Room for connections: what it costs to be refused."""

from __future__ import annotations

from collections import Counter

import pytest

from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi.feed.hub import Hub, TooManyClientsError
from velro_cache.fastapi.feed.listener import Listener
from velro_cache.manager import OptimizedCacheManager


class Unread(Counter[str]):
    """Tells who reads all of it."""

    def items(self):  # type: ignore[no-untyped-def]
        raise AssertionError("every user was looked at")


async def test_a_refusal_looks_at_one_user_and_leaves_no_trace() -> None:
    cache = OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))
    hub = Hub(cache, 60, max_clients=3, max_clients_per_user=2)
    counts = hub._per_user = Unread()
    ada, bob, eve = (Listener(user, user, None) for user in ("ada", "bob", "eve"))
    clients = [hub.join(ada, []), hub.join(ada, [])]
    with pytest.raises(TooManyClientsError):
        hub.join(ada, [])
    clients.append(hub.join(bob, []))
    with pytest.raises(TooManyClientsError):
        hub.join(eve, [])
    assert len(hub) == 3 and set(counts) == {"ada", "bob"}
    for client in clients:
        hub.leave(client)
    assert len(hub) == 0 and not counts
