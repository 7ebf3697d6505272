"""Guards: what a route asks for with ``Depends`` so that only who may is let in.

Each is one call for FastAPI: it finds the bearer token, tells the user, asks for the permission,
and stands in the OpenAPI document as a security scheme. All of them check with the object that
``get_optimized_auth_middleware`` returns, the one dependency to override in tests
(:mod:`velro_cache.fastapi.overrides`).

Make guards at module level. A guard named in an annotation that cannot be resolved there is taken
for a query parameter (422).

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, NoReturn

from fastapi import Depends, WebSocketException
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.models import HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase
from starlette.exceptions import HTTPException

from velro_cache._engine import escape_id
from velro_cache.authorization.identity import Identity
from velro_cache.authorization.models import (
    AccessType,
    AuthorizationResult,
    GenerationPermissions,
    TeamRole,
)
from velro_cache.exceptions import AuthorizationUnavailable, ConfigError, VelroCacheError
from velro_cache.fastapi.bearer import DEFAULT_CHALLENGE, quotable
from velro_cache.fastapi.dependencies import auth_of, get_optimized_auth_middleware
from velro_cache.fastapi.middleware import OptimizedAuthMiddleware
from velro_cache.fastapi.overrides import overridden
from velro_cache.fastapi.refusals import AccessDenied, Refusal
from velro_cache.manager import Id

__all__ = [
    "DeletableGeneration",
    "IdentityDep",
    "ProjectAdmin",
    "ProjectEditor",
    "ProjectViewer",
    "ReadableGeneration",
    "RequireGenerationAccess",
    "RequireIdentity",
    "RequireProjectAccess",
    "RequireTeamRole",
    "ShareableGeneration",
    "TeamAdmin",
    "TeamEditor",
    "TeamViewer",
    "WritableGeneration",
]

_MAX_ID_CHARACTERS: Final = 256
"""Longest id of a path that is looked at."""

_POLICY_VIOLATION: Final = 1008


class _BearerGuard(SecurityBase):
    """What all guards have in common: the scheme in the OpenAPI document, and the first step.

    Args:
        scheme_name: Name of the security scheme in the OpenAPI document; the same for all guards
            of an application, unless it has several schemes.
        bearer_format: What tokens look like, for the document only, such as ``JWT``.
        description: For the document only.
    """

    def __init__(
        self,
        *,
        scheme_name: str = "Bearer",
        bearer_format: str | None = None,
        description: str | None = None,
    ) -> None:
        self.model = HTTPBearer(bearerFormat=bearer_format, description=description)
        self.scheme_name = scheme_name

    async def _authenticate(
        self, connection: HTTPConnection
    ) -> tuple[OptimizedAuthMiddleware, Identity, str]:
        scope = connection.scope
        # A dependency of its own for FastAPI would cost as much as the whole check.
        overrides = getattr(scope.get("app"), "dependency_overrides", None)
        if overrides and get_optimized_auth_middleware in overrides:
            auth = await overridden(overrides[get_optimized_auth_middleware], connection)
        else:
            auth = auth_of(connection)
        identity, token = await auth.authenticate(scope)
        if type(identity) is not Identity:
            raise AuthorizationUnavailable("who is asking could not be told")
        scope.setdefault("state", {})["identity"] = identity
        return auth, identity, token


class RequireIdentity(_BearerGuard):
    """Lets in whoever has a valid token, and says who that is.

    Args:
        scheme_name: Name of the security scheme in the OpenAPI document.
        bearer_format: What tokens look like, for the document only.
        description: For the document only.
    """

    async def __call__(self, connection: HTTPConnection) -> Identity:
        """Tell the user of a request.

        Returns:
            Who is asking; also in ``request.state.identity``.

        Raises:
            AuthenticationRequired, InvalidBearerToken: 401; WebSockets are closed with 1008.
            AuthorizationUnavailable, LoaderTimeoutError: Nobody can tell.
        """
        try:
            _, identity, _ = await self._authenticate(connection)
        except Exception as error:
            _fail(connection, error)
        return identity


class _PlaceGuard(_BearerGuard):
    """A guard of something that the path names.

    Args:
        parameter: Name of the path parameter with the id.
        scope: What a refusal says was needed.
        id_type: Turns the text of the path into an id, such as ``UUID``; a ``ValueError`` means
            that it is none. None: a text, UUIDs in their one spelling.
        options: Those of :class:`_BearerGuard`.
    """

    def __init__(
        self,
        parameter: str,
        scope: str,
        id_type: Callable[[str], Id] | None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not parameter.isidentifier():
            raise ValueError("parameter must be the name of a path parameter")
        self.parameter = parameter
        self.needed_scope = quotable("scope", scope)
        self._id_type = id_type

    def _id(self, connection: HTTPConnection) -> Id:
        """The id in the path; of one resource, there is one spelling of a UUID.

        Raises:
            ConfigError: The route has no such parameter.
            RequestValidationError: It is no id: FastAPI's own answer to that, 422.
        """
        given = connection.scope["path_params"].get(self.parameter)
        if type(given) is not str:
            if given is None:
                raise ConfigError(
                    f"{type(self).__name__} guards a route without {{{self.parameter}}} in its"
                    " path; name the parameter of the route with parameter=..."
                )
            # From a converter of the route: a UUID, an int. Others are refused as ids.
            return given  # type: ignore[no-any-return]
        # Not printable: control characters, halves of surrogate pairs, marks that turn text around.
        if not given or len(given) > _MAX_ID_CHARACTERS or not given.isprintable():
            raise self._no_id()
        if self._id_type is not None:
            try:
                return self._id_type(given)
            except (ValueError, TypeError, ArithmeticError):
                raise self._no_id() from None
        spelt = escape_id(given)
        # What is not a UUID is escaped with %, or stays as it is.
        return given if "%" in spelt else spelt

    def _no_id(self) -> RequestValidationError:
        # Without the input: it may be long, and of any kind.
        message = {"type": "value_error", "loc": ("path", self.parameter), "msg": "Not an id"}
        return RequestValidationError([{**message, "input": None}])

    def _denied(self, auth: OptimizedAuthMiddleware) -> AccessDenied:
        return AccessDenied(getattr(auth, "challenge", DEFAULT_CHALLENGE), self.needed_scope)


class RequireGenerationAccess(_PlaceGuard):
    """Lets in who may do something with the generation in the path.

    ::

        Readable = Annotated[GenerationPermissions, Depends(RequireGenerationAccess("read"))]

        @app.get("/generations/{generation_id}/media", responses=AUTH_RESPONSES)
        async def media(generation_id: UUID, permissions: Readable): ...

    Args:
        access: What the route does with it, or its name.
        parameter: Name of the path parameter with the id.
        id_type: Turns the text of the path into an id, such as ``UUID``. None: a text.
        pass_client_ip: Hand the client's address to the service; binds decisions to it. Behind a
            proxy it is the proxy's, unless the server is told to trust it.
        scheme_name: Name of the security scheme in the OpenAPI document.
        bearer_format: What tokens look like, for the document only.
        description: For the document only.

    Raises:
        ValueError: There is no such access, or ``parameter`` is no name.
    """

    def __init__(
        self,
        access: AccessType | str = AccessType.READ,
        *,
        parameter: str = "generation_id",
        id_type: Callable[[str], Id] | None = None,
        pass_client_ip: bool = False,
        scheme_name: str = "Bearer",
        bearer_format: str | None = None,
        description: str | None = None,
    ) -> None:
        self.access = AccessType(access)
        self._pass_client_ip = pass_client_ip
        super().__init__(
            parameter,
            f"generation:{self.access.value}",
            id_type,
            scheme_name=scheme_name,
            bearer_format=bearer_format,
            description=description,
        )

    async def __call__(self, connection: HTTPConnection) -> GenerationPermissions:
        """Check a request.

        Returns:
            The decision, granted. ``request.state.identity`` is set, too.

        Raises:
            AuthenticationRequired, InvalidBearerToken, AccessDenied: 401 or 403; WebSockets are
                closed with 1008.
            RequestValidationError: What stands in the path is no id: 422.
            AuthorizationUnavailable, LoaderTimeoutError: Nobody can tell.
        """
        try:
            auth, identity, token = await self._authenticate(connection)
            generation_id = self._id(connection)
            client_ip = None
            if self._pass_client_ip and connection.client is not None:
                client_ip = connection.client.host
            permissions = await auth.check_generation_access_cached(
                generation_id, identity.user_id, token, self.access, client_ip
            )
            if permissions.granted is not True:
                raise self._denied(auth)
        except Exception as error:
            _fail(connection, error)
        return permissions


class RequireProjectAccess(_PlaceGuard):
    """Lets in who takes part in the project in the path with at least a role.

    Args:
        role: Lowest role that will do, or its name.
        parameter: Name of the path parameter with the id.
        id_type: Turns the text of the path into an id, such as ``UUID``. None: a text.
        scheme_name: Name of the security scheme in the OpenAPI document.
        bearer_format: What tokens look like, for the document only.
        description: For the document only.

    Raises:
        ValueError: There is no such role, or ``parameter`` is no name.
    """

    def __init__(
        self,
        role: TeamRole | str = TeamRole.VIEWER,
        *,
        parameter: str = "project_id",
        id_type: Callable[[str], Id] | None = None,
        scheme_name: str = "Bearer",
        bearer_format: str | None = None,
        description: str | None = None,
    ) -> None:
        self.role = TeamRole(role)
        super().__init__(
            parameter,
            f"project:{self.role.value}",
            id_type,
            scheme_name=scheme_name,
            bearer_format=bearer_format,
            description=description,
        )

    async def __call__(self, connection: HTTPConnection) -> AuthorizationResult:
        """Check a request.

        Returns:
            The answer, granted. ``request.state.identity`` is set, too.

        Raises:
            AuthenticationRequired, InvalidBearerToken, AccessDenied: 401 or 403; WebSockets are
                closed with 1008.
            RequestValidationError: What stands in the path is no id: 422.
            AuthorizationUnavailable, LoaderTimeoutError: Nobody can tell.
        """
        try:
            auth, identity, _ = await self._authenticate(connection)
            answer = await auth.check_project_access_cached(
                self._id(connection), identity.user_id, self.role
            )
            if answer.granted is not True:
                raise self._denied(auth)
        except Exception as error:
            _fail(connection, error)
        return answer


class RequireTeamRole(_PlaceGuard):
    """Lets in who holds at least a role in the team in the path.

    Args:
        role: Lowest role that will do, or its name.
        parameter: Name of the path parameter with the id.
        id_type: Turns the text of the path into an id, such as ``UUID``. None: a text.
        scheme_name: Name of the security scheme in the OpenAPI document.
        bearer_format: What tokens look like, for the document only.
        description: For the document only.

    Raises:
        ValueError: There is no such role, or ``parameter`` is no name.
    """

    def __init__(
        self,
        role: TeamRole | str = TeamRole.VIEWER,
        *,
        parameter: str = "team_id",
        id_type: Callable[[str], Id] | None = None,
        scheme_name: str = "Bearer",
        bearer_format: str | None = None,
        description: str | None = None,
    ) -> None:
        self.role = TeamRole(role)
        super().__init__(
            parameter,
            f"team:{self.role.value}",
            id_type,
            scheme_name=scheme_name,
            bearer_format=bearer_format,
            description=description,
        )

    async def __call__(self, connection: HTTPConnection) -> AuthorizationResult:
        """Check a request.

        Returns:
            The answer, granted. ``request.state.identity`` is set, too.

        Raises:
            AuthenticationRequired, InvalidBearerToken, AccessDenied: 401 or 403; WebSockets are
                closed with 1008.
            RequestValidationError: What stands in the path is no id: 422.
            AuthorizationUnavailable, LoaderTimeoutError: Nobody can tell.
        """
        try:
            auth, identity, _ = await self._authenticate(connection)
            answer = await auth.check_team_role_cached(
                self._id(connection), identity.user_id, self.role
            )
            if answer.granted is not True:
                raise self._denied(auth)
        except Exception as error:
            _fail(connection, error)
        return answer


def _fail(connection: HTTPConnection, error: Exception) -> NoReturn:
    """Raise what a guard was left with, as an application can handle it.

    Raises:
        WebSocketException: It is a refusal, and there is a WebSocket that was not accepted yet.
        AuthorizationUnavailable: It is no error of this package or of FastAPI: the service or the
            verifier failed. It is the cause.
        Exception: ``error`` itself.
    """
    if isinstance(error, (HTTPException, RequestValidationError)):
        if connection.scope["type"] != "websocket":
            raise error
        # A close frame has room for 123 bytes of it.
        reason = error.detail if isinstance(error, Refusal) else "Refused"
        raise WebSocketException(_POLICY_VIOLATION, reason) from None
    if isinstance(error, (WebSocketException, VelroCacheError)):
        raise error
    raise AuthorizationUnavailable("whether this is allowed could not be found out") from error


IdentityDep = Annotated[Identity, Depends(RequireIdentity())]
"""``identity: IdentityDep`` in an endpoint: who is asking."""

ReadableGeneration = Annotated[
    GenerationPermissions, Depends(RequireGenerationAccess(AccessType.READ))
]
"""``permissions: ReadableGeneration``, where the path has ``{generation_id}``."""

WritableGeneration = Annotated[
    GenerationPermissions, Depends(RequireGenerationAccess(AccessType.WRITE))
]
"""``permissions: WritableGeneration``, where the path has ``{generation_id}``."""

DeletableGeneration = Annotated[
    GenerationPermissions, Depends(RequireGenerationAccess(AccessType.DELETE))
]
"""``permissions: DeletableGeneration``, where the path has ``{generation_id}``."""

ShareableGeneration = Annotated[
    GenerationPermissions, Depends(RequireGenerationAccess(AccessType.SHARE))
]
"""``permissions: ShareableGeneration``, where the path has ``{generation_id}``."""

ProjectViewer = Annotated[AuthorizationResult, Depends(RequireProjectAccess(TeamRole.VIEWER))]
"""``access: ProjectViewer``, where the path has ``{project_id}``."""

ProjectEditor = Annotated[AuthorizationResult, Depends(RequireProjectAccess(TeamRole.EDITOR))]
"""``access: ProjectEditor``, where the path has ``{project_id}``."""

ProjectAdmin = Annotated[AuthorizationResult, Depends(RequireProjectAccess(TeamRole.ADMIN))]
"""``access: ProjectAdmin``, where the path has ``{project_id}``."""

TeamViewer = Annotated[AuthorizationResult, Depends(RequireTeamRole(TeamRole.VIEWER))]
"""``access: TeamViewer``, where the path has ``{team_id}``."""

TeamEditor = Annotated[AuthorizationResult, Depends(RequireTeamRole(TeamRole.EDITOR))]
"""``access: TeamEditor``, where the path has ``{team_id}``."""

TeamAdmin = Annotated[AuthorizationResult, Depends(RequireTeamRole(TeamRole.ADMIN))]
"""``access: TeamAdmin``, where the path has ``{team_id}``."""
