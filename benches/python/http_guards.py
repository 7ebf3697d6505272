"""What guards cost a request, in one process, without a network.

    python benches/python/http_guards.py [--write] [--quick]

A request is an ASGI scope handed to a FastAPI application, with a receive and a send that do
nothing else: what is measured is the application. All ways take turns within one run, and are
compared with the same route without a guard. Every answer is checked, within the laps: the status,
and the body of what was let through.

Below that, the pieces by themselves: a verified token, a cached decision, a decorated function;
beside them the caches that FastAPI services use, and what it costs to verify the token.
``--write`` writes docs/benchmarks-http.md.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import machine
from harness import Lane, Runner, Timing, race
from report import duration, multiple, table
from velro_cache import (
    AuthorizationResult,
    GenerationPermissions,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    cached_authorization,
)
from velro_cache.fastapi import (
    Identity,
    IdentityDep,
    OptimizedAuthMiddleware,
    ReadableGeneration,
    VerifiedTokens,
)

ROOT: Final = Path(__file__).resolve().parents[2]
GENERATION: Final = str(uuid4())
USER: Final = str(uuid4())
BODY: Final = b'{"id":"%s"}' % GENERATION.encode()
SECRET: Final = "a secret of thirty-two bytes, or more"  # noqa: S105 (of this run)
REQUESTS_OF_A_LAP: Final = 40
HITS_OF_A_LAP: Final = 1000
"""Short laps: others on the machine spare some of them, and those are the fastest."""

Call = Callable[[], Awaitable[Any]]


class Service:
    """Grants everything, for an hour; its answers are what is cached."""

    async def validate_generation_media_access(
        self, generation_id: Any, user_id: Any, auth_token: str, **_more: Any
    ) -> GenerationPermissions:
        """Grant it, unless the user is nobody."""
        if user_id == "nobody":
            return GenerationPermissions.denied(generation_id, user_id)
        end = datetime.now(UTC) + timedelta(hours=1)
        return GenerationPermissions(
            generation_id, user_id, granted=True, can_view=True, expires_at=end
        )

    async def validate_project_access(self, *_asked: Any) -> AuthorizationResult:
        """Grant it."""
        return AuthorizationResult(True)


async def verify(token: str) -> Identity | None:
    """Verify a token of this run, in no time."""
    if not token.startswith("ey"):
        return None
    user_id = "nobody" if token.endswith("-nobody") else USER
    return Identity(user_id, expires_at=datetime.now(UTC) + timedelta(hours=1))


TOKEN: Final = "ey" + "x" * 300 + "." + "y" * 43
NOBODY: Final = TOKEN + "-nobody"


def cache() -> OptimizedCacheManager:
    """Make a cache as a service has it: sharing its table with other workers."""
    return OptimizedCacheManager(OptimizedCacheConfig(name="bench-http"))


def application() -> FastAPI:
    """Make an application with one route, not guarded."""
    app = FastAPI()

    @app.get("/generations/{generation_id}")
    async def read(generation_id: str) -> dict[str, str]:
        return {"id": generation_id}

    return app


def with_guard(annotation: Any) -> FastAPI:
    """Make the same application with one more parameter of the route."""
    app = FastAPI()

    async def read(generation_id: str, guard: Any) -> dict[str, str]:
        return {"id": generation_id}

    read.__annotations__["guard"] = annotation
    app.get("/generations/{generation_id}")(read)
    return app


def with_state(app: Any, auth: OptimizedAuthMiddleware | None = None) -> Any:
    """What a server adds to a scope: the state of the lifespan."""
    state = {} if auth is None else {"velro_auth": auth, **_parts(auth)}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = state.copy()
        await app(scope, receive, send)

    return serve


def _parts(auth: OptimizedAuthMiddleware) -> dict[str, Any]:
    return {
        "velro_cache": auth._cache_manager,
        "velro_authorization": auth._authorization,
        "velro_tokens": auth._authenticate,
    }


class NoOp:
    """The least a middleware can be."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand the request on."""
        if scope["type"] == "http":
            scope["state"]["nothing"] = None
        await self.app(scope, receive, send)


async def authorize(
    auth: OptimizedAuthMiddleware, scope: Any, identity: Identity, token: str
) -> bool:
    """Check the generation in the path, through the cache."""
    decision = await auth.check_generation_access_cached(
        scope["path"].rpartition("/")[2], identity.user_id, token
    )
    return decision.granted


def request(app: Any, token: str | None, expected: int) -> Call:
    """Make a function that sends one request and checks its answer."""
    headers = [(b"host", b"bench"), (b"accept", b"*/*")]
    if token is not None:
        headers.append((b"authorization", b"Bearer " + token.encode()))
    path = f"/generations/{GENERATION}"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.1", 4711),
        "server": ("bench", 80),
    }
    status, body = 0, b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, body
        if message["type"] == "http.response.start":
            status, body = message["status"], b""
        else:
            body += message["body"]

    async def call() -> None:
        await app(scope.copy(), receive, send)
        if status != expected or (expected == 200 and body != BODY):
            raise AssertionError(f"{status} instead of {expected}, or another body")

    return call


