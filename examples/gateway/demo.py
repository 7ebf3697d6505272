"""See the gateway at work: hit, miss, burst, revoked, database away. Checks its own results.

python examples/gateway/demo.py

Starts two backends and the gateway on free ports, and stops them at the end. ``DATABASE_URL``
(PostgreSQL) and ``REDIS_URL`` are used where they are set; otherwise a SQLite database in a
temporary folder, and limits in the memory of the gateway. A database that is named gets
organizations, keys and usage of this run.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from gateway.settings import Settings
from velro_cache.api_keys import KeyFormat, KeyLimits, Peppers
from velro_cache.api_keys.sql import CreatedKey, SqlApiKeys
from velro_cache.api_keys.usage.sql import SqlUsage

EXAMPLES = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 30.0
MISSES = 12
HITS = 300
BURST = 10
"""What the organization with the small limit may do at once: nine, and one of the steady rate."""


class Report:
    """Prints what was seen, and remembers what should not have been."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def step(self, title: str, seen: Counter[int], milliseconds: Sequence[float] = ()) -> None:
        """Print one line: a title, statuses with their counts, and how long it took."""
        counts = "  ".join(f"{status} x {count}" for status, count in sorted(seen.items()))
        took = f"p50 {statistics.median(milliseconds):5.2f} ms" if milliseconds else ""
        print(f"  {title:<52} {counts:<22} {took}")

    def check(self, is_so: bool, what: str) -> None:
        """Remember what should be so and is not."""
        if not is_so:
            self.failures.append(what)
            print(f"  NOT SO: {what}")


class Client:
    """Asks the gateway, and counts what it answers."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=PATIENCE_SECONDS)
        self.let_through = 0
        self.answers: list[dict[str, Any]] = []

    def get(self, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        """Send one request."""
        headers = {} if key is None else {"X-API-Key": key}
        method = options.pop("method", "GET")
        answer = self._client.request(method, path, headers=headers, **options)
        if key is not None and answer.status_code < 300:
            self.let_through += 1
            if answer.headers.get("content-type") == "application/json":
                self.answers.append(answer.json())
        return answer

    def several(
        self, path: str, keys: Sequence[str | None]
    ) -> tuple[Counter[int], list[float], httpx.Response]:
        """Send a request with each key, one after the other."""
        seen: Counter[int] = Counter()
        took = []
        for key in keys:
            began = time.perf_counter()
            answer = self.get(path, key)
            took.append((time.perf_counter() - began) * 1000)
            seen[answer.status_code] += 1
        return seen, took, answer

    def stream(self, key: str) -> tuple[bytes, float, float]:
        """Read a stream: all of it, when the first part came, and when the last did."""
        began = time.perf_counter()
        first, body = 0.0, b""
        with self._client.stream("GET", "/stream", headers={"X-API-Key": key}) as answer:
            for part in answer.iter_raw():
                first = first or time.perf_counter() - began
                body += part
        self.let_through += 1
        return body, first, time.perf_counter() - began

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def server(app: str, port: int, *options: str, **names: str) -> Iterator[str]:
    """Run an application in a process of its own, until the block ends."""
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), *options, app]
    command += ["--port", str(port), "--log-level", "error", "--no-access-log"]
    process = subprocess.Popen(command, env={**os.environ, **names})  # noqa: S603
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                httpx.get(f"{url}/health", timeout=PATIENCE_SECONDS)
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{app} does not start") from None
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()


class Keys:
    """The keys of this run, made beside the gateway, and the database behind it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.organization_id = ""
        self.usual: list[str] = []

    async def fill(self) -> None:
        """Make an administrator, and an organization whose limits are small."""
        async with self._store() as store:
            await store.migrate()
            owner = await store.create_organization("Example Ltd", plan="pro")
            self.organization_id = owner.id
            self.admin = await self._made(store, owner.id, "admin")
            small = KeyLimits(requests_per_minute=60, requests_per_day=None, burst_size=BURST - 1)
            limited = await store.create_organization("Small Ltd", limits=small)
            self.limited = await self._made(store, limited.id)
            self.to_revoke = await self._made(store, owner.id)

    async def add(self, count: int) -> list[str]:
        """Make keys the gateway has not seen."""
        async with self._store() as store:
            made = [await self._made(store, self.organization_id) for _ in range(count)]
        return [one.plain.reveal() for one in made]

    async def take_away(self, *, is_away: bool) -> None:
        """Have the database fail at all questions about keys, or answer them again."""
        names = ("api_keys", "api_keys_away")
        old, new = names if is_away else names[::-1]
        async with self._store() as store, store.engine.begin() as connection:
            await connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    async def recorded(self, since: float) -> int:
        """Events of the organizations of this run."""
        usage = SqlUsage(self._settings.database_url)
        limited = self.limited.key.organization_id
        count = 0
        for owner in (self.organization_id, limited):
            count += await usage.requests_of(owner, since=since, until=time.time() + 1)
        await usage.aclose()
        return count

    def _store(self) -> SqlApiKeys:
        peppers = Peppers.one(self._settings.pepper)
        return SqlApiKeys(self._settings.database_url, peppers=peppers)

    async def _made(self, store: SqlApiKeys, owner: str, *scopes: str) -> CreatedKey:
        return await store.create_key(owner, scopes=scopes)


