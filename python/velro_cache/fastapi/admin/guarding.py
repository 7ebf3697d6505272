"""Guards of the application's own, as dependencies of all routes.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

from collections.abc import Callable
from typing import Any, Final

from fastapi import Depends, HTTPException, Request, params

from velro_cache.fastapi.admin.actors import actor_text

__all__ = ["actor_of", "checked_guard", "guarded_by"]

_ACTOR: Final = "velro_cache.admin.actor"


def checked_guard(name: str, guard: object) -> Callable[..., Any]:
    """Refuse what cannot guard anything, when the router is made.

    Args:
        name: What the argument is called.
        guard: A dependency, bare or in ``Depends(...)``.

    Returns:
        The dependency itself.

    Raises:
        ValueError: There is none.
        TypeError: It cannot be called.
    """
    dependency = guard.dependency if isinstance(guard, params.Depends) else guard
    if dependency is None:
        raise ValueError(
            f"{name} is missing: give a dependency that raises HTTPException(401 or 403) for"
            " whoever may not operate this service, and returns who it is; for example"
            " create_admin_router(guard=require_operator)"
        )
    if not callable(dependency):
        raise TypeError(f"{name} must be a dependency, not a {type(dependency).__name__}")
    return dependency


def guarded_by(guard: Callable[..., Any]) -> params.Depends:
    """Make a dependency that lets through whom the guard lets through, and remembers who it was.

    A guard that returns False has been written by somebody who meant no.
    """

    async def remember(request: Request, answer: Any = Depends(guard)) -> None:  # noqa: B008
        if answer is False:
            raise HTTPException(403, "Access denied")
        request.scope[_ACTOR] = actor_text(answer)

    dependency: params.Depends = Depends(remember)
    return dependency


def actor_of(request: Request) -> str:
    """Whom the guard has let through."""
    actor = request.scope.get(_ACTOR)
    if not isinstance(actor, str):
        # A route without its guard; never to be answered.
        raise HTTPException(403, "Access denied")
    return actor
