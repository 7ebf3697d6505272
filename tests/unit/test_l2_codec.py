"""Shared values: what goes in comes out, equal and of the same types, and nothing else does."""

from __future__ import annotations

import enum
import math
import random
import sys
import time as clocks
import tracemalloc
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache import (
    AccessType,
    AuthorizationMethod,
    ConfigError,
    GenerationPermissions,
    OptimizedCacheConfig,
    SecurityLevel,
    TeamRole,
)
from velro_cache.authorization.models import FrozenDict
from velro_cache.l2 import ValueNotSharedError, register_type
from velro_cache.l2.codec import MAX_ENVELOPE_BYTES, Codec, Envelope
from velro_cache.l2.refused import RefusedValueError
from velro_cache.l2.seal import StorageKeys, seal_for
from velro_cache.l2.values import MAX_DEPTH, MAX_PARTS

SECRET = "a text of 32 characters, or more."  # noqa: S105
OTHER = "another text of 32 characters or so"
KEY = "auth:user:42:profile"

ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Africa/Monrovia", "Etc/GMT+5"]

PLAIN = OptimizedCacheConfig(name="c")
SIGNED = PLAIN.replace(l2_signing_key=SECRET)
ENCRYPTED = PLAIN.replace(l2_encryption_key=SECRET)
BOTH = PLAIN.replace(l2_signing_key=OTHER, l2_encryption_key=SECRET)
SETTINGS = {"plain": PLAIN, "signed": SIGNED, "encrypted": ENCRYPTED, "both": BOTH}


def codec(config: OptimizedCacheConfig = PLAIN) -> Codec:
    return Codec(config.name, seal_for(config))


CODECS = {name: codec(config) for name, config in SETTINGS.items()}
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def envelope(value: Any) -> Envelope:
    return Envelope("run-1", 17, 1e9, True, ("auth", "user:42"), value)


def there_and_back(value: Any, codec: Codec = CODECS["plain"]) -> Any:
    return codec.decode(KEY, codec.encode(KEY, envelope(value))).value


