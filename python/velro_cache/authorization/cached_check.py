"""A check of access to a generation, answered from the cache where that is safe.

The idea: one decision of the authorization service, with all its flags, is cached and answers
every kind of access; each answer is made for the access that was asked for. What makes it safe:

- **It is bound to who asked how.** The entry's key holds a keyed digest of the token, the client
  address and the service that decided, so a forged token is never given the answer of a good
  one. The key stands below ``auth:gen:{generation_id}:user:{user_id}:access``; everything that
  invalidates that user or that generation reaches it. The token itself is stored nowhere.
- **It ends when the grant ends.** The entry lives no longer than ``expires_at``, and the wall
  clock is looked at again just before each answer: the cache's own clock counts seconds, and
  somebody may set the wall clock.
- **A revocation wins over a load that began before it**: the load's result is not stored, and no
  check that comes later waits for it.
- **Not knowing is no answer.** An exception of the service reaches all who wait, and is not kept.

Cost of a hit: two clock readings, one keyed digest over the token, one lookup.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import perf_counter
from typing import Any, Final

from velro_cache._engine import escape_id, keyed_digest
from velro_cache.authorization.check_statistics import CheckStatistics, statistics_of
from velro_cache.authorization.models import AccessType, GenerationPermissions, utc_now
from velro_cache.authorization.serials import serial_of
from velro_cache.authorization.service import GenerationAccessService
from velro_cache.manager import Id, OptimizedCacheManager

__all__ = ["DEFAULT_DENY_TTL_SECONDS", "CachedGenerationAccess"]

DEFAULT_DENY_TTL_SECONDS: Final = 30.0
"""A deny is cheap to ask for by whoever makes up tokens; it should not fill the cache for long."""

_PRIORITY: Final = 2
"""That of ``set_generation_access``."""


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

    Raises:
        ValueError: ``deny_ttl_seconds`` is negative or not finite.
    """

    __slots__ = ("_cache", "_deny_ttl_seconds", "_now", "_scope", "_service", "_statistics")

    def __init__(
        self,
        service: GenerationAccessService,
        cache: OptimizedCacheManager,
        *,
        deny_ttl_seconds: float = DEFAULT_DENY_TTL_SECONDS,
        namespace: str | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if not (math.isfinite(deny_ttl_seconds) and deny_ttl_seconds >= 0):
            raise ValueError(f"deny_ttl_seconds must be 0 or more seconds, not {deny_ttl_seconds}")
        self._service = service
        self._cache = cache
        self._deny_ttl_seconds = deny_ttl_seconds
        self._now = now
        scope = f"#{serial_of(service)}" if namespace is None else f"={namespace}"
        self._scope = _bytes(f"{len(scope)},{scope}")
        self._statistics = statistics_of(cache)

    @property
    def statistics(self) -> CheckStatistics:
        """The account these checks are counted in, shared by all that use the same cache."""
        return self._statistics

    async def check(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        required_access: AccessType = AccessType.READ,
        client_ip: str | None = None,
        force_refresh: bool = False,
        expires_in: int = 3600,
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
        key = self._key(generation_id, user_id, auth_token, client_ip, expires_in)
        if not force_refresh:
            cached = self._cache.get_value(key)
            if cached is not None:
                if isinstance(cached, GenerationPermissions):
                    end = cached.expires_at
                    if end is None or self._now() < end:
                        answer = cached.addressed_to(generation_id, user_id).answering(access)
                        self._statistics.record_hit(perf_counter() - started, answer.granted)
                        return answer
                    self._statistics.record_expired_hit()
                # Expired, or nothing of ours; whoever loads must not find it there.
                self._cache.delete(key)
        load = _Load(self._ask, generation_id, user_id, auth_token, client_ip, expires_in)
        granted: bool | None = None
        try:
            decision = await self._cache.aload_missing(
                key,
                load,
                ttl=self._ttl_seconds,
                tags=_TAGS,
                priority=_PRIORITY,
                refresh=force_refresh,
                permissive=_allows,
                # The digest in the key means nothing to another process.
                l2_key=None,
            )
            # Nothing may be awaited from here on: the clock has the last word.
            if decision.is_expired(self._now()):
                decision = decision.revoked()
            answer = decision.addressed_to(generation_id, user_id).answering(access)
            granted = answer.granted
            return answer
        finally:
            self._statistics.record_load(
                perf_counter() - started, granted=granted, asked=load.asked, refresh=force_refresh
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
        # would give all tokens one key. The lengths keep the parts apart: no token can end in
        # somebody else's address.
        try:
            token = str.encode(auth_token)
        except UnicodeEncodeError:
            token = _bytes(auth_token)
        secret = b"%s%d,%d,%s" % (self._scope, expires_in, len(token), token)
        if client_ip is not None:
            secret = b"%s=%s" % (secret, _bytes(client_ip))
        return f"{_place(generation_id, user_id)}:t{keyed_digest(secret).hex()}"

    def _ttl_seconds(self, decision: GenerationPermissions) -> float:
        """How long a decision may be kept; 0 or less: not at all."""
        longest = self._cache.config.auth_ttl_seconds
        if not decision.granted:
            longest = min(longest, self._deny_ttl_seconds)
        left = decision.seconds_left(self._now())
        return longest if left is None else min(longest, left)

    async def _ask(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None,
        expires_in: int,
    ) -> GenerationPermissions:
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
        # Compared in the spelling of keys: a UUID and its text are the same id.
        if _place(decision.generation_id, decision.user_id) != _place(generation_id, user_id):
            raise ValueError(
                f"{name}.validate_generation_media_access decided about another user or"
                " generation than the one asked for"
            )
        return decision


def _allows(decision: GenerationPermissions) -> bool:
    return decision.granted


class _Load:
    """One call of the service, and whether it was made at all: others may be answered by it."""

    __slots__ = ("_arguments", "_ask", "asked")

    def __init__(
        self,
        ask: Callable[[Id, Id, str, str | None, int], Awaitable[GenerationPermissions]],
        *arguments: Any,
    ) -> None:
        self._ask = ask
        self._arguments = arguments
        self.asked = False

    async def __call__(self) -> GenerationPermissions:
        self.asked = True
        return await self._ask(*self._arguments)


def _place(generation_id: Id, user_id: Id) -> str:
    # What generate_auth_key("generation_access", ...) returns, in half the time.
    return f"auth:gen:{escape_id(generation_id)}:user:{escape_id(user_id)}:access"


def _bytes(text: str) -> bytes:
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-8", "surrogatepass")


# Those of the generation and the user are implied by the key.
_TAGS: Final = ("auth", "generation_access")
