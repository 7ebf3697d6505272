"""One guarded endpoint, in all the ways in which an application can have it.

No ``from __future__ import annotations`` here: guards are objects, and older versions of FastAPI do
not read annotations of objects if they are texts.
"""

import functools
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeAlias

import fastapi
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.requests import HTTPConnection
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from velro_cache.authorization.models import GenerationPermissions
from velro_cache.fastapi import RequireGenerationAccess

VERSION = tuple(int(part) for part in fastapi.__version__.split(".")[:2])
"""Of FastAPI, such as ``(0, 121)``."""

PATH = "/generations/{generation_id}"

Way: TypeAlias = Callable[[type[APIRoute]], tuple[FastAPI, str]]
"""Makes an application from a class of routes; says at which path it has the generation ``g``."""

WAYS: dict[str, Way] = {}


class Noted(RequireGenerationAccess):
    """A guard that notes in the state of the request that it was asked."""

    async def __call__(self, connection: HTTPConnection) -> GenerationPermissions:
        connection.state.asked.append(connection.scope["path"])
        return await super().__call__(connection)


class Derived(Noted):
    """A guard that takes more than the request: only FastAPI can ask it."""

    async def __call__(  # type: ignore[override]
        self, connection: HTTPConnection, limit: int = 5
    ) -> GenerationPermissions:
        return await super().__call__(connection)


GUARD = Noted("read")
GUARDED = [Depends(GUARD)]
Readable = Annotated[GenerationPermissions, Depends(GUARD)]
ReadableWithScopes = Annotated[GenerationPermissions, Security(GUARD, scopes=["read"])]
ReadableByDerived = Annotated[GenerationPermissions, Depends(Derived("read"))]


# --- endpoints --------------------------------------------------------------------------------


def told(request: Request, generation_id: str) -> dict[str, str]:
    """Note in the state of the request that the endpoint has run."""
    request.state.ran.append(generation_id)
    return {"id": generation_id}


async def unguarded(request: Request, generation_id: str) -> dict[str, str]:
    return told(request, generation_id)


async def read(request: Request, generation_id: str, permissions: Readable) -> dict[str, str]:
    assert permissions.granted
    assert permissions.generation_id == generation_id
    return told(request, generation_id)


def read_in_thread(request: Request, generation_id: str, permissions: Readable) -> dict[str, str]:
    assert permissions.granted
    return told(request, generation_id)


async def read_by_default(
    request: Request,
    generation_id: str,
    permissions: Any = Depends(GUARD),  # noqa: B008
) -> dict[str, str]:
    assert permissions.granted
    return told(request, generation_id)


async def read_with_scopes(
    request: Request, generation_id: str, permissions: ReadableWithScopes
) -> dict[str, str]:
    assert permissions.granted
    return told(request, generation_id)


async def read_by_derived(
    request: Request, generation_id: str, permissions: ReadableByDerived
) -> dict[str, str]:
    assert permissions.granted
    return told(request, generation_id)


async def read_twice(
    request: Request, generation_id: str, one: Readable, other: Readable
) -> dict[str, str]:
    assert one == other
    return told(request, generation_id)


async def reader(permissions: Readable) -> str:
    return str(permissions.user_id)


async def read_by_reader(
    request: Request, generation_id: str, user: Annotated[str, Depends(reader)]
) -> dict[str, str]:
    assert user == "ada"
    return told(request, generation_id)


async def read_in_pieces(
    request: Request, generation_id: str, permissions: Readable
) -> StreamingResponse:
    told(request, generation_id)
    return StreamingResponse(iter([b"a", b"b"]))


async def read_as_values(
    request: Request, generation_id: str, permissions: Readable
) -> AsyncIterator[dict[str, str]]:
    yield told(request, generation_id)


class Endpoint:
    """An endpoint that is an object."""

    async def __call__(
        self, request: Request, generation_id: str, permissions: Readable
    ) -> dict[str, str]:
        return told(request, generation_id)


