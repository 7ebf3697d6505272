"""Bearer tokens that were verified, remembered: a signature is checked once, not per request.

Verifying a JWT costs tens of microseconds, asking an issuer milliseconds; remembering that it was
done costs less than one microsecond. What makes it safe:

- **No token is kept.** The key holds a keyed digest under a secret of the process.
- **Never longer than the token.** ``expires_at`` and ``not_before`` are compared with the wall
  clock before each answer, and an entry never outlives ``expires_at``, whatever the clock does.
- **Only what was found good is kept.** A forged token is verified each time it comes, so whoever
  makes tokens up takes no room; an error of the verifier is no answer and is not kept.
- **A revocation is seen.** What is invalidated for the user, or for one of the identity's tags,
  has every worker verify again; a verification that was under way meanwhile is not kept.
- **Bounded.** A token that is too long or no token at all is refused before anything is done
  with it; the entries are those of the cache, with its limits.

Cost of a hit: one call of the compiled half: a keyed digest over the token, a lookup, a look at the
clock.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, final

from velro_cache._engine import TokenMemory, escape_id, keyed_digest
from velro_cache.authorization.identity import Identity
from velro_cache.authorization.serials import serial_of
from velro_cache.exceptions import InvalidTokenError
from velro_cache.manager import OptimizedCacheManager
from velro_cache.registry import get_cache_manager

__all__ = ["MAX_TOKEN_BYTES", "VerifiedTokens", "Verifier"]

MAX_TOKEN_BYTES: Final = 8192
"""Longest token that is looked at, as servers limit a header line."""

Verifier: TypeAlias = Callable[[str], Identity | Awaitable[Identity | None] | None]
"""Says whom a token speaks for; async or not. None: it is no valid token."""

# b64token of RFC 6750, section 2.1.
_BEARER_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_DECISION_PRIORITY: Final = 2


class VerifiedTokens:
    """Verifies bearer tokens, and remembers for whom those that are valid speak.

    Args:
        verify: Called with the token on a miss; a plain function or a coroutine function. It
            checks all there is to check (signature, issuer, audience, time, revocation) and
            returns the :class:`Identity`; for a token that is not valid it returns None or raises
            :class:`InvalidTokenError` or one of ``invalid_token_errors``. Whatever else it raises
            means that it cannot tell. A plain function runs on the event loop: it should compute
            only, such as checking a signature.
        cache_manager: Where identities are kept. None: the cache manager of this process.
        ttl_seconds: Longest time an identity is kept, in seconds. None: ``auth_ttl_seconds``.
        max_token_bytes: Longest token that is looked at, in bytes.
        invalid_token_errors: Exceptions of ``verify`` that mean "not a valid token", such as
            ``jwt.InvalidTokenError``.
        namespace: Name shared by all verifiers that would find the same; needed only if you make
            a new one for each request. None: identities belong to ``verify`` itself.
        now: The wall clock, in seconds since 1970.

    Raises:
        TypeError: ``verify`` cannot be called.
        ValueError: A limit is not above 0.
    """

    __slots__ = (
        "_cache",
        "_invalid",
        "_longest",
        "_memory",
        "_now",
        "_prefix",
        "_scope",
        "_ttl_seconds",
        "_verify",
    )

    def __init__(
        self,
        verify: Verifier,
        *,
        cache_manager: OptimizedCacheManager | None = None,
        ttl_seconds: float | None = None,
        max_token_bytes: int = MAX_TOKEN_BYTES,
        invalid_token_errors: tuple[type[Exception], ...] = (),
        namespace: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not callable(verify):
            raise TypeError(f"verify must be a function, not {type(verify).__name__}")
        if ttl_seconds is not None and not (math.isfinite(ttl_seconds) and ttl_seconds > 0):
            raise ValueError(f"ttl_seconds must be above 0 seconds, not {ttl_seconds}")
        if max_token_bytes < 1:
            raise ValueError(f"max_token_bytes must be 1 or more bytes, not {max_token_bytes}")
        self._verify = verify
        self._cache = cache_manager
        self._ttl_seconds = ttl_seconds
        self._longest = max_token_bytes
        self._invalid = invalid_token_errors
        # The letters keep numbers and names apart.
        self._scope = f"s{serial_of(verify)}" if namespace is None else f"n{escape_id(namespace)}"
        self._prefix = f"auth:token:{self._scope}:"
        self._now = now
        self._memory: tuple[OptimizedCacheManager, TokenMemory] | None = None

    def bound_to(self, cache_manager: OptimizedCacheManager) -> VerifiedTokens:
        """The same, kept in a cache manager.

        Args:
            cache_manager: Where identities are to be kept if none was named.

        Returns:
            Itself if a cache manager was named when it was made; else a copy.
        """
        if self._cache is not None:
            return self
        bound = copy.copy(self)
        bound._cache = cache_manager
        bound._memory = None
        return bound

    def memory(self) -> TokenMemory:
        """What answers for tokens that were verified before, in one call.

        Returns:
            For the cache manager in which identities are kept now. What it does not answer,
            :meth:`identify` does.
        """
        cache = self._cache
        if cache is None:
            cache = get_cache_manager()
        memory = self._memory
        if memory is None or memory[0] is not cache:
            now = None if self._now is time.time else self._now
            made = TokenMemory(cache, self._prefix, self._longest, Identity, now)
            memory = self._memory = (cache, made)
        return memory[1]

    async def identify(self, token: str | bytes) -> Identity:
        """Say whom a token speaks for.

        Args:
            token: The token, without ``Bearer``; bytes as they stood in the header.

        Returns:
            The identity, as the verifier gave it.

        Raises:
            InvalidTokenError: It is no valid token, or not one at this moment.
            TypeError: ``token`` is neither text nor bytes, or the verifier returned something else
                than an identity or None.
            LoaderTimeoutError: The verifier took longer than ``load_timeout_seconds``.
            Exception: Whatever the verifier raised, to all who waited for it; nothing was kept.

        Consistency: a call that begins after an invalidation of the user, or of one of the
            identity's tags, has returned is never answered by a verification from before it.
        Cost: a hit takes less than a microsecond; others share one call of the verifier.
        """
        if not isinstance(token, (bytes, str)):
            # Its repr would be the token.
            raise TypeError(f"a token must be text or bytes, not {type(token).__name__}")
        remembered: Identity | None = self.memory().identity(token)
        if remembered is not None:
            return remembered
        if len(token) > self._longest:
            raise InvalidTokenError("the token is too long")
        try:
            digest = keyed_digest(token if isinstance(token, bytes) else str.encode(token)).hex()
        except UnicodeEncodeError:
            raise InvalidTokenError("this is no bearer token") from None
        cache = self._cache
        if cache is None:
            cache = get_cache_manager()
        key = self._prefix + digest
        found = cache.get_value(key)
        if type(found) is Identity:
            if found.holds_at(self._now()):
                return found
            # Whoever verifies must not find it there.
            cache.delete(key)
        # Of characters a bearer token may not have, latin-1 makes others that it may not have.
        text = token.decode("latin-1") if isinstance(token, bytes) else token
        return await self._verify_once(cache, key, digest, text)

    async def _verify_once(
        self, cache: OptimizedCacheManager, key: str, digest: str, token: str
    ) -> Identity:
        if not _BEARER_TOKEN.fullmatch(token):
            raise InvalidTokenError("this is no bearer token")
        verification = _Verification(self, cache, digest, token)
        found = await cache.aload_missing(
            key,
            verification,
            ttl=self._ttl_of,
            tags=("auth", "bearer_token"),
            priority=_DECISION_PRIORITY,
            # The digest in the key means nothing to another process.
            l2_key=None,
        )
        if type(found) is _Unkept and not verification.was_called:
            # The verification was another caller's, and something was invalidated since it
            # began: maybe before this call.
            found = await verification()
        identity = found.identity if type(found) is _Unkept else found
        # Nothing may be awaited from here on: the clock has the last word.
        if type(identity) is not Identity or not identity.holds_at(self._now()):
            raise InvalidTokenError("the token does not hold at this time")
        return identity

    def _ttl_of(self, found: Identity | _Unkept) -> float:
        """How long what was found may be kept, in seconds; 0 or less: not at all."""
        return self._ttl_left(found) if type(found) is Identity else 0.0

    def _ttl_left(self, identity: Identity) -> float:
        longest = self._ttl_seconds
        if longest is None:
            # An empty cache is false.
            cache = get_cache_manager() if self._cache is None else self._cache
            longest = cache.config.auth_ttl_seconds
        return min(longest, identity.seconds_left(self._now()))


class _Verification:
    """One call of the verifier, and whether it was made at all: others may be answered by it."""

    __slots__ = ("_cache", "_digest", "_token", "_tokens", "was_called")

    def __init__(
        self, tokens: VerifiedTokens, cache: OptimizedCacheManager, digest: str, token: str
    ) -> None:
        self._tokens = tokens
        self._cache = cache
        self._digest = digest
        self._token = token
        self.was_called = False

    async def __call__(self) -> Identity | _Unkept:
        self.was_called = True
        tokens = self._tokens
        stamp = self._cache.snapshot()
        try:
            answer: Any = tokens._verify(self._token)
            if inspect.isawaitable(answer):
                answer = await answer
        except tokens._invalid:
            # Without its cause, which may quote the token.
            raise InvalidTokenError("the token is not valid") from None
        if answer is None:
            raise InvalidTokenError("the token is not valid")
        if type(answer) is not Identity:
            raise TypeError(
                f"the verifier of tokens returned {type(answer).__name__}, not Identity or None"
            )
        if not answer.holds_at(tokens._now()):
            raise InvalidTokenError("the token does not hold at this time")
        return answer if self._tie(answer, stamp) else _Unkept(answer)

    def _tie(self, identity: Identity, stamp: int) -> bool:
        """Have what is being loaded rest on its user, who was not known before.

        What a loader looks up, its result rests on. So this stores a mark with the tags of the
        identity, under the stamp from before the verification, and looks it up. The mark belongs
        to this token alone: that of another load might be younger than this verification.

        Returns:
            False if something of that was invalidated meanwhile, or there was no room.
        """
        cache, tokens = self._cache, self._tokens
        left = tokens._ttl_left(identity)
        if left <= 0:
            return False
        mark = f"auth:user:{escape_id(identity.user_id)}:token:{tokens._scope}:{self._digest}"
        return (
            cache.set(mark, True, left, ("auth", *identity.tags), _DECISION_PRIORITY, stamp=stamp)
            and cache.get_value(mark) is True
        )


@final
class _Unkept:
    """An identity that was found, but must answer only those who asked before."""

    __slots__ = ("identity",)

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def __copy__(self) -> _Unkept:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Unkept:
        return self
