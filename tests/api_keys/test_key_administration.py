"""Keys in a real database and in memory: what is changed holds when the change returns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sql_databases import PEPPERS, Clock, Place, keys, now, place

from velro_cache.api_keys import (
    ApiKeyCache,
    KeyAdministration,
    KeyExpired,
    KeyLimits,
    KeyRevoked,
    KeyUnknown,
    RefreshManager,
)
from velro_cache.api_keys.sql import CreatedKey, SqlApiKeys
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import (
    AuthorizationUnavailable,
    InvalidTagError,
    KeyNotFound,
    OrganizationNotFound,
)
from velro_cache.manager import OptimizedCacheManager

__all__ = ["keys", "now", "place"]

Admin = KeyAdministration[CreatedKey]


@pytest.fixture
async def manager() -> AsyncIterator[OptimizedCacheManager]:
    with OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False)) as manager:
        yield manager


@pytest.fixture
def cache(keys: SqlApiKeys, now: Clock, manager: OptimizedCacheManager) -> ApiKeyCache:
    return ApiKeyCache(keys, peppers=PEPPERS, cache_manager=manager, now=now, ttl_jitter=0.0)


@pytest.fixture
def admin(cache: ApiKeyCache, keys: SqlApiKeys) -> Admin:
    return KeyAdministration(cache, keys)


async def test_a_new_key_is_good_at_once_and_a_revoked_one_no_more(
    admin: Admin, cache: ApiKeyCache, manager: OptimizedCacheManager
) -> None:
    made = await admin.create("acme", scopes=["read"], name="ci")
    plain = made.plain.reveal()
    found = await cache.verify(plain)
    assert (found.id, found.plan, found.has("read")) == (made.key.id, "pro", True)
    assert cache.recall(plain) == found
    await admin.revoke(made.key.id, actor="ops", reason="leaked")
    assert cache.recall(plain) is None
    with pytest.raises(KeyRevoked):
        await cache.verify(plain)
    told = manager.get_recent_invalidations(limit=1)[0]
    assert (told["actor"], told["reason"]) == ("ops", "leaked")


async def test_limits_and_plan_are_those_of_now(admin: Admin, cache: ApiKeyCache) -> None:
    made = await admin.create("acme")
    plain = made.plain.reveal()
    before = await cache.verify(plain)
    limits = KeyLimits(requests_per_minute=7, requests_per_day=None, burst_size=3)
    await admin.set_limits(limits, organization_id="acme")
    await admin.set_limits(limits, key_id=made.key.id)
    await admin.set_plan("acme", "free")
    found = await cache.verify(plain)
    assert (found.organization_limits, found.key_limits, found.plan) == (limits, limits, "free")
    assert before.plan == "pro"


async def test_an_organization_is_switched_off_and_on(admin: Admin, cache: ApiKeyCache) -> None:
    plains = [(await admin.create("acme")).plain.reveal() for _ in range(3)]
    for plain in plains:
        await cache.verify(plain)
    await admin.set_active(False, organization_id="acme")
    for plain in plains:
        with pytest.raises(KeyRevoked):
            await cache.verify(plain)
    await admin.set_active(True, organization_id="acme")
    for plain in plains:
        assert (await cache.verify(plain)).organization_id == "acme"


async def test_a_rotated_key_is_good_for_the_overlap(
    admin: Admin, cache: ApiKeyCache, now: Clock
) -> None:
    old = await admin.create("acme")
    await cache.verify(old.plain.reveal())
    new = await admin.rotate(old.key.id, overlap_seconds=60)
    for made in (old, new):
        assert (await cache.verify(made.plain.reveal())).id == made.key.id
    now.now += 60
    with pytest.raises(KeyExpired):
        await cache.verify(old.plain.reveal())
    assert (await cache.verify(new.plain.reveal())).id == new.key.id


async def test_a_key_ends_when_that_is_said(admin: Admin, cache: ApiKeyCache, now: Clock) -> None:
    made = await admin.create("acme")
    await cache.verify(made.plain.reveal())
    await admin.expire(made.key.id, now.now)
    with pytest.raises(KeyExpired):
        await cache.verify(made.plain.reveal())


async def test_what_is_not_there_is_said(admin: Admin) -> None:
    with pytest.raises(KeyNotFound):
        await admin.revoke("nobody")
    with pytest.raises(OrganizationNotFound):
        await admin.create("nobody")
    with pytest.raises(InvalidTagError):
        await admin.revoke("x" * 100_000)
    with pytest.raises(ValueError, match="name a key or an organization"):
        await admin.set_active(False)


async def test_a_change_by_another_program_is_seen_through_triggers(
    place: Place, keys: SqlApiKeys, now: Clock, tmp_path: Any
) -> None:
    config = OptimizedCacheConfig(
        invalidation_log=place.url, shared_memory_directory=str(tmp_path / "host")
    )
    (tmp_path / "host").mkdir()
    await keys.install_triggers("default")
    made = await keys.create_key("acme")
    plain = made.plain.reveal()
    with OptimizedCacheManager(config) as manager:
        cache = ApiKeyCache(keys, peppers=PEPPERS, cache_manager=manager, now=now)
        await _until(lambda: manager.get_stats()["log"]["has_lease"])
        await cache.verify(plain)
        await _until(lambda: cache.recall(plain) is not None)
        place.run(f"UPDATE api_keys SET revoked_at = 1 WHERE id = '{made.key.id}'")
        await _until(lambda: cache.recall(plain) is None)
        with pytest.raises(KeyRevoked):
            await cache.verify(plain)


async def test_all_live_keys_are_read_and_those_that_are_gone_are_dropped(
    keys: SqlApiKeys, cache: ApiKeyCache, admin: Admin, now: Clock
) -> None:
    made = [await admin.create("acme") for _ in range(30)]
    refresh = RefreshManager(cache, page_size=7, now=now)
    report = await refresh.refresh_now()
    assert (report.updated, report.removed, report.total) == (30, 0, 30)
    # By the store alone, so that memory does not know.
    for one in made[:10]:
        await keys.revoke_key(one.key.id)
    now.now += 1
    await keys.create_key("acme", key_id="new")
    report = await refresh.refresh_now()
    assert (report.updated, report.removed, report.total) == (1, 10, 21)
    assert [cache.recall(one.plain.reveal()) is None for one in made] == [True] * 10 + [False] * 20
    await keys.revoke_key(made[20].key.id)
    report = await refresh.refresh_changed()
    # And the ten, once more: another process may have them still.
    assert report.removed == 11
    assert cache.recall(made[20].plain.reveal()) is None


async def test_without_its_database_a_known_key_is_good_and_others_are_not_refused(
    keys: SqlApiKeys, cache: ApiKeyCache, admin: Admin, place: Place, now: Clock
) -> None:
    known, other = [(await admin.create("acme")).plain.reveal() for _ in range(2)]
    await cache.verify(known)
    await keys.close()
    await _break(place)
    now.now += 901
    assert (await cache.verify(known)).organization_id == "acme"
    with pytest.raises(AuthorizationUnavailable) as told:
        await cache.verify(other)
    assert place.name not in str(told.value)
    now.now += 900
    with pytest.raises(AuthorizationUnavailable):
        await cache.verify(known)
    assert cache.stats()["stale_served"] == 1


async def test_a_made_up_key_is_unknown(cache: ApiKeyCache) -> None:
    with pytest.raises(KeyUnknown):
        await cache.verify(cache.key_format.generate())


async def _break(place: Place) -> None:
    """Take the tables away, so that no question is answered."""
    await asyncio.to_thread(place.run, "ALTER TABLE api_keys RENAME TO away")


async def _until(true: Any) -> None:
    for _ in range(3000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not in time")
