"""A guarded route does all that a route does: FastAPI gives its endpoint what it gives others."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import httpx
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Depends,
    FastAPI,
    HTTPException,
    Query,
    Request,
    Response,
    WebSocket,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from guarded import Issuer, Service, ask, bearer
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache.authorization.models import GenerationPermissions
from velro_cache.fastapi import (
    AUTH_RESPONSES,
    AccessDenied,
    AuthenticationRequired,
    GuardedRoute,
    IdentityDep,
    OptimizedAuthMiddleware,
    ReadableGeneration,
    RequireGenerationAccess,
    get_optimized_auth_middleware,
)
from velro_cache.testing import AllowAll, DenyAll

ByOtherName = Annotated[
    GenerationPermissions, Depends(RequireGenerationAccess("read", parameter="picture"))
]
PLACE = "/generations/g"


class Shown(BaseModel):
    id: str
    words: list[str] = []


async def note(request: Request) -> Any:
    request.state.trace.append("dependency begins")
    yield "noted"
    request.state.trace.append("dependency ends")


async def refuse() -> None:
    raise HTTPException(418, "no tea")


def later(trace: list[str], word: str) -> None:
    trace.append(word)


def application(route_class: type[APIRoute]) -> FastAPI:
    """Routes that use what FastAPI has to give, in a router that is included."""
    router = APIRouter(route_class=route_class, prefix="/generations/{generation_id}")

    @router.get("", responses=AUTH_RESPONSES)
    async def read(
        generation_id: str,
        permissions: ReadableGeneration,
        identity: IdentityDep,
        request: Request,
        response: Response,
        tasks: BackgroundTasks,
        noted: Annotated[str, Depends(note)],
        limit: Annotated[int, Query(ge=1)] = 5,
    ) -> dict[str, Any]:
        assert request.state.identity is identity
        response.headers["x-limit"] = str(limit)
        response.status_code = 206
        tasks.add_task(later, request.state.trace, "task")
        request.state.trace.append("endpoint")
        return {"id": generation_id, "user": permissions.user_id, "noted": noted}

    @router.get("/own-request")
    async def own_request(http: Request, permissions: ReadableGeneration) -> dict[str, Any]:
        return {"path": http.url.path, "state": sorted(http.state._state)}

    @router.get("/thread")
    def in_thread(permissions: ReadableGeneration) -> str:
        return str(permissions.user_id)

    @router.post("", response_model=Shown, response_model_exclude_defaults=True, status_code=201)
    async def write(
        generation_id: str, permissions: ReadableGeneration, shown: Annotated[Shown, Body()]
    ) -> Any:
        return {**shown.model_dump(), "secret": "never shown"}

    @router.get("/wrong", response_model=Shown)
    async def wrong(permissions: ReadableGeneration) -> Any:
        return {"words": 1}

    @router.get("/tea", dependencies=[Depends(refuse)])
    async def tea(permissions: ReadableGeneration) -> None:
        pytest.fail("must not be reached")

    @router.get("/fails")
    async def fails(permissions: ReadableGeneration) -> None:
        raise LookupError("of the endpoint")

    @router.websocket("/live")
    async def live(websocket: WebSocket, permissions: ReadableGeneration) -> None:
        await websocket.accept()
        await websocket.send_json({"user": str(permissions.user_id)})
        await websocket.close()

    pictures = APIRouter(route_class=route_class)

    @pictures.get("/pictures/{picture}")
    async def by_other_name(picture: str, found: ByOtherName) -> dict[str, Any]:
        return {"id": picture, "asked": found.generation_id}

    app = FastAPI()
    app.include_router(router)
    app.include_router(pictures)
    return app


class Served:
    """An application before a service that knows ada."""

    def __init__(self, route_class: type[APIRoute]) -> None:
        self.app = application(route_class)
        self.service, self.issuer = Service(), Issuer()
        for generation in ("g", "h"):
            self.service.grant(generation, "ada", "token-of-ada")
        self.trace: list[str] = []
        self.auth = OptimizedAuthMiddleware(
            authorization=self.service,
            authenticate=self.issuer,
            cache_manager=OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False)),
        )

    @property
    def state(self) -> dict[str, Any]:
        return {"auth_cache": self.auth, "trace": self.trace}

    async def get(self, path: str, user: str | None = "ada", **more: Any) -> httpx.Response:
        headers = None if user is None else bearer(user)
        return await ask(self.app, path, headers, state=self.state, **more)

    async def post(self, content: str | bytes, user: str | None = "ada") -> httpx.Response:
        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "state": self.state}, receive, send)

        headers = {"content-type": "application/json", **({} if user is None else bearer(user))}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(with_state), base_url="http://test"
        ) as client:
            return await client.post(PLACE, content=content, headers=headers)


@pytest.fixture(params=[APIRoute, GuardedRoute], ids=["resolved by FastAPI", "guarded route"])
def served(request: pytest.FixtureRequest) -> Served:
    return Served(request.param)


def test_the_document_is_the_same() -> None:
    document = application(GuardedRoute).openapi()
    assert document == application(APIRoute).openapi()
    assert document["components"]["securitySchemes"] == {
        "Bearer": {"type": "http", "scheme": "bearer"}
    }
    for path, methods in document["paths"].items():
        for operation in methods.values():
            # Older versions name a scheme once for each guard.
            assert operation["security"][0] == {"Bearer": []}, path
            assert all(scheme == {"Bearer": []} for scheme in operation["security"]), path
    read = document["paths"]["/generations/{generation_id}"]["get"]
    assert {"401", "403", "422"} <= set(read["responses"])
    assert [parameter["name"] for parameter in read["parameters"]] == ["generation_id", "limit"]


# --- what an endpoint is given ------------------------------------------------------------------


async def test_the_endpoint_gets_all_it_asks_for(served: Served) -> None:
    answer = await served.get(f"{PLACE}?limit=3")
    assert (answer.status_code, answer.headers["x-limit"]) == (206, "3")
    assert answer.json() == {"id": "g", "user": "ada", "noted": "noted"}
    # Where a dependency ends, before or after the tasks, is a matter of the version.
    assert served.trace[:2] == ["dependency begins", "endpoint"]
    assert sorted(served.trace[2:]) == ["dependency ends", "task"]


async def test_the_request_may_have_any_name(served: Served) -> None:
    answer = await served.get(f"{PLACE}/own-request")
    assert answer.json() == {
        "path": f"{PLACE}/own-request",
        "state": ["auth_cache", "identity", "trace"],
    }


async def test_an_endpoint_in_a_thread(served: Served) -> None:
    assert (await served.get(f"{PLACE}/thread")).json() == "ada"
    assert (await served.get(f"{PLACE}/thread", None)).status_code == 401


async def test_a_path_parameter_of_another_name(served: Served) -> None:
    assert (await served.get("/pictures/g")).json() == {"id": "g", "asked": "g"}
    assert (await served.get("/pictures/unknown")).status_code == 403
    assert (await served.get("/pictures/g", None)).status_code == 401


async def test_requests_at_once_never_share_an_answer(served: Served) -> None:
    users = [f"user{number}" for number in range(10)]
    for user in users:
        served.service.grant("g", user, f"token-of-{user}")
    for _ in range(2):
        answers = await asyncio.gather(*(served.get(PLACE, user) for user in users))
        assert [answer.json()["user"] for answer in answers] == users


# --- answers ------------------------------------------------------------------------------------


async def test_the_response_model_is_kept(served: Served) -> None:
    answer = await served.post('{"id": "g", "words": []}')
    assert (answer.status_code, answer.json()) == (201, {"id": "g"})


async def test_what_does_not_fit_the_response_model_is_an_error(served: Served) -> None:
    assert (await served.get(f"{PLACE}/wrong")).status_code == 500


@pytest.mark.parametrize("content", ["{", '{"id": 1}', "", b"\xff", "[" * 100])
async def test_a_wrong_body_is_answered_as_ever_to_who_may(
    served: Served, content: str | bytes
) -> None:
    answer = await served.post(content)
    other = await Served(APIRoute).post(content)
    assert (answer.status_code, answer.json()) == (other.status_code, other.json())
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("content", ["{", '{"id": 1}', "", b"\xff", "[" * 100])
async def test_who_may_not_is_told_nothing_about_the_body(content: str | bytes) -> None:
    served = Served(GuardedRoute)
    assert (await served.post(content, None)).status_code == 401
    assert (await served.post(content, "bob")).status_code == 403


async def test_who_may_not_meets_no_other_dependency() -> None:
    served = Served(GuardedRoute)
    assert (await served.get(f"{PLACE}/tea", None)).status_code == 401
    assert (await served.get(f"{PLACE}/tea", "bob")).status_code == 403
    assert (await served.get(f"{PLACE}/tea")).status_code == 418
    assert (await served.get(f"{PLACE}?limit=0", None)).status_code == 401
    assert (await served.get(f"{PLACE}?limit=0")).status_code == 422
    assert (await served.get(PLACE, "bob")).status_code == 403
    assert "endpoint" not in served.trace


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "DELETE"])
async def test_methods_that_a_route_has_not(served: Served, method: str) -> None:
    for user in (None, "ada"):
        answer = await served.get(PLACE, user, method=method)
        other = await Served(APIRoute).get(PLACE, user, method=method)
        assert (answer.status_code, answer.content) == (405, other.content)
        assert sorted(answer.headers.items()) == sorted(other.headers.items())
    assert served.issuer.calls == 0


async def test_handlers_of_the_application_apply(served: Served) -> None:
    async def handle(_request: Request, error: Any) -> JSONResponse:
        return JSONResponse({"was": type(error).__name__}, 599)

    for kind in (HTTPException, RequestValidationError, LookupError):
        served.app.add_exception_handler(kind, handle)
    answers = [
        await served.get(PLACE, None),
        await served.get(PLACE, "bob"),
        await served.get(f"/generations/{'g' * 300}"),
        await served.get(f"{PLACE}/fails"),
        await served.get(f"{PLACE}/tea"),
    ]
    assert [answer.status_code for answer in answers] == [599] * 5
    assert [answer.json()["was"] for answer in answers] == [
        AuthenticationRequired.__name__,
        AccessDenied.__name__,
        "RequestValidationError",
        "LookupError",
        "HTTPException",
    ]


# --- overrides ----------------------------------------------------------------------------------


async def test_overrides_hold_as_long_as_they_are_there(served: Served) -> None:
    overrides = served.app.dependency_overrides
    for _ in range(2):
        assert (await served.get(PLACE, None)).status_code == 401
        overrides[get_optimized_auth_middleware] = AllowAll("eve")
        assert (await served.get(PLACE, None)).json()["user"] == "eve"
        overrides[get_optimized_auth_middleware] = DenyAll()
        assert (await served.get(PLACE)).status_code == 403
        del overrides[get_optimized_auth_middleware]
        assert (await served.get(PLACE, None)).status_code == 401
        assert (await served.get(PLACE)).json()["user"] == "ada"


async def test_overrides_of_an_outer_application_open_no_inner_one(served: Served) -> None:
    outer = FastAPI()
    outer.mount("/inner", served.app)
    outer.dependency_overrides[get_optimized_auth_middleware] = AllowAll("eve")
    for user, status in ((None, 401), ("bob", 403), ("ada", 206)):
        headers = None if user is None else bearer(user)
        answer = await ask(outer, f"/inner{PLACE}", headers, state=served.state)
        assert answer.status_code == status


# --- WebSockets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer forged"}, bearer("bob")], ids=str
)
def test_a_websocket_of_the_same_router_is_guarded(served: Served, headers: dict[str, str]) -> None:
    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await served.app({**scope, "state": served.state}, receive, send)

    client = TestClient(with_state)
    with client.websocket_connect(f"{PLACE}/live", headers=bearer("ada")) as socket:
        assert socket.receive_json() == {"user": "ada"}
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client.websocket_connect(f"{PLACE}/live", headers=headers) as socket,
    ):
        socket.receive_json()
    assert closed.value.code == 1008