def main() -> int:
    """Run it.

    Returns:
        Exit status: 0 if all was as it should be.
    """
    began, since = time.monotonic(), time.time()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="velro-gateway-"))
        database = os.environ.get("DATABASE_URL") or f"sqlite:///{folder}/gateway.db"
        pepper = secrets.token_hex(32)
        names = {"DATABASE_URL": database, "API_KEY_PEPPER": pepper}
        backends = [
            stack.enter_context(server("gateway.backend:app", free_port(), BACKEND_NAME=name))
            for name in ("one", "two")
        ]
        names["BACKEND_URLS"] = ",".join(backends)
        keys = Keys(Settings.from_env({**os.environ, **names}))
        asyncio.run(keys.fill())
        redis = "Redis" if os.environ.get("REDIS_URL") else "memory of the gateway"
        print(f"keys in {database.partition(':')[0]}, limits in {redis}, two backends\n")
        report = Report()
        gateway = ("gateway.app:from_environment", free_port(), "--factory")
        with server(*gateway, **names) as url:
            client = Client(url)
            stack.callback(client.close)
            steps(client, keys, report)
        recorded = asyncio.run(keys.recorded(since))
    print(
        f"\n  usage: {recorded} events in the database, {client.let_through} requests let through"
    )
    report.check(recorded == client.let_through, "every request that was let through is recorded")
    print(f"  {time.monotonic() - began:.1f} s")
    for failure in report.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if report.failures else 0


def ask_until_good(client: Client, keys: Sequence[str]) -> None:
    """Ask with each key until it is let in: one source may ask about so many new keys a second."""
    end = time.monotonic() + PATIENCE_SECONDS
    for key in keys:
        while (answer := client.get("/whoami", key)).status_code == 503 and time.monotonic() < end:
            time.sleep(float(answer.headers["retry-after"]))


def figures(client: Client, admin: str) -> tuple[Counter[int], dict[str, float]]:
    """Read the metrics: the status, and each of them with its series added up."""
    answer = client.get("/admin/metrics", admin)
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return Counter([answer.status_code]), found


