"""Who listens: what the guard of the application says about a connection.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, get_args, get_origin
from uuid import UUID

from fastapi import HTTPException, WebSocket, params
from fastapi.requests import HTTPConnection

from velro_cache._engine import escape_id
from velro_cache.authorization.identity import Identity
from velro_cache.exceptions import AuthorizationUnavailable, InvalidKeyError
from velro_cache.fastapi.overrides import overridden, signature_of
from velro_cache.manager import Id

__all__ = ["Guard", "Listener", "ask", "checked_guard", "listener_of"]

Guard: TypeAlias = Callable[[HTTPConnection], Awaitable[Any]]
"""Says who is asking, or raises what refuses them."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Whose connection it is.

    Attributes:
        user_id: The user.
        user: The same, in one spelling.
        ends_at: When the credentials end, in seconds since 1970. None: they do not.
    """

    user_id: Id
    user: str
    ends_at: float | None


def checked_guard(guard: object) -> Guard:
    """Refuse what cannot guard a feed, when the router is made.

    Args:
        guard: The guard, bare or in ``Depends(...)``.

    Returns:
        The guard itself.

    Raises:
        ValueError: There is none.
        TypeError: It is no async function of one argument, the connection, that says so.
    """
    dependency = guard.dependency if isinstance(guard, params.Depends) else guard
    if dependency is None:
        raise ValueError(
            "guard is missing: give an async function of the connection that raises"
            " HTTPException(401) for whoever is unknown, and returns the user's id or an Identity;"
            " for example create_invalidation_feed_router(guard=RequireIdentity())"
        )
    call = dependency if inspect.isroutine(dependency) else getattr(dependency, "__call__", None)  # noqa: B004
    if not callable(dependency) or not inspect.iscoroutinefunction(call):
        raise TypeError("guard must be an async function: it is asked again while a client listens")
    needed = [
        parameter
        for parameter in signature_of(dependency).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(needed) != 1 or needed[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise TypeError("guard must take one argument, the connection (HTTPConnection)")
    # FastAPI takes whatever else it finds there for a parameter of the query.
    if not _is_connection(needed[0].annotation):
        name = needed[0].name
        raise TypeError(f"guard must say what its argument is: {name}: HTTPConnection")
    return dependency


def _is_connection(annotation: object) -> bool:
    """Whether FastAPI gives a request to a parameter of this type."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if not isinstance(annotation, type):
        return False
    return issubclass(annotation, HTTPConnection) and not issubclass(annotation, WebSocket)


async def ask(guard: Guard, connection: HTTPConnection) -> Listener:
    """Ask a guard, or what overrides it in tests, about a connection.

    Args:
        guard: The guard.
        connection: The request or WebSocket.

    Raises:
        Exception: What the guard raised; see also :func:`listener_of`.
    """
    overrides = getattr(connection.scope.get("app"), "dependency_overrides", None)
    if overrides and guard in overrides:
        return listener_of(await overridden(overrides[guard], connection))
    return listener_of(await guard(connection))


def listener_of(answer: object) -> Listener:
    """Read the answer of a guard.

    Args:
        answer: An :class:`Identity`, or the id of a user.

    Raises:
        HTTPException: 403: it is False, by which somebody meant no.
        AuthorizationUnavailable: It is something else, or names nobody.
    """
    if answer is False:
        raise HTTPException(403, "Access denied")
    ends_at = None
    if type(answer) is Identity:
        moment = answer.expires_at
        answer, ends_at = answer.user_id, None if moment is None else moment.timestamp()
    if isinstance(answer, bool) or not isinstance(answer, str | UUID | int):
        raise AuthorizationUnavailable("the guard of a feed must return an Identity or a user's id")
    try:
        return Listener(answer, escape_id(answer), ends_at)
    except InvalidKeyError as error:
        raise AuthorizationUnavailable("the guard of a feed returned no user's id") from error
