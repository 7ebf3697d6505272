"""What it costs to look for news of ten thousand watched users: `feed_poll.py`.

Prints the best of many looks: while nothing was invalidated, after something was, and after a
wildcard that covers none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from velro_cache._engine import Subscriptions, generate_auth_key
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager

USERS = 10_000
LOOKS = 200


def best(subscriptions: Subscriptions, before: Callable[[int], object]) -> float:
    """Microseconds of the fastest look."""
    fastest = float("inf")
    for look in range(LOOKS):
        before(look)
        begin = time.perf_counter()
        subscriptions.poll()
        fastest = min(fastest, time.perf_counter() - begin)
    return fastest * 1e6


def main() -> None:
    """Measure and print."""
    cache = OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))
    subscriptions = Subscriptions(cache)
    for number in range(USERS):
        user = f"u{number}"
        keys = [
            generate_auth_key("user_profile", user_id=user),
            generate_auth_key("user_permissions", user_id=user),
        ]
        subscriptions.add(keys, [f"user:{user}"])
    cases: dict[str, Callable[[int], object]] = {
        "nothing was invalidated": lambda _: None,
        "another user was": lambda look: cache.invalidate_user_data(f"other-{look}"),
        "a wildcard was": lambda look: cache.invalidate_by_pattern(f"auth:*:{look}:x"),
    }
    for name, before in cases.items():
        print(f"{name:24} {best(subscriptions, before):10.2f} us for {USERS} watched users")


if __name__ == "__main__":
    main()