def requests() -> dict[str, Call]:
    """Make every way to let a request through, and to refuse one."""
    auth = OptimizedAuthMiddleware(
        authorization=Service(), cache_manager=cache(), authenticate=VerifiedTokens(verify)
    )
    options = {"authorization": Service(), "cache_manager": cache(), "authenticate": verify}
    plain, no_op, door, door_checks = (application() for _ in range(4))
    no_op.add_middleware(NoOp)
    door.add_middleware(OptimizedAuthMiddleware, **options)
    door_checks.add_middleware(OptimizedAuthMiddleware, authorize=authorize, **options)
    identity = with_state(with_guard(IdentityDep), auth)
    guarded = with_state(with_guard(ReadableGeneration), auth)
    behind = with_guard(ReadableGeneration)
    behind.add_middleware(OptimizedAuthMiddleware, enforce=False, **options)

    async def nothing(request: Request) -> None:
        return None

    bearer = HTTPBearer()

    async def user(found: HTTPAuthorizationCredentials = Depends(bearer)) -> str:  # noqa: B008
        return found.credentials

    async def chain(request: Request, found: str = Depends(user)) -> None:
        return None

    http_middleware = application()

    @http_middleware.middleware("http")
    async def source_form(request: Request, call_next: Any) -> Any:
        request.state.auth_cache = auth
        return await call_next(request)

    return {
        "route without a guard": request(with_state(plain), TOKEN, 200),
        "ASGI middleware that does nothing": request(with_state(no_op), TOKEN, 200),
        "`OptimizedAuthMiddleware`, token": request(with_state(door), TOKEN, 200),
        "`OptimizedAuthMiddleware`, token and decision": request(
            with_state(door_checks), TOKEN, 200
        ),
        "`Depends` that does nothing": request(
            with_state(with_guard(_annotated(nothing))), TOKEN, 200
        ),
        "`HTTPBearer`, user and guard in a chain, no check": request(
            with_state(with_guard(_annotated(chain))), TOKEN, 200
        ),
        "`IdentityDep`: token": request(identity, TOKEN, 200),
        "`ReadableGeneration`: token and decision": request(guarded, TOKEN, 200),
        "`ReadableGeneration` behind the middleware": request(with_state(behind), TOKEN, 200),
        '`@app.middleware("http")` that sets an attribute': request(
            with_state(http_middleware), TOKEN, 200
        ),
        "refused by the middleware, 401": request(with_state(door), None, 401),
        "refused by the middleware, 403": request(with_state(door_checks), NOBODY, 403),
        "refused by a guard, 401": request(guarded, None, 401),
        "refused by a guard, 403": request(guarded, NOBODY, 403),
    }


def _annotated(dependency: Any) -> Any:
    from typing import Annotated

    return Annotated[Any, Depends(dependency)]


def pieces() -> dict[str, Call]:
    """Make the parts of a check, and what others have in their place."""
    tokens = VerifiedTokens(verify, cache_manager=cache())
    auth = OptimizedAuthMiddleware(authorization=Service(), cache_manager=cache())

    @cached_authorization(cache=cache())
    async def decorated(user_id: str, resource_id: str) -> bool:
        return True

    async def nothing() -> None:
        return None

    found: dict[str, Call] = {
        "await of nothing": nothing,
        "`VerifiedTokens.identify`": lambda: tokens.identify(TOKEN),
        "`check_generation_access_cached`": lambda: auth.check_generation_access_cached(
            GENERATION, USER, TOKEN
        ),
        "`check_project_access_cached`": lambda: auth.check_project_access_cached("p", USER),
        "`@cached_authorization`": lambda: decorated(USER, GENERATION),
    }
    for add in (_jwt, _aiocache, _cashews, _fastapi_cache):
        try:
            add(found)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


def _version(package: str) -> str:
    return importlib.metadata.version(package)


def _jwt(found: dict[str, Call]) -> None:
    import jwt

    token = jwt.encode({"sub": USER, "exp": int(time.time()) + 3600}, SECRET, "HS256")

    async def decode() -> None:
        assert jwt.decode(token, SECRET, ["HS256"])["sub"] == USER

    found[f"PyJWT {_version('pyjwt')}, HS256, verified each time"] = decode


def _aiocache(found: dict[str, Call]) -> None:
    import aiocache

    @aiocache.cached(ttl=600)  # type: ignore[untyped-decorator]
    async def check(user_id: str, resource_id: str) -> bool:
        return True

    found[f"aiocache {_version('aiocache')}, decorator"] = lambda: check(USER, GENERATION)


