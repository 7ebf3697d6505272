"""Nobody gets past a guard, on any route about API keys; no page of another site, no flood."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from administered import BODIES, PREFIX, READING, Administered, administered, client_of
from fastapi import FastAPI, HTTPException
from operated import OPERATOR, require_operator, routes

from velro_cache._engine import ManualClock
from velro_cache.fastapi import create_key_admin_router


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Administered]:
    async with administered(f"sqlite:///{tmp_path}/keys.db") as kit:
        yield kit


async def unchanged(kit: Administered) -> bool:
    """Whether all is as it was at the beginning."""
    keys = (await kit.store.list_keys()).keys
    owners = (await kit.store.list_organizations()).organizations
    return (
        [key.id for key in keys] == ["k1", "k2", "k3", "k4"]
        and all(key.is_live(kit.clock.now) and key.expires_at is None for key in keys)
        and [(one.id, one.plan, one.limits) for one in owners] == [("acme", "free", None)]
    )


async def ask(client: Any, method: str, path: str) -> Any:
    body = BODIES.get(path.removeprefix(PREFIX)) if method == "POST" else None
    return await client.request(method, path.removeprefix(PREFIX), json=body)


def test_routes_are_those_that_are_expected(kit: Administered) -> None:
    assert set(routes(kit.app())) == {("GET", PREFIX + path) for path in READING} | {
        ("POST", PREFIX + path) for path in BODIES
    }


async def test_every_route_lets_the_right_one_through(kit: Administered) -> None:
    app = kit.app()
    async with client_of(app) as client:
        for method, path in routes(app):
            answer = await ask(client, method, path)
            assert answer.status_code in (200, 201), (path, answer.text)
            assert answer.headers["cache-control"] == "no-store", path


@pytest.mark.parametrize(
    "credential", [{}, {"authorization": "Bearer other"}, {"authorization": "Basic b3BlcmF0b3I="}]
)
async def test_every_route_refuses_whoever_may_not(
    kit: Administered, credential: dict[str, str]
) -> None:
    app = kit.app()
    async with client_of(app, credential) as client:
        for method, path in routes(app):
            answer = await ask(client, method, path)
            assert answer.status_code in (401, 403), path
            assert answer.headers["cache-control"] == "no-store", path
            assert answer.json().keys() == {"detail"}, path
    assert await unchanged(kit)
    async with client_of(app) as client:
        assert (await client.get("/changes")).json()["changes"] == []


async def test_a_guard_that_says_false_or_fails_lets_nobody_through(kit: Administered) -> None:
    async def is_operator() -> bool:
        return False

    async def broken() -> str:
        raise ConnectionError("the directory of users is away")

    for guard in (is_operator, broken):
        app = kit.app(guard=guard)
        async with client_of(app) as client:
            for method, path in routes(app):
                if guard is broken:
                    with pytest.raises(ConnectionError):
                        await ask(client, method, path)
                else:
                    assert (await ask(client, method, path)).status_code == 403, path
    assert await unchanged(kit)


async def test_changing_may_need_more(kit: Administered) -> None:
    async def nobody() -> None:
        raise HTTPException(403, "Not at night")

    async def chief() -> dict[str, str]:
        return {"sub": "the chief", "token": "SECRET"}

    app = kit.app(changing_guard=nobody)
    async with client_of(app) as client:
        for method, path in routes(app):
            expected = 200 if method == "GET" else 403
            assert (await ask(client, method, path)).status_code == expected, path
    assert await unchanged(kit)
    async with kit.client(changing_guard=chief) as client:
        await client.post("/keys/revoke", json=BODIES["/keys/revoke"])
        (change,) = (await client.get("/changes")).json()["changes"]
    assert change["actor"] == "the chief"
    assert kit.manager.get_recent_invalidations(limit=1)[0]["actor"].endswith(" the chief")
    async with kit.client(headers={}, changing_guard=chief) as client:
        assert (await client.post("/keys", json=BODIES["/keys"])).status_code == 401


async def test_read_only_leaves_out_what_changes_something(kit: Administered) -> None:
    app = kit.app(read_only=True)
    assert {method for method, _ in routes(app)} == {"GET"}
    async with client_of(app) as client:
        for path, body in BODIES.items():
            assert (await client.post(path, json=body)).status_code in (404, 405), path
    assert await unchanged(kit)


def test_no_router_without_a_guard(kit: Administered) -> None:
    options: dict[str, Any] = {"administration": kit.administration, "store": kit.store}
    with pytest.raises(ValueError, match="guard is missing"):
        create_key_admin_router(None, **options)  # type: ignore[arg-type]
    for name in ("changing_guard", "page_guard"):
        with pytest.raises(TypeError, match=name):
            create_key_admin_router(require_operator, **options, **{name: "ada"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "admin"},
        {"prefix": "/admin/"},
        {"prefix": "/{keys}"},
        {"trusted_origins": "https://ops.example"},
        {"trusted_origins": ["ops.example"]},
        {"changes_per_minute": 0},
        {"changes_per_minute": float("nan")},
        {"change_burst": 0},
        {"changes_kept": 0},
    ],
)
def test_wrong_options_are_refused_when_the_router_is_made(
    kit: Administered, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kit.app(**wrong)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://evil.example", "sec-fetch-site": "none"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
    ],
)
async def test_pages_of_other_sites_change_nothing(
    kit: Administered, headers: dict[str, str], status: int
) -> None:
    sent = {"content-type": "application/json"} | headers
    async with kit.client() as client:
        for path, body in BODIES.items():
            answer = await client.post(path, content=json.dumps(body), headers=sent)
            assert answer.status_code == status, path
            assert answer.headers["cache-control"] == "no-store"
    assert await unchanged(kit)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin", "origin": "https://service.example"},
        {"origin": "http://service.example"},
        {"origin": "https://OPS.example:8443", "sec-fetch-site": "cross-site"},
    ],
)
async def test_pages_of_this_site_are_let_through(
    kit: Administered, headers: dict[str, str]
) -> None:
    async with kit.client(trusted_origins=["https://ops.example:8443"]) as client:
        answer = await client.post("/keys", json=BODIES["/keys"], headers=headers)
        assert answer.status_code == 201


async def test_a_get_changes_nothing(kit: Administered) -> None:
    async with kit.client() as client:
        for path in BODIES:
            if path not in READING:
                assert (await client.get(path)).status_code == 405, path
    assert await unchanged(kit)


async def test_too_many_changes_have_to_wait(kit: Administered) -> None:
    clock = ManualClock()
    app = kit.app(changes_per_minute=6, change_burst=2, clock=clock.now)
    async with client_of(app, {}) as stranger, client_of(app) as client:
        for _ in range(5):
            assert (await stranger.post("/keys", json=BODIES["/keys"])).status_code == 401
        statuses = [(await client.post("/refresh", json={})).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        answer = await client.post("/keys/revoke", json=BODIES["/keys/revoke"])
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
        assert (await client.get("/keys")).status_code == 200
        assert await unchanged(kit)
        clock.advance(10)
        answer = await client.post("/keys/revoke", json=BODIES["/keys/revoke"])
        assert answer.status_code == 200


async def test_two_routers_of_one_application_do_not_mix_up_who_it_was(kit: Administered) -> None:
    async def other() -> str:
        return "ben"

    app: FastAPI = kit.app()
    app.include_router(
        create_key_admin_router(
            other,
            administration=kit.administration,
            store=kit.store,
            prefix="/other",
            page=False,
        )
    )
    async with client_of(app, OPERATOR) as client:
        await client.post("/keys/revoke", json=BODIES["/keys/revoke"])
        address = "http://service.example/other"
        await client.post(address + "/keys/revoke", json=BODIES["/keys/revoke"])
        first = (await client.get("/changes")).json()["changes"]
        second = (await client.get(address + "/changes")).json()["changes"]
    assert [one["actor"] for one in (*first, *second)] == ["ada", "ben"]
