"""``Depends(ApiKeyAuth(...))``: API keys for single routes, in the OpenAPI document.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

import inspect
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Final

from fastapi import Depends, Response, WebSocketException
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.exceptions import HTTPException

from velro_cache.api_keys.cache import ApiKeyCache
from velro_cache.api_keys.models import ApiKey
from velro_cache.fastapi.api_keys.gate import DEFAULT_HEADERS, KeyGate, NotesUse
from velro_cache.fastapi.api_keys.limiting import Limiter
from velro_cache.rate_limit import OnErrors

__all__ = ["ApiKeyAuth"]

_POLICY_VIOLATION: Final = 1008
_TRY_AGAIN_LATER: Final = 1013
_NOBODY_CAN_TELL: Final = 503
_LET_IN: Final = "velro_cache.api_keys.let_in"
"""In the scope of a request: by which gate it was let in, and with which key."""


class _AsBearer(SecurityBase):
    """The second way to send a key, in the OpenAPI document; it does nothing else."""

    def __init__(self) -> None:
        self.model = HTTPBearer(description="An API key as a bearer token")
        self.scheme_name = "ApiKeyBearer"

    async def __call__(self) -> None:
        return None


_AS_BEARER: Final = _AsBearer()


class ApiKeyAuth(SecurityBase):
    """Lets in whoever has a good API key, and says which.

    ::

        reads = ApiKeyAuth(keys, scopes=["read"], limiter=limiter)

        @app.get("/items", responses=API_KEY_RESPONSES)
        async def items(key: Annotated[ApiKey, Depends(reads)]): ...

    Make it at module level. In tests: ``app.dependency_overrides[reads] = lambda: some_key``.
    ``Security(reads, scopes=["admin"])`` needs that scope, too. However often a request comes by
    one of these, with whatever scopes, it is charged once.

    A whole application is guarded at less cost by :class:`ApiKeyMiddleware`. With both, a request
    is charged twice: give the limiter to one of them.

    Args:
        keys: Tells what a key is good for.
        limiter: Asked with the limits that come with the key. None: nobody is asked.
        organization_on_error: What holds for limits of organizations while Redis cannot be asked,
            as for :class:`ApiKeyMiddleware`. None: as the limiter has it.
        key_on_error: Likewise for limits of keys.
        scopes: What a key needs, all of them.
        headers: As for :class:`ApiKeyMiddleware`, and so are the following.
        query_parameter: A parameter of the query that may hold the key. None: none.
        unknown_status: 403 or 401: the answer to keys nobody made.
        trusted_proxies: Networks of proxies whose ``X-Forwarded-For`` is believed.
        realm: Name of what is protected.
        last_used: Told which key was used. None: nobody is told.
        scheme_name: Name of the security scheme in the OpenAPI document.
        description: For the document only.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range.

    Consistency: as for :meth:`ApiKeyCache.verify`.
    """

    def __init__(
        self,
        keys: ApiKeyCache,
        scopes: Collection[str] = (),
        *,
        limiter: Limiter | None = None,
        organization_on_error: OnErrors | None = None,
        key_on_error: OnErrors | None = None,
        headers: Sequence[str] = DEFAULT_HEADERS,
        query_parameter: str | None = None,
        unknown_status: int = 403,
        trusted_proxies: Collection[str] = (),
        realm: str = "api",
        last_used: NotesUse | None = None,
        scheme_name: str = "ApiKey",
        description: str | None = None,
    ) -> None:
        self._gate = KeyGate(
            keys,
            limiter=limiter,
            organization_on_error=organization_on_error,
            key_on_error=key_on_error,
            scopes=scopes,
            headers=headers,
            query_parameter=query_parameter,
            unknown_status=unknown_status,
            trusted_proxies=trusted_proxies,
            realm=realm,
            last_used=last_used,
        )
        named = [name for name in headers if name.lower() != "authorization"]
        self.model = (
            APIKey.model_validate(
                {"in": APIKeyIn.header, "name": named[0], "description": description}
            )
            if named
            else HTTPBearer(description=description)
        )
        self.scheme_name = scheme_name
        if len(named) == len(headers) or not named:
            # There is one way to send a key, and the document is to tell of no other; this is
            # what FastAPI reads the parameters from.
            signature = inspect.signature(self.__call__)
            asked = [one for name, one in signature.parameters.items() if name != "_as_bearer"]
            self.__signature__ = signature.replace(parameters=asked)

    async def __call__(
        self,
        connection: HTTPConnection,
        response: Response,
        security_scopes: SecurityScopes,
        _as_bearer: Annotated[None, Depends(_AS_BEARER)] = None,
    ) -> ApiKey:
        """Check a request.

        Returns:
            The key; what :class:`ApiKeyMiddleware` puts into the state is there, too.

        Raises:
            HTTPException: 401, 403, 429 or 503.
            WebSocketException: The same of a WebSocket: 1008, or 1013 where nobody can tell.
        """
        gate, scope = self._gate, connection.scope
        also = security_scopes.scopes
        gate_before, key_before = scope.get(_LET_IN, (None, None))
        try:
            key = key_before if gate_before is gate else gate.recall(scope)
            if key is None:
                key = await gate.identify(scope)
            if not gate.may(key) or not key.has(*also):
                raise gate.lacks_scope(also)
            if gate_before is gate:
                return key
            decision = await gate.charge(key)
        except HTTPException as error:
            if scope["type"] != "websocket":
                raise
            code = _TRY_AGAIN_LATER if error.status_code == _NOBODY_CAN_TELL else _POLICY_VIOLATION
            raise WebSocketException(code, str(error.detail)) from None
        scope[_LET_IN] = gate, key
        state = scope.setdefault("state", {})
        # Without a limiter here, what the one of the middleware said is true still.
        gate.tell(state, key, state.get("rate_limit") if decision is None else decision)
        if decision is not None:
            _add(response, decision)
        return key


def _add(response: Response, decision: Any) -> None:
    response.headers.raw.extend(decision.headers())