def _cashews(found: dict[str, Call]) -> None:
    import cashews

    memory = cashews.Cache()
    memory.setup("mem://")

    @memory(ttl="10m", key="check:{user_id}:{resource_id}")
    async def check(user_id: str, resource_id: str) -> bool:
        return True

    found[f"cashews {_version('cashews')}, decorator"] = lambda: check(USER, GENERATION)


def _fastapi_cache(found: dict[str, Call]) -> None:
    from fastapi_cache import FastAPICache
    from fastapi_cache.backends.inmemory import InMemoryBackend
    from fastapi_cache.decorator import cache as fastapi_cache

    FastAPICache.init(InMemoryBackend())

    @fastapi_cache(expire=600)
    async def check(user_id: str, resource_id: str) -> bool:
        return True

    package = f"fastapi-cache2 {_version('fastapi-cache2')}"
    found[f"{package}, decorator"] = lambda: check(USER, GENERATION)


def measure(
    runner: Runner, calls: dict[str, Call], operations: int, rounds: int
) -> dict[str, Timing]:
    """Let all take turns; a call that answers otherwise ends the run."""
    names = list(calls)
    laps = {}
    for name in names:
        timed = runner.timed("await call()", {"call": calls[name]}, label=name, is_async=True)
        runner.finish(_several(calls[name]))
        laps[name] = timed
    lanes = [
        Lane(name, lambda _, lap=laps[name]: lap(range(operations)), operations) for name in names
    ]
    return race(lanes, rounds=rounds, budget_seconds=120)


async def _several(call: Call) -> None:
    for _ in range(20):
        await call()
        await asyncio.sleep(0)


Goal = tuple[str, float, str]


def goals(whole: dict[str, Timing], parts: dict[str, Timing]) -> list[Goal]:
    """The promises: a name, the figure, and what it may be at most."""
    best = {name: timing.best / 1000 for name, timing in (whole | parts).items()}
    bare, no_op = best["route without a guard"], best["ASGI middleware that does nothing"]
    door = best["`OptimizedAuthMiddleware`, token and decision"]
    guard = best["`ReadableGeneration`: token and decision"]
    nobody = best["refused by the middleware, 401"]
    return [
        ("middleware, token and decision, beyond the route: microseconds", door - bare, "3"),
        ("middleware, token and decision: times its no-op", door / no_op, "1.08"),
        ("guard with its one seam, beyond the route: microseconds", guard - bare, "22"),
        ("refusal by the middleware: microseconds", nobody, "8"),
        ("verified token: microseconds", best["`VerifiedTokens.identify`"], "1"),
        ("`@cached_authorization`: microseconds", best["`@cached_authorization`"], "0.5"),
    ]


def page(whole: dict[str, Timing], parts: dict[str, Timing], about: machine.Machine) -> str:
    """The report."""
    bare = whole["route without a guard"].best
    requests_table = table(
        ["A request", "best", "median", "beyond the route", "times the route"],
        [
            [
                name,
                duration(timing.best),
                duration(timing.median),
                "-" if timing.best == bare else f"{(timing.best - bare) / 1000:+.1f} us",
                multiple(timing.best / bare),
            ]
            for name, timing in whole.items()
        ],
    )
    parts_table = table(
        ["A hit", "best", "median"],
        [[name, duration(one.best), duration(one.median)] for name, one in parts.items()],
    )
    goals_table = table(
        ["Goal", "measured", "at most", "met"],
        [
            [name, f"{figure:.2f}", bound, "yes" if figure <= float(bound) else "no"]
            for name, figure, bound in goals(whole, parts)
        ],
    )
    return "\n\n".join(
        [
            "# What guards cost a request",
            "**TL;DR** The two tables below: whole requests, and the pieces. Compare within a"
            " table; the goals are at the end, met or not.",
            f"Made by `{about.command}` on {about.date}, commit {about.commit}:"
            f" {about.processor}, {about.cores} cores, {about.system}, {about.python}, FastAPI"
            f" {_version('fastapi')}, load average {about.load_average:.1f} at the end.",
            "A request is handed to the application in the same process, without a network; the"
            " answers are checked. All ways take turns; *best* is the fastest lap of each. The"
            " middleware and the guards find a verified token and a decision in the cache.",
            "## Requests",
            requests_table,
            "## Pieces",
            parts_table,
            "## Goals",
            goals_table,
        ]
    )


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it runs")
    options = parser.parse_args()
    rounds = 20 if options.quick else 600
    runner = Runner()
    try:
        whole = measure(runner, requests(), REQUESTS_OF_A_LAP, rounds)
        parts = measure(runner, pieces(), HITS_OF_A_LAP, rounds)
    finally:
        runner.close()
    text = page(whole, parts, machine.describe(ROOT, "make bench-http"))
    print(text)
    if options.write:
        (ROOT / "docs" / "benchmarks-http.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
