"""What an API key costs a request, and what a check costs by itself.

    python benches/python/api_keys.py [--quick]

A request is an ASGI scope handed to a plain ASGI application: what is measured is the middleware
alone, without a framework or a server. All ways take turns within one run. Every answer is checked,
within the laps. Beside the check stand a plain SHA-256 of the key, which is the least that a lookup
by digest costs in Python, and keyshield (if it is installed), with the sleep that it adds to every
check left out.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib.metadata
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import machine
from harness import Lane, Runner, Timing, race
from report import duration, multiple, table
from velro_cache.api_keys import ApiKey, ApiKeyCache, KeyFormat, KeyLimits, Peppers
from velro_cache.api_keys.usage import UsageEvent
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import ApiKeyMiddleware
from velro_cache.manager import OptimizedCacheManager
from velro_cache.rate_limit import RateLimiter

ROOT: Final = Path(__file__).resolve().parents[2]
PEPPERS: Final = Peppers.one(b"a pepper of this run, long enough")
FORMAT: Final = KeyFormat()
PLAIN: Final = FORMAT.generate()
MANY: Final = KeyLimits(
    requests_per_minute=60_000_000, requests_per_day=None, burst_size=60_000_000
)
BODY: Final = b"o1"

BARE: Final = "a route, plain ASGI"
NO_OP: Final = "a middleware that does nothing"
KEYED: Final = "`ApiKeyMiddleware`"
LIMITED: Final = "`ApiKeyMiddleware`, organization and key limited"
FULL: Final = "`ApiKeyMiddleware`, limited, usage recorded"
REFUSED: Final = "refused: no key, 401"
MALFORMED: Final = "refused: malformed, 401"
VERIFY: Final = "`await keys.verify(key)`"
RECALL: Final = "`keys.recall(key)`"
DIGEST: Final = "`hashlib.sha256(key).hexdigest()`"
LOOKUP: Final = "the same, and a lookup in a `dict`"

Call = Callable[[], Awaitable[Any]]


class OneKey:
    """A repository of one key, with limits that nothing here reaches."""

    def __init__(self, limits: KeyLimits | None) -> None:
        pepper_id, digest = PEPPERS.digest(PLAIN)
        self.key = ApiKey(
            id="k1",
            organization_id="o1",
            digest=digest,
            pepper_id=pepper_id,
            scopes=frozenset({"read"}),
            organization_limits=limits,
            key_limits=limits,
        )

    async def get(self, digest: bytes) -> ApiKey | None:
        """Find it."""
        return self.key if digest == self.key.digest else None

    async def fetch_live(self, **_: Any) -> Any:
        """Stream it."""
        yield [self.key]

    async def touch(self, _uses: dict[str, float]) -> None:
        """Forget it."""
        return None


class Dropped:
    """Takes events, and forgets them."""

    def record(self, event: UsageEvent) -> None:
        """Take one."""
        self.last = event


def cached(limits: KeyLimits | None = None) -> ApiKeyCache:
    """A cache of its own."""
    config = OptimizedCacheConfig(share_invalidations=False)
    return ApiKeyCache(OneKey(limits), peppers=PEPPERS, cache_manager=OptimizedCacheManager(config))


async def route(scope: Any, _receive: Any, send: Any) -> None:
    """Answer with whose key it is."""
    body = scope.get("state", {}).get("organization_id", "o1").encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def no_op(app: Any) -> Any:
    """Wrap an application in one more call."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return middleware


