"""The client: many keep-alive connections, a Zipf-distributed load, every answer checked.

It speaks HTTP/1.1 by hand over asyncio. A full HTTP client would need several times the
processor time of the service it is to measure.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from time import perf_counter
from typing import Any, cast

from velro_service.authorization import sign_token
from velro_service.truth import Revocation, Truth

__all__ = [
    "Connection",
    "LoadResult",
    "Request",
    "RevocationResult",
    "plan_load",
    "run_load",
    "run_revocation",
]

ZIPF_EXPONENT = 1.1
"""Popularity of the n-th most popular pair of user and generation is 1 / n to this power."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request and the only right answer to it."""

    raw: bytes
    status: int
    body: bytes | None
    """None where the status says it all."""


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports do not derive from asyncio's classes, only behave like them.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Complete the request when its whole answer is there."""
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._received[:head_end].lower()
        at = head.index(b"content-length:") + 15
        line_end = head.find(b"\r\n", at)
        length = int(head[at : line_end if line_end >= 0 else None])
        end = head_end + 4 + length
        if len(self._received) < end:
            return
        status, body = int(head[9:12]), self._received[head_end + 4 : end]
        self._received = self._received[end:]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that was on its way."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the service hung up"))

    async def send(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request; return status and body of the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return await self._answer

    async def call(self, method: str, path: str, token: str = "") -> Any:
        """Send a request by method and path; return the decoded answer.

        Raises:
            RuntimeError: The status is not 200.
        """
        status, body = await self.send(_raw(method, path, token))
        if status != 200:
            raise RuntimeError(f"{method} {path}: status {status}, {body[:200]!r}")
        return json.loads(body)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


def _raw(method: str, path: str, token: str) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


def plan_load(truth: Truth, count: int, seed: int) -> list[Request]:
    """Make up a load.

    Pairs of user and generation are drawn by Zipf's law from a fifth as many pairs as there are
    requests. In two of three pairs the user has some access. Of the requests 80 % read, 15 %
    would write, 5 % would delete; 2 % come with a forged token for a user who has access.

    Args:
        truth: Says what the right answers are.
        count: How many requests.
        seed: The same seed gives the same load.

    Returns:
        The requests, in the order in which to send them.
    """
    chance = random.Random(seed)
    pairs = []
    for _ in range(max(10, count // 5)):
        generation = chance.choice(truth.generations)
        entitled = truth.with_access(generation) if chance.random() < 2 / 3 else truth.users
        pairs.append((chance.choice(entitled), generation))
    weights = accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, len(pairs) + 1))
    drawn = chance.choices(pairs, cum_weights=list(weights), k=count)
    wanted = chance.choices(["read", "write", "delete"], weights=[80, 15, 5], k=count)
    forged = {number for number in range(count) if chance.random() < 0.02}
    tokens = {user: sign_token(user) for user in truth.users}
    return [
        _request(truth, user, generation, access, tokens[user], forged=number in forged)
        for number, ((user, generation), access) in enumerate(zip(drawn, wanted, strict=True))
    ]


def _request(
    truth: Truth, user: str, generation: str, access: str, token: str, *, forged: bool
) -> Request:
    if forged:
        token = token[:-8] + "deadbeef"
    if access == "read":
        path = f"/generations/{generation}/media"
        right: dict[str, Any] = {"media_urls": [truth.media_url(generation)]}
    else:
        path = f"/generations/{generation}/access/{access}"
        right = {"allowed": True}
    raw = _raw("GET", path, token)
    if forged or not truth.allows(user, generation, access):
        return Request(raw, 403, None)
    return Request(raw, 200, json.dumps(right, separators=(",", ":")).encode())


@dataclass(slots=True)
class LoadResult:
    """What the client saw of a load."""

    seconds: float = 0.0
    """From the first request to the last answer."""
    request_seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    """Answers that differ from what the database says."""


async def run_load(
    port: int, requests: list[Request], concurrency: int, progress: Callable[[int], None]
) -> LoadResult:
    """Send a load over several connections, as fast as the answers come.

    Args:
        port: Where the service listens.
        requests: What to send.
        concurrency: How many connections.
        progress: Called now and then with the number of answers so far.

    Returns:
        Times and wrong answers.
    """
    connections = [await Connection.open(port) for _ in range(concurrency)]
    result = LoadResult()
    waiting = iter(requests)
    started = perf_counter()
    await asyncio.gather(
        *(_send_all(connection, waiting, result, progress) for connection in connections)
    )
    result.seconds = perf_counter() - started
    for connection in connections:
        connection.close()
    return result


async def _send_all(
    connection: Connection,
    waiting: Iterator[Request],
    result: LoadResult,
    progress: Callable[[int], None],
) -> None:
    for request in waiting:
        sent = perf_counter()
        status, body = await connection.send(request.raw)
        result.request_seconds.append(perf_counter() - sent)
        if status != request.status or (request.body is not None and body != request.body):
            result.wrong += 1
        if len(result.request_seconds) % 200 == 0:
            progress(len(result.request_seconds))


@dataclass(slots=True)
class RevocationResult:
    """What was seen around one revocation, or several added up."""

    revocations: int = 0
    denied_before: int = 0
    """Requests refused though they were answered before the revoke was sent: must be 0."""
    sent_after: int = 0
    """Requests sent after the revoke had been answered."""
    allowed_after: int = 0
    """Those of them that were still allowed."""
    last_allow_ms: float = float("-inf")
    """Arrival of the last allow, in ms after the answer to the revoke; negative: before it."""

    def add(self, other: RevocationResult) -> None:
        """Add what was seen around other revocations."""
        self.revocations += other.revocations
        self.denied_before += other.denied_before
        self.sent_after += other.sent_after
        self.allowed_after += other.allowed_after
        self.last_allow_ms = max(self.last_allow_ms, other.last_allow_ms)


async def run_revocation(
    port: int, revocation: Revocation, *, hammers: int = 8, rounds: int = 25
) -> RevocationResult:
    """End a membership while its user keeps asking over several connections.

    Args:
        port: Where the service listens.
        revocation: What to revoke.
        hammers: Connections that keep asking.
        rounds: Requests on each of them before the revoke, and again after it.

    Returns:
        What was seen.
    """
    connections = [await Connection.open(port) for _ in range(hammers)]
    owner = await Connection.open(port)
    raw = _raw(
        "GET",
        f"/generations/{revocation.generation_id}/media",
        sign_token(revocation.user_id),
    )
    seen: list[tuple[float, float, bool]] = []
    warm = asyncio.Semaphore(0)
    answered = asyncio.Event()

    async def hammer(connection: Connection) -> None:
        left = rounds
        asked = 0
        while left > 0:
            left -= answered.is_set()
            sent = perf_counter()
            status, _ = await connection.send(raw)
            seen.append((sent, perf_counter(), status == 200))
            asked += 1
            if asked == rounds:
                warm.release()

    tasks = [asyncio.create_task(hammer(connection)) for connection in connections]
    for _ in connections:
        await warm.acquire()
    revoke_sent = perf_counter()
    path = f"/projects/{revocation.project_id}/members/{revocation.user_id}"
    reply = await owner.call("DELETE", path, sign_token(revocation.owner_id))
    revoke_answered = perf_counter()
    answered.set()
    if reply != {"removed": 1}:
        raise RuntimeError(f"the membership was not there: {reply}")
    await asyncio.gather(*tasks)
    for connection in (*connections, owner):
        connection.close()
    after = [allowed for sent, _, allowed in seen if sent >= revoke_answered]
    allows = [received for _, received, allowed in seen if allowed]
    return RevocationResult(
        revocations=1,
        denied_before=sum(not allowed for _, received, allowed in seen if received <= revoke_sent),
        sent_after=len(after),
        allowed_after=sum(after),
        last_allow_ms=1000 * (max(allows, default=revoke_sent) - revoke_answered),
    )
