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
from typing import Annotated, Any, ClassVar, Final, NoReturn

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
    flag_for,
)
from velro_cache.exceptions import AuthorizationUnavailable, ConfigError, VelroCacheError
from velro_cache.fastapi.bearer import DEFAULT_CHALLENGE, quotable
from velro_cache.fastapi.dependencies import auth_of, get_optimized_auth_middleware
from velro_cache.fastapi.ids import is_readable
from velro_cache.fastapi.middleware import OptimizedAuthMiddleware
from velro_cache.fastapi.overrides import overridden
from velro_cache.fastapi.refusals import AccessDenied, Refusal
from velro_cache.manager import Id

__all__ = [
    "BearerGuard",
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

_POLICY_VIOLATION: Final = 1008


class BearerGuard(SecurityBase):
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

    async def _auth(self, connection: HTTPConnection) -> OptimizedAuthMiddleware:
        """What to check with: what was put in its place for tests comes first."""
        # A dependency of its own for FastAPI would cost as much as the whole check.
        overrides = getattr(connection.scope.get("app"), "dependency_overrides", None)
        if overrides and get_optimized_auth_middleware in overrides:
            auth = await overridden(overrides[get_optimized_auth_middleware], connection)
            return auth  # type: ignore[no-any-return]
        return auth_of(connection)

    def recall(self, connection: HTTPConnection) -> Any:
        """What the guard would answer, if memory alone can tell.

        Only for who has seen that nothing is overridden.

        Returns:
            The answer. None: the guard has to be asked.

        Raises:
            Exception: As the guard, if memory tells that there is no grant.
        """
        return None

    async def _authenticate(
        self, auth: OptimizedAuthMiddleware, connection: HTTPConnection
    ) -> tuple[Identity, str]:
        scope = connection.scope
        identity, token = await auth.authenticate(scope)
        if type(identity) is not Identity:
            raise AuthorizationUnavailable("who is asking could not be told")
        scope.setdefault("state", {})["identity"] = identity
        return identity, token


class RequireIdentity(BearerGuard):
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
            identity, _ = await self._authenticate(await self._auth(connection), connection)
        except Exception as error:
            _fail(connection, error)
        return identity


class _PlaceGuard(BearerGuard):
    """A guard of something that the path names.

    Args:
        parameter: Name of the path parameter with the id.
        scope: What a refusal says was needed.
        id_type: Turns the text of the path into an id, such as ``UUID``; a ``ValueError`` means
            that it is none. None: a text, UUIDs in their one spelling.
        options: Those of :class:`BearerGuard`.
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
        if not is_readable(given):
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
        self._access = AccessType(access)
        self._pass_client_ip = pass_client_ip
        # Memory answers for this class, and for no derived one that does a step its own way.
        may_recall = not pass_client_ip and _does_as(type(self), RequireGenerationAccess, _STEPS)
        self._flag = flag_for(self._access) if may_recall else None
        super().__init__(
            parameter,
            f"generation:{self._access.value}",
            id_type,
            scheme_name=scheme_name,
            bearer_format=bearer_format,
            description=description,
        )

    @property
    def access(self) -> AccessType:
        """What the route does with it. Cannot be set: make another guard."""
        return self._access

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
            if not _has_overrides(connection):
                permissions = self.recall(connection)
                if permissions is not None:
                    return permissions
            auth = await self._auth(connection)
            identity, token = await self._authenticate(auth, connection)
            generation_id = self._id(connection)
            client_ip = None
            if self._pass_client_ip and connection.client is not None:
                client_ip = connection.client.host
            permissions = await auth.check_generation_access_cached(
                generation_id, identity.user_id, token, self._access, client_ip
            )
            if permissions.granted is not True:
                raise self._denied(auth)
        except Exception as error:
            _fail(connection, error)
        return permissions

    def recall(self, connection: HTTPConnection) -> GenerationPermissions | None:
        """See :meth:`BearerGuard.recall`."""
        scope, flag = connection.scope, self._flag
        generation_id = scope["path_params"].get(self.parameter)
        # What is wrong with an id, only who has a token is told.
        if flag is None or type(generation_id) is not str or not is_readable(generation_id):
            return None
        try:
            if self._id_type is not None:
                try:
                    generation_id = self._id_type(generation_id)
                except (ValueError, TypeError, ArithmeticError):
                    return None
            auth = auth_of(connection)
            found = auth.recall_decision(scope, generation_id, flag)
            if found is None:
                return None
            identity, permissions, allowed = found
            scope.setdefault("state", {})["identity"] = identity
            if allowed is not True:
                raise self._denied(auth)
            return permissions.addressed_to(generation_id, identity.user_id)
        except Exception as error:
            _fail(connection, error)


class _RoleGuard(_PlaceGuard):
    """A guard that asks for a role in something that the path names."""

    place: ClassVar[str]
    """What it is, as in the scope that a refusal names."""

    def __init__(
        self,
        role: TeamRole | str = TeamRole.VIEWER,
        *,
        parameter: str | None = None,
        id_type: Callable[[str], Id] | None = None,
        scheme_name: str = "Bearer",
        bearer_format: str | None = None,
        description: str | None = None,
    ) -> None:
        self.role = TeamRole(role)
        super().__init__(
            f"{self.place}_id" if parameter is None else parameter,
            f"{self.place}:{self.role.value}",
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
            auth = await self._auth(connection)
            identity, _ = await self._authenticate(auth, connection)
            answer = await self._check(auth, self._id(connection), identity.user_id)
            if answer.granted is not True:
                raise self._denied(auth)
        except Exception as error:
            _fail(connection, error)
        return answer

    async def _check(
        self, auth: OptimizedAuthMiddleware, place_id: Id, user_id: Id
    ) -> AuthorizationResult:
        raise NotImplementedError


class RequireProjectAccess(_RoleGuard):
    """Lets in who takes part in the project in the path with at least a role.

    Args:
        role: Lowest role that will do, or its name.
        parameter: Name of the path parameter with the id. None: ``project_id``.
        id_type: Turns the text of the path into an id, such as ``UUID``. None: a text.
        scheme_name: Name of the security scheme in the OpenAPI document.
        bearer_format: What tokens look like, for the document only.
        description: For the document only.

    Raises:
        ValueError: There is no such role, or ``parameter`` is no name.
    """

    place = "project"

    async def _check(
        self, auth: OptimizedAuthMiddleware, place_id: Id, user_id: Id
    ) -> AuthorizationResult:
        return await auth.check_project_access_cached(place_id, user_id, self.role)


class RequireTeamRole(_RoleGuard):
    """Lets in who holds at least a role in the team in the path.

    Args:
        role: Lowest role that will do, or its name.
        parameter: Name of the path parameter with the id. None: ``team_id``.
        id_type: Turns the text of the path into an id, such as ``UUID``. None: a text.
        scheme_name: Name of the security scheme in the OpenAPI document.
        bearer_format: What tokens look like, for the document only.
        description: For the document only.

    Raises:
        ValueError: There is no such role, or ``parameter`` is no name.
    """

    place = "team"

    async def _check(
        self, auth: OptimizedAuthMiddleware, place_id: Id, user_id: Id
    ) -> AuthorizationResult:
        return await auth.check_team_role_cached(place_id, user_id, self.role)


_STEPS: Final = ("_auth", "_authenticate", "_id", "_denied")
"""What the hit of a guard leaves out."""


def _does_as(kind: type, base: type, names: tuple[str, ...]) -> bool:
    """Whether a class does all of these as another one does."""
    return all(getattr(kind, name) is getattr(base, name) for name in names)


def _has_overrides(connection: HTTPConnection) -> bool:
    return bool(getattr(connection.scope.get("app"), "dependency_overrides", None))


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
