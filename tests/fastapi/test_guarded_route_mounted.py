"""However a route comes into an application, its guard is asked, and before the endpoint."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from guarded import Issuer, Service, ask, bearer
from hypothesis import given, settings
from hypothesis import strategies as st
from mounted import GUARDED, PATH, WAYS, Way, read, unguarded

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache.fastapi import GuardedRoute, OptimizedAuthMiddleware, get_cache

EVERY_WAY = pytest.mark.parametrize("make", list(WAYS.values()), ids=list(WAYS))
FORGED = {"authorization": "Bearer forged"}
EVERYBODY = ((None, 401), (FORGED, 401), (bearer("bob"), 403), (bearer("ada"), 200))


class Behind:
    """What stands behind an application, and what happened in it."""

    def __init__(self) -> None:
        self.service, self.issuer = Service(), Issuer()
        self.service.grant("g", "ada", "token-of-ada")
        self.asked: list[str] = []
        self.ran: list[str] = []
        self.auth = OptimizedAuthMiddleware(
            authorization=self.service,
            authenticate=self.issuer,
            cache_manager=OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False)),
        )

    async def ask(self, app: Any, path: str, headers: Any, **more: Any) -> httpx.Response:
        state = {"auth_cache": self.auth, "asked": self.asked, "ran": self.ran}
        return await ask(app, path, headers, state=state, **more)


async def answers_to_everybody(app: FastAPI, path: str) -> list[Any]:
    """What everybody is told, twice; checked for what must hold in any case."""
    behind = Behind()
    answers = []
    # From memory, the second time.
    for _ in range(2):
        for headers, expected in EVERYBODY:
            asked, ran = len(behind.asked), len(behind.ran)
            answer = await behind.ask(app, path, headers)
            assert answer.status_code == expected, answer.text
            assert len(behind.asked) > asked
            assert len(behind.ran) == ran + (expected == 200)
            answers.append((answer.status_code, answer.content, sorted(answer.headers.items())))
    assert behind.service.calls == 2
    return answers


@EVERY_WAY
async def test_no_way_to_mount_a_route_skips_its_guard(make: Way) -> None:
    guarded = await answers_to_everybody(*make(GuardedRoute))
    assert guarded == await answers_to_everybody(*make(APIRoute))


# There, the route asks for itself and FastAPI for the dependency; memory answers the second time.
@pytest.mark.parametrize("name", sorted(set(WAYS) - {"guard of a dependency and of the route"}))
async def test_a_guard_is_asked_once(name: str) -> None:
    behind = Behind()
    app, path = WAYS[name](GuardedRoute)
    for headers, _ in EVERYBODY:
        asked = len(behind.asked)
        await behind.ask(app, path, headers)
        assert len(behind.asked) == asked + 1


@EVERY_WAY
async def test_overrides_of_something_else_skip_no_guard(make: Way) -> None:
    app, path = make(GuardedRoute)
    without = await answers_to_everybody(app, path)
    app.dependency_overrides[get_cache] = get_cache
    assert await answers_to_everybody(app, path) == without
    app.dependency_overrides.clear()
    assert await answers_to_everybody(app, path) == without


@EVERY_WAY
def test_the_document_is_the_same(make: Way) -> None:
    guarded, usual = (make(route_class)[0] for route_class in (GuardedRoute, APIRoute))
    assert guarded.openapi() == usual.openapi()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "QUERY"])
@pytest.mark.parametrize("endpoint", [read, unguarded])
async def test_every_method_of_a_route_is_guarded(method: str, endpoint: Any) -> None:
    """HEAD and OPTIONS, too, where a route has them; where it has not, it is not run."""
    behind = Behind()
    for methods, allowed, refused in (
        ([method], 200, 401),
        (["PATCH"], 405, 405),
    ):
        app, router = FastAPI(), APIRouter(route_class=GuardedRoute)
        dependencies = GUARDED if endpoint is unguarded else []
        router.api_route(PATH, methods=methods, dependencies=dependencies)(endpoint)
        app.include_router(router)
        ran = len(behind.ran)
        answer = await behind.ask(app, "/generations/g", None, method=method)
        assert (answer.status_code, len(behind.ran)) == (refused, ran)
        answer = await behind.ask(app, "/generations/g", bearer("ada"), method=method)
        assert (answer.status_code, len(behind.ran)) == (allowed, ran + (allowed == 200))


async def test_a_route_that_is_included_openly_as_well_opens_no_other() -> None:
    app, path = WAYS["included twice guarded once"](GuardedRoute)
    for _ in range(2):
        behind = Behind()
        open_path = path.replace("/guarded", "/open")
        assert (await behind.ask(app, open_path, None)).status_code == 200
        assert (await behind.ask(app, path, None)).status_code == 401
        assert behind.ran == ["g"]


@st.composite
def applications(draw: st.DrawFn) -> tuple[FastAPI, str]:
    """Routers in routers, some of them guarded, at last one; included, or mounted at the top."""
    classes = st.sampled_from([GuardedRoute, APIRoute])
    guards = st.sampled_from([[], GUARDED])
    levels = draw(st.lists(st.tuples(classes, guards, guards), min_size=1, max_size=4))
    of_route, of_application, by_parameter = draw(guards), draw(guards), draw(st.booleans())
    endpoint = read if by_parameter else unguarded
    if not (by_parameter or of_route or of_application or any(a or b for _, a, b in levels)):
        endpoint = read
    (route_class, of_router, of_inclusion), *above = levels
    inner = APIRouter(route_class=route_class, dependencies=of_router)
    inner.get(PATH, dependencies=of_route)(endpoint)
    path = "/generations/g"
    for number, (other_class, of_outer, of_next_inclusion) in enumerate(above):
        outer = APIRouter(route_class=other_class, dependencies=of_outer)
        prefix = f"/level{number}"
        outer.include_router(inner, prefix=prefix, dependencies=of_inclusion)
        inner, of_inclusion, path = outer, of_next_inclusion, prefix + path
    app = FastAPI(dependencies=of_application)
    app.include_router(inner, dependencies=of_inclusion)
    if draw(st.booleans()):
        outermost = FastAPI()
        outermost.mount("/mounted", app)
        app, path = outermost, f"/mounted{path}"
    return app, path


@settings(max_examples=60)
@given(application=applications())
async def test_no_tree_of_routers_skips_a_guard(application: tuple[FastAPI, str]) -> None:
    await answers_to_everybody(*application)
