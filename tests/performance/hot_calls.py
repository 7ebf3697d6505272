"""What a service asks most, often enough to be counted: run under valgrind by the test beside."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager, cached_authorization

USER = "0f8fad5b-d9cb-469f-a165-70867728950e"
GENERATION = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def main(calls: int) -> None:
    """Make each kind of call so many times, all of them answered from memory."""
    cache = OptimizedCacheManager(OptimizedCacheConfig(compression_enabled=False))
    key = f"auth:user:{USER}:profile"
    texts = [key] * 3
    cache.set(key, "value", 600, ("auth", f"user:{USER}"))
    cache.set_generation_access(GENERATION, USER, "granted")

    @cached_authorization(tags=("user:{user_id}",), cache=cache)
    def check(user_id: str, generation_id: str) -> str:
        return f"{user_id} {generation_id}"

    @cached_authorization(tags=("user:{user_id}",), cache=cache)
    async def acheck(user_id: UUID, generation_id: UUID) -> str:
        return f"{user_id} {generation_id}"

    async def await_all() -> None:
        user, generation = UUID(USER), UUID(GENERATION)
        for _ in range(calls):
            assert await acheck(user, generation) == f"{USER} {GENERATION}"

    for _ in range(calls):
        # The same text each time.
        assert cache.get(texts[0]) == ("value", True)
        # A text built for this call.
        assert cache.get_value(f"auth:user:{USER}:profile") == "value"
        assert cache.get_generation_access(GENERATION, USER) == ("granted", True)
        assert check(USER, GENERATION) == f"{USER} {GENERATION}"
        assert cache.set(texts[1], "value", 600)
    asyncio.run(await_all())


if __name__ == "__main__":
    main(int(sys.argv[1]))