def decorated(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(endpoint)
    async def call(*args: Any, **values: Any) -> Any:
        return await endpoint(*args, **values)

    return call


# --- ways -------------------------------------------------------------------------------------


def way(make: Way) -> Way:
    WAYS[make.__name__.replace("_", " ")] = make
    return make


def with_endpoint(
    name: str, endpoint: Callable[..., Any], *, since: tuple[int, int] = (0, 0), **options: Any
) -> None:
    """One way for an endpoint of another shape, in a router that is included."""

    def make(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
        if since > VERSION:
            pytest.skip("this FastAPI does not take such an endpoint")
        app, router = FastAPI(), APIRouter(route_class=route_class)
        router.get(PATH, **options)(endpoint)
        app.include_router(router)
        return app, "/generations/g"

    WAYS[name] = make


with_endpoint("async endpoint", read)
with_endpoint("endpoint in a thread", read_in_thread)
with_endpoint("guard as a default", read_by_default)
with_endpoint("guard with scopes", read_with_scopes)
with_endpoint("derived guard", read_by_derived)
with_endpoint("guard for two parameters", read_twice)
with_endpoint("guard of a dependency", read_by_reader)
with_endpoint("guard of a dependency and of the route", read_by_reader, dependencies=GUARDED)
with_endpoint("guard of the route", unguarded, dependencies=GUARDED)
with_endpoint("guard of the route and of the endpoint", read, dependencies=GUARDED)
with_endpoint("answer in pieces", read_in_pieces)
with_endpoint("object as endpoint", Endpoint(), since=(0, 122))
with_endpoint("method as endpoint", Endpoint().__call__)
with_endpoint("part of a function as endpoint", functools.partial(read))
with_endpoint("decorated endpoint", decorated(read))
with_endpoint("values one by one", read_as_values, since=(0, 135))
with_endpoint(
    "values one by one, guard of the route", read_as_values, since=(0, 135), dependencies=GUARDED
)


@way
def on_the_application(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app = FastAPI()
    app.router.route_class = route_class
    app.get(PATH)(read)
    return app, "/generations/g"


@way
def dependencies_of_the_application(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, router = FastAPI(dependencies=GUARDED), APIRouter(route_class=route_class)
    router.get(PATH)(unguarded)
    app.include_router(router)
    return app, "/generations/g"


@way
def dependencies_of_the_router(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, router = FastAPI(), APIRouter(route_class=route_class, dependencies=GUARDED)
    router.get(PATH)(unguarded)
    app.include_router(router, prefix="/v1")
    return app, "/v1/generations/g"


@way
def dependencies_of_the_inclusion(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, router = FastAPI(), APIRouter(route_class=route_class)
    router.get(PATH)(unguarded)
    app.include_router(router, dependencies=GUARDED)
    return app, "/generations/g"


@way
def dependencies_of_the_router_two_above(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, outer, inner = FastAPI(), APIRouter(dependencies=GUARDED), APIRouter(prefix="/in")
    router = APIRouter(route_class=route_class)
    router.get(PATH)(unguarded)
    inner.include_router(router)
    outer.include_router(inner, prefix="/out")
    app.include_router(outer)
    return app, "/out/in/generations/g"


@way
def three_routers_deep(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, outer, inner = FastAPI(), APIRouter(prefix="/out"), APIRouter(prefix="/in")
    router = APIRouter(route_class=route_class)
    router.get(PATH)(read)
    inner.include_router(router)
    outer.include_router(inner)
    app.include_router(outer, prefix="/v1")
    return app, "/v1/out/in/generations/g"


@way
def included_twice_guarded_once(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    """The open one neither opens the guarded one, nor the other way round."""
    app, router = FastAPI(), APIRouter(route_class=route_class)
    router.get(PATH)(unguarded)
    app.include_router(router, prefix="/open")
    app.include_router(router, prefix="/guarded", dependencies=GUARDED)
    return app, "/guarded/generations/g"


@way
def below_a_parameter_of_the_prefix(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, router = FastAPI(), APIRouter(route_class=route_class)
    router.get("/media")(read)
    app.include_router(router, prefix=PATH)
    return app, "/generations/g/media"


@way
def mounted_application(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, inner = FastAPI(), FastAPI()
    inner.router.route_class = route_class
    inner.get(PATH)(read)
    app.mount("/inner", inner)
    return app, "/inner/generations/g"


@way
def router_of_a_mounted_application(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, inner, router = FastAPI(), FastAPI(), APIRouter(route_class=route_class)
    router.get(PATH)(unguarded)
    inner.include_router(router, dependencies=GUARDED)
    app.mount("/inner", inner)
    return app, "/inner/generations/g"


@way
def mounted_router(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, router = FastAPI(), APIRouter(route_class=route_class)
    router.get(PATH)(read)
    app.mount("/inner", router)
    return app, "/inner/generations/g"


@way
def routes_taken_over(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, router = FastAPI(), APIRouter(route_class=route_class, dependencies=GUARDED)
    router.get(PATH)(unguarded)
    app.router.routes.extend(router.routes)
    return app, "/generations/g"


@way
def added_after_the_inclusion(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    app, router = FastAPI(), APIRouter(route_class=route_class)
    app.include_router(router, dependencies=GUARDED)
    router.get(PATH)(unguarded)
    if VERSION < (0, 137):
        pytest.skip("this FastAPI copies the routes when a router is included")
    return app, "/generations/g"


@way
def subclass_of_the_route(route_class: type[APIRoute]) -> tuple[FastAPI, str]:
    class Own(route_class):  # type: ignore[valid-type,misc]
        def get_route_handler(self) -> Any:
            usual = super().get_route_handler()

            async def handle(request: Request) -> Any:
                return await usual(request)

            return handle

    return dependencies_of_the_inclusion(Own)
