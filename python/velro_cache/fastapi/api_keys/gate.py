"""What a request with an API key has to pass; the middleware and the dependency share it."""

from __future__ import annotations

import logging
from collections.abc import Collection, MutableMapping, Sequence
from typing import Any, Final, Protocol

from velro_cache.api_keys.cache import ApiKeyCache
from velro_cache.api_keys.models import ApiKey
from velro_cache.exceptions import ApiKeyError, MissBudgetExceeded, VelroCacheError
from velro_cache.fastapi.api_keys.finding import KeyFinder
from velro_cache.fastapi.api_keys.limiting import AppliedLimits, KeyLimiter, Limiter
from velro_cache.fastapi.api_keys.refusals import (
    ApiKeyChallenge,
    RequestLimitExceeded,
    cannot_tell,
    refused,
)
from velro_cache.fastapi.api_keys.sources import RequestSource
from velro_cache.fastapi.bearer import BearerChallenge, quotable
from velro_cache.fastapi.refusals import AccessDenied, AuthenticationRequired
from velro_cache.rate_limit import Decision, OnErrors
from velro_cache.sparing_log import SparingLog

__all__ = ["DEFAULT_HEADERS", "FAILURES", "KeyGate", "NotesUse"]

FAILURES: Final = SparingLog(logging.getLogger("velro_cache.api_keys"))
"""Of all gates of this process together: there may be one for each route."""

DEFAULT_HEADERS: Final = ("Authorization", "X-API-Key")
"""Where a key is looked for if nobody says where."""


class NotesUse(Protocol):
    """Takes note of uses, as :class:`velro_cache.api_keys.LastUsedWriter` does."""

    def note(self, key_id: str) -> None:
        """Take note that a key was used now; must not wait."""
        ...