def steps(client: Client, keys: Keys, report: Report) -> None:
    """Everything a gateway is asked for, one after the other."""
    admin = keys.admin.plain.reveal()

    def loads() -> int:
        return int(client.get("/admin/statistics", admin).json()["keys"]["loads"])

    def settle(ask: Callable[[], None] = lambda: None) -> None:
        """Ask until nobody needs the database any more.

        With a log between hosts, nothing that was read is believed before the log was heard from.
        """
        end, before, quiet = time.monotonic() + PATIENCE_SECONDS, -1, 0
        while quiet < 5 and time.monotonic() < end:
            ask()
            quiet, before = (quiet + 1 if (now := loads()) == before else 0), now
            time.sleep(0.1)

    settle()
    for title, key, status in (
        ("no key", None, 401),
        ("a malformed key", "vk_live_nonsense", 401),
        ("a key nobody made", KeyFormat().generate(), 403),
    ):
        seen, _, _ = client.several("/items/1", [key])
        report.step(title, seen)
        report.check(seen == {status: 1}, f"{title} is {status}")

    fresh, before = asyncio.run(keys.add(MISSES)), loads()
    seen, took, _ = client.several("/whoami", fresh)
    report.step(f"{MISSES} new keys: misses, the database is asked", seen, took)
    report.check(seen == {200: MISSES}, "new keys are good")
    report.check(loads() - before == MISSES, "each new key is asked about once")
    before = loads()
    seen, took, _ = client.several("/whoami", fresh * (HITS // MISSES))
    report.step(f"the same keys, {HITS} requests: hits", seen, took)
    proxied, took, _ = client.several("/items/1", fresh * (HITS // MISSES))
    report.step(f"{HITS} requests through to the backends", proxied, took)
    report.check(seen == proxied == {200: HITS}, "known keys are good")
    report.check(loads() == before, "nobody is asked about known keys")

    body, first, last = client.stream(fresh[0])
    report.step(
        f"a stream: first part after {first * 1000:.0f}, last {last * 1000:.0f} ms", Counter([200])
    )
    report.check(body.count(b"line") == 5 and last - first > 0.1, "a stream comes as it is sent")

    limited = keys.limited.plain.reveal()
    seen, _, refused = client.several("/items/1", [limited] * 30)
    report.step("30 requests at once, 10 are allowed, 60 a minute", seen)
    report.check(set(seen) == {200, 429} and BURST <= seen[200] <= BURST + 2, "10 of 30 pass")
    report.check(int(refused.headers["retry-after"]) >= 1, "429 says when to come again")

    key = keys.to_revoke.plain.reveal()
    seen, _, _ = client.several("/items/1", [key] * 20)
    report.step("a key before it is revoked", seen)
    path = f"/admin/keys/{keys.to_revoke.key.id}/revoke"
    answer = client.get(path, admin, method="POST")
    report.check(answer.status_code == 200, "an administrator revokes a key")
    refused_admin = client.get(path, fresh[0], method="POST")
    client.let_through += 1  # By the middleware; the route says no.
    report.check(refused_admin.status_code == 403, "nobody else does")
    after, _, _ = client.several("/items/1", [key] * 20)
    report.step("the same key afterwards", after)
    report.check((seen, after) == ({200: 20}, {403: 20}), "a revoked key is refused at once")

    # The first entry that a log between hosts ever gets has all keys read once more.
    settle(lambda: ask_until_good(client, fresh))
    unseen = asyncio.run(keys.add(5))
    asyncio.run(keys.take_away(is_away=True))
    try:
        known, _, _ = client.several("/items/1", fresh)
        unknown, _, answer = client.several("/items/1", unseen)
    finally:
        asyncio.run(keys.take_away(is_away=False))
    report.step("database away: keys that are known", known)
    report.step("database away: keys that are not", unknown)
    report.check(known == {200: MISSES}, "known keys are good while the database is away")
    report.check(unknown == {503: 5}, "others are 503 while the database is away")
    report.check("retry-after" in answer.headers, "503 says when to come again")
    ask_until_good(client, unseen)
    seen, _, _ = client.several("/items/1", unseen)
    report.step("the same keys once it is back", seen)
    report.check(seen == {200: 5}, "they are good once it is back")

    seen, metrics = figures(client, admin)
    report.step("metrics, as Prometheus reads them", seen)
    report.check(metrics["velro_cache_api_keys_unavailable_total"] >= 5, "the outage is counted")
    report.check(metrics["velro_cache_rate_limit_refused_total"] >= 15, "and who was refused")
    report.check(metrics["velro_cache_api_keys_refresh_age_seconds"] >= 0, "and the last refresh")

    told = [answer for answer in client.answers if "backend" in answer]
    report.check({answer["backend"] for answer in told} == {"one", "two"}, "both backends answer")
    secret = {"authorization", "x-api-key"}
    sent = {name for answer in told for name in answer["headers"]}
    report.check(not sent & secret, "no backend is sent an API key")


if __name__ == "__main__":
    sys.exit(main())
