"""Whoever changes a row, the outbox says so; and a use says nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from sql_databases import NOON, PEPPERS, Clock, Place, keys, live_ids, now, place

from velro_cache.api_keys import KeyLimits
from velro_cache.api_keys.sql import ImportedKey, SqlApiKeys
from velro_cache.exceptions import ConfigError, KeyConflict
from velro_cache.outbox import create_outbox

__all__ = ["keys", "now", "place"]


class TestOfThisPackage:
    @pytest.fixture
    async def telling(
        self, keys: SqlApiKeys, place: Place, now: Clock
    ) -> AsyncIterator[SqlApiKeys]:
        async with keys.engine.begin() as connection:
            await connection.run_sync(create_outbox)
        async with SqlApiKeys(
            place.url, peppers=PEPPERS, outbox_name="default", clock=now
        ) as telling:
            yield telling

    async def test_every_change_names_what_it_is_about(
        self, telling: SqlApiKeys, place: Place
    ) -> None:
        await telling.create_organization(organization_id="o")
        await telling.set_plan("o", "pro")
        await telling.set_active(True, organization_id="o")
        await telling.set_limits(KeyLimits(), organization_id="o")
        assert place.events() == [["organization:o"]] * 4
        await telling.create_key("o", key_id="k")
        await telling.set_limits(KeyLimits(), key_id="k")
        await telling.set_active(True, key_id="k")
        await telling.expire_key("k", NOON + 60)
        await telling.revoke_key("k")
        assert place.events(4) == [["api_key:k"]] * 5
        await telling.import_keys(
            [ImportedKey(organization_id="o", digest=bytes([n]) * 32, id=f"i{n}") for n in (1, 2)]
        )
        assert place.events(9) == [["api_key:i1", "api_key:i2"]]
        await telling.create_key("o", key_id="old")
        new = await telling.rotate_key("old")
        assert sorted(place.events(11)[0]) == sorted(["api_key:old", f"api_key:{new.key.id}"])

    async def test_what_did_not_happen_is_not_told(self, telling: SqlApiKeys, place: Place) -> None:
        await telling.create_key("acme", key_id="k")
        before = len(place.events())
        with pytest.raises(KeyConflict):
            await telling.create_key("acme", key_id="k")
        await telling.touch({"k": NOON})
        assert len(place.events()) == before

    async def test_without_an_outbox_nothing_happens(self, keys: SqlApiKeys, place: Place) -> None:
        async with SqlApiKeys(place.url, peppers=PEPPERS, outbox_name="default") as telling:
            with pytest.raises(ConfigError, match="outbox"):
                await telling.create_key("acme")
        assert await live_ids(keys) == set()


class TestOfOtherPrograms:
    @pytest.fixture
    async def key_id(self, keys: SqlApiKeys) -> str:
        made = await keys.create_key("acme", key_id="k", limits=KeyLimits())
        await keys.set_limits(KeyLimits(), organization_id="acme")
        await keys.install_triggers("default")
        # To do so again is harmless.
        await keys.install_triggers("default")
        return made.key.id

    @pytest.mark.parametrize(
        ("statement", "tags"),
        [
            ("UPDATE api_keys SET revoked_at = 5 WHERE id = 'k'", {"api_key:k"}),
            ("UPDATE api_keys SET is_active = false", {"api_key:k"}),
            ("UPDATE api_keys SET scopes = '[]'", {"api_key:k"}),
            ("DELETE FROM api_keys WHERE id = 'k'", {"api_key:k"}),
            ("UPDATE organizations SET is_active = false", {"organization:acme"}),
            ("DELETE FROM organizations WHERE id = 'acme'", {"organization:acme"}),
            (
                "UPDATE rate_limit_configs SET burst_size = 1 WHERE key_id IS NULL",
                {"organization:acme"},
            ),
            (
                "UPDATE rate_limit_configs SET burst_size = 1 WHERE key_id = 'k'",
                {"organization:acme", "api_key:k"},
            ),
            ("DELETE FROM rate_limit_configs WHERE key_id IS NULL", {"organization:acme"}),
        ],
    )
    async def test_every_change_is_told(
        self, key_id: str, place: Place, statement: str, tags: set[str]
    ) -> None:
        before = len(place.events())
        place.run(statement)
        told = {tag for event in place.events()[before:] for tag in event}
        assert tags <= told
        # In PostgreSQL, rows that go with others are told, too.
        assert told <= {"api_key:k", "organization:acme"}

    async def test_a_use_is_not_told(self, keys: SqlApiKeys, key_id: str, place: Place) -> None:
        before = len(place.events())
        await keys.touch({key_id: NOON})
        await keys.touch({key_id: NOON + 1})
        place.run("UPDATE api_key_last_used SET last_used_at = 7")
        place.run("DELETE FROM api_key_last_used")
        assert len(place.events()) == before

    async def test_every_row_is_told_of_a_statement_about_many(
        self, keys: SqlApiKeys, key_id: str, place: Place
    ) -> None:
        for number in range(20):
            await keys.create_key("acme", key_id=f"k{number}")
        before = len(place.events())
        place.run("UPDATE api_keys SET revoked_at = 5")
        told = {tag for event in place.events()[before:] for tag in event}
        assert told == {"api_key:k", *(f"api_key:k{number}" for number in range(20))}

    async def test_updated_at_is_kept_right(
        self, keys: SqlApiKeys, key_id: str, place: Place
    ) -> None:
        # The clock of the tests is ahead of that of the database.
        place.run("UPDATE api_keys SET updated_at = 5")
        assert await live_ids(keys, changed_since=6.0) == {"k"}  # Its limits and organization.
        place.run("UPDATE rate_limit_configs SET updated_at = 5")
        place.run("UPDATE organizations SET updated_at = 5")
        assert await live_ids(keys, changed_since=6.0) == set()
        begun = time.time() - 60
        for table in ("api_keys", "organizations", "rate_limit_configs"):
            change = "burst_size = 3" if table == "rate_limit_configs" else "is_active = false"
            place.run(f"UPDATE {table} SET {change}")
            assert await live_ids(keys, changed_since=begun) == {"k"}
            place.run(f"UPDATE {table} SET updated_at = 5")

    async def test_can_be_taken_away_again(
        self, keys: SqlApiKeys, key_id: str, place: Place
    ) -> None:
        await keys.uninstall_triggers("default")
        await keys.uninstall_triggers("default")
        before = len(place.events())
        place.run("UPDATE api_keys SET is_active = false")
        assert len(place.events()) == before

    async def test_a_cache_is_to_be_named(self, keys: SqlApiKeys) -> None:
        with pytest.raises(ConfigError, match="name"):
            await keys.install_triggers()
        with pytest.raises(ConfigError):
            await keys.install_triggers("no name")
