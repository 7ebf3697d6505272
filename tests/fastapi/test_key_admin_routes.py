"""What the routes about API keys do, over a real database, and what is seen of it in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from administered import BODIES, LIMITS, Administered, administered

from api_keys.sql_databases import NOON, PEPPERS, Place, place
from velro_cache.api_keys import KeyExpired, KeyLimits, KeyRevoked
from velro_cache.exceptions import (
    AuthorizationUnavailable,
    InvalidationNotAcknowledged,
    SharedTableError,
)

__all__ = ["place"]


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Administered]:
    async with administered(f"sqlite:///{tmp_path}/keys.db") as kit:
        yield kit


async def test_from_an_organization_to_a_key_that_is_revoked(place: Place) -> None:
    async with administered(place.url) as kit, kit.client() as client:
        answer = await client.post(
            "/organizations", json={"name": "Zoo", "plan": "free", "limits": LIMITS}
        )
        assert answer.status_code == 201
        zoo = answer.json()
        assert (zoo["name"], zoo["plan"], zoo["is_active"]) == ("Zoo", "free", True)
        answer = await client.post(
            "/keys", json={"organization_id": zoo["id"], "name": "ci", "scopes": ["read"]}
        )
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        made = answer.json()
        plain, key_id = made["plain_key"], made["key"]["id"]
        found = await kit.cache.verify(plain)
        assert (found.id, found.plan, set(found.scopes)) == (key_id, "free", {"read"})
        assert made["key"] | {"shown": ""} == {
            **{"id": key_id, "organization_id": zoo["id"], "name": "ci", "shown": ""},
            **{"state": "live", "plan": "free", "scopes": ["read"], "limits": None},
            **{"created_at": NOON, "expires_at": None, "revoked_at": None, "last_used_at": None},
        }
        answer = await client.post(
            "/organizations/plan", json={"organization_id": zoo["id"], "plan": "pro"}
        )
        assert answer.json()["holds"] == "host"
        assert (await kit.cache.verify(plain)).plan == "pro"
        answer = await client.post(
            "/keys/revoke", json={"key_id": key_id, "reason": "leaked", "wait": "fleet"}
        )
        assert answer.status_code == 200
        assert (answer.json()["key"]["state"], answer.json()["key"]["revoked_at"]) == (
            "revoked",
            NOON,
        )
        with pytest.raises(KeyRevoked):
            await kit.cache.verify(plain)
        listed = (await client.get("/keys", params={"organization_id": zoo["id"]})).json()
        assert [key["state"] for key in listed["keys"]] == ["revoked"]
        assert plain not in str(listed)
        told = kit.manager.get_recent_invalidations(limit=1)[0]
        assert told["actor"].endswith(" ada")
        assert told["reason"] == "leaked"


async def test_a_key_is_rotated_with_an_overlap(kit: Administered) -> None:
    async with kit.client() as client:
        old = (await client.post("/keys", json=BODIES["/keys"])).json()
        answer = await client.post(
            "/keys/rotate", json={"key_id": old["key"]["id"], "overlap_seconds": 60}
        )
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        new = answer.json()
        assert new["plain_key"] != old["plain_key"]
        for made in (old, new):
            assert (await kit.cache.verify(made["plain_key"])).id == made["key"]["id"]
        kit.clock.now += 60
        with pytest.raises(KeyExpired):
            await kit.cache.verify(old["plain_key"])
        assert (await kit.cache.verify(new["plain_key"])).name == "ci"
        listed = {key["id"]: key for key in (await client.get("/keys")).json()["keys"]}
        assert listed[old["key"]["id"]]["state"] == "expired"
        answer = await client.post("/keys/rotate", json={"key_id": old["key"]["id"]})
        assert answer.status_code == 409
        assert "rotated already" in answer.json()["detail"]


async def test_organizations_and_keys_are_switched_and_limited(kit: Administered) -> None:
    limits = KeyLimits(requests_per_minute=7, requests_per_day=None, burst_size=3)
    async with kit.client() as client:
        made = (await client.post("/keys", json=BODIES["/keys"])).json()
        plain, key_id = made["plain_key"], made["key"]["id"]
        for path, whose in (
            ("/organizations", {"organization_id": "acme"}),
            ("/keys", {"key_id": key_id}),
        ):
            assert (
                await client.post(path + "/limits", json={**whose, "limits": LIMITS})
            ).status_code == 200
            off = await client.post(path + "/active", json={**whose, "is_active": False})
            assert off.json() == {
                **{"organization_id": None, "key_id": None, "key": None, "holds": "host"},
                **whose,
            }
            with pytest.raises(KeyRevoked):
                await kit.cache.verify(plain)
            listed = (await client.get("/keys")).json()["keys"]
            assert [key["state"] for key in listed if key["id"] == key_id] == ["off"]
            await client.post(path + "/active", json={**whose, "is_active": True})
        found = await kit.cache.verify(plain)
        assert (found.organization_limits, found.key_limits) == (limits, limits)
        await client.post("/keys/limits", json={"key_id": key_id, "limits": None})
        assert (await kit.cache.verify(plain)).key_limits is None
        (acme,) = (await client.get("/organizations")).json()["organizations"]
        assert (acme["limits"], acme["is_active"]) == (LIMITS, True)


async def test_a_key_ends_when_that_is_said(kit: Administered) -> None:
    async with kit.client() as client:
        made = (
            await client.post("/keys", json=BODIES["/keys"] | {"expires_at": NOON + 1000})
        ).json()
        await kit.cache.verify(made["plain_key"])
        body = {"key_id": made["key"]["id"], "expires_at": NOON}
        answer = await client.post("/keys/expire", json=body)
        assert answer.json()["key"]["state"] == "expired"
        with pytest.raises(KeyExpired):
            await kit.cache.verify(made["plain_key"])
        answer = await client.post("/keys/expire", json=body | {"expires_at": NOON + 9})
        assert answer.status_code == 409


async def test_lists_come_in_pages(kit: Administered) -> None:
    async with kit.client() as client:
        for number in range(3):
            await kit.store.create_organization(organization_id=f"o{number}")
        for path, field in (("/keys", "keys"), ("/organizations", "organizations")):
            found: list[str] = []
            query: dict[str, Any] = {"limit": 3}
            while True:
                page = (await client.get(path, params=query)).json()
                found += [one["id"] for one in page[field]]
                if page["next_after"] is None:
                    break
                query["after"] = page["next_after"]
            assert found == sorted(found)
            assert len(found) == 4
        assert (await client.get("/keys", params={"organization_id": "o1"})).json()["keys"] == []


async def test_keys_are_refreshed_when_that_is_asked_for(kit: Administered) -> None:
    async with kit.client() as client:
        before = (await client.get("/stats")).json()
        assert (before["cache"], before["refresh"]["refreshes"]) == ("default", 0)
        assert before["refresh"]["last"] is None
        answer = await client.post("/refresh", json={"reason": "rows were changed by hand"})
        assert answer.status_code == 200
        assert {**answer.json(), "seconds": 0} == {
            **{"updated": 4, "removed": 0, "total": 4, "seconds": 0, "source": "database"}
        }
        after = (await client.get("/stats")).json()
        assert after["refresh"]["last"]["total"] == 4
        assert after["keys"]["loads"] == 0


async def test_without_what_is_optional_there_are_no_routes_for_it(kit: Administered) -> None:
    async with kit.client(refresh=None, usage=None) as client:
        assert (await client.get("/stats")).json()["refresh"] is None
        assert (await client.post("/refresh", json={})).status_code == 404
        assert (await client.get("/usage")).status_code == 404


async def test_usage_is_what_the_application_says(kit: Administered) -> None:
    asked = []

    async def usage(organization_id: str | None, seconds: int) -> Sequence[Any]:
        asked.append((organization_id, seconds))
        return [(NOON + 60, 7, 1), (NOON, 5, 0)]

    async with kit.client(usage=usage) as client:
        answer = await client.get("/usage", params={"organization_id": "acme", "seconds": 3600})
        assert answer.json() == {
            **{"organization_id": "acme", "timestamps": [NOON, NOON + 60]},
            **{"requests": [5, 7], "errors": [0, 1]},
        }
        await client.get("/usage")
    assert asked == [("acme", 3600), (None, 86_400)]


@pytest.mark.parametrize(
    "points", [None, [1], [("a", 1, 2)], [(NOON, float("nan"), 0)], ValueError("SECRET")]
)
async def test_usage_that_is_none_is_not_known(kit: Administered, points: Any) -> None:
    async def usage(organization_id: str | None, seconds: int) -> Any:
        if isinstance(points, Exception):
            raise points
        return points

    async with kit.client(usage=usage) as client:
        answer = await client.get("/usage")
    assert (answer.status_code, answer.json()) == (503, {"detail": "The usage is not known now"})


async def test_every_change_is_written_down_with_who_and_why(kit: Administered) -> None:
    async with kit.client() as client:
        for path, body in BODIES.items():
            answer = await client.post(path, json=body | {"reason": f"for {path}"})
            assert answer.status_code in (200, 201), (path, answer.text)
        answer = await client.post("/keys/revoke", json={"key_id": "nobody"})
        assert answer.status_code == 404
        changes = (await client.get("/changes")).json()["changes"]
        assert len((await client.get("/changes", params={"limit": 2})).json()["changes"]) == 2
    assert [change["outcome"] for change in changes] == ["refused"] + ["done"] * len(BODIES)
    assert [change["reason"] for change in reversed(changes[1:])] == [f"for {p}" for p in BODIES]
    assert {change["actor"] for change in changes} == {"ada"}
    by_action = {change["action"]: change for change in changes}
    assert len(by_action) == len(BODIES)
    assert by_action["create_organization"]["organization_id"] == "new"
    assert by_action["create_key"]["organization_id"] == "acme"
    assert by_action["create_key"]["key_id"] is not None
    # What invalidates is told by the cache, too.
    told = [one for one in kit.manager.get_recent_invalidations(limit=100) if one["reason"]]
    assert {entry["reason"] for entry in told} == {
        f"for {path}" for path in BODIES if path not in ("/organizations", "/keys", "/refresh")
    }
    assert all(entry["actor"].endswith(" ada") for entry in told)


async def test_a_key_is_told_once_and_a_digest_never(
    kit: Administered, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets: list[str] = []
    async with kit.client() as client:
        made = (await client.post("/keys", json=BODIES["/keys"])).json()
        rotated = (await client.post("/keys/rotate", json={"key_id": made["key"]["id"]})).json()
        for one in (made, rotated):
            digest = PEPPERS.digest(one["plain_key"])[1]
            secrets += [one["plain_key"], digest.hex(), repr(digest)[2:-1]]
        told = [
            (await client.get(path)).text
            for path in ("/keys", "/organizations", "/stats", "/changes", "/../../openapi.json")
        ]
    told += [caplog.text, *(str(vars(record)) for record in caplog.records)]
    assert any("create_key" in text for text in told)
    for secret in secrets:
        assert not any(secret in text for text in told)


async def test_what_is_not_there_or_contradicts_is_told(kit: Administered) -> None:
    async with kit.client() as client:
        for path, body, status, text in (
            ("/keys", {"organization_id": "nobody"}, 404, "there is no organization 'nobody'"),
            ("/keys/revoke", {"key_id": "nobody"}, 404, "there is no API key 'nobody'"),
            ("/keys/rotate", {"key_id": "nobody"}, 404, "there is no API key 'nobody'"),
            ("/keys/active", {"key_id": "../x y", "is_active": True}, 404, "there is no API key"),
            ("/organizations/plan", {"organization_id": "o", "plan": "p"}, 404, "organization 'o'"),
            ("/organizations", {"organization_id": "acme"}, 409, "there is an organization"),
            ("/keys", {"organization_id": "acme", "expires_at": NOON - 1}, 422, "is past already"),
        ):
            answer = await client.post(path, json=body)
            assert (answer.status_code, text in answer.json()["detail"]) == (status, True), path
            assert answer.headers["cache-control"] == "no-store"


async def test_without_its_database_nothing_is_known(kit: Administered, tmp_path: Path) -> None:
    gone = Place("sqlite", "", str(tmp_path / "keys.db"))
    await asyncio.to_thread(gone.run, "ALTER TABLE api_keys RENAME TO away")
    await asyncio.to_thread(gone.run, "ALTER TABLE organizations RENAME TO away_too")
    async with kit.client() as client:
        for path in ("/keys", "/organizations"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "away" not in answer.text
        for path, body in BODIES.items():
            answer = await client.post(path, json=body)
            assert answer.status_code == 503, path
            assert answer.headers["retry-after"] == "1"
            assert "SELECT" not in answer.text
        changes = (await client.get("/changes")).json()["changes"]
    assert {change["outcome"] for change in changes} == {"failed"}


async def test_a_service_without_peppers_says_that_it_makes_no_keys(kit: Administered) -> None:
    kit.store._peppers = None
    async with kit.client() as client:
        answer = await client.post("/keys", json=BODIES["/keys"])
        assert (answer.status_code, answer.json()["detail"]) == (
            503,
            "This service is not set up to make keys",
        )


async def test_both_databases_take_what_the_routes_take(place: Place) -> None:
    most = {"requests_per_minute": 2**31 - 1, "requests_per_day": 1, "burst_size": 2**31 - 1}
    long = "\N{GRINNING FACE}" * 200
    async with administered(place.url) as kit, kit.client() as client:
        body = {"organization_id": "Z" * 64, "name": long, "plan": long[:64], "limits": most}
        answer = await client.post("/organizations", json=body)
        assert (answer.status_code, answer.json()["limits"]) == (201, most)
        body = {"organization_id": "Z" * 64, "name": long, "limits": most, "environment": "test"}
        body |= {
            "expires_at": 253_402_300_799,
            "scopes": [f"{'s' * 125}{n:03}" for n in range(256)],
        }
        made = (await client.post("/keys", json=body)).json()
        assert made["plain_key"].startswith("vk_test_")
        (listed,) = (await client.get("/keys", params={"organization_id": "Z" * 64})).json()["keys"]
        assert listed == made["key"]
        assert listed["limits"] == most
        answer = await client.post("/keys/revoke", json={"key_id": "\N{GRINNING FACE}"})
        assert answer.status_code == 404
        answer = await client.post("/keys/rotate", json={"key_id": listed["id"]})
        assert answer.json()["plain_key"].startswith("vk_")
        await asyncio.to_thread(place.run, "ALTER TABLE api_keys RENAME TO away")
        for path in ("/keys/revoke", "/keys"):
            answer = await client.post(path, json=BODIES[path])
            assert (answer.status_code, "api_keys" in answer.text) == (503, False)


@pytest.mark.parametrize(
    ("error", "holds"),
    [(InvalidationNotAcknowledged("late"), "host"), (SharedTableError("lost"), "process")],
)
async def test_what_others_may_not_know_is_told_and_a_new_key_is_not_lost(
    kit: Administered, monkeypatch: pytest.MonkeyPatch, error: Exception, holds: str
) -> None:
    revoking = type(kit.manager).revoking

    def late(manager: Any, **about: Any) -> Any:
        inner = revoking(manager, **about)

        class Late:
            async def __aenter__(self) -> None:
                await inner.__aenter__()

            async def __aexit__(self, *raised: Any) -> None:
                await inner.__aexit__(*raised)
                raise error

        return Late()

    monkeypatch.setattr(type(kit.manager), "revoking", late)
    async with kit.client() as client:
        answer = await client.post("/keys/revoke", json={"key_id": "k4", "wait": "fleet"})
        assert answer.status_code == 503
        told = answer.json()
        assert (told["holds"], told["wanted"], told["created"]) == (holds, "fleet", None)
        assert "The change is made" in told["detail"]
        answer = await client.post("/keys/rotate", json={"key_id": "k1"})
        assert (answer.status_code, answer.headers["cache-control"]) == (503, "no-store")
        made = answer.json()["created"]
        outcomes = [one["outcome"] for one in (await client.get("/changes")).json()["changes"]]
    assert set(outcomes) == {"not_acknowledged" if holds == "host" else "not_shared"}
    assert (await kit.cache.verify(made["plain_key"])).id == made["key"]["id"]
    assert (await kit.store.find_key("k4")).revoked_at is not None


async def test_a_row_that_is_no_key_is_told_and_can_be_left_out(
    kit: Administered, tmp_path: Path
) -> None:
    other = Place("sqlite", "", str(tmp_path / "keys.db"))
    await asyncio.to_thread(other.run, "UPDATE api_keys SET scopes = '{}' WHERE id = 'k4'")
    with pytest.raises(AuthorizationUnavailable):
        await kit.store.find_key("k4")
    async with kit.client() as client:
        listed = (await client.get("/keys")).json()["keys"]
        assert [key["id"] for key in listed] == ["k1", "k2", "k3"]
        answer = await client.post("/keys/revoke", json={"key_id": "k4"})
        assert (answer.status_code, "'k4' is not one" in answer.text) == (503, True)


async def test_a_change_is_made_to_its_end_if_who_asked_hangs_up(
    kit: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()
    revoke = kit.store.revoke_key

    async def slow(key_id: str) -> Any:
        begun.set()
        await gate.wait()
        return await revoke(key_id)

    monkeypatch.setattr(kit.store, "revoke_key", slow)
    async with kit.client() as client:
        asking = asyncio.ensure_future(client.post("/keys/revoke", json={"key_id": "k4"}))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        gate.set()
        for _ in range(1000):
            changes = (await client.get("/changes")).json()["changes"]
            if changes:
                break
            await asyncio.sleep(0.01)
    assert [change["outcome"] for change in changes] == ["done"]
    assert (await kit.store.find_key("k4")).revoked_at is not None
