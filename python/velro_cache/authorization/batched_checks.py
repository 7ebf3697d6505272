"""Many resources of one user, with one question to the source for all that is not cached.

For lists and for GraphQL, where each row would be a check of its own otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from velro_cache._engine import generate_auth_key
from velro_cache.authorization.models import AccessType, GenerationPermissions
from velro_cache.authorization.scope import as_bytes, digest_of, scope_of
from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.flight import copy_of
from velro_cache.manager import Id, OptimizedCacheManager

__all__ = ["BatchedAnswers", "BatchedChecks", "CheckMany"]

CheckMany: TypeAlias = Callable[
    [Id, tuple[Id, ...], AccessType],
    Awaitable[Mapping[Id, bool | GenerationPermissions | Exception]],
]
"""Says of each generation whether a user may: user, generations, access.

True or False, or a decision. Only a decision says when a grant ends and through which team or
project it came: return one where such grants exist, or to revoke the right of a team does not
reach what was kept of them. What is not known of one is an exception in its place, or left out.
"""

_MOST_AT_ONCE: Final = 1000


class BatchedAnswers(Mapping[Id, bool]):
    """Whether a user may, for each generation that was asked about.

    Looking up a generation of which nobody knows raises, so that an error is never taken for a
    yes or a no; so does going through all values. ``errors`` has those, by generation.
    """

    __slots__ = ("_decided", "errors")

    errors: Mapping[Id, Exception]

    def __init__(self, answers: Mapping[Id, bool | Exception]) -> None:
        self._decided = {one: may for one, may in answers.items() if isinstance(may, bool)}
        self.errors = {one: may for one, may in answers.items() if isinstance(may, Exception)}

    def __getitem__(self, generation_id: Id) -> bool:
        error = self.errors.get(generation_id)
        if isinstance(error, KeyError):
            # `get` would take it for one that was not asked about.
            raise AuthorizationUnavailable("the source of a batched check failed") from error
        if error is not None:
            # One object would gather the frames of all who raise it.
            raise copy_of(error, error.__traceback__)
        return self._decided[generation_id]

    def __contains__(self, generation_id: object) -> bool:
        return generation_id in self._decided or generation_id in self.errors

    def __iter__(self) -> Iterator[Id]:
        yield from self._decided
        yield from self.errors

    def __len__(self) -> int:
        return len(self._decided) + len(self.errors)

    def __repr__(self) -> str:
        return f"BatchedAnswers({self._decided!r}, {len(self.errors)} not known)"


class BatchedChecks:
    """Answers whether a user may do something, for many generations at once.

    Args:
        cache: Where grants are kept.
        check_many: Who decides; asked once for all generations that are not cached.
        ttl_seconds: Life of a grant, unless it ends earlier by itself; None: ``auth_ttl_seconds``
            of the cache.
        namespace: Name shared by all sources that would give the same answers. None: grants of
            this very source alone are used (a function, or an object and a method of it).
        now: The wall clock, in seconds since 1970.
    """

    def __init__(
        self,
        cache: OptimizedCacheManager,
        check_many: CheckMany,
        ttl_seconds: float | None = None,
        *,
        namespace: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._check_many, self._now = cache, check_many, now
        # A bound method is another object each time it is looked up.
        source = getattr(check_many, "__self__", check_many)
        which = as_bytes(getattr(check_many, "__name__", ""))
        self._digest = digest_of(b"many" + scope_of(source, namespace) + which)
        self._ttl_seconds = cache.config.auth_ttl_seconds if ttl_seconds is None else ttl_seconds

    async def check_many(
        self,
        user_id: Id,
        generation_ids: Iterable[Id],
        access: AccessType | str = AccessType.READ,
    ) -> BatchedAnswers:
        """Check several generations.

        Args:
            user_id: Who asks.
            generation_ids: 1,000 different ones at most.
            access: For what, or its name.

        Returns:
            For each of them True or False. Where nobody can tell, asking for that one raises: what
            the source gave, or ``AuthorizationUnavailable``.

        Raises:
            InvalidKeyError: An id cannot name anything.
            ValueError: Too many, or no such access.
            Exception: What the source raised, instead of an answer for all.

        Consistency: as for ``get_or_load``: the stamp is taken before the source is asked, and a
        grant that was taken away meanwhile is not kept. Denials are not kept, so that made-up ids
        take nobody's room.
        Cost: one lookup for each, and one question to the source if any misses. Two calls at the
        same time may ask the source twice.
        """
        access = AccessType(access)
        keys = {
            one: f"{_key(one, user_id)}:{self._digest}:{access.value}"
            for one in dict.fromkeys(generation_ids)
        }
        if len(keys) > _MOST_AT_ONCE:
            raise ValueError(f"at most {_MOST_AT_ONCE} generations can be checked at once")
        # Before anything is read; what comes later makes what is loaded too old to keep.
        stamp = self._cache.snapshot()
        known = self._cache.get_many(keys.values())
        missing = tuple(one for one, key in keys.items() if known.get(key) is not True)
        if not missing:
            return BatchedAnswers(dict.fromkeys(keys, True))
        told = await self._check_many(user_id, missing, access)
        if not isinstance(told, Mapping):
            raise AuthorizationUnavailable("the source of a batched check returned no mapping")
        answers: dict[Id, bool | Exception] = {}
        for one in missing:
            answer = _checked(told.get(one))
            # A result of a loader that asks here rests on it, kept or not.
            rests_on = [f"generation:{one}", f"user:{user_id}"]
            left = self._ttl_seconds
            if isinstance(answer, GenerationPermissions):
                rests_on += _came_through(answer)
                left = min(left, answer._ends - self._now())
                answer = answer.allows(access) and left > 0
            self._cache._depend_on(rests_on, stamp)
            if answer is True:
                tags = ("auth", "generation_access", *rests_on)
                self._cache.set(keys[one], True, left, tags, 2, stamp=stamp)
            answers[one] = answer
        return BatchedAnswers({one: answers.get(one, True) for one in keys})


def _key(generation_id: Id, user_id: Id) -> str:
    return generate_auth_key("generation_access", generation_id=generation_id, user_id=user_id)


def _came_through(decision: GenerationPermissions) -> list[str]:
    named = (("team", decision.team_context), ("project", decision.project_context))
    return [f"{kind}:{id}" for kind, id in named if id is not None and id != ""]


def _checked(answer: object) -> bool | GenerationPermissions | Exception:
    """What is neither yes nor no is not known."""
    if isinstance(answer, bool | GenerationPermissions | Exception):
        return answer
    return AuthorizationUnavailable("the source of a batched check gave no answer for this one")