class KeyGate:
    """Lets requests through, or says why not.

    Args:
        keys: Tells what a key is good for.
        limiter: Asked with the limits of the organization and the key. None: nobody is asked.
        organization_on_error: See :class:`KeyLimiter`; likewise ``key_on_error``.
        key_on_error: None: as the limiter has it.
        scopes: Which of them a key needs, all.
        headers: Where the key may stand; see :class:`KeyFinder`.
        query_parameter: Likewise. None: not there.
        unknown_status: 403 or 401: for keys nobody made.
        trusted_proxies: See :class:`RequestSource`.
        realm: Name of what is protected, in ``WWW-Authenticate``.
        last_used: Told of uses. None: nobody is.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range.
    """

    __slots__ = (
        "_limiter",
        "_needed",
        "_note",
        "_recall",
        "_source",
        "_unknown_status",
        "_verify",
        "challenge",
        "find",
        "finder",
        "needed_scope",
    )

    def __init__(
        self,
        keys: ApiKeyCache,
        *,
        limiter: Limiter | None = None,
        organization_on_error: OnErrors | None = None,
        key_on_error: OnErrors | None = None,
        scopes: Collection[str] = (),
        headers: Sequence[str] = DEFAULT_HEADERS,
        query_parameter: str | None = None,
        unknown_status: int = 403,
        trusted_proxies: Collection[str] = (),
        realm: str = "api",
        last_used: NotesUse | None = None,
    ) -> None:
        if not (hasattr(keys, "recall") and hasattr(keys, "verify")):
            raise TypeError(f"keys must be an ApiKeyCache, not {type(keys).__name__}")
        if isinstance(scopes, str):
            raise TypeError("scopes must be several texts, not one")
        if unknown_status not in (401, 403):
            raise ValueError("unknown_status must be 401 or 403")
        self.finder: Final = KeyFinder(headers, query_parameter)
        self.find: Final = self.finder.find
        self._recall = keys.recall
        self._verify = keys.verify
        self._limiter = (
            None if limiter is None else KeyLimiter(limiter, organization_on_error, key_on_error)
        )
        self._needed = frozenset(scopes)
        self.needed_scope: Final = quotable("scopes", " ".join(sorted(scopes))) or None
        self._unknown_status = unknown_status
        self._source = RequestSource(trusted_proxies)
        self._note = None if last_used is None else last_used.note
        self.challenge: Final = (
            BearerChallenge(realm)
            if self.finder.reads_bearer
            else ApiKeyChallenge(realm, self.finder.headers[0])
        )

    def recall(self, scope: MutableMapping[str, Any]) -> ApiKey | None:
        """The key of a request, if memory alone can tell that it is good now.

        Args:
            scope: The ASGI scope.

        Returns:
            The key. None: :meth:`identify` tells.
        """
        try:
            plain = self.find(scope)
            return None if plain is None else self._recall(plain)
        except ApiKeyError:
            return None

    def lacks_key(self, scope: MutableMapping[str, Any]) -> bool:
        """Whether a request has no API key at all, good or bad.

        Args:
            scope: The ASGI scope.
        """
        try:
            return self.find(scope) is None
        except ApiKeyError:
            return False

    async def identify(self, scope: MutableMapping[str, Any]) -> ApiKey:
        """The key of a request.

        Args:
            scope: The ASGI scope.

        Raises:
            HTTPException: 401, 403 or 503.
        """
        try:
            plain = self.find(scope)
            if plain is None:
                raise AuthenticationRequired(self.challenge)
            return await self._verify(plain, source=self._source.of(scope))
        except ApiKeyError as error:
            raise refused(error, self.challenge, self._unknown_status) from None
        except VelroCacheError as error:
            # Whatever else it is, it is no grant; what was behind it may name hosts and users.
            if not isinstance(error, MissBudgetExceeded):
                # That one anybody could have said as often as he likes; the cache counts it.
                FAILURES.failed(logging.ERROR, "API keys cannot be checked", error)
            raise cannot_tell(error) from error

    def may(self, key: ApiKey) -> bool:
        """Whether a key has the scopes that are needed.

        Args:
            key: A good one.
        """
        return not self._needed or key.scopes >= self._needed

    def lacks_scope(self, also: Collection[str] = ()) -> AccessDenied:
        """What somebody is told whose key has too few scopes.

        Args:
            also: What was needed besides those of this gate.
        """
        needed = self.needed_scope
        if also:
            try:
                needed = quotable("scopes", " ".join(sorted(self._needed.union(also))))
            except ValueError:
                # Such as one with quotes, which has no place in a header.
                needed = None
        return AccessDenied(self.challenge, needed)

    async def charge(self, key: ApiKey) -> Decision | None:
        """Charge a request, and take note of the use.

        Args:
            key: A good one, that has the scopes.

        Returns:
            The decision of the limiter. None: there are no limits.

        Raises:
            RequestLimitExceeded: It made too many.
            HTTPException: 503: nobody can tell.
        """
        decision = None
        if self._limiter is not None:
            limiter = self._limiter
            try:
                decision = limiter.check(key) if limiter.is_local else await limiter.acheck(key)
            except VelroCacheError as error:
                # Such as limits in the row of the key that are none.
                FAILURES.failed(logging.ERROR, "the limits of a key cannot be checked", error)
                raise cannot_tell(error) from error
            # Not a truth value of something else: only a yes is a yes.
            if decision is not None and decision.allowed is not True:
                limiter.note_refusal(key, decision)
                raise RequestLimitExceeded(decision)
        self.note(key)
        return decision

    def note(self, key: ApiKey) -> None:
        """Take note that a key was used.

        Args:
            key: A good one.
        """
        if self._note is not None:
            try:
                self._note(key.id)
            except Exception as error:
                FAILURES.failed(logging.WARNING, "the use of a key could not be noted", error)

    @staticmethod
    def tell(state: MutableMapping[str, Any], key: ApiKey, decision: Decision | None) -> None:
        """Put into the state of a request whose it is.

        Args:
            state: ``request.state``, as a mapping.
            key: The key.
            decision: What the limiter said. None: it was not asked.
        """
        state["api_key"] = key
        state["organization_id"] = key.organization_id
        state["plan"] = key.plan
        state["scopes"] = key.scopes
        state["limits"] = AppliedLimits(key.organization_limits, key.key_limits)
        state["rate_limit"] = decision
