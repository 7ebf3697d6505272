"""A check of access to a generation, answered from the cache where that is safe.

The idea: one decision of the authorization service, with all its flags, is cached and answers
every kind of access; each answer is made for the access that was asked for. What makes it safe:

- **It is bound to who asked how.** The entry's key holds a keyed digest of the token, the client
  address and the service that decided, so a forged token is never given the answer of a good
  one. The key stands below ``auth:gen:{generation_id}:user:{user_id}:access``; everything that
  invalidates that user or that generation reaches it. The token itself is stored nowhere.
- **It ends with what it came through.** A grant that names a team or a project in its contexts is
  reached by what invalidates that team or project, too.
- **It ends when the grant ends.** The entry lives no longer than ``expires_at``, and the wall
  clock is looked at again just before each answer: the cache's own clock counts seconds, and
  somebody may set the wall clock.
- **A revocation wins over a load that began before it**: the load's result is not stored, and no
  check that comes later waits for it.
- **Not knowing is no answer.** An exception of the service reaches all who wait, and is not kept.

Cost of a hit: one call of the compiled half, which digests the token, finds the entry and reads
the clock; what that call does not answer goes the whole way, in Python.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import Final

from velro_cache._engine import DecisionMemory, decision_key, escape_id
from velro_cache.authorization.check_statistics import CheckStatistics, statistics_of
from velro_cache.authorization.eager import EagerReloads
from velro_cache.authorization.kept_decisions import DEFAULT_DENY_TTL_SECONDS, KeptDecisions
from velro_cache.authorization.models import (
    AccessType,
    GenerationPermissions,
    flag_for,
    utc_now,
)
from velro_cache.authorization.scope import as_bytes, scope_of
from velro_cache.authorization.service import GenerationAccessService
from velro_cache.manager import Id, OptimizedCacheManager

__all__ = ["DEFAULT_DENY_TTL_SECONDS", "CachedGenerationAccess", "answer_of"]

_USUAL_EXPIRES_IN: Final = 3600
"""Life of media URLs, in seconds, where nobody says."""


class CachedGenerationAccess:
    """Checks access to generations through a cache. Cheap to make; keeps no state of its own.

    Args:
        service: Who decides what is not cached.
        cache: Where decisions are kept.
        deny_ttl_seconds: How long a deny is kept, in seconds, at most ``auth_ttl_seconds``.
            0: not at all.
        namespace: Name shared by all services that would give the same answers. None: only this
            very service object shares its decisions with itself, which is always right; name one
            if you make a new service object for each request.
        now: The wall clock, with a time zone.
        max_cached_denies: How many denials of this cache may be alive at once. 0: none.
            None: a tenth of ``max_entries``.
        statistics: The account to count in. None: the one that all checks through this cache
            share.

    Raises:
        TypeError: ``max_cached_denies`` is not an integer.
        ValueError: ``deny_ttl_seconds`` is negative or not finite, or ``max_cached_denies``
            negative.
    """

    __slots__ = ("_eager", "_kept", "_scope", "_service", "_statistics", "memory")

    def __init__(
        self,
        service: GenerationAccessService,
        cache: OptimizedCacheManager,
        *,
        deny_ttl_seconds: float = DEFAULT_DENY_TTL_SECONDS,
        namespace: str | None = None,
        now: Callable[[], datetime] = utc_now,
        max_cached_denies: int | None = None,
        statistics: CheckStatistics | None = None,
    ) -> None:
        self._kept = KeptDecisions(cache, deny_ttl_seconds, max_cached_denies, now)
        self._service = service
        self._scope = scope_of(service, namespace)
        self._statistics = statistics_of(cache) if statistics is None else statistics
        self._eager: EagerReloads | None = None
        self.memory: Final = DecisionMemory(
            cache,
            self._scope_of(_USUAL_EXPIRES_IN),
            GenerationPermissions,
            self._statistics.hits,
            None if now is utc_now else lambda: now().timestamp(),
        )
        """Decisions as usually asked for: without an address, media URLs for an hour."""

    @property
    def statistics(self) -> CheckStatistics:
        """The account these checks are counted in, shared by all that use the same cache."""
        return self._statistics

    def reload_eagerly(self, eager: EagerReloads) -> None:
        """Have :meth:`decide` load grants anew when it finds them near their end.

        Args:
            eager: What remembers and runs these loads.
        """
        self._eager = eager

    async def check(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        required_access: AccessType = AccessType.READ,
        client_ip: str | None = None,
        force_refresh: bool = False,
        expires_in: int = _USUAL_EXPIRES_IN,
    ) -> GenerationPermissions:
        """Say whether a user may access a generation.

        Args:
            generation_id: The generation.
            user_id: The user.
            auth_token: Credential of the request, handed to the service.
            required_access: What the user wants to do.
            client_ip: Address of the client, handed to the service. None: not known.
            force_refresh: Ask the service, whatever is cached and whoever is asking already.
            expires_in: Life of media URLs in seconds, handed to the service.

        Returns:
            The decision, with ``granted`` saying whether *this* access is allowed right now.

        Raises:
            TypeError: The token is not a text, or the service returned no decision.
            ValueError: There is no such access, or the service decided about somebody else.
            LoaderTimeoutError: The service did not answer within ``load_timeout_seconds``.
            Exception: Whatever the service raised, to all who waited for it; nothing was cached.

        Consistency:
            A check that begins after an invalidation has returned is never answered by a
            decision from before it.
        """
        started = perf_counter()
        access = required_access
        if type(access) is not AccessType:
            access = AccessType(access)
        if type(auth_token) is str and client_ip is None and expires_in == _USUAL_EXPIRES_IN:
            flag = flag_for(access)
            if flag is not None and not force_refresh:
                found = self.memory.decision(auth_token, generation_id, user_id, flag)
                if found is not None:
                    return answer_of(found, generation_id, user_id, access)
        key = self._key(generation_id, user_id, auth_token, client_ip, expires_in)
        if not force_refresh:
            cached = self._kept.found(key, GenerationPermissions, self._statistics)
            if cached is not None:
                answer = cached.addressed_to(generation_id, user_id).answering(access)
                self._statistics.hits.record(perf_counter() - started, answer.granted)
                return answer
        load = _Load(self._ask, generation_id, user_id, auth_token, client_ip, expires_in)
        return await self._load(started, key, load, access, force_refresh)

    async def decide(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        force_refresh: bool = False,
        expires_in: int = _USUAL_EXPIRES_IN,
    ) -> GenerationPermissions:
        """Return the whole decision, as the service made it, rather than the answer to a question.

        Args:
            generation_id: The generation.
            user_id: The user.
            auth_token: Credential of the request, handed to the service.
            client_ip: Address of the client, handed to the service. None: not known.
            force_refresh: As for :meth:`check`.
            expires_in: Life of media URLs in seconds, handed to the service.

        Returns:
            The decision; ``granted`` says whether there is any access. To ask for one kind of
            access, use :meth:`check` or ``allows()``.

        Raises:
            TypeError, ValueError, LoaderTimeoutError, Exception: As for :meth:`check`.

        Consistency: as for :meth:`check`.
        """
        started = perf_counter()
        if (
            type(auth_token) is str
            and client_ip is None
            and expires_in == _USUAL_EXPIRES_IN
            and self._eager is None
            and not force_refresh
        ):
            found = self.memory.decision(auth_token, generation_id, user_id, "granted")
            if found is not None:
                return found[0].addressed_to(generation_id, user_id)  # type: ignore[no-any-return]
        key = self._key(generation_id, user_id, auth_token, client_ip, expires_in)
        if not force_refresh:
            cached = self._kept.found(key, GenerationPermissions, self._statistics)
            if cached is not None:
                answer = cached.addressed_to(generation_id, user_id)
                self._statistics.hits.record(perf_counter() - started, answer.granted)
                if self._eager is not None and self._eager.claims(key):
                    again = partial(
                        self.decide, generation_id, user_id, auth_token, client_ip, True, expires_in
                    )
                    self._eager.begin(again)
                return answer
        load = _Load(self._ask, generation_id, user_id, auth_token, client_ip, expires_in)
        return await self._load(started, key, load, None, force_refresh)

    async def _load(
        self,
        started: float,
        key: str,
        load: _Load,
        access: AccessType | None,
        refresh: bool,
    ) -> GenerationPermissions:
        granted: bool | None = None
        try:
            decision = await self._kept.load(
                key, load, tags=_TAGS, refresh=refresh, longest=load.longest_seconds
            )
            if self._eager is not None and load.asked:
                longest = load.longest_seconds(decision)
                self._eager.loaded(key, self._kept.grant_seconds(decision, longest))
            answer = decision.addressed_to(load.generation_id, load.user_id)
            if access is not None:
                answer = answer.answering(access)
            granted = answer.granted
            return answer
        finally:
            self._statistics.record_load(
                perf_counter() - started, granted=granted, asked=load.asked, refresh=refresh
            )

    def _key(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None,
        expires_in: int,
    ) -> str:
        if not isinstance(auth_token, str):
            # Its repr would be the token.
            raise TypeError(f"auth_token must be a text, not {type(auth_token).__name__}")
        if client_ip is not None and not isinstance(client_ip, str):
            raise TypeError(f"client_ip must be a text, not {type(client_ip).__name__}")
        # The text itself, whatever a class of its own makes of str(): one that masks its secret
        # would give all tokens one key.
        return decision_key(
            generation_id,
            user_id,
            self._scope_of(expires_in),
            as_bytes(auth_token),
            None if client_ip is None else as_bytes(client_ip),
        )

    def _scope_of(self, expires_in: int) -> bytes:
        return b"%s%d," % (self._scope, expires_in)

    async def _ask(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None,
        expires_in: int,
    ) -> GenerationPermissions:
        stamp = self._kept.cache.snapshot()
        decision = await self._service.validate_generation_media_access(
            generation_id=generation_id,
            user_id=user_id,
            auth_token=auth_token,
            client_ip=client_ip,
            expires_in=expires_in,
        )
        name = type(self._service).__name__
        if not isinstance(decision, GenerationPermissions):
            raise TypeError(
                f"{name}.validate_generation_media_access returned"
                f" {type(decision).__name__}, not GenerationPermissions"
            )
        if not (_same(decision.generation_id, generation_id) and _same(decision.user_id, user_id)):
            raise ValueError(
                f"{name}.validate_generation_media_access decided about another user or"
                " generation than the one asked for"
            )
        if decision.granted:
            self._kept.rests_on(stamp, team=decision.team_context, project=decision.project_context)
        return decision


class _Load:
    """One call of the service, and whether it was made at all: others may be answered by it."""

    __slots__ = (
        "_ask",
        "_auth_token",
        "_client_ip",
        "_expires_in",
        "asked",
        "generation_id",
        "user_id",
    )

    def __init__(
        self,
        ask: Callable[[Id, Id, str, str | None, int], Awaitable[GenerationPermissions]],
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None,
        expires_in: int,
    ) -> None:
        self._ask = ask
        self._auth_token = auth_token
        self._client_ip = client_ip
        self._expires_in = expires_in
        self.generation_id = generation_id
        self.user_id = user_id
        self.asked = False

    async def __call__(self) -> GenerationPermissions:
        self.asked = True
        return await self._ask(
            self.generation_id, self.user_id, self._auth_token, self._client_ip, self._expires_in
        )

    def longest_seconds(self, decision: GenerationPermissions) -> float | None:
        """No longer than its media URLs can be used."""
        return self._expires_in if decision.media_urls else None


def answer_of(
    found: tuple[GenerationPermissions, bool], generation_id: Id, user_id: Id, access: AccessType
) -> GenerationPermissions:
    """The answer to a question, made of what was remembered.

    Args:
        found: What :attr:`CachedGenerationAccess.memory` returned for it: the decision, and whether
            it grants the access.
        generation_id: The generation, as the caller names it.
        user_id: The user, as the caller names them.
        access: What was asked for.

    Returns:
        As :meth:`CachedGenerationAccess.check` does.
    """
    decision, allowed = found
    answer = decision.addressed_to(generation_id, user_id)
    return answer if allowed else answer.answering(access)


def _same(one: Id, other: Id) -> bool:
    """Compared in the spelling of keys: a UUID and its text are the same id."""
    return escape_id(one) == escape_id(other)


# Those of the generation and the user are implied by the key.
_TAGS: Final = ("auth", "generation_access")
