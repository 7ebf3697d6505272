"""Mistakes, one function each, to see that the checker finds them. Nothing else uses these.

Each takes a worker before it begins and makes it do one thing wrong, as somebody might who uses
the cache, or as the cache might who wrote it. Mistakes that are settings are with their tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from calling import by_calling
from member import Answer, Member, key_of, tags_of


def stamps_after_the_read(member: Member) -> None:
    """Stores by hand what it has read, with the time of storing."""

    def ask(member: Member, permission: int, loader: Callable[[], Answer]) -> Answer:
        answer, hit = member.cache.get(key_of(permission))
        if not hit:
            answer = loader()
            permissive = member.is_permissive(answer)
            tags = tags_of(permission)
            member.cache.set(key_of(permission), answer, tags=tags, permissive=permissive)
        return dict(answer)

    member.ask = ask


def invalidates_before_the_commit(member: Member) -> None:
    """Tells everybody first, and then makes it true."""
    commit, invalidate = member.truth.commit, member.invalidate_once

    def early(permission: int, granted: bool) -> int:
        invalidate(permission)
        time.sleep(2 * member.plan.load_seconds)
        return commit(permission, granted)

    member.truth.commit = early  # type: ignore[method-assign]
    member.invalidate_once = lambda _: None  # type: ignore[method-assign]


def forgets_every_tenth(member: Member) -> None:
    """Commits, and is distracted."""
    invalidate = member.invalidate_once

    def now_and_then(permission: int) -> None:
        if member.chance.random() > 0.1:
            invalidate(permission)

    member.invalidate_once = now_and_then  # type: ignore[method-assign]


def reads_a_lagging_replica(member: Member) -> None:
    """Loads from a copy of the database that is 300 ms behind."""

    def read(permission: int) -> Answer:
        granted, version = member.truth.read(permission, lag_seconds=0.3)
        return {"granted": granted, "version": version}

    member.read = read  # type: ignore[method-assign]


def calls_an_allow_harmless(member: Member) -> None:
    """Says that no answer is permissive, so that all are served without news from other hosts."""
    member.is_permissive = lambda _: False


def promises_what_it_does_not_wait_for(member: Member) -> None:
    """Reports to its caller that the log has an invalidation as soon as this host has it."""
    member.promises = "bus"


def believes_whatever_lies_in_l2(member: Member) -> None:
    """Takes what other hosts have stored for true, whatever was invalidated since."""
    by_calling(member)
    two = member.cache._l2
    assert two is not None
    two._levels = two._levels._replace(cache=_Credulous(two._levels.cache))


class _Credulous:
    """A cache that admits everything."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._position, self._prepare = cache._position, cache._prepare

    def _admits(self, *_: object) -> bool:
        return True
