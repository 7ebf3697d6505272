"""Classes that do a step their own way, refusals that say something: memory leaves both alone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute
from guarded import Issuer, Service, ask, bearer

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache.authorization.identity import Identity
from velro_cache.authorization.models import AccessType
from velro_cache.fastapi import (
    AuthorizeGeneration,
    GuardedRoute,
    OptimizedAuthMiddleware,
    RequireGenerationAccess,
    RequireIdentity,
    VerifiedTokens,
)
from velro_cache.fastapi.refusals import AccessDenied, InvalidBearerToken, Refusal


def generation_of(scope: Any) -> str | None:
    _, found, rest = scope["path"].partition("/generations/")
    return rest if found else None


class Door:
    """An application behind a middleware that refuses."""

    def __init__(self, kind: type[OptimizedAuthMiddleware] = OptimizedAuthMiddleware, **more: Any):
        self.service, self.issuer = Service(), Issuer()
        self.cache = OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))
        self.app = FastAPI()
        options: dict[str, Any] = {
            "authorization": self.service,
            "cache_manager": self.cache,
            "authenticate": self.issuer,
        }
        self.app.add_middleware(kind, **(options | more))
        for path in ("/generations/{generation_id}", "/health", "/admin/cache/x", "/elsewhere"):
            self.app.get(path)(read)

    async def ask(self, path: str, user: str | None = "ada", **more: Any) -> httpx.Response:
        headers = None if user is None else bearer(user)
        return await ask(self.app, path, headers, state={}, **more)


async def read() -> str:
    return "in"


class TestRefusalsThatSaySomething:
    async def test_are_told_to_nobody_else(self) -> None:
        async def authorize(auth: Any, _: Any, identity: Identity, __: str) -> bool:
            status = 403 if identity.user_id == "ada" else 451
            challenge = auth.challenge.insufficient_scope(None)
            raise Refusal(status, f"about {identity.user_id}", challenge)

        door = Door(authorize=authorize)
        for user, status in (("ada", 403), ("eve", 451), ("ada", 403)):
            answer = await door.ask("/elsewhere", user)
            assert (answer.status_code, answer.json()) == (status, {"detail": f"about {user}"})

    async def test_nor_do_they_change_the_usual_one(self) -> None:
        async def authorize(auth: Any, _: Any, identity: Identity, __: str) -> bool:
            if identity.user_id == "ada":
                error = AccessDenied(auth.challenge)
                error.detail = "ada alone"
                error.headers = {**(error.headers or {}), "X-Case": "4711"}
                raise error
            return False

        door = Door(authorize=authorize)
        assert (await door.ask("/elsewhere", "ada")).headers["x-case"] == "4711"
        answer = await door.ask("/elsewhere", "eve")
        assert "x-case" not in answer.headers
        assert answer.json() == {"detail": "Access denied"}

    async def test_nor_to_another_application(self) -> None:
        def of(text: str) -> Any:
            def verify(token: str) -> Identity:
                error = InvalidBearerToken()
                error.detail = text
                raise error

            return verify

        one, other = Door(authenticate=of("one")), Door(authenticate=of("other"))
        assert (await one.ask("/elsewhere")).json() == {"detail": "one"}
        assert (await other.ask("/elsewhere")).json() == {"detail": "other"}


def guarded(guard: Any, route_class: type[APIRoute]) -> tuple[FastAPI, Service, Any]:
    """An application with one guarded route, and the state of its requests."""
    service = Service()
    cache = OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))
    auth = OptimizedAuthMiddleware(
        authorization=service, cache_manager=cache, authenticate=Issuer()
    )
    router = APIRouter(route_class=route_class)
    router.get("/generations/{generation_id}", dependencies=[Depends(guard)])(read)
    app = FastAPI()
    app.include_router(router)
    return app, service, {"auth_cache": auth}


@pytest.mark.parametrize("route_class", [APIRoute, GuardedRoute])
class TestDerivedGuards:
    async def test_a_step_done_another_way_is_done_on_every_request(
        self, route_class: type[APIRoute]
    ) -> None:
        banned: set[str] = set()

        class NotBanned(RequireGenerationAccess):
            async def _authenticate(self, auth: Any, connection: Any) -> Any:
                identity, token = await super()._authenticate(auth, connection)
                if identity.user_id in banned:
                    raise HTTPException(403, "banned")
                return identity, token

        app, service, state = guarded(NotBanned(), route_class)
        service.grant("g", "ada", "token-of-ada")
        for _ in range(2):
            assert (await ask(app, "/generations/g", bearer("ada"), state=state)).status_code == 200
        banned.add("ada")
        assert (await ask(app, "/generations/g", bearer("ada"), state=state)).status_code == 403

    async def test_an_id_made_another_way_is_the_one_that_counts(
        self, route_class: type[APIRoute]
    ) -> None:
        class OfTeam(RequireGenerationAccess):
            def _id(self, connection: Any) -> Any:
                return f"team-{super()._id(connection)}"

        app, service, state = guarded(OfTeam(), route_class)
        service.grant("g", "ada", "token-of-ada")
        auth = state["auth_cache"]
        assert (await auth.check_generation_access_cached("g", "ada", "token-of-ada")).granted
        for _ in range(2):
            assert (await ask(app, "/generations/g", bearer("ada"), state=state)).status_code == 403

    async def test_one_that_is_no_coroutine_function_works_as_elsewhere(
        self, route_class: type[APIRoute]
    ) -> None:
        class Plain(RequireIdentity):
            def __call__(self, connection: HTTPConnection) -> str:  # type: ignore[override]
                return "somebody"

        # Older versions of FastAPI do not read annotations of objects if they are texts.
        Plain.__call__.__annotations__["connection"] = HTTPConnection
        app, _, state = guarded(Plain(), route_class)
        assert (await ask(app, "/generations/g", state=state)).status_code == 200


def test_what_an_access_is_checked_for_cannot_be_changed_later() -> None:
    for made in (RequireGenerationAccess(), AuthorizeGeneration(generation_of)):
        with pytest.raises(AttributeError):
            made.access = AccessType.WRITE  # type: ignore[misc,union-attr]
        assert made.access is AccessType.READ


class TestDerivedMiddleware:
    async def test_a_step_done_another_way_is_done_on_every_request(self) -> None:
        banned: set[str] = set()

        class NotBanned(OptimizedAuthMiddleware):
            async def _admit(self, scope: Any) -> Identity:
                identity = await super()._admit(scope)
                if identity.user_id in banned:
                    raise AccessDenied(self.challenge)
                return identity

        door = Door(NotBanned)
        for _ in range(2):
            assert (await door.ask("/elsewhere")).status_code == 200
        banned.add("ada")
        assert (await door.ask("/elsewhere")).status_code == 403

    async def test_attributes_of_its_own_are_kept(self) -> None:
        class Blocking(OptimizedAuthMiddleware):
            def __init__(self, app: Any = None, *, blocked: Any = (), **options: Any) -> None:
                super().__init__(app, **options)
                self.blocked = blocked

            async def authenticate(self, scope: Any) -> Any:
                identity, token = await super().authenticate(scope)
                if identity.user_id in self.blocked:
                    raise AccessDenied(self.challenge)
                return identity, token

        # What is not named when it is made is found in the state: a copy answers.
        door = Door(Blocking, blocked=["eve"], authorization=None)
        assert (await door.ask("/elsewhere")).status_code == 200
        assert (await door.ask("/elsewhere", "eve")).status_code == 403

    async def test_so_are_those_of_tokens(self) -> None:
        class OfIssuer(VerifiedTokens):
            def __init__(self, verify: Any, issuer: str) -> None:
                super().__init__(verify)
                self.issuer = issuer

            async def identify(self, token: str | bytes) -> Identity:
                assert self.issuer == "us"
                return await super().identify(token)

        door = Door(authenticate=OfIssuer(Issuer(), "us"))
        assert (await door.ask("/elsewhere")).status_code == 200


class TestTheDoor:
    @pytest.mark.parametrize(
        "options",
        [
            {"enforce": True},
            {"public_paths": ["/health"]},
            {"public_prefixes": ["/a/"]},
            {"public_paths": "/health", "authenticate": Issuer()},
            {"public_prefixes": "/a/", "authenticate": Issuer()},
        ],
    )
    def test_one_that_would_refuse_nobody_is_not_made(self, options: Any) -> None:
        with pytest.raises(TypeError):
            OptimizedAuthMiddleware(FastAPI(), **options)

    @pytest.mark.parametrize("prefix", ["a/", "/a", "", "/"])
    def test_prefixes_are_whole_parts_of_paths(self, prefix: str) -> None:
        with pytest.raises(ValueError, match="slash"):
            OptimizedAuthMiddleware(authenticate=Issuer(), public_prefixes=[prefix])

    async def test_what_is_public_needs_no_token_wherever_it_is_served(self) -> None:
        door = Door(public_paths=["/health"], public_prefixes=["/admin/cache/"])
        outer = FastAPI()
        outer.mount("/outer", door.app)
        for path, status in (
            ("/health", 200),
            ("/health/", 401),
            ("/healthy", 401),
            ("/admin/cache/x", 200),
            ("/admin/cache", 401),
            ("/admin/cachex", 401),
            ("/elsewhere", 401),
        ):
            assert (await door.ask(path, None)).status_code == status, path
            mounted = await ask(outer, "/outer" + path, None, state={})
            assert mounted.status_code == status, path
        # As a server hands over what it serves under a path of its own.
        assert not self.is_open(door, "/api", "/apihealth")
        assert self.is_open(door, "/api", "/api/health")
        assert self.is_open(door, "/api", "/health")

    @staticmethod
    def is_open(door: Door, root_path: str, path: str) -> bool:
        made = OptimizedAuthMiddleware(authenticate=door.issuer, public_paths=["/health"])
        return made._is_public({"path": path, "root_path": root_path})

    async def test_nobody_without_a_token_learns_what_the_finder_says(self) -> None:
        def find(scope: Any) -> str:
            if scope["path"].endswith("missing"):
                raise HTTPException(404, "no such generation")
            raise ValueError

        door = Door(authorize=AuthorizeGeneration(find))
        for user in (None, "nobody"):
            headers = None if user is None else {"Authorization": "Bearer forged"}
            answer = await ask(door.app, "/generations/missing", headers, state={})
            assert answer.status_code == 401
        assert (await door.ask("/generations/missing")).status_code == 404

    async def test_the_finder_may_ask_who_it_is(self) -> None:
        def find(scope: Any) -> str:
            return f"of-{scope['state']['identity'].user_id}"

        door = Door(authorize=AuthorizeGeneration(find))
        door.service.grant("of-ada", "ada", "token-of-ada")
        for _ in range(2):
            assert (await door.ask("/generations/x")).status_code == 200

    @pytest.mark.parametrize("generation", ["a\0b", "x" * 257, "", "\u202eabc"])
    async def test_what_guards_would_not_take_for_an_id_is_refused(self, generation: str) -> None:
        door = Door(authorize=AuthorizeGeneration(lambda _: generation))
        for _ in range(2):
            assert (await door.ask("/generations/x")).status_code == 403
        assert door.service.calls == 0

    async def test_a_deny_says_what_was_needed(self) -> None:
        door = Door(authorize=AuthorizeGeneration(generation_of, "write"))
        for _ in range(2):
            answer = await door.ask("/generations/g")
            assert 'scope="generation:write"' in answer.headers["www-authenticate"]

    async def test_several_spaces_before_a_token_are_as_good_as_one(self) -> None:
        door = Door()
        for _ in range(2):
            headers = {"Authorization": "Bearer   token-of-ada"}
            assert (await ask(door.app, "/elsewhere", headers, state={})).status_code == 200
