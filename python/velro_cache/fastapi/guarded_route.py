"""Routes that ask their guards themselves, before FastAPI resolves anything.

FastAPI needs longer to resolve a dependency than a guard needs to answer. A :class:`GuardedRoute`
takes the guards of this package out of what is to be resolved, asks them first, and hands their
answers to the endpoint. The document of the application says the same as before, since it is made
of what the route declares.

Where anything is overridden for tests, or a guard is used in another way than as a parameter of the
endpoint or in ``dependencies=``, FastAPI resolves it as it does everywhere. A guard is therefore
asked by the one or by the other, whatever a version of FastAPI does differently, and never by none.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

import fastapi.routing
from fastapi.dependencies.models import Dependant
from fastapi.requests import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from velro_cache.fastapi.guards import BearerGuard, RequireGenerationAccess

__all__ = ["GuardedRoute"]

_Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]
_Guards: TypeAlias = tuple[tuple[BearerGuard, tuple[str, ...]], ...]
"""Guards, each with the parameters of the endpoint that get its answer."""

_REQUEST: Final = "velro_cache_request"
"""Parameter by which FastAPI hands the request to an endpoint that does not ask for it; also the
name of one in :func:`_with_answers`."""

_ANSWERS: Final = "velro_cache.guards"
"""Where in the scope the answers of the guards wait for the endpoint."""


class GuardedRoute(APIRoute):
    """A route whose guards cost a fraction of what dependencies cost.

    ::

        router = APIRouter(route_class=GuardedRoute)

        @router.get("/generations/{generation_id}", responses=AUTH_RESPONSES)
        async def read(generation_id: str, permissions: ReadableGeneration): ...

    For a whole application: ``app.router.route_class = GuardedRoute``, before its routes.

    Guards are asked in the order in which they are declared, before all other dependencies and
    before the body is read: who may not is answered 401 or 403 even if the rest of the request is
    wrong, too. WebSocket routes have no class; their guards are resolved by FastAPI.
    """

    def get_route_handler(self) -> _Handler:
        """What answers a request; called by FastAPI when it builds the route."""
        usual = super().get_route_handler()
        declared = _declared_by(self)
        guards, others = _split(declared.dependant)
        if not guards:
            return usual
        dependant = declared.dependant
        names = [name for _, names in guards for name in names]
        alone = dataclasses.replace(dependant, dependencies=others)
        if names:
            endpoint = dependant.call
            if not _is_plain_function(endpoint):
                return usual
            alone.request_param_name = alone.request_param_name or _REQUEST
            alone.call = _with_answers(endpoint, alone.request_param_name)
        declared.dependant = alone
        try:
            unguarded = super().get_route_handler()
        finally:
            declared.dependant = dependant
        return _guarded(guards, unguarded, usual, declared.dependency_overrides_provider)


def _guarded(guards: _Guards, unguarded: _Handler, usual: _Handler, provider: Any) -> _Handler:
    asked = [(_recall_of(guard), _call_of(guard), names) for guard, names in guards]

    async def handle(request: Request) -> Response:
        scope = request.scope
        app = scope.get("app")
        if _has_overrides(app) or (app is not provider and _has_overrides(provider)):
            return await usual(request)
        answers = scope[_ANSWERS] = {}
        for recall, ask, names in asked:
            answer = recall(request)
            if answer is None:
                answer = await ask(request)
            for name in names:
                answers[name] = answer
        return await unguarded(request)

    return handle


def _recall_of(guard: BearerGuard) -> Callable[[Request], Any]:
    """What answers for a guard at once, unless its class answers in a way of its own."""
    if type(guard).__call__ is RequireGenerationAccess.__call__:
        return guard.recall
    return lambda _: None


def _call_of(guard: BearerGuard) -> Callable[[Request], Awaitable[Any]]:
    # What kind of answer it gives depends on the guard.
    call: Callable[[Request], Awaitable[Any]] = guard.__call__  # type: ignore[operator]
    return call


def _has_overrides(provider: Any) -> bool:
    return bool(getattr(provider, "dependency_overrides", None))


def _declared_by(route: APIRoute) -> Any:
    """Where FastAPI reads from what a handler is built of: the route, or the way it is included.

    To include a route once was to make another one; newer versions make a context of it.
    """
    context_of = getattr(fastapi.routing, "_effective_route_context_var", None)
    context = None if context_of is None else context_of.get()
    return context if context is not None and context.original_route is route else route


def _split(dependant: Dependant) -> tuple[_Guards, list[Dependant]]:
    """Guards that can be asked without FastAPI, and all other dependencies."""
    guards: dict[Any, tuple[str, ...]] = {}
    others = []
    for dependency in dependant.dependencies:
        guard = dependency.call
        if isinstance(guard, BearerGuard) and _takes_connection_alone(dependency):
            names = () if dependency.name is None else (dependency.name,)
            guards[guard] = guards.get(guard, ()) + names
        else:
            others.append(dependency)
    return tuple(guards.items()), others


def _takes_connection_alone(dependency: Dependant) -> bool:
    """Whether a guard asks for no more than the request; one that was derived might."""
    if not inspect.iscoroutinefunction(type(dependency.call).__call__):
        return False
    parameters = inspect.signature(dependency.call).parameters  # type: ignore[arg-type]
    return list(parameters) == [dependency.http_connection_param_name] and not getattr(
        dependency, "concurrency", None
    )


def _is_plain_function(endpoint: Any) -> bool:
    return inspect.isroutine(endpoint) and not (
        inspect.isgeneratorfunction(endpoint) or inspect.isasyncgenfunction(endpoint)
    )


def _with_answers(endpoint: Any, request_name: str) -> Callable[..., Any]:
    """An endpoint that is given what the guards answered, too."""
    is_coroutine = inspect.iscoroutinefunction(endpoint)
    if is_coroutine and request_name is _REQUEST:

        @functools.wraps(endpoint)
        async def awaited(*, velro_cache_request: Request, **values: Any) -> Any:
            return await endpoint(**values, **velro_cache_request.scope[_ANSWERS])

        return awaited

    def completed(values: dict[str, Any]) -> dict[str, Any]:
        request = values.pop(_REQUEST) if request_name is _REQUEST else values[request_name]
        return {**values, **request.scope[_ANSWERS]}

    if is_coroutine:

        @functools.wraps(endpoint)
        async def awaited_with_request(**values: Any) -> Any:
            return await endpoint(**completed(values))

        return awaited_with_request

    @functools.wraps(endpoint)
    def called(**values: Any) -> Any:
        return endpoint(**completed(values))

    return called
