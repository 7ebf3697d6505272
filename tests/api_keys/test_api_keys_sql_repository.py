"""Reading keys from SQLite and PostgreSQL: what any repository has to do."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256

import pytest
from sql_databases import NOON, PEPPERS, Clock, Place, keys, live_ids, live_ones, now, place
from sqlalchemy import insert

from velro_cache.api_keys import ApiKeyRepository, KeyLimits
from velro_cache.api_keys.sql import ImportedKey, SqlApiKeys
from velro_cache.api_keys.sql.tables import api_keys
from velro_cache.exceptions import (
    AuthorizationUnavailable,
    InvalidKeyError,
    KeyNotFound,
    OrganizationNotFound,
)

__all__ = ["keys", "now", "place"]


async def fill(keys: SqlApiKeys, count: int, start: int = 0) -> None:
    """Many keys at once; their ids are in the order of their numbers."""
    rows = [
        {
            "id": f"k{number:06}",
            "key_digest": sha256(str(number).encode()).digest(),
            "pepper_id": "1",
            "organization_id": "acme",
            "scopes": '["read"]',
            "updated_at": NOON,
        }
        for number in range(start, start + count)
    ]
    async with keys.engine.begin() as connection:
        await connection.execute(insert(api_keys), rows)


async def test_is_a_repository(keys: SqlApiKeys) -> None:
    assert isinstance(keys, ApiKeyRepository)


class TestGet:
    async def test_finds_a_key_with_all_that_is_known_of_it(self, keys: SqlApiKeys) -> None:
        await keys.set_limits(KeyLimits(requests_per_minute=600), organization_id="acme")
        made = await keys.create_key(
            "acme",
            scopes=["write", "read"],
            name="for tests",
            expires_at=NOON + 60,
            limits=KeyLimits(requests_per_minute=None, requests_per_day=5, burst_size=0),
        )
        pepper_id, digest = PEPPERS.digest(made.plain.reveal())
        found = await keys.get(digest)
        assert found == made.key
        assert found.digest == digest
        assert found.pepper_id == pepper_id
        assert found.shown == made.plain.reveal()[:12]
        assert found.scopes == frozenset({"read", "write"})
        assert (found.organization_id, found.plan, found.name) == ("acme", "pro", "for tests")
        assert found.organization_limits == KeyLimits(requests_per_minute=600)
        assert found.key_limits == KeyLimits(
            requests_per_minute=None, requests_per_day=5, burst_size=0
        )
        assert (found.created_at, found.expires_at) == (NOON, NOON + 60)
        assert found.is_live(NOON)

    async def test_says_none_where_there_is_none(self, keys: SqlApiKeys) -> None:
        assert await keys.get(bytes(32)) is None

    async def test_finds_dead_ones_so_that_it_can_be_told_why(
        self, keys: SqlApiKeys, now: Clock
    ) -> None:
        await keys.create_organization(organization_id="gone")
        expired = await keys.create_key("acme", expires_at=NOON + 1)
        revoked = await keys.create_key("acme")
        off = await keys.create_key("acme")
        orphan = await keys.create_key("gone")
        good = await keys.create_key("acme")
        await keys.revoke_key(revoked.key.id)
        await keys.set_active(False, key_id=off.key.id)
        await keys.set_active(False, organization_id="gone")
        now.now += 1

        assert await live_ids(keys) == {good.key.id}
        found = [await keys.get(one.key.digest) for one in (expired, revoked, off, orphan)]
        assert [one is not None and one.is_live(now()) for one in found] == [False] * 4
        assert found[0] and found[0].expires_at == NOON + 1 and found[0].revoked_at is None
        assert found[1] and found[1].revoked_at == NOON
        assert found[2] and not found[2].is_active
        assert found[3] and not found[3].is_active

    async def test_a_row_that_is_no_key_is_no_answer(self, keys: SqlApiKeys, place: Place) -> None:
        made = await keys.create_key("acme")
        good = await keys.create_key("acme")
        place.run(f"UPDATE api_keys SET scopes = 'read' WHERE id = '{made.key.id}'")
        with pytest.raises(AuthorizationUnavailable, match=made.key.id):
            await keys.get(made.key.digest)
        # It can be ended like any other one.
        with pytest.raises(AuthorizationUnavailable):
            await keys.revoke_key(made.key.id)
        place.run("UPDATE api_keys SET scopes = '[]'")
        assert (await keys.find_key(made.key.id)).revoked_at == NOON
        place.run(f"UPDATE api_keys SET scopes = 'read' WHERE id = '{made.key.id}'")
        place.run("UPDATE api_keys SET revoked_at = NULL")
        # And does not keep others from being read.
        assert await live_ids(keys) == {good.key.id}


class TestFetchLive:
    @pytest.mark.parametrize("page_size", [1, 7, 1000, 100_000])
    async def test_streams_every_key_once_in_pages(self, keys: SqlApiKeys, page_size: int) -> None:
        count = 50 if page_size == 1 else 2500
        await fill(keys, count)
        pages = [page async for page in keys.fetch_live(page_size=page_size)]
        assert all(1 <= len(page) <= page_size for page in pages)
        assert len(pages) == -(-count // page_size)
        assert [key.id for page in pages for key in page] == [f"k{n:06}" for n in range(count)]

    async def test_of_no_keys_there_is_no_page(self, keys: SqlApiKeys) -> None:
        assert [page async for page in keys.fetch_live()] == []

    async def test_keys_that_stay_are_seen_once_whatever_comes_and_goes(
        self, keys: SqlApiKeys, place: Place
    ) -> None:
        await fill(keys, 300)
        seen = []
        number = 300
        async for page in keys.fetch_live(page_size=10):
            seen += [key.id for key in page]
            # Before, in and after what is being read.
            place.run(f"DELETE FROM api_keys WHERE id = '{seen[-1]}'")
            place.run(f"UPDATE api_keys SET id = 'j{number}' WHERE id = 'k{299 - number % 7:06}'")
            await fill(keys, 1, start=number)
            number += 1
        assert len(seen) == len(set(seen))
        assert {f"k{n:06}" for n in range(293)} <= set(seen)

    async def test_late_pages_are_as_fresh_as_early_ones(self, keys: SqlApiKeys) -> None:
        await fill(keys, 30)
        pages = keys.fetch_live(page_size=10)
        assert len(await anext(pages)) == 10
        await keys.revoke_key("k000025")
        assert "k000025" not in {key.id async for page in pages for key in page}

    async def test_may_be_left_in_the_middle(self, keys: SqlApiKeys) -> None:
        await fill(keys, 30)
        for _ in range(20):
            # More often than there are connections.
            async for page in keys.fetch_live(page_size=10):
                assert page
                break
        assert len(await live_ones(keys)) == 30

    async def test_since_a_moment_tells_what_changed_and_what_died(
        self, keys: SqlApiKeys, now: Clock
    ) -> None:
        await keys.create_organization(organization_id="other", limits=KeyLimits())
        same, named, dead = [await keys.create_key("acme") for _ in range(3)]
        theirs = await keys.create_key("other")
        now.now += 10
        assert await live_ids(keys, changed_since=now()) == set()
        await keys.set_limits(KeyLimits(burst_size=1), key_id=named.key.id)
        await keys.revoke_key(dead.key.id)
        assert await live_ids(keys, changed_since=now()) == {named.key.id, dead.key.id}
        now.now += 10
        await keys.set_plan("other", "free")
        changed = await live_ones(keys, changed_since=now())
        assert [(key.id, key.plan) for key in changed] == [(theirs.key.id, "free")]
        now.now += 10
        await keys.set_limits(None, organization_id="other")
        changed = await live_ones(keys, changed_since=now())
        assert [(key.id, key.organization_limits) for key in changed] == [(theirs.key.id, None)]
        assert await live_ids(keys, changed_since=NOON) >= {same.key.id}

    async def test_gives_the_event_loop_up_every_few_keys(self, keys: SqlApiKeys) -> None:
        await fill(keys, 2000)
        turns = 0
        reading = True

        async def count() -> None:
            nonlocal turns
            while reading:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await live_ones(keys)
        reading = False
        await counting
        assert turns > 20

    @pytest.mark.parametrize("page_size", [0, -1, True, 100_001, 10.0])
    async def test_refuses_pages_of_no_size(self, keys: SqlApiKeys, page_size: int) -> None:
        with pytest.raises(ValueError, match="page_size"):
            await anext(keys.fetch_live(page_size=page_size))

    async def test_refuses_a_moment_that_is_none(self, keys: SqlApiKeys) -> None:
        with pytest.raises(ValueError, match="changed_since"):
            await anext(keys.fetch_live(changed_since=float("nan")))


class TestTouch:
    async def test_the_latest_use_wins(self, keys: SqlApiKeys) -> None:
        one, two = [(await keys.create_key("acme")).key.id for _ in range(2)]
        await keys.touch({one: NOON + 5.5, two: NOON})
        await keys.touch({one: NOON, two: NOON + 1})
        page = await keys.list_keys()
        assert {key.id: key.last_used_at for key in page.keys} == {one: NOON + 5.5, two: NOON + 1}
        assert (await keys.find_key(one)).last_used_at == NOON + 5.5

    async def test_keys_that_are_not_there_are_passed_over(self, keys: SqlApiKeys) -> None:
        made = await keys.create_key("acme")
        hostile = "'); DROP TABLE api_keys; --\"\\{}%s:x"
        await keys.touch({"nobody": NOON, made.key.id: NOON, hostile: NOON})
        assert (await keys.find_key(made.key.id)).last_used_at == NOON

    async def test_many_at_once(self, keys: SqlApiKeys) -> None:
        await fill(keys, 2500)
        await keys.touch({f"k{number:06}": NOON + number for number in range(2500)})
        assert (await keys.find_key("k002499")).last_used_at == NOON + 2499

    async def test_of_those_who_write_at_once_nobody_waits_for_ever(self, keys: SqlApiKeys) -> None:
        await fill(keys, 500)
        uses = {f"k{number:06}": NOON + number for number in range(500)}
        backwards = dict(reversed(uses.items()))
        await asyncio.gather(*(keys.touch(some) for some in [uses, backwards] * 4))
        assert (await keys.find_key("k000499")).last_used_at == NOON + 499

    @pytest.mark.parametrize("moment", [float("nan"), float("inf"), 0, -1.0, 1e13, True, 10**400])
    async def test_refuses_what_is_no_moment(self, keys: SqlApiKeys, moment: float) -> None:
        made = await keys.create_key("acme")
        with pytest.raises(ValueError, match="a use"):
            await keys.touch({made.key.id: moment})
        assert (await keys.find_key(made.key.id)).last_used_at is None


class TestLists:
    async def test_pages_of_one_organization(self, keys: SqlApiKeys) -> None:
        await keys.create_organization(organization_id="other")
        theirs = await keys.create_key("other")
        await fill(keys, 25)
        await keys.revoke_key("k000003")
        found, after = [], None
        while True:
            page = await keys.list_keys("acme", after=after, limit=10)
            found += [key.id for key in page.keys]
            after = page.after
            if after is None:
                break
        assert found == [f"k{number:06}" for number in range(25)]
        assert [key.id for key in (await keys.list_keys("other")).keys] == [theirs.key.id]
        assert (await keys.list_keys("nobody")).keys == ()

    @pytest.mark.parametrize("limit", [0, 1001, True])
    async def test_refuses_pages_of_no_size(self, keys: SqlApiKeys, limit: int) -> None:
        with pytest.raises(ValueError, match="limit"):
            await keys.list_keys(limit=limit)

    async def test_pages_of_organizations(self, keys: SqlApiKeys, now: Clock) -> None:
        limits = KeyLimits(requests_per_minute=7, requests_per_day=None, burst_size=3)
        for number in range(5):
            await keys.create_organization(f"Number {number}", organization_id=f"o{number}")
        await keys.set_limits(limits, organization_id="o1")
        await keys.set_active(False, organization_id="o2")
        # Limits of a key are none of its organization.
        made = await keys.create_key("o3", limits=limits)
        assert made.key.key_limits == limits
        first = await keys.list_organizations(limit=4)
        rest = await keys.list_organizations(after=first.after, limit=4)
        found = (*first.organizations, *rest.organizations)
        assert [one.id for one in found] == ["acme", "o0", "o1", "o2", "o3", "o4"]
        assert (first.after, rest.after) == ("o2", None)
        assert [one.limits for one in found] == [None, None, limits, None, None, None]
        assert [one.is_active for one in found] == [True, True, True, False, True, True]
        assert [await keys.find_organization(one.id) for one in found] == list(found)
        assert (await keys.list_organizations(after="z")).organizations == ()

    @pytest.mark.parametrize("limit", [0, 1001, True])
    async def test_refuses_pages_of_organizations_of_no_size(
        self, keys: SqlApiKeys, limit: int
    ) -> None:
        with pytest.raises(ValueError, match="limit"):
            await keys.list_organizations(limit=limit)
        with pytest.raises(InvalidKeyError):
            await keys.list_organizations(after="")

    async def test_a_row_that_is_no_organization_keeps_no_other_from_being_listed(
        self, keys: SqlApiKeys, place: Place
    ) -> None:
        if place.dialect != "sqlite":
            pytest.skip("PostgreSQL keeps no such row")
        await keys.create_organization(organization_id="other")
        place.run("UPDATE organizations SET name = x'ff' WHERE id = 'acme'")
        found = (await keys.list_organizations()).organizations
        assert [one.id for one in found] == ["other"]
        with pytest.raises(AuthorizationUnavailable):
            await keys.find_organization("acme")


class TestOwners:
    async def test_keys_and_limits_go_with_their_organization(
        self, keys: SqlApiKeys, place: Place
    ) -> None:
        made = await keys.create_key("acme", limits=KeyLimits())
        await keys.touch({made.key.id: NOON})
        pragma = "PRAGMA foreign_keys = ON" if place.dialect == "sqlite" else "SELECT 1"
        async with keys.engine.begin() as connection:
            await connection.exec_driver_sql(pragma)
            await connection.exec_driver_sql("DELETE FROM organizations")
        assert await keys.get(made.key.digest) is None
        for table in ("api_keys", "rate_limit_configs", "api_key_last_used"):
            assert place.run(f"SELECT count(*) FROM {table}") == ["0"]

    async def test_a_key_whose_organization_is_gone_is_found_by_nobody(
        self, keys: SqlApiKeys, place: Place
    ) -> None:
        if place.dialect != "sqlite":
            pytest.skip("PostgreSQL does not let it happen")
        made = await keys.create_key("acme")
        place.run("DELETE FROM organizations")
        assert place.run("SELECT count(*) FROM api_keys") == ["1"]
        assert await keys.get(made.key.digest) is None
        assert await live_ids(keys) == set()
        with pytest.raises(KeyNotFound):
            await keys.find_key(made.key.id)

    async def test_a_replaced_key_may_lose_its_successor(self, keys: SqlApiKeys) -> None:
        old = await keys.create_key("acme")
        new = await keys.rotate_key(old.key.id, overlap_seconds=60)
        async with keys.engine.begin() as connection:
            await connection.execute(api_keys.delete().where(api_keys.c.id == new.key.id))
        assert await live_ids(keys) == {old.key.id}


class TestRowsOfOthers:
    async def test_get_the_defaults_of_the_database(self, keys: SqlApiKeys, place: Place) -> None:
        digest = sha256(b"theirs").hexdigest()
        value = f"'\\x{digest}'" if place.dialect == "postgresql" else f"x'{digest}'"
        place.run("INSERT INTO organizations (id) VALUES ('theirs')")
        place.run(
            "INSERT INTO api_keys (id, key_digest, pepper_id, organization_id)"
            f" VALUES ('an id of theirs: 1', {value}, 'sha256', 'theirs')"
        )
        place.run("INSERT INTO rate_limit_configs (id, organization_id) VALUES ('l', 'theirs')")
        found = await keys.get(sha256(b"theirs").digest())
        assert found is not None and found.is_live(time.time())
        assert found.organization_limits == KeyLimits(
            requests_per_minute=60, requests_per_day=10_000, burst_size=10
        )
        assert abs(found.created_at - time.time()) < 60
        assert (await keys.revoke_key("an id of theirs: 1")).revoked_at == NOON

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE api_keys SET key_digest = 'short'",
            "INSERT INTO rate_limit_configs (id, organization_id, requests_per_day)"
            " VALUES ('l', 'acme', 0)",
            "INSERT INTO rate_limit_configs (id, organization_id, burst_size)"
            " VALUES ('l', 'acme', -1)",
        ],
    )
    async def test_are_held_to_what_a_key_can_be(
        self, keys: SqlApiKeys, place: Place, change: str
    ) -> None:
        await keys.create_key("acme")
        with pytest.raises(Exception, match="constraint"):
            place.run(change)

    @pytest.mark.parametrize(
        "hostile", ["''", "replace(hex(zeroblob(129)), '00', 'xx')", "'a'||x'00'"]
    )
    @pytest.mark.parametrize("table", ["api_keys", "organizations"])
    async def test_let_nobody_in_whom_nobody_could_revoke(
        self, keys: SqlApiKeys, place: Place, hostile: str, table: str
    ) -> None:
        if place.dialect == "postgresql":
            if "x'00'" in hostile:
                pytest.skip("PostgreSQL has no such texts")
            hostile = hostile.replace("replace(hex(zeroblob(129)), '00', 'xx')", "repeat('x', 258)")
        bad = await keys.create_key("acme")
        await keys.create_organization(organization_id="other")
        good = await keys.create_key("other")
        if table == "api_keys":
            place.run(f"UPDATE api_keys SET id = {hostile} WHERE id = '{bad.key.id}'")
        else:
            place.run(f"INSERT INTO organizations (id) VALUES ({hostile})")
            place.run(f"UPDATE api_keys SET organization_id = {hostile} WHERE id = '{bad.key.id}'")
        with pytest.raises(AuthorizationUnavailable):
            await keys.get(bad.key.digest)
        assert await live_ids(keys) == {good.key.id}

    @pytest.mark.parametrize("column", ["name", "shown", "pepper_id"])
    async def test_bytes_in_the_place_of_a_text_are_no_key(
        self, keys: SqlApiKeys, place: Place, column: str
    ) -> None:
        if place.dialect == "postgresql":
            pytest.skip("PostgreSQL keeps no such row")
        bad, good = [await keys.create_key("acme") for _ in range(2)]
        place.run(f"UPDATE api_keys SET {column} = x'ff' WHERE id = '{bad.key.id}'")
        with pytest.raises(AuthorizationUnavailable):
            await keys.get(bad.key.digest)
        assert await live_ids(keys) == {good.key.id}

    async def test_an_owner_has_limits_once(self, keys: SqlApiKeys, place: Place) -> None:
        insert_one = "INSERT INTO rate_limit_configs (id, organization_id) VALUES ('{}', 'acme')"
        place.run(insert_one.format("a"))
        with pytest.raises(Exception, match=r"(?i)unique"):
            place.run(insert_one.format("b"))


async def test_ids_that_are_none_are_refused_before_anything_is_asked(keys: SqlApiKeys) -> None:
    for hostile in ("", "x" * 257, "a\0b", "\ud800", 7, None):
        for ask in (keys.find_key, keys.revoke_key, keys.rotate_key, keys.create_key):
            with pytest.raises(InvalidKeyError):
                await ask(hostile)  # type: ignore[operator]
    for hostile in ("a b", "a:b", "-a", "a/b", "ä", "x" * 65, "a\n", ""):
        with pytest.raises(InvalidKeyError):
            await keys.create_organization(organization_id=hostile)
        with pytest.raises(InvalidKeyError):
            await keys.create_key("acme", key_id=hostile)
        with pytest.raises(InvalidKeyError):
            ImportedKey(organization_id="acme", digest=bytes(32), id=hostile)
    with pytest.raises(KeyNotFound):
        await keys.revoke_key("' OR 1=1 --")
    with pytest.raises(OrganizationNotFound):
        await keys.create_key("' OR 1=1 --")
    assert (await keys.list_keys()).keys == ()