def request(app: Any, key: str | None, expected: int) -> Call:
    """Make a function that sends one request and checks its answer."""
    headers = [
        (b"host", b"bench"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"connection", b"keep-alive"),
        (b"user-agent", b"bench/1.0"),
    ]
    if key is not None:
        headers.append((b"x-api-key", key.encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/whose",
        "raw_path": b"/whose",
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
            status = message["status"]
        else:
            body = message["body"]

    async def call() -> None:
        await app(scope.copy(), receive, send)
        if status != expected or (expected == 200 and body != BODY):
            raise AssertionError(f"{status} instead of {expected}, or another body")

    return call


def requests() -> dict[str, Call]:
    """Every way to let a request through, and to refuse one."""
    plain = ApiKeyMiddleware(route, keys=cached())
    limited = ApiKeyMiddleware(route, keys=cached(MANY), limiter=RateLimiter())
    full = ApiKeyMiddleware(route, keys=cached(MANY), limiter=RateLimiter(), usage=Dropped())
    return {
        BARE: request(route, PLAIN, 200),
        NO_OP: request(no_op(route), PLAIN, 200),
        KEYED: request(plain, PLAIN, 200),
        LIMITED: request(limited, PLAIN, 200),
        FULL: request(full, PLAIN, 200),
        REFUSED: request(plain, None, 401),
        MALFORMED: request(plain, PLAIN[:-1], 401),
    }


def checks() -> dict[str, Call]:
    """Checks by themselves. Each is awaited, so that the same is around all of them."""
    keys = cached()
    expected = OneKey(None).key
    by_digest = {hashlib.sha256(PLAIN.encode()).hexdigest(): expected}
    shown = next(iter(by_digest))

    async def verify() -> None:
        if (await keys.verify(PLAIN)).id != "k1":
            raise AssertionError("another key")

    async def recall() -> None:
        found = keys.recall(PLAIN)
        if found is None or found.id != "k1":
            raise AssertionError("another key")

    async def digest() -> None:
        if hashlib.sha256(PLAIN.encode()).hexdigest() != shown:
            raise AssertionError("another digest")

    async def lookup() -> None:
        if by_digest[hashlib.sha256(PLAIN.encode()).hexdigest()].id != "k1":
            raise AssertionError("another key")

    asyncio.run(keys.warm())
    return {VERIFY: verify, RECALL: recall, DIGEST: digest, LOOKUP: lookup}


def peer(runner: Runner) -> dict[str, Call]:
    """The keyshield way, its cache filled, and without the time it sleeps on purpose."""
    try:
        from keyshield.hasher.argon2 import Argon2ApiKeyHasher
        from keyshield.repositories.in_memory import InMemoryApiKeyRepository
        from keyshield.services.cached import CachedApiKeyService
    except ImportError as error:
        print(f"left out: {error}", file=sys.stderr)
        return {}

    class Sleepless(CachedApiKeyService):  # type: ignore[misc]
        async def _apply_delay(self) -> None:
            return None

    repository = InMemoryApiKeyRepository()
    service = Sleepless(repository, Argon2ApiKeyHasher(pepper="a pepper of this run, long enough"))
    entity, plain = runner.finish(service.create(name="bench", scopes=["read"]))

    async def verify() -> None:
        if (await service.verify_key(plain)).id_ != entity.id_:
            raise AssertionError("another key")

    version = importlib.metadata.version("keyshield")
    return {f"keyshield {version}, cached, its sleep left out": verify}


def measure(
    runner: Runner, calls: dict[str, Call], operations: int, rounds: int
) -> dict[str, Timing]:
    """Let all take turns; a call that answers otherwise ends the run."""
    lanes = []
    for name, call in calls.items():
        timed = runner.timed("await call()", {"call": call}, label=name, is_async=True)
        for _ in range(20):
            runner.finish(_once(call))
        lanes.append(Lane(name, lambda _, lap=timed: lap(range(operations)), operations))
    return race(lanes, rounds=rounds, budget_seconds=120)


async def _once(call: Call) -> None:
    await call()


def figures(found: dict[str, Timing], against: str) -> str:
    """Timings as a table."""
    bare = found[against].best
    return table(
        ["", "best", "median", f"beyond {against}", "times"],
        [
            [
                name,
                duration(timing.best),
                duration(timing.median),
                f"{(timing.best - bare) / 1000:+.2f} us",
                multiple(timing.best / bare),
            ]
            for name, timing in found.items()
        ],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it.

    Returns:
        Exit status: 0 if the goals were met.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds; figures are rough")
    quick = parser.parse_args(arguments).quick
    rounds = 20 if quick else 200
    runner = Runner()
    try:
        whole = measure(runner, requests(), 100, rounds)
        parts = measure(runner, checks(), 500, rounds)
        parts |= measure(runner, peer(runner), 50, rounds)
    finally:
        runner.close()
    about = machine.describe(ROOT, "make bench-api-keys")
    print(f"{about}\n\n{figures(whole, BARE)}\n\n{figures(parts, DIGEST)}\n")
    cost = (whole[KEYED].best - whole[BARE].best) / 1000
    limited = (whole[LIMITED].best - whole[BARE].best) / 1000
    verify, digest = parts[VERIFY].best / 1000, parts[DIGEST].best / 1000
    goals = [
        (f"middleware beyond the route: {cost:.2f} us of 8", cost <= 8),
        (f"middleware with limits beyond the route: {limited:.2f} us of 8", limited <= 8),
        (
            f"verify: {verify:.2f} us of 1, or {verify / digest:.2f} of 2.5 times SHA-256",
            verify <= 1 or verify / digest <= 2.5,
        ),
    ]
    for goal, is_met in goals:
        print(("met   " if is_met else "MISSED"), goal)
    return 0 if all(is_met for _, is_met in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
