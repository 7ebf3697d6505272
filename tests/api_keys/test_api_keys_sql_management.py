"""Making, changing and ending keys: what happens, what is refused, who wins."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from typing import Any

import pytest
from sql_databases import NOON, PEPPERS, Clock, Place, keys, live_ids, now, place
from sqlalchemy.ext.asyncio import create_async_engine

from velro_cache.api_keys import PLAIN_SHA256, KeyFormat, KeyLimits, Peppers
from velro_cache.api_keys.sql import CreatedKey, ImportedKey, SecretKey, SqlApiKeys, create_engine
from velro_cache.api_keys.usage.sql import SqlUsage
from velro_cache.exceptions import (
    ConfigError,
    KeyConflict,
    KeyNotFound,
    OrganizationNotFound,
)

__all__ = ["keys", "now", "place"]


class TestOrganizations:
    async def test_are_made_with_limits_and_found(self, keys: SqlApiKeys) -> None:
        made = await keys.create_organization("Example Ltd", plan="free", limits=KeyLimits())
        assert await keys.find_organization(made.id) == made
        assert made.limits == KeyLimits() and made.is_active
        acme = await keys.find_organization("acme")
        assert (acme.plan, acme.limits, acme.created_at) == ("pro", None, NOON)

    async def test_an_id_is_taken_once(self, keys: SqlApiKeys) -> None:
        with pytest.raises(KeyConflict, match="acme"):
            await keys.create_organization("Another", organization_id="acme")
        assert (await keys.find_organization("acme")).name == "Acme"

    async def test_switched_off_none_of_its_keys_is_good_until_it_is_on(
        self, keys: SqlApiKeys
    ) -> None:
        made = await keys.create_key("acme")
        await keys.set_active(False, organization_id="acme")
        assert await live_ids(keys) == set()
        await keys.set_active(True, organization_id="acme")
        assert await live_ids(keys) == {made.key.id}

    async def test_limits_come_change_and_go(self, keys: SqlApiKeys) -> None:
        made = await keys.create_key("acme")
        for limits in (KeyLimits(), KeyLimits(requests_per_day=None, burst_size=3), None):
            await keys.set_limits(limits, organization_id="acme")
            await keys.set_limits(limits, key_id=made.key.id)
            found = await keys.find_key(made.key.id)
            assert found.organization_limits == found.key_limits == limits

    async def test_what_is_not_there_is_not_managed(self, keys: SqlApiKeys) -> None:
        for work in (
            keys.find_organization("nobody"),
            keys.set_plan("nobody", "pro"),
            keys.set_active(False, organization_id="nobody"),
            keys.set_limits(KeyLimits(), organization_id="nobody"),
            keys.create_key("nobody"),
        ):
            with pytest.raises(OrganizationNotFound) as caught:
                await work
            assert isinstance(caught.value, LookupError)
        for work in (
            keys.find_key("nothing"),
            keys.set_active(False, key_id="nothing"),
            keys.set_limits(KeyLimits(), key_id="nothing"),
            keys.set_limits(None, key_id="nothing"),
            keys.rotate_key("nothing"),
            keys.revoke_key("nothing"),
            keys.expire_key("nothing", NOON),
        ):
            with pytest.raises(KeyNotFound):
                await work

    async def test_one_is_to_be_named(self, keys: SqlApiKeys) -> None:
        for names in ({}, {"organization_id": "acme", "key_id": "k"}):
            with pytest.raises(ValueError, match="either"):
                await keys.set_active(True, **names)
            with pytest.raises(ValueError, match="either"):
                await keys.set_limits(None, **names)


class TestCreating:
    async def test_two_keys_have_nothing_in_common(self, keys: SqlApiKeys) -> None:
        one, two = await keys.create_key("acme"), await keys.create_key("acme")
        assert one.key.id != two.key.id
        assert one.key.digest != two.key.digest
        assert one.plain.reveal() != two.plain.reveal()
        assert KeyFormat().matches(one.plain.reveal())

    async def test_of_another_environment(self, keys: SqlApiKeys) -> None:
        made = await keys.create_key("acme", environment="test")
        assert made.plain.reveal().startswith("vk_test_")
        rotated = await keys.rotate_key(made.key.id)
        assert rotated.plain.reveal().startswith("vk_test_")

    async def test_an_id_is_taken_once(self, keys: SqlApiKeys) -> None:
        made = await keys.create_key("acme", key_id="mine")
        with pytest.raises(KeyConflict, match="mine"):
            await keys.create_key("acme", key_id="mine")
        assert (await keys.find_key("mine")).digest == made.key.digest

    @pytest.mark.parametrize(
        "arguments",
        [
            {"scopes": "read"},
            {"scopes": ["a b"]},
            {"scopes": [""]},
            {"scopes": [7]},
            {"scopes": map(str, range(1000))},
            {"name": "x" * 201},
            {"name": "a\nb"},
            {"name": "\ud800"},
            {"name": 7},
            {"expires_at": NOON},
            {"expires_at": float("nan")},
            {"expires_at": NOON * 1000},
            {"expires_at": True},
            {"environment": "Live!"},
        ],
        ids=str,
    )
    async def test_bad_arguments_change_nothing(
        self, keys: SqlApiKeys, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises((ValueError, TypeError)):
            await keys.create_key("acme", **arguments)
        assert (await keys.list_keys()).keys == ()

    async def test_without_peppers_keys_are_ended_and_not_made(
        self, keys: SqlApiKeys, now: Clock
    ) -> None:
        made = await keys.create_key("acme")
        without = SqlApiKeys(keys.engine, clock=now)
        with pytest.raises(ConfigError, match="peppers"):
            await without.create_key("acme")
        with pytest.raises(ConfigError, match="peppers"):
            await without.rotate_key(made.key.id)
        assert await live_ids(keys) == {made.key.id}
        await without.revoke_key(made.key.id)
        assert await live_ids(keys) == set()


class TestRotating:
    async def test_the_new_one_is_like_the_old_one_which_ends(
        self, keys: SqlApiKeys, now: Clock
    ) -> None:
        limits = KeyLimits(requests_per_minute=7)
        old = await keys.create_key(
            "acme", scopes=["read"], name="ci", expires_at=NOON + 1000, limits=limits
        )
        now.now += 400
        new = await keys.rotate_key(old.key.id, overlap_seconds=60)
        assert new.key.scopes == {"read"}
        assert (new.key.name, new.key.organization_id, new.key.key_limits) == ("ci", "acme", limits)
        assert new.key.expires_at == now() + 1000
        assert await live_ids(keys) == {old.key.id, new.key.id}
        now.now += 59.5
        assert (await keys.find_key(old.key.id)).is_live(now())
        now.now += 0.5
        assert await live_ids(keys) == {new.key.id}

    async def test_an_old_one_that_ends_sooner_still_does(self, keys: SqlApiKeys) -> None:
        old = await keys.create_key("acme", expires_at=NOON + 10)
        await keys.rotate_key(old.key.id, overlap_seconds=60)
        assert (await keys.find_key(old.key.id)).expires_at == NOON + 10

    async def test_without_overlap_the_old_one_ends_at_once(self, keys: SqlApiKeys) -> None:
        old = await keys.create_key("acme")
        new = await keys.rotate_key(old.key.id)
        assert new.key.expires_at is None
        assert await live_ids(keys) == {new.key.id}

    async def test_of_many_at_once_one_does(self, keys: SqlApiKeys) -> None:
        old = await keys.create_key("acme")
        work = (keys.rotate_key(old.key.id, overlap_seconds=60) for _ in range(12))
        done = await asyncio.gather(*work, return_exceptions=True)
        assert sum(isinstance(one, CreatedKey) for one in done) == 1
        assert sum(isinstance(one, KeyConflict) for one in done) == 11
        assert len(await live_ids(keys)) == 2

    async def test_a_revocation_is_not_lost_beside_it(self, keys: SqlApiKeys) -> None:
        for _ in range(5):
            old = await keys.create_key("acme")
            await asyncio.gather(
                keys.rotate_key(old.key.id, overlap_seconds=60),
                keys.revoke_key(old.key.id),
                return_exceptions=True,
            )
            assert (await keys.find_key(old.key.id)).revoked_at is not None

    async def test_dead_ones_are_not_given_a_new_life(self, keys: SqlApiKeys, now: Clock) -> None:
        revoked, off, expired = [(await keys.create_key("acme")).key.id for _ in range(3)]
        await keys.revoke_key(revoked)
        await keys.set_active(False, key_id=off)
        await keys.expire_key(expired, NOON)
        for key_id in (revoked, off, expired):
            with pytest.raises(KeyConflict):
                await keys.rotate_key(key_id)
        assert await live_ids(keys) == set()

    @pytest.mark.parametrize("overlap", [-1, float("nan"), float("inf"), 1e9, "60"])
    async def test_refuses_times_that_are_none(self, keys: SqlApiKeys, overlap: Any) -> None:
        made = await keys.create_key("acme")
        with pytest.raises(ValueError, match="overlap_seconds"):
            await keys.rotate_key(made.key.id, overlap_seconds=overlap)
        assert await live_ids(keys) == {made.key.id}


class TestEnding:
    async def test_revoked_is_revoked(self, keys: SqlApiKeys, now: Clock) -> None:
        made = await keys.create_key("acme")
        assert (await keys.revoke_key(made.key.id)).revoked_at == NOON
        now.now += 5
        # Again, and nothing else brings it back.
        assert (await keys.revoke_key(made.key.id)).revoked_at == NOON
        await keys.set_active(True, key_id=made.key.id)
        with pytest.raises(KeyConflict):
            await keys.expire_key(made.key.id, now() + 60)
        assert await live_ids(keys) == set()

    async def test_an_end_may_be_moved_until_it_has_come(
        self, keys: SqlApiKeys, now: Clock
    ) -> None:
        made = await keys.create_key("acme", expires_at=NOON + 10)
        assert (await keys.expire_key(made.key.id, NOON + 20)).expires_at == NOON + 20
        now.now += 20
        assert await live_ids(keys) == set()
        with pytest.raises(KeyConflict):
            await keys.expire_key(made.key.id, NOON + 60)
        # Told again, or earlier, it is as dead.
        await keys.expire_key(made.key.id, NOON + 5)
        with pytest.raises(ValueError, match="at is a number"):
            await keys.expire_key(made.key.id, float("inf"))


class TestImporting:
    async def test_a_digest_becomes_a_key(self, keys: SqlApiKeys) -> None:
        theirs = "a key of another system, made long ago"
        digest = PEPPERS.digest_under(PLAIN_SHA256, theirs)
        assert digest is not None
        key = ImportedKey(organization_id="acme", digest=digest, scopes={"read"}, shown="a ke")
        assert theirs not in repr(key) and repr(digest) not in repr(key)
        made = await keys.import_key(key)
        assert (made.pepper_id, made.scopes) == ("sha256", {"read"})
        found = [await keys.get(one) for name, one in PEPPERS.candidates(theirs)]
        assert [one.id for one in found if one] == [made.id]
        with pytest.raises(KeyConflict) as caught:
            await keys.import_key(key)
        assert digest.hex() not in str(caught.value)
        assert await keys.import_keys([key, key]) == 0

    async def test_all_or_none(self, keys: SqlApiKeys) -> None:
        some = [ImportedKey(organization_id="acme", digest=bytes([n]) * 32) for n in range(3)]
        lost = ImportedKey(organization_id="nobody", digest=b"x" * 32)
        with pytest.raises(OrganizationNotFound):
            await keys.import_keys([*some, lost])
        assert (await keys.list_keys()).keys == ()
        assert await keys.import_keys(some) == 3

    async def test_twice_in_one_batch(self, keys: SqlApiKeys) -> None:
        one = ImportedKey(organization_id="acme", digest=b"1" * 32, id="one")
        unnamed = ImportedKey(organization_id="acme", digest=b"2" * 32)
        assert await keys.import_keys([one, unnamed, one, unnamed]) == 2
        other = ImportedKey(organization_id="acme", digest=b"3" * 32, id="one")
        more = ImportedKey(organization_id="acme", digest=b"4" * 32)
        for wrong in ([more, other], [more, other, one]):
            with pytest.raises(KeyConflict, match="one"):
                await keys.import_keys(wrong)
        assert len((await keys.list_keys()).keys) == 2

    async def test_keys_that_would_never_be_found_are_refused(
        self, keys: SqlApiKeys, now: Clock
    ) -> None:
        unknown = ImportedKey(organization_id="acme", digest=bytes(32), pepper_id="2")
        with pytest.raises(ConfigError, match="2"):
            await keys.import_key(unknown)
        strict = SqlApiKeys(keys.engine, peppers=Peppers.one(b"x" * 16), clock=now)
        with pytest.raises(ConfigError, match="accept_plain_sha256"):
            await strict.import_key(ImportedKey(organization_id="acme", digest=bytes(32)))

    @pytest.mark.parametrize("digest", [b"", b"x" * 31, b"x" * 33, "x" * 32, bytearray(32)])
    def test_refuses_what_is_no_digest(self, digest: Any) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            ImportedKey(organization_id="acme", digest=digest)


class TestSecrecy:
    def test_a_secret_does_not_show_itself(self) -> None:
        secret = SecretKey("vk_live_secret")
        for text in (repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret):  # noqa: UP031
            assert "vk_live" not in text
        for write in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                write(secret)
        assert secret.reveal() == "vk_live_secret"

    async def test_no_key_is_in_a_table_a_log_record_a_repr_or_an_error(
        self, keys: SqlApiKeys, place: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        # What SQLAlchemy says of rows at DEBUG is what they hold: digests, too.
        caplog.set_level(logging.INFO)
        engine = create_async_engine(keys.engine.url, echo=True, hide_parameters=True)
        texts = []
        async with SqlApiKeys(engine, peppers=PEPPERS, outbox_name="default") as loud:
            await loud.install_triggers()
            made = await loud.create_key("acme", key_id="mine", scopes=["read"])
            new = await loud.rotate_key("mine", overlap_seconds=60)
            for work in (
                loud.create_key("acme", key_id="mine"),
                loud.rotate_key("mine"),
                loud.import_key(
                    ImportedKey(organization_id="acme", digest=made.key.digest, pepper_id="1")
                ),
            ):
                with pytest.raises(KeyConflict) as caught:
                    await work
                texts += [str(caught.value), repr(caught.value)]
            async with engine.begin() as connection:
                with pytest.raises(Exception, match=r"(?i)unique|syntax") as failed:
                    await connection.exec_driver_sql(
                        "INSERT INTO api_keys (id, key_digest, pepper_id, organization_id)"
                        " SELECT 'copy', key_digest, '1', 'acme' FROM api_keys LIMIT 1"
                    )
                del failed
                await connection.rollback()
        await engine.dispose()
        texts += [place.dump(), repr(made), repr(new), repr(await keys.list_keys()), caplog.text]
        for one in (made, new):
            plain = one.plain.reveal()
            assert not [text for text in texts if plain in text or plain[12:] in text]
        # Digests are in the tables alone.
        assert not [text for text in texts[:6] if made.key.digest.hex() in text]
        assert repr(made.key.digest) not in caplog.text

    @pytest.mark.parametrize("pepper_id", [PLAIN_SHA256, "1"])
    async def test_what_is_shown_of_an_imported_key_is_not_all_of_it(
        self, keys: SqlApiKeys, pepper_id: str
    ) -> None:
        whole = KeyFormat().generate()
        peppers = Peppers("1", {"1": PEPPERS.secrets()[0] or b""}, accept_plain_sha256=True)
        # The checksum of a whole one anybody can compute.
        for plain, shown in (("a key of another system", None), (whole, whole[:40])):
            digest = peppers.digest_under(pepper_id, plain)
            assert digest is not None
            key = ImportedKey(
                organization_id="acme", digest=digest, pepper_id=pepper_id, shown=shown or plain
            )
            with pytest.raises(ValueError, match="shown is the key"):
                await keys.import_key(key)
        digest = peppers.digest_under(pepper_id, whole)
        assert digest is not None
        taken = ImportedKey(
            organization_id="acme", digest=digest, pepper_id=pepper_id, shown=whole[:12]
        )
        assert (await keys.import_key(taken)).shown == whole[:12]

    def test_an_address_is_not_told_with_its_password(self) -> None:
        # In the last ones, what has to be escaped in a password was not.
        unescaped = ("postgresql://u:p@ss:hunter2@h/d", "postgresql://u:p@ss:hunter2/x@h/d")
        for address in (
            *("postgresql//u:hunter2@h/d", "nothing hunter2", "mysql://u:hunter2@h/d"),
            *unescaped,
        ):
            with pytest.raises(ConfigError) as caught:
                SqlApiKeys(address)
            assert "hunter2" not in str(caught.value)
        for address in unescaped:
            with pytest.raises(ConfigError) as caught:
                SqlUsage(address)
            assert "hunter2" not in str(caught.value)


class TestArguments:
    async def test_an_engine_of_the_users_stays_open(self, place: Place, keys: SqlApiKeys) -> None:
        engine = create_engine(place.url)
        async with SqlApiKeys(engine, peppers=PEPPERS) as theirs:
            await theirs.create_key("acme")
        async with engine.connect() as connection:
            assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1
        await engine.dispose()

    async def test_an_engine_that_begins_by_itself(self, place: Place, keys: SqlApiKeys) -> None:
        """As SQLAlchemy's documentation tells users of SQLite to do."""
        if place.dialect != "sqlite":
            pytest.skip("for SQLite alone")
        from sqlalchemy import event

        engine = create_async_engine(keys.engine.url)

        @event.listens_for(engine.sync_engine, "connect")
        def _connected(connection: Any, _: Any) -> None:
            connection.isolation_level = None

        @event.listens_for(engine.sync_engine, "begin")
        def _begun(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")

        theirs = SqlApiKeys(engine, peppers=PEPPERS, outbox_name="default")
        assert await theirs.migrate() == "api_keys_0001"
        await theirs.install_triggers()
        made = await theirs.create_key("acme")
        assert await theirs.get(made.key.digest) is not None
        await engine.dispose()

    async def test_an_engine_with_another_driver(self, place: Place, keys: SqlApiKeys) -> None:
        if place.dialect != "postgresql":
            pytest.skip("for PostgreSQL alone")
        url = place.url.replace("postgresql:", "postgresql+psycopg:")
        engine = create_async_engine(url, hide_parameters=True)
        theirs = SqlApiKeys(engine, peppers=PEPPERS, outbox_name="default")
        await theirs.migrate()
        await theirs.install_triggers()
        made = await theirs.create_key("acme", scopes=["read"])
        with pytest.raises(KeyConflict):
            await theirs.create_key("acme", key_id=made.key.id)
        await theirs.touch({made.key.id: NOON})
        assert (await theirs.find_key(made.key.id)).last_used_at == NOON
        new = await theirs.rotate_key(made.key.id)
        assert await live_ids(theirs) == {new.key.id}
        assert await theirs.get(new.key.digest) == new.key
        await engine.dispose()

    @pytest.mark.parametrize(
        "arguments",
        [
            {"pool_size": 0},
            {"pool_timeout_seconds": 0},
            {"statement_timeout_seconds": float("nan")},
            {"busy_timeout_seconds": "5"},
            {"connect_timeout_seconds": 1e9},
            {"outbox_name": "no name"},
            {"schema": "somewhere"},
        ],
        ids=str,
    )
    def test_what_is_out_of_range_is_refused(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            SqlApiKeys("sqlite:///keys.db", **arguments)

    async def test_an_engine_has_limits_of_its_own(self) -> None:
        engine = create_engine("sqlite://")
        with pytest.raises(ConfigError, match="pool_size"):
            SqlApiKeys(engine, pool_size=3)
        await engine.dispose()

    def test_what_is_no_database(self) -> None:
        with pytest.raises(ConfigError, match="AsyncEngine"):
            SqlApiKeys(7)  # type: ignore[arg-type]

    async def test_in_memory(self) -> None:
        async with SqlApiKeys("sqlite://", peppers=PEPPERS) as keys:
            await keys.migrate()
            await keys.create_organization(organization_id="acme")
            made = await keys.create_key("acme")
            assert await live_ids(keys) == {made.key.id}