def same(one: Any, other: Any) -> bool:
    """Equal and of the same types, all the way down; NaN is NaN, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (one == other and math.copysign(1, one) == math.copysign(1, other)) or one != one
    if isinstance(one, Decimal):
        return str(one) == str(other)
    if isinstance(one, dict):
        pairs = zip(one.items(), other.items(), strict=True)
        return len(one) == len(other) and all(same(a, b) for a, b in pairs)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, datetime):
        return one == other and one.fold == other.fold and same(one.tzinfo, other.tzinfo)
    if isinstance(one, timezone):
        return one == other and one.tzname(None) == other.tzname(None)
    if isinstance(one, time):
        return one == other and one.fold == other.fold and same(one.tzinfo, other.tzinfo)
    return bool(one == other)


def offsets() -> st.SearchStrategy[timezone]:
    minutes = st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
    named = st.builds(timezone, minutes, st.text(max_size=8))
    return st.one_of(st.just(UTC), st.builds(timezone, minutes), named)


zones = st.one_of(st.none(), offsets(), st.sampled_from(ZONES).map(ZoneInfo))
enums = st.one_of(
    *(st.sampled_from(kind) for kind in (AccessType, AuthorizationMethod, SecurityLevel, TeamRole))
)
texts = st.text(st.characters(), max_size=30)
numbers = st.one_of(
    st.integers(),
    st.integers(-(1 << 300), 1 << 300),
    st.sampled_from([2**63, 2**63 - 1, -(2**63), -(2**63) - 1, 2**64, 2**64 - 1, 0, -1]),
)
times = st.builds(
    lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold),
    st.times(),
    zones,
    st.sampled_from([0, 1]),
)
datetimes = st.builds(
    lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold),
    # A zone may not lead out of the years there are.
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)),
    zones,
    st.sampled_from([0, 1]),
)
plain_scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.floats(allow_nan=False),
    texts,
    st.binary(max_size=30),
    st.uuids(),
    st.dates(),
    times,
    datetimes,
    st.timedeltas(),
    st.decimals(allow_nan=False),
    enums,
)
hashable_scalars = plain_scalars | zones
scalars = st.one_of(hashable_scalars, st.floats(), st.decimals())
hashables = st.recursive(
    hashable_scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple), st.frozensets(inner, max_size=4)
    ),
    max_leaves=8,
)
frozen = st.recursive(
    plain_scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4).map(FrozenDict),
    ),
    max_leaves=8,
)
ids = st.one_of(st.text(min_size=1, max_size=20), st.uuids(), st.integers(0))
decisions = st.builds(
    GenerationPermissions,
    generation_id=ids,
    user_id=ids,
    granted=st.booleans(),
    access_method=st.sampled_from(AuthorizationMethod),
    can_view=st.booleans(),
    can_edit=st.booleans(),
    can_delete=st.booleans(),
    can_download=st.booleans(),
    can_share=st.booleans(),
    can_create_child=st.booleans(),
    team_context=st.none() | ids,
    project_context=st.none() | ids,
    security_level=st.sampled_from(SecurityLevel),
    expires_at=st.none() | st.datetimes(timezones=offsets()),
    media_urls=st.lists(texts, max_size=3),
    rate_limit_remaining=st.none() | st.integers(),
    audit_trail=st.lists(st.dictionaries(texts, frozen, max_size=3), max_size=3),
)
values = st.recursive(
    st.one_of(scalars, decisions),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(hashables, inner, max_size=5),
        st.sets(hashables, max_size=5),
        st.frozensets(hashables, max_size=5),
    ),
    max_leaves=20,
)


class TestRoundTrip:
    @given(value=values)
    def test_a_value_comes_back_equal_and_of_the_same_types(self, value: Any) -> None:
        assert same(value, there_and_back(value))

    @given(value=decisions)
    def test_a_decision_comes_back_as_it_was(self, value: GenerationPermissions) -> None:
        for codec in CODECS.values():
            found = there_and_back(value, codec)
            assert type(found) is GenerationPermissions
            assert found == value
            assert same(found.audit_trail, value.audit_trail)
            assert all(type(step) is FrozenDict for step in found.audit_trail)
            assert type(found.generation_id) is type(value.generation_id)

    @every_codec
    @given(
        generation=st.text(max_size=50),
        sequence=st.integers(0, 2**63),
        end=st.floats(allow_nan=False),
        permissive=st.booleans(),
        tags=st.lists(st.text(max_size=10), max_size=5).map(tuple),
        key=st.text(min_size=1, max_size=300),
    )
    def test_so_does_what_is_known_about_it(
        self,
        codec: Codec,
        generation: str,
        sequence: int,
        end: float,
        permissive: bool,
        tags: tuple[str, ...],
        key: str,
    ) -> None:
        sent = Envelope(generation, sequence, end, permissive, tags, None)
        assert codec.decode(key, codec.encode(key, sent)) == sent

    def test_texts_that_are_no_unicode_come_back(self) -> None:
        assert there_and_back("\ud800x") == "\ud800x"

    def test_a_dict_keeps_its_order(self) -> None:
        assert list(there_and_back({"b": 1, "a": 2})) == ["b", "a"]

    def test_a_moment_that_comes_twice_keeps_which_of_the_two_it_is(self) -> None:
        zone = ZoneInfo("Europe/Berlin")
        for fold in (0, 1):
            moment = datetime(2024, 10, 27, 2, 30, tzinfo=zone, fold=fold)
            found = there_and_back(moment)
            assert (found.fold, found.timestamp()) == (fold, moment.timestamp())


class Level(enum.Enum):
    LOW = 1
    SMALL = 1
    HIGH = "high"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Outer:
    class Inner(enum.IntEnum):
        ONE = 1


class Point:
    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y


class Odd(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        raise AssertionError("its code must not run")


class TestWhatIsShared:
    def test_enums_by_their_names(self) -> None:
        for member in (*Level, Rights.READ, Outer.Inner.ONE):
            assert there_and_back(member) is member

    def test_an_enum_that_cannot_be_found_again_is_not_shared(self) -> None:
        class Local(enum.Enum):
            A = 1

        for member in (Local.A, Rights.READ | Rights.WRITE):
            with pytest.raises(ValueNotSharedError, match="type"):
                there_and_back(member)

    def test_an_enum_that_is_not_imported_here_is_refused_and_not_imported(self) -> None:
        sent = CODECS["plain"].encode(KEY, envelope(Level.LOW))
        module = sys.modules.pop(__name__)
        try:
            with pytest.raises(RefusedValueError, match="content"):
                CODECS["plain"].decode(KEY, sent)
            assert __name__ not in sys.modules
        finally:
            sys.modules[__name__] = module

    @pytest.mark.parametrize(
        "value",
        [
            object(),
            Point(1, 2),
            Point,
            len,
            1j,
            Fraction(1, 2),
            bytearray(b"x"),
            range(3),
            OrderedDict(a=1),
            namedtuple("Pair", "a b")(1, 2),
            type("Text", (str,), {})("x"),
            type("Number", (int,), {})(1),
            type("Mapping", (dict,), {})(),
            datetime(2024, 1, 1, tzinfo=Odd()),
            time(1, tzinfo=Odd()),
            ValueError("x"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_other_types_are_not_wherever_they_stand(self, value: Any) -> None:
        for holder in (value, [value], {"a": (value,)}):
            with pytest.raises(ValueNotSharedError) as caught:
                CODECS["plain"].encode(KEY, envelope(holder))
            assert caught.value.reason == "type"

    def test_one_more_type_may_be_made_known(self) -> None:
        def make(*parts: Any) -> Point:
            if len(parts) != 2:
                raise ValueError
            return Point(*parts)

        register_type("test.Point/1", Point, lambda point: (point.x, [point.y]), make)
        found = there_and_back([Point(1, {2})])[0]
        assert (type(found), found.x, found.y) == (Point, 1, [{2}])
        for name, kind in (("test.Point/2", Point), ("test.Point/1", Odd), ("x", dict), ("", Odd)):
            with pytest.raises(ConfigError):
                register_type(name, kind, lambda _: (), lambda: None)


class TestLimits:
    def test_what_is_too_deep_is_not_shared(self) -> None:
        value: Any = 1
        for _ in range(MAX_DEPTH):
            value = [value]
        assert there_and_back(value) == value
        with pytest.raises(ValueNotSharedError, match="depth"):
            there_and_back([value])

    def test_what_holds_itself_is_not_shared(self) -> None:
        value: list[Any] = []
        value.append(value)
        with pytest.raises(ValueNotSharedError, match="depth"):
            there_and_back(value)

    @pytest.mark.parametrize(
        "value",
        [
            b"x" * MAX_ENVELOPE_BYTES,
            "x" * MAX_ENVELOPE_BYTES,
            "\u20ac" * (MAX_ENVELOPE_BYTES // 2),
            [0] * (MAX_PARTS + 1),
            1 << (9 * MAX_ENVELOPE_BYTES),
        ],
        ids=["bytes", "text", "wide text", "many", "number"],
    )
    def test_what_is_too_large_is_not_shared(self, value: Any) -> None:
        with pytest.raises(ValueNotSharedError, match="size"):
            there_and_back(value)

    def test_a_value_that_grows_beyond_measure_when_written_is_given_up_soon(self) -> None:
        value: Any = []
        for _ in range(MAX_DEPTH - 1):
            value = [value] * 8
        started = clocks.perf_counter()
        with pytest.raises(ValueNotSharedError, match="size"):
            there_and_back(value)
        assert clocks.perf_counter() - started < 5

    def test_what_claims_to_be_large_takes_no_memory(self) -> None:
        # Arrays within arrays, each of which claims to hold a million.
        header = msgpack.packb
        start = b"".join(map(header, ("g", 1, 1.0, True, 0)))
        bombs = [
            start + b"\xdd\x00\x0f\xff\xff" * 1000 + b"\xc0" * 900_000,
            start + b"\xdf\x00\x0f\xff\xff" * 1000 + b"\xc0" * 900_000,
            start + b"\xdd\xff\xff\xff\xff",
            start + b"\xc6\xff\xff\xff\xff",
            start + b"\xdb\xff\xff\xff\xff",
            start + header(msgpack.ExtType(2, b"\xff\xff\xff\xff")) * 1000,
            start + header(msgpack.ExtType(6, b"\xff\xff\xff\xff")) + b"\xc0" * 100,
            start[:-1] + b"\xce\xff\xff\xff\xff",
        ]
        context = codec()._context(KEY)
        for bomb in bombs:
            sealed = b"\x01\x00" + seal_for(PLAIN).close(context, bomb)
            tracemalloc.start()
            with pytest.raises(RefusedValueError):
                codec().decode(KEY, sealed)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 64 * len(sealed) + 1_000_000


class TestRefusal:
    @every_codec
    @given(data=st.binary(max_size=400))
    def test_random_bytes(self, codec: Codec, data: bytes) -> None:
        for start in (b"", b"\x01", codec._start):
            with pytest.raises(RefusedValueError):
                codec.decode(KEY, start + data)

    @every_codec
    @given(value=values, seed=st.integers(0))
    def test_every_mutation(self, codec: Codec, value: Any, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311
        sent = codec.encode(KEY, envelope(value))
        mutants = []
        place = rng.randrange(len(sent))
        mutants.append(
            sent[:place] + bytes([sent[place] ^ (1 << rng.randrange(8))]) + sent[place + 1 :]
        )
        mutants.append(sent[:place])
        mutants.append(sent[:place] + sent[place + 1 :])
        mutants.append(sent[:place] + rng.randbytes(1) + sent[place:])
        mutants.append(sent + rng.randbytes(1))
        mutants.append(sent + sent)
        for mutant in mutants:
            with pytest.raises(RefusedValueError):
                codec.decode(KEY, mutant)

    @given(body=st.binary(max_size=300))
    def test_random_bodies_under_a_good_seal(self, body: bytes) -> None:
        """By whoever may write and knows how: no exception but the one, and no surprise."""
        codec = CODECS["plain"]
        start = b"".join(map(msgpack.packb, ("g", 1, 1.0, True, 0)))
        for content in (body, start + body):
            sealed = b"\x01\x00" + seal_for(PLAIN).close(codec._context(KEY), content)
            try:
                found = codec.decode(KEY, sealed)
            except RefusedValueError:
                continue
            assert same(there_and_back(found.value), found.value)

    @given(value=values, seed=st.integers(0))
    def test_mutated_bodies_under_a_good_seal(self, value: Any, seed: int) -> None:
        codec, rng = CODECS["plain"], random.Random(seed)  # noqa: S311
        body = bytearray(codec.encode(KEY, envelope(value))[2 + 16 :])
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        sealed = b"\x01\x00" + seal_for(PLAIN).close(codec._context(KEY), bytes(body))
        try:
            found = codec.decode(KEY, sealed)
        except RefusedValueError:
            return
        assert same(there_and_back(found.value), found.value)

    @every_codec
    def test_a_value_copied_under_another_key(self, codec: Codec) -> None:
        sent = codec.encode(KEY, envelope(1))
        assert codec.decode(KEY, sent).value == 1
        for other in ("auth:user:43:profile", KEY + "x", KEY[:-1], ""):
            with pytest.raises(RefusedValueError):
                codec.decode(other, sent)

    @every_codec
    def test_a_value_of_another_cache(self, codec: Codec) -> None:
        for name, config in SETTINGS.items():
            if CODECS[name] is codec:
                other = Codec("d", seal_for(config))
                with pytest.raises(RefusedValueError):
                    other.decode(KEY, codec.encode(KEY, envelope(1)))

    def test_a_value_sealed_in_another_way(self) -> None:
        others = {**CODECS, "other key": codec(PLAIN.replace(l2_signing_key=OTHER))}
        for one in others.values():
            sent = one.encode(KEY, envelope(1))
            for other in others.values():
                if other is not one:
                    with pytest.raises(RefusedValueError, match=r"settings|forged"):
                        other.decode(KEY, sent)

    def test_an_unsigned_value_where_a_key_is_configured_whatever_it_claims(self) -> None:
        forged = CODECS["plain"].encode(KEY, envelope(1))
        for claim in range(256):
            for config in (SIGNED, ENCRYPTED):
                with pytest.raises(RefusedValueError):
                    codec(config).decode(KEY, bytes([1, claim]) + forged[2:])

    @pytest.mark.parametrize("data", ["text", 1, [b"x"], bytearray(b"x"), memoryview(b"x"), None])
    def test_what_is_no_bytes(self, data: Any) -> None:
        with pytest.raises(RefusedValueError, match="not_bytes"):
            codec().decode(KEY, data)

    def test_what_is_too_large(self) -> None:
        with pytest.raises(RefusedValueError, match="size"):
            codec().decode(KEY, b"\x01" * (MAX_ENVELOPE_BYTES + 1))

    def test_a_zone_with_other_rules_there(self) -> None:
        moment = datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
        codec = CODECS["plain"]
        sent = codec.encode(KEY, envelope(moment))
        body = sent[18:].replace(b"Europe/Berlin", b"Europe/Moscow")
        sealed = sent[:2] + seal_for(PLAIN).close(codec._context(KEY), body)
        with pytest.raises(RefusedValueError, match="content"):
            codec.decode(KEY, sealed)

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", "/etc/passwd", "x\0", "No/Such", "x" * 99]
    )
    def test_a_zone_that_is_no_zone(self, name: str) -> None:
        codec = CODECS["plain"]
        sent = codec.encode(KEY, envelope(ZoneInfo("Europe/Berlin")))
        body = sent[18:].replace(msgpack.packb("Europe/Berlin"), msgpack.packb(name))
        sealed = sent[:2] + seal_for(PLAIN).close(codec._context(KEY), body)
        with pytest.raises(RefusedValueError, match="content"):
            codec.decode(KEY, sealed)


class TestSecrets:
    def test_nothing_of_an_encrypted_value_can_be_read(self) -> None:
        sent = CODECS["encrypted"].encode(KEY, envelope("the secret of user 42"))
        assert b"secret" not in sent and b"user" not in sent

    def test_no_two_encrypted_values_are_alike(self) -> None:
        assert len({CODECS["encrypted"].encode(KEY, envelope(1)) for _ in range(100)}) == 100

    @pytest.mark.parametrize("config", [SIGNED, ENCRYPTED, BOTH])
    def test_no_id_can_be_read_from_a_storage_key(self, config: OptimizedCacheConfig) -> None:
        names = StorageKeys(config)
        found = {names.value(KEY), names.lock(KEY), names.value("k"), names.lock("k")}
        assert len(found) == 4
        assert all(
            "42" not in name.replace(":l2:1:", "")[:12] and "user" not in name for name in found
        )
        assert all(name.startswith("velro:c:l2:") and len(name) < 100 for name in found)

    def test_storage_keys_depend_on_name_and_secret(self) -> None:
        configs = [*SETTINGS.values(), PLAIN.replace(name="d"), SIGNED.replace(name="d")]
        configs.append(PLAIN.replace(l2_signing_key=OTHER))
        assert len({StorageKeys(config).value(KEY) for config in configs}) == len(configs)

    @given(keys=st.lists(st.text(max_size=250), unique=True, min_size=2, max_size=20))
    def test_no_two_keys_have_one_storage_key(self, keys: list[str]) -> None:
        names = StorageKeys(PLAIN)
        found = [name for key in keys for name in (names.value(key), names.lock(key))]
        assert len(set(found)) == len(found)
        assert all(len(name) < 300 and name.isprintable() for name in found)

    def test_no_error_shows_what_was_sent(self) -> None:
        sent = CODECS["plain"].encode(KEY, envelope("secret"))
        with pytest.raises(RefusedValueError) as caught:
            CODECS["plain"].decode("other", sent)
        assert "secret" not in str(caught.value) and "42" not in str(caught.value)


def test_an_uuid_in_a_key_of_a_dict() -> None:
    value = {UUID(int=1): {(1, date(2024, 1, 1)): frozenset({b"x"})}}
    assert there_and_back(value) == value
