"""Why an API key does not let a request through, as exceptions of FastAPI."""

from __future__ import annotations

import math
from typing import Final

from fastapi import HTTPException
from starlette.exceptions import HTTPException as AnyHTTPException

from velro_cache.exceptions import (
    ApiKeyError,
    KeyExpired,
    KeyMalformed,
    KeyRevoked,
    KeyUnknown,
    MissBudgetExceeded,
)
from velro_cache.fastapi.bearer import BearerChallenge
from velro_cache.fastapi.problems import unavailable
from velro_cache.fastapi.refusals import Refusal
from velro_cache.rate_limit import Decision

__all__ = [
    "ApiKeyChallenge",
    "ApiKeyRefused",
    "RequestLimitExceeded",
    "cannot_tell",
    "refused",
    "retry_after",
]

_LONGEST_WAIT_SECONDS: Final = 86_400


class ApiKeyChallenge(BearerChallenge):
    """The ``WWW-Authenticate`` header where keys are not taken as bearer tokens.

    There is no registered scheme for that; a 401 needs one, and this says where the key belongs.

    Args:
        realm: Name of what is protected, shown to clients.
        header: Where the key belongs.
    """

    __slots__ = ("_start",)

    def __init__(self, realm: str, header: str) -> None:
        super().__init__(realm)
        self._start = f'ApiKey realm="{realm}", header="{header}"'
        self.required = self._start
        self.invalid_token = f'{self._start}, error="invalid_token"'

    def insufficient_scope(self, scope: str | None) -> str:
        """See :meth:`BearerChallenge.insufficient_scope`."""
        needed = "" if scope is None else f', scope="{scope}"'
        return f'{self._start}, error="insufficient_scope"{needed}'


class ApiKeyRefused(Refusal):
    """401 or 403: there is a key, and it lets nobody in. No message holds the key.

    Args:
        challenge: Realm and the like.
        status_code: 401 or 403.
        detail: What to tell the client.
    """

    error = "invalid_token"

    def __init__(self, challenge: BearerChallenge, status_code: int, detail: str) -> None:
        super().__init__(status_code, detail, challenge.invalid_token)


class RequestLimitExceeded(HTTPException):
    """429: the organization or the key has made as many requests as it may, for now.

    Args:
        decision: What the limiter said.
    """

    def __init__(self, decision: Decision) -> None:
        headers = {
            "Retry-After": retry_after(decision.retry_after_seconds),
            "Cache-Control": "no-store",
        }
        for name, value in decision.headers():
            text = name.decode("latin-1")
            if text.lower() != "retry-after":
                headers[text] = value.decode("latin-1")
        super().__init__(429, "Too many requests", headers)


def retry_after(seconds: float | None) -> str:
    """The text of ``Retry-After``: whole seconds, at least one.

    Args:
        seconds: How long to wait. None: not known.
    """
    if seconds is None or not seconds > 0:
        return "1"
    return str(math.ceil(min(seconds, _LONGEST_WAIT_SECONDS)))


def refused(error: ApiKeyError, challenge: BearerChallenge, unknown_status: int) -> ApiKeyRefused:
    """What a client is told whose key lets nobody in.

    Args:
        error: Why.
        challenge: Realm and the like.
        unknown_status: 401 or 403: of keys nobody made.
    """
    for kind, status, detail in (
        (KeyMalformed, 401, "Malformed API key"),
        (KeyUnknown, unknown_status, "Unknown API key"),
        (KeyRevoked, 403, "API key revoked"),
        (KeyExpired, 403, "API key expired"),
    ):
        if isinstance(error, kind):
            return ApiKeyRefused(challenge, status, detail)
    return ApiKeyRefused(challenge, 403, "Invalid API key")


def cannot_tell(error: Exception) -> AnyHTTPException:
    """503: whether the key is good is not known. Says nothing about why.

    Args:
        error: What happened.
    """
    answer = unavailable()
    if isinstance(error, MissBudgetExceeded):
        answer.headers = {
            **(answer.headers or {}),
            "Retry-After": retry_after(error.retry_after_seconds),
        }
    return answer
