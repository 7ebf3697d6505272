"""Refusals as exceptions of FastAPI, so that the handlers of an application apply to them."""

from __future__ import annotations

from typing import Any, ClassVar

from fastapi import HTTPException

from velro_cache.fastapi.bearer import DEFAULT_CHALLENGE, BearerChallenge

__all__ = ["AccessDenied", "AuthenticationRequired", "InvalidBearerToken", "Refusal"]


class Refusal(HTTPException):
    """A request that is not let through. No message holds the token.

    Attributes:
        error: The error of RFC 6750; None if there were no credentials.
        needed_scope: What would have been needed. None: nothing, or not said.
    """

    error: ClassVar[str | None] = None
    needed_scope: str | None = None

    def __init__(self, status_code: int, detail: str, challenge: str) -> None:
        # Refusals depend on the credentials: nobody on the way may keep one.
        headers = {"WWW-Authenticate": challenge, "Cache-Control": "no-store"}
        super().__init__(status_code, detail, headers)

    @property
    def members(self) -> dict[str, Any]:
        """What a problem document says besides status, title and detail."""
        members = {"error": self.error, "scope": self.needed_scope}
        return {name: value for name, value in members.items() if value is not None}


class AuthenticationRequired(Refusal):
    """401: the request has no bearer credentials.

    Args:
        challenge: Realm and the like.
    """

    def __init__(self, challenge: BearerChallenge = DEFAULT_CHALLENGE) -> None:
        super().__init__(401, "Not authenticated", challenge.required)


class InvalidBearerToken(Refusal):
    """401: the token is malformed, forged, expired, revoked or not valid yet.

    Args:
        challenge: Realm and the like.
    """

    error = "invalid_token"

    def __init__(self, challenge: BearerChallenge = DEFAULT_CHALLENGE) -> None:
        super().__init__(401, "Invalid token", challenge.invalid_token)


class AccessDenied(Refusal):
    """403: the user is known, and may not.

    Args:
        challenge: Realm and the like.
        scope: What would have been needed, such as ``generation:read``. None: not said.
    """

    error = "insufficient_scope"

    def __init__(
        self, challenge: BearerChallenge = DEFAULT_CHALLENGE, scope: str | None = None
    ) -> None:
        self.needed_scope = scope
        super().__init__(403, "Access denied", challenge.insufficient_scope(scope))
