"""A key is a row and a key again; what is no row is no key, and says so."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from velro_cache._engine import ApiKeyGeneration, KeptKey, last_key_id
from velro_cache.api_keys import ApiKey, KeyLimits
from velro_cache.api_keys.kept import PREFIX
from velro_cache.api_keys.key_rows import COLUMNS, decode, encode
from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.manager import OptimizedCacheManager

KEY = ApiKey(id="k1", organization_id="o1", digest=bytes(range(32)))

texts = some.text(some.characters(exclude_categories=["Cs"]))
names = some.text(
    some.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=256
)
moments = some.floats(allow_nan=False)
counts = some.integers(1, 2**63 - 1)
limits = some.none() | some.builds(
    KeyLimits,
    requests_per_minute=some.none() | counts,
    requests_per_day=some.none() | counts,
    burst_size=some.integers(0, 2**63 - 1),
)
keys = some.builds(
    ApiKey,
    id=names,
    organization_id=names,
    digest=some.binary(min_size=32, max_size=32),
    pepper_id=texts,
    shown=texts,
    name=texts,
    plan=texts,
    scopes=some.frozensets(texts, max_size=5),
    created_at=moments,
    expires_at=some.none() | moments,
    revoked_at=some.none() | moments,
    is_active=some.booleans(),
    organization_limits=limits,
    key_limits=limits,
    last_used_at=some.none() | moments,
)


@given(keys)
def test_a_key_is_a_row_and_the_same_key_again(key: ApiKey) -> None:
    assert decode(encode(key)) == key
    assert encode(decode(encode(key))) == encode(key)


@pytest.mark.parametrize("field", ["id", "organization_id"])
@pytest.mark.parametrize("name", ["", "x" * 257, "a\0b"])
def test_a_row_that_nobody_could_name_and_so_revoke_is_no_key(field: str, name: str) -> None:
    with pytest.raises(AuthorizationUnavailable):
        decode(encode(replace(KEY, **{field: name})))


@given(some.binary(max_size=200))
def test_bytes_that_are_no_row_are_no_key(row: bytes) -> None:
    with pytest.raises(AuthorizationUnavailable, match="is not one"):
        decode(row)


@given(keys, some.data())
def test_a_row_that_is_cut_or_longer_is_no_key(key: ApiKey, data: some.DataObject) -> None:
    row = encode(key)
    cut = data.draw(some.integers(0, len(row) - 1))
    for damaged in (row[:cut], row + b"\0"):
        with pytest.raises(AuthorizationUnavailable):
            decode(damaged)


def _with(column: str, value: bytes | None) -> bytes:
    columns: list[bytes | None] = []
    at, row = 2, encode(KEY)
    for _ in COLUMNS:
        (length,) = struct.unpack_from("!i", row, at)
        columns.append(None if length < 0 else row[at + 4 : at + 4 + length])
        at += 4 + max(0, length)
    columns[COLUMNS.index(column)] = value
    parts = [struct.pack("!H", len(COLUMNS))]
    for one in columns:
        parts.append(struct.pack("!i", -1) if one is None else struct.pack("!i", len(one)) + one)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", None),
        ("id", b"\xff"),
        ("digest", bytes(31)),
        ("digest", None),
        ("scopes", b'"read"'),
        ("scopes", b"[1]"),
        ("scopes", b"[" * 100_000),
        ("scopes", None),
        ("created_at", b"soon"),
        ("is_active", None),
        ("all_burst", (-1).to_bytes(4, "big", signed=True)),
    ],
)
def test_a_row_with_something_no_key_has_is_none(column: str, value: bytes | None) -> None:
    with pytest.raises(AuthorizationUnavailable, match="the row of the API key") as raised:
        decode(_with(column, value))
    assert raised.value.__cause__ is None


def test_a_postgresql_integer_is_a_limit() -> None:
    assert decode(_with("own_burst", (7).to_bytes(4, "big"))).key_limits == KeyLimits(
        requests_per_minute=None, requests_per_day=None, burst_size=7
    )


def test_something_else_than_a_key_has_no_row() -> None:
    with pytest.raises(TypeError, match="str, not ApiKey"):
        encode("vk_live_secret")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2\\*\\*63"):
        encode(replace(KEY, key_limits=KeyLimits(burst_size=2**63)))


@pytest.fixture
def manager() -> Any:
    with OptimizedCacheManager() as manager:
        yield manager


def generation(
    manager: OptimizedCacheManager, number: int, refused: tuple[bytes, ...] = ()
) -> ApiKeyGeneration:
    return ApiKeyGeneration(
        manager,
        PREFIX,
        decode,
        manager.snapshot(),
        number,
        fresh_seconds=900.0,
        jitter=0.1,
        stale_seconds=900.0,
        priority=2,
        refused=dict.fromkeys(refused),
        is_refused_since=lambda digest, stamp: digest in refused and stamp == manager.snapshot(),
    )


def test_only_good_keys_are_kept(manager: OptimizedCacheManager) -> None:
    bad = [
        replace(KEY, revoked_at=1e12),
        replace(KEY, is_active=False),
        replace(KEY, expires_at=1000.0),
        replace(KEY, expires_at=float("nan")),
    ]
    rows = generation(manager, 1)
    block = b"".join(map(encode, bad))
    at = 0
    while at < len(block):
        at, not_keys = rows.put(block, at, 1000.0)
        assert not_keys == []
    assert (rows.total, rows.updated, len(manager)) == (4, 0, 0)
    assert rows.put(encode(KEY), 0, 1000.0) == (len(encode(KEY)), [])
    assert (rows.total, rows.updated, len(manager)) == (5, 1, 1)


def test_rows_of_no_key_are_told_by_their_ids(manager: OptimizedCacheManager) -> None:
    rows = generation(manager, 1)
    assert rows.put(_with("digest", bytes(31)), 0, 0.0)[1] == ["k1"]
    assert rows.put(_with("id", b""), 0, 0.0)[1] == [""]
    assert rows.put(_with("expires_at", b"soon"), 0, 0.0)[1] == ["k1"]
    assert len(manager) == 0


def test_what_is_no_row_is_refused(manager: OptimizedCacheManager) -> None:
    rows = generation(manager, 1)
    for block in (b"\0", encode(KEY)[:-1], b"\0\1" + encode(KEY)[2:]):
        with pytest.raises(ValueError, match="no rows"):
            rows.put(block, 0, 0.0)
        with pytest.raises(ValueError, match="no rows"):
            last_key_id(block)
    with pytest.raises(ValueError, match="no rows"):
        last_key_id(b"")
    assert rows.put(encode(KEY), 10**9, 0.0) == (len(encode(KEY)), [])


def test_a_key_is_made_once_and_handed_on_while_nothing_changes(
    manager: OptimizedCacheManager,
) -> None:
    def kept() -> KeptKey:
        found = manager.get_value(PREFIX + KEY.digest.hex())
        assert type(found) is KeptKey
        return found

    generation(manager, 1).put(encode(KEY), 0, 0.0)
    made = kept().key
    assert made == KEY
    assert kept().key is made
    again = generation(manager, 2)
    again.put(encode(KEY), 0, 0.0)
    assert (again.updated, kept().generation) == (0, 2)
    assert kept().key is made
    other = generation(manager, 3)
    other.put(encode(replace(KEY, plan="pro")), 0, 0.0)
    assert (other.updated, kept().key.plan) == (1, "pro")


def test_what_is_invalidated_meanwhile_is_not_kept(manager: OptimizedCacheManager) -> None:
    for tag in ("api_key:k1", "organization:o1", "api_keys"):
        rows = generation(manager, 1)
        manager.invalidate_by_tags([tag])
        rows.put(encode(KEY), 0, 0.0)
        assert (len(manager), rows.updated, rows.total) == (0, 0, 1)


def test_what_was_refused_meanwhile_is_not_kept(manager: OptimizedCacheManager) -> None:
    rows = generation(manager, 1, refused=(KEY.digest,))
    rows.put(encode(KEY), 0, 0.0)
    assert (len(manager), rows.updated, rows.total) == (0, 0, 1)
    manager.invalidate_by_tags(["something"])
    rows.put(encode(KEY), 0, 0.0)
    assert len(manager) == 1


def test_what_is_kept_shows_nothing() -> None:
    kept = KeptKey(KEY.digest, KEY, 1.0, 2.0, 3)
    assert repr(kept) == "<KeptKey of generation 3>"
    with pytest.raises(ValueError, match="32 bytes"):
        KeptKey(b"short", KEY, 1.0, 2.0, 3)
