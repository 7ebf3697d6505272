"""Log records and spans of everything that fails: no token, key, id or value stands in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from fed import Fed, listening
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serving import Serve

from velro_cache.fastapi import (
    CacheManagerDep,
    Identity,
    ReadableGeneration,
    RequestIdMiddleware,
    create_admin_router,
    velro_lifespan,
)
from velro_cache.opentelemetry import instrument, uninstrument
from velro_cache.registry import get_cache_manager
from velro_cache.request_ids import RequestIdFilter

SECRETS = ("s3cret-token", "s3cret-user", "s3cret-generation", "s3cret-value", "s3cret-password")


class Broken:
    """A service that fails and says too much."""

    async def validate_generation_media_access(self, *_: Any, **__: Any) -> Any:
        raise OSError("s3cret-password of s3cret-user for s3cret-generation with s3cret-token")


async def verify(token: str) -> Identity | None:
    if token == "s3cret-token-broken":  # noqa: S105
        raise OSError("s3cret-password")
    return Identity("s3cret-user") if token == "s3cret-token" else None  # noqa: S105


class Kept(logging.Handler):
    """Everything the package logs, as text and with all fields."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.addFilter(RequestIdFilter())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.shown = logging.Formatter().format(record)
        self.records.append(record)

    @property
    def text(self) -> str:
        return "\n".join(repr(record.__dict__) for record in self.records)


@pytest.fixture
def kept() -> Iterator[Kept]:
    logger, kept = logging.getLogger("velro_cache"), Kept()
    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.DEBUG)
    yield kept
    logger.removeHandler(kept)
    logger.setLevel(level)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrument(get_cache_manager(), provider, hashed_keys=True)
    yield spans
    uninstrument(get_cache_manager())
    provider.shutdown()


def service() -> FastAPI:
    app = FastAPI(lifespan=velro_lifespan(authorization=Broken(), authenticate=verify))
    app.add_middleware(RequestIdMiddleware)

    @app.get("/generations/{generation_id}")
    async def generation(generation_id: str, permissions: ReadableGeneration) -> None: ...

    @app.get("/load")
    async def load(cache: CacheManagerDep, request: Request) -> Any:
        async def fails() -> str:
            raise PermissionError("s3cret-value")

        try:
            await cache.aget_or_load("auth:user:s3cret-user:profile", fails)
        except PermissionError:
            return {"request_id": request.state.request_id}

    async def operator(request: Request) -> str:
        if request.headers.get("authorization") != "Bearer s3cret-token":
            raise HTTPException(401, "Not authenticated")
        return "operator"

    app.include_router(create_admin_router(guard=operator, metrics=False))
    return app


def test_failures_tell_nothing_secret(
    serve: Serve, kept: Kept, spans: InMemorySpanExporter
) -> None:
    client = serve(service())
    for token in ("s3cret-token", "s3cret-token-broken", "s3cret-token-wrong"):
        # A server that reports an exception closes the connection when it likes.
        headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
        for path in ("/generations/s3cret-generation", "/admin/cache/stats", "/load"):
            client.get(path, headers=headers)
        body = {"user_id": "s3cret-user\n", "tags": "s3cret-value"}
        client.post("/admin/cache/invalidate/tags", json=body, headers=headers)
    found = spans.get_finished_spans()
    told = kept.text + "".join(span.to_json() for span in found)
    assert [span for span in found if not span.status.is_ok], "nothing was traced"
    assert not [secret for secret in SECRETS if secret in told]


def test_a_feed_that_cannot_check_tells_nothing_secret(serve: Serve, kept: Kept) -> None:
    fed = Fed()
    client = serve(fed.app)
    with listening(client, "s3cret-user") as events:
        fed.users.answer = OSError("s3cret-password")
        client.post("/invalidate", params={"tag": "user:s3cret-user"})
        assert next(events)[1] == {"reason": "unavailable"}
    assert "could not check a client anew: OSError" in kept.text
    assert not [secret for secret in SECRETS if secret in kept.text]


def test_the_audit_log_knows_the_request(serve: Serve, kept: Kept) -> None:
    client = serve(service())
    headers = {"Authorization": "Bearer s3cret-token", "X-Request-ID": "r-1.2_3"}
    answer = client.post(
        "/admin/cache/invalidate/user", json={"user_id": "u", "reason": "left"}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"] == "r-1.2_3"
    (record,) = [record for record in kept.records if hasattr(record, "velro_cache_audit")]
    assert record.__dict__["velro_cache_audit"]["request_id"] == "r-1.2_3"
    assert record.__dict__["request_id"] == "r-1.2_3"
    audit = client.get("/admin/cache/invalidations", headers=headers).json()
    assert audit["invalidations"][0]["request_id"] == "r-1.2_3"


@pytest.mark.parametrize("given", [["bad id"], ["a", "b"], ["x" * 65], []])
def test_ids_that_are_not_plain_are_replaced(serve: Serve, given: list[str]) -> None:
    client = serve(service())
    answer: httpx.Response = client.get("/load", headers=[("X-Request-ID", one) for one in given])
    (made,) = answer.headers.get_list("x-request-id")
    assert made not in given and len(made) == 32
    assert answer.json() == {"request_id": made}
