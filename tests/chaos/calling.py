"""Asking by calling a decorated function, whose results hosts share by a name of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from member import Answer, Member, tags_of

from velro_cache import OptimizedCacheManager, cached_authorization

__all__ = ["by_calling"]


def by_calling(member: Member) -> None:
    """Make a worker ask so, and invalidate in all ways that reach such results.

    All workers of a scenario must: what some invalidate by a key, others do not have.
    """
    own = threading.local()

    @cached_authorization(
        cache=member.cache,
        tags=["permission:{user_id}"],
        permissive=member.is_permissive,
        l2_name="chaos.answer.v1",
    )
    def answer(user_id: int) -> Answer:
        found: Answer = own.loader()
        return found

    def ask(_: Member, permission: int, loader: Callable[[], Answer]) -> Answer:
        own.loader = loader
        return answer(permission)

    def one_call(cache: OptimizedCacheManager, permission: int) -> None:
        answer.invalidate(permission)
        # What was told before this has been acknowledged when this is.
        cache.invalidate_by_tags(["nothing"])

    def in_a_block(cache: OptimizedCacheManager, permission: int) -> None:
        with cache.revoking(user_id=permission):
            pass

    ways: list[Callable[[OptimizedCacheManager, int], object]] = [
        one_call,
        in_a_block,
        lambda cache, permission: cache.invalidate_user_data(permission),
        lambda cache, permission: cache.invalidate_by_tags(tags_of(permission)),
        lambda cache, _: cache.invalidate_by_pattern("auth:call:chaos.answer.v1:*"),
        lambda *_: answer.cache_clear(),
        lambda cache, _: cache.clear(),
    ]
    member.ask = ask
    member.invalidate_once = lambda permission: _do(  # type: ignore[method-assign]
        member.chance.choice(ways), member.cache, permission
    )


def _do(
    way: Callable[[OptimizedCacheManager, int], object], cache: OptimizedCacheManager, of: int
) -> None:
    way(cache, of)
