"""What guards cost a request: in one process, without a network, and over a real server.

    python benches/python/http_guards.py [--write] [--quick]

A request is an ASGI scope handed to a FastAPI application, with a receive and a send that do
nothing else: what is measured is the application. All ways take turns within one run, and are
compared with the same route without a guard. Every answer is checked, within the laps: the status,
and the body of what was let through.

Below that, the pieces by themselves: a verified token, a cached decision, a decorated function;
beside them the caches that FastAPI services use, and what it costs to verify the token. At last the
same routes over TCP (:mod:`http_load`): requests in a second, and a slow source.
``--write`` writes docs/benchmarks-http.md.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import http_load_report
import machine
from harness import Lane, Runner, Timing, race
from http_applications import (
    DOOR,
    GUARD,
    GUARDED_ROUTE,
    NO_OP,
    NOBODY,
    ROUTE,
    TOKEN,
    USER,
    NoOp,
    Service,
    application,
    authorize,
    cache,
    generation_of,
    included,
    verify,
    with_guard,
    with_state,
)
from report import duration, multiple, table
from velro_cache import cached_authorization
from velro_cache.fastapi import (
    AuthorizeGeneration,
    IdentityDep,
    OptimizedAuthMiddleware,
    ReadableGeneration,
    VerifiedTokens,
)

ROOT: Final = Path(__file__).resolve().parents[2]
GENERATION: Final = str(uuid4())
BODY: Final = b'{"id":"%s"}' % GENERATION.encode()
SECRET: Final = "a secret of thirty-two bytes, or more"  # noqa: S105 (of this run)
REQUESTS_OF_A_LAP: Final = 40
HITS_OF_A_LAP: Final = 1000
"""Short laps: others on the machine spare some of them, and those are the fastest."""

Call = Callable[[], Awaitable[Any]]


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
    plain, no_op, door, door_checks, door_calls = (application() for _ in range(5))
    no_op.add_middleware(NoOp)
    door.add_middleware(OptimizedAuthMiddleware, **options)
    of_path = AuthorizeGeneration(generation_of)
    door_checks.add_middleware(OptimizedAuthMiddleware, authorize=of_path, **options)
    door_calls.add_middleware(OptimizedAuthMiddleware, authorize=authorize, **options)
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
        ROUTE: request(with_state(plain), TOKEN, 200),
        NO_OP: request(with_state(no_op), TOKEN, 200),
        "`OptimizedAuthMiddleware`, token": request(with_state(door), TOKEN, 200),
        DOOR: request(with_state(door_checks), TOKEN, 200),
        "`OptimizedAuthMiddleware`, token and a function that asks": request(
            with_state(door_calls), TOKEN, 200
        ),
        "included route without a guard": request(with_state(included()), TOKEN, 200),
        GUARDED_ROUTE: request(with_state(included(ReadableGeneration), auth), TOKEN, 200),
        "`Depends` that does nothing": request(
            with_state(with_guard(_annotated(nothing))), TOKEN, 200
        ),
        "`HTTPBearer`, user and guard in a chain, no check": request(
            with_state(with_guard(_annotated(chain))), TOKEN, 200
        ),
        "`IdentityDep`: token": request(identity, TOKEN, 200),
        GUARD: request(guarded, TOKEN, 200),
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
    bare, no_op = best[ROUTE], best[NO_OP]
    door = best[DOOR]
    guard = best[GUARD]
    route = best[GUARDED_ROUTE]
    in_router = best["included route without a guard"]
    nobody = best["refused by the middleware, 401"]
    return [
        ("middleware, token and decision, beyond the route: microseconds", door - bare, "3"),
        ("middleware, token and decision: times its no-op", door / no_op, "1.08"),
        ("`GuardedRoute`, beyond the included route: microseconds", route - in_router, "5"),
        ("guard with its one seam, beyond the route: microseconds", guard - bare, "22"),
        ("refusal by the middleware: microseconds", nobody, "8"),
        ("verified token: microseconds", best["`VerifiedTokens.identify`"], "1"),
        ("`@cached_authorization`: microseconds", best["`@cached_authorization`"], "0.5"),
    ]


def page(
    whole: dict[str, Timing],
    parts: dict[str, Timing],
    load: http_load_report.Load,
    about: machine.Machine,
) -> str:
    """The report."""
    bare = whole[ROUTE].best
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
        ["Goal", "measured", "bound", "met"],
        [
            [name, f"{figure:.2f}", f"at most {bound}", "yes" if figure <= float(bound) else "no"]
            for name, figure, bound in goals(whole, parts)
        ]
        + http_load_report.goals(load),
    )
    return "\n\n".join(
        [
            "# What guards cost a request",
            "**TL;DR** The tables below: whole requests, the pieces, and requests over a real"
            " server. Compare within a table; the goals are at the end, met or not.",
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
            *http_load_report.sections(load),
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
    load = http_load_report.measure(quick=options.quick)
    command = "make bench-http" + (" ARGS=--quick" if options.quick else "")
    text = page(whole, parts, load, machine.describe(ROOT, command))
    print(text)
    if options.write:
        (ROOT / "docs" / "benchmarks-http.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
