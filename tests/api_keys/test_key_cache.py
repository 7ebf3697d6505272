"""Checks of API keys: from memory, from the database, and where neither can tell."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from held_keys import FORMAT, PEPPERS, Kit

from velro_cache.api_keys import (
    ApiKey,
    ApiKeyError,
    KeyExpired,
    KeyFormat,
    KeyMalformed,
    KeyRevoked,
    KeyUnknown,
    MissBudgetExceeded,
    Peppers,
)
from velro_cache.exceptions import AuthorizationUnavailable


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit()
    with kit.manager:
        yield kit


@pytest.fixture
def plain() -> str:
    return FORMAT.generate()


async def test_a_key_is_asked_about_once(kit: Kit, plain: str) -> None:
    key = kit.keys.add(plain, scopes={"read"})
    assert kit.cache.recall(plain) is None
    assert await kit.cache.verify(plain) == key
    assert kit.cache.recall(plain) == kit.cache.recall(plain.encode()) == key
    assert await kit.cache.verify(plain.encode()) == key
    assert kit.keys.questions == 1
    assert key.has("read")
    assert not key.has("read", "write")
    stats = kit.cache.stats()
    assert (stats["loads"], stats["hits"]) == (1, 3)


async def test_many_at_once_ask_once(kit: Kit, plain: str) -> None:
    kit.keys.add(plain)
    kit.keys.gate = asyncio.Event()
    tasks = [asyncio.create_task(kit.cache.verify(plain)) for _ in range(50)]
    await asyncio.sleep(0.01)
    kit.keys.gate.set()
    assert len({id(key) for key in await asyncio.gather(*tasks)}) == 1
    assert kit.keys.questions == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vk_test_",
        "vk_live_" + "a" * 38,
        "x" * 10_000_000,
        "vk_test_" + "\0" * 38,
        "vk_test_" + "ä" * 38,
        "vk_test_" + "\ud800" * 38,
        b"\xff" * 46,
        FORMAT.generate()[:-1] + "!",
        FORMAT.generate() + "0",
        KeyFormat("vk", "live").generate(),
    ],
)
async def test_what_cannot_be_a_key_is_refused_before_anything_is_asked(
    kit: Kit, text: str | bytes
) -> None:
    assert kit.cache.recall(text) is None
    with pytest.raises(KeyMalformed) as refused:
        await kit.cache.verify(text)
    assert str(refused.value) == "this is no API key"
    assert kit.keys.questions == 0
    assert kit.cache.stats()["malformed"] == 1


@pytest.mark.parametrize("thing", [None, 5, ["a"], bytearray(b"a")])
async def test_what_is_no_text_is_a_mistake_of_the_caller(kit: Kit, thing: Any) -> None:
    with pytest.raises(TypeError, match="must be text or bytes"):
        await kit.cache.verify(thing)


async def test_who_is_not_let_in_is_told_why(kit: Kit) -> None:
    at = kit.clock()
    fates: dict[type[ApiKeyError], dict[str, Any]] = {
        KeyRevoked: {"revoked_at": at - 1},
        KeyExpired: {"expires_at": at},
    }
    for number, (error, fields) in enumerate(fates.items()):
        plain = FORMAT.generate()
        kit.keys.add(plain, number, **fields)
        with pytest.raises(error):
            await kit.cache.verify(plain)
        assert await kit.cache.get(plain) is None
    inactive = FORMAT.generate()
    kit.keys.add(inactive, 7, is_active=False)
    with pytest.raises(KeyRevoked):
        await kit.cache.verify(inactive)
    with pytest.raises(KeyUnknown):
        await kit.cache.verify(FORMAT.generate())


async def test_a_refusal_is_remembered_for_seconds(kit: Kit, plain: str) -> None:
    for _ in range(3):
        with pytest.raises(KeyUnknown):
            await kit.cache.verify(plain)
    assert kit.keys.questions == 1
    assert kit.cache.stats()["refused_from_memory"] == 2
    key = kit.keys.add(plain)
    kit.clock.seconds += 10
    assert await kit.cache.verify(plain) == key


async def test_a_key_that_is_set_is_good_at_once(kit: Kit, plain: str) -> None:
    with pytest.raises(KeyUnknown):
        await kit.cache.verify(plain)
    key = kit.keys.add(plain)
    assert kit.cache.set(key)
    assert await kit.cache.verify(plain) == key
    assert kit.keys.questions == 1


async def test_a_revoked_key_ends_at_once(kit: Kit, plain: str) -> None:
    key = kit.keys.add(plain)
    await kit.cache.verify(plain)
    kit.keys.change(key, revoked_at=kit.clock())
    assert kit.cache.invalidate(key_id="k1", reason="leaked", actor="ops") == 1
    assert kit.cache.recall(plain) is None
    with pytest.raises(KeyRevoked):
        await kit.cache.verify(plain)


async def test_so_does_one_of_an_organization_that_is_switched_off(kit: Kit) -> None:
    plains = [FORMAT.generate() for _ in range(3)]
    for number, plain in enumerate(plains):
        kit.keys.add(plain, number, organization_id="o1" if number else "o2")
        await kit.cache.verify(plain)
    assert kit.cache.invalidate(organization_id="o1") == 2
    assert [kit.cache.recall(plain) is None for plain in plains] == [False, True, True]
    kit.cache.clear()
    assert kit.cache.recall(plains[0]) is None


async def test_all_live_keys_are_read_ahead(kit: Kit) -> None:
    plains = [FORMAT.generate() for _ in range(30)]
    for number, plain in enumerate(plains):
        kit.keys.add(plain, number)
    kit.keys.during = lambda: kit.cache.invalidate(key_id="k29")
    assert await kit.cache.warm(page_size=10) == 29
    assert [kit.cache.recall(plain) is not None for plain in plains] == [True] * 29 + [False]
    assert kit.keys.questions == 0


async def test_a_revocation_during_a_question_is_not_missed(kit: Kit, plain: str) -> None:
    key = kit.keys.add(plain)
    kit.keys.gate = asyncio.Event()
    before = asyncio.create_task(kit.cache.verify(plain))
    await asyncio.sleep(0.01)
    # The question was answered from the old row; that answer is still on its way.
    kit.keys.change(key, revoked_at=kit.clock())
    kit.cache.invalidate(key_id="k1")
    after = asyncio.create_task(kit.cache.verify(plain))
    await asyncio.sleep(0.01)
    kit.keys.gate.set()
    # Who asked before the revocation may get the answer of before.
    assert (await before).id == "k1"
    with pytest.raises(KeyRevoked):
        await after
    assert kit.cache.recall(plain) is None


async def test_what_becomes_good_during_a_question_is_not_refused_from_memory(
    kit: Kit, plain: str
) -> None:
    key = kit.keys.add(plain, is_active=False)
    kit.keys.gate = asyncio.Event()
    before = asyncio.create_task(kit.cache.verify(plain))
    await asyncio.sleep(0.01)
    # The old row was read; that answer is still on its way.
    kit.keys.change(key, is_active=True)
    kit.cache.invalidate(key_id="k1")
    after = asyncio.create_task(kit.cache.verify(plain))
    await asyncio.sleep(0.01)
    kit.keys.gate.set()
    assert (await after).id == "k1"
    assert (await before).id == "k1"
    assert (await kit.cache.verify(plain)).id == "k1"


async def test_of_a_key_that_is_no_good_a_check_asks_twice_at_the_most(
    kit: Kit, plain: str
) -> None:
    """However often others become good meanwhile."""
    asked = kit.keys.get

    async def get(digest: bytes) -> Any:
        kit.cache.invalidate(key_id="k2")
        return await asked(digest)

    kit.keys.get = get  # type: ignore[method-assign]
    with pytest.raises(KeyUnknown):
        await kit.cache.verify(plain)
    assert kit.keys.questions == 2
    assert kit.cache.stats()["unknown_keys"] == 0


@pytest.mark.parametrize("is_old", [False, True])
async def test_who_was_just_refused_is_not_let_in_by_what_was_read_before(
    plain: str, is_old: bool
) -> None:
    """By another program, of which nobody tells, while all keys are being read."""
    secrets = {"1": b"the old pepper, long enough", "2": b"the new pepper, long enough"}
    kit = Kit(peppers=Peppers("2", secrets))
    with kit.manager:
        key = kit.keys.add(plain, peppers=Peppers("1" if is_old else "2", secrets))
        stamp = kit.cache.snapshot()
        kit.keys.change(key, revoked_at=kit.clock())
        with pytest.raises(KeyRevoked):
            await kit.cache.verify(plain)
        assert not kit.cache.set(key, stamp=stamp)
        with pytest.raises(KeyRevoked):
            await kit.cache.verify(plain)
        # What is read from now on is newer than the refusal.
        kit.cache.invalidate(key_id="another")
        assert kit.cache.set(key, stamp=kit.cache.snapshot())


async def test_a_key_ends_when_it_expires(kit: Kit, plain: str) -> None:
    kit.keys.add(plain, expires_at=kit.clock() + 5)
    await kit.cache.verify(plain)
    kit.clock.seconds += 4.9
    assert kit.cache.recall(plain) is not None
    kit.clock.seconds += 0.1
    assert kit.cache.recall(plain) is None
    with pytest.raises(KeyExpired):
        await kit.cache.verify(plain)


async def test_after_its_time_a_key_is_read_again(kit: Kit, plain: str) -> None:
    key = kit.keys.add(plain)
    await kit.cache.verify(plain)
    changed = kit.keys.change(key, scopes=frozenset({"write"}))
    kit.clock.seconds += 899
    assert await kit.cache.verify(plain) == key
    kit.clock.seconds += 1
    assert await kit.cache.verify(plain) == changed
    assert kit.keys.questions == 2


class TestWithoutDatabase:
    async def test_who_is_known_is_let_in_for_a_while(self, kit: Kit, plain: str) -> None:
        key = kit.keys.add(plain)
        await kit.cache.verify(plain)
        kit.keys.error = ConnectionError("no database at postgres://user:secret@host")
        kit.clock.seconds += 901
        assert await kit.cache.verify(plain) == key
        assert kit.cache.stats()["stale_served"] == 1
        kit.clock.seconds += 900
        with pytest.raises(AuthorizationUnavailable) as told:
            await kit.cache.verify(plain)
        assert "secret" not in str(told.value)
        kit.keys.error = None
        assert await kit.cache.verify(plain) == key

    async def test_who_is_not_known_is_not_let_in_nor_refused(self, kit: Kit, plain: str) -> None:
        key = kit.keys.add(plain)
        kit.keys.error = TimeoutError()
        with pytest.raises(AuthorizationUnavailable):
            await kit.cache.verify(plain)
        kit.keys.error = None
        assert await kit.cache.verify(plain) == key

    async def test_a_revoked_key_is_never_let_in(self, kit: Kit, plain: str) -> None:
        kit.keys.add(plain)
        await kit.cache.verify(plain)
        kit.cache.invalidate(key_id="k1")
        kit.keys.error = TimeoutError()
        with pytest.raises(AuthorizationUnavailable):
            await kit.cache.verify(plain)

    async def test_nor_one_that_is_revoked_while_the_database_does_not_answer(
        self, kit: Kit, plain: str
    ) -> None:
        kit.keys.add(plain)
        await kit.cache.verify(plain)
        kit.clock.seconds += 901

        async def get(_: bytes) -> None:
            kit.cache.invalidate(key_id="k1")
            raise TimeoutError

        kit.keys.get = get  # type: ignore[method-assign]
        with pytest.raises(AuthorizationUnavailable):
            await kit.cache.verify(plain)

    async def test_nor_one_that_has_expired(self, kit: Kit, plain: str) -> None:
        kit.keys.add(plain, expires_at=kit.clock() + 902)
        await kit.cache.verify(plain)
        kit.keys.error = TimeoutError()
        kit.clock.seconds += 901
        assert (await kit.cache.verify(plain)).id == "k1"
        kit.clock.seconds += 1
        with pytest.raises(AuthorizationUnavailable):
            await kit.cache.verify(plain)

    async def test_a_key_that_is_gone_is_refused_once_that_is_known(
        self, kit: Kit, plain: str
    ) -> None:
        kit.keys.add(plain)
        await kit.cache.verify(plain)
        kit.keys.rows.clear()
        kit.clock.seconds += 901
        with pytest.raises(KeyUnknown):
            await kit.cache.verify(plain)
        kit.keys.error = TimeoutError()
        kit.clock.seconds += 11
        with pytest.raises(AuthorizationUnavailable):
            await kit.cache.verify(plain)


class TestFloods:
    async def test_made_up_keys_neither_evict_nor_reach_the_database_for_long(self) -> None:
        kit = Kit(max_unknown_keys=1000, misses_per_second=10, miss_burst=100)
        with kit.manager:
            real = [FORMAT.generate() for _ in range(100)]
            for number, plain in enumerate(real):
                assert kit.cache.set(kit.keys.add(plain, number))
            entries = kit.manager.get_stats()["total_entries"]
            refused = budget = 0
            for _ in range(20_000):
                kit.clock.seconds += 0.001
                try:
                    await kit.cache.verify(FORMAT.generate())
                except KeyUnknown:
                    refused += 1
                except MissBudgetExceeded as error:
                    assert 0 < error.retry_after_seconds <= 0.1
                    budget += 1
            # 100 at once, and 10 a second for 20 seconds.
            assert kit.keys.questions == refused == pytest.approx(300, abs=2)
            assert budget == 20_000 - refused
            assert kit.cache.stats()["unknown_keys"] <= 1000
            assert kit.manager.get_stats()["total_entries"] == entries
            assert all(kit.cache.recall(plain) for plain in real)

    async def test_one_source_leaves_questions_for_the_others(self, kit: Kit) -> None:
        outcomes = set()
        for _ in range(100):
            try:
                await kit.cache.verify(FORMAT.generate(), source="192.0.2.1")
            except (KeyUnknown, MissBudgetExceeded) as error:
                outcomes.add(type(error))
        assert outcomes == {KeyUnknown, MissBudgetExceeded}
        plain = FORMAT.generate()
        key = kit.keys.add(plain)
        assert await kit.cache.verify(plain, source="192.0.2.2") == key

    async def test_who_was_good_before_is_good_while_others_are_made_up(self) -> None:
        kit = Kit(misses_per_second=1, miss_burst=1)
        with kit.manager:
            plain = FORMAT.generate()
            key = kit.keys.add(plain)
            assert await kit.cache.verify(plain) == key
            kit.clock.seconds += 901
            with pytest.raises(KeyUnknown):
                await kit.cache.verify(FORMAT.generate())
            with pytest.raises(MissBudgetExceeded):
                await kit.cache.verify(FORMAT.generate())
            assert await kit.cache.verify(plain) == key
            kit.cache.invalidate(key_id="k1")
            with pytest.raises(MissBudgetExceeded):
                await kit.cache.verify(plain)


class TestPeppers:
    async def test_keys_of_an_older_pepper_are_found(self, plain: str) -> None:
        older = Peppers("old", {"old": b"an older pepper of the tests"})
        both = Peppers("new", {"new": b"a newer pepper of the tests!", **_secrets(older)})
        kit = Kit(peppers=both)
        with kit.manager:
            key = kit.keys.add(plain, peppers=older)
            assert await kit.cache.verify(plain) == key
            assert kit.keys.questions == 2
            assert kit.cache.recall(plain) == key
            kit.cache.invalidate(key_id="k1")
            assert kit.cache.recall(plain) is None
            # As a refresh keeps it.
            assert kit.cache.set(key)
            assert kit.cache.recall(plain) == key

    async def test_imported_keys_are_found_where_that_is_asked_for(self) -> None:
        imported = "legacy-key-of-another-system"
        key = ApiKey(
            id="k9",
            organization_id="o1",
            digest=hashlib.sha256(imported.encode()).digest(),
            pepper_id="sha256",
        )
        peppers = Peppers("1", _secrets(PEPPERS), accept_plain_sha256=True)
        kit = Kit(peppers=peppers, accept_other_formats=True)
        with kit.manager:
            kit.keys.rows[key.digest] = key
            assert await kit.cache.verify(imported) == key
            assert await kit.cache.verify(imported) == key
            assert kit.keys.questions == 2
        strict = Kit()
        with strict.manager:
            strict.keys.rows[key.digest] = key
            with pytest.raises(KeyMalformed):
                await strict.cache.verify(imported)

    async def test_a_repository_that_mixes_keys_up_lets_nobody_in(
        self, kit: Kit, plain: str
    ) -> None:
        other = kit.keys.add(FORMAT.generate())
        kit.keys.rows[PEPPERS.digest(plain)[1]] = other
        with pytest.raises(AuthorizationUnavailable):
            await kit.cache.verify(plain)


async def test_no_key_is_shown_anywhere(
    kit: Kit, plain: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = kit.keys.add(plain)
    secret = plain[len(FORMAT.start) + 4 :]
    await kit.cache.verify(plain)
    kit.keys.error = ConnectionError("down")
    told = []
    for text in (plain + "x", FORMAT.generate()):
        with pytest.raises((KeyMalformed, AuthorizationUnavailable)) as error:
            await kit.cache.verify(text)
        told += [str(error.value), repr(error.value)]
        assert text not in str(told)
    kit.clock.seconds += 2000
    with pytest.raises(AuthorizationUnavailable) as failed:
        await kit.cache.verify(plain)
    shown = [repr(key), repr(PEPPERS), str(failed.value), str(kit.cache.stats()), caplog.text]
    shown += [*kit.manager.keys(), str(kit.manager.get_stats())]
    assert not any(secret in text for text in [*told, *shown])
    assert key.digest.hex() not in repr(key)
    assert "pepper of the tests" not in repr(PEPPERS)


def _secrets(peppers: Peppers) -> dict[str, bytes]:
    return dict(peppers._secrets)
