"""Keys: the eight documented shapes, and ids that try to be more than an id."""

from __future__ import annotations

import enum
import fnmatch
import hashlib
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from velro_cache import OptimizedCacheManager, escape_id, generate_auth_key
from velro_cache._engine import key_kinds
from velro_cache.exceptions import InvalidKeyError, VelroCacheError

TEXT = "0f8fad5b-d9cb-469f-a165-70867728950e"
UUID_ = UUID(TEXT)
SPELLINGS = [
    TEXT,
    TEXT.upper(),
    f"{{{TEXT}}}",
    f"urn:uuid:{TEXT}",
    f"URN:UUID:{TEXT.upper()}",
]

# Name of the kind, ids, the key the documentation gives it.
KINDS: list[tuple[str, dict[str, Any], str]] = [
    ("user_profile", {"user_id": "u1"}, "auth:user:u1:profile"),
    ("user_permissions", {"user_id": "u1"}, "auth:user:u1:permissions"),
    (
        "generation_access",
        {"generation_id": "g1", "user_id": "u1"},
        "auth:gen:g1:user:u1:access",
    ),
    ("project_access", {"project_id": "p1", "user_id": "u1"}, "auth:project:p1:user:u1:access"),
    ("team_role", {"team_id": "t1", "user_id": "u1"}, "auth:team:t1:user:u1:role"),
    (
        "uuid_validation",
        {"uuid_hash": "abc123", "context": "api"},
        "uuid:validation:abc123:context:api",
    ),
    ("session_data", {"user_id": "u1"}, "session:u1:data"),
    ("rate_limit", {"user_id": "u1", "window": "60"}, "rate_limit:user:u1:window:60"),
]
NAMES = [name for name, _, _ in KINDS]


def uuid_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@pytest.mark.parametrize(("name", "ids", "expected"), KINDS, ids=NAMES)
def test_each_kind_has_exactly_the_documented_key(
    cache: OptimizedCacheManager, name: str, ids: dict[str, Any], expected: str
) -> None:
    assert generate_auth_key(name, **ids) == expected
    assert cache.generate_auth_key(name, **ids) == expected


def test_the_list_of_kinds_is_complete() -> None:
    assert [name for name, _, _ in key_kinds()] == NAMES
    for (name, pattern, parameters), (_, ids, expected) in zip(key_kinds(), KINDS, strict=True):
        assert pattern.format(**ids) == expected, name
        assert parameters == list(ids), name


@pytest.mark.parametrize(("name", "ids", "expected"), KINDS, ids=NAMES)
def test_the_typed_setter_and_getter_use_that_key(
    cache: OptimizedCacheManager, name: str, ids: dict[str, Any], expected: str
) -> None:
    arguments = list(ids.values())
    if name == "uuid_validation":
        expected = expected.replace("abc123", uuid_hash("abc123"))
    assert getattr(cache, f"get_{name}")(*arguments) == (None, False)
    assert getattr(cache, f"set_{name}")(*arguments, {"of": name})
    assert cache.keys() == [expected]
    assert getattr(cache, f"get_{name}")(*arguments) == ({"of": name}, True)
    assert cache.get(expected) == ({"of": name}, True)


@pytest.mark.parametrize(("name", "ids", "expected"), KINDS, ids=NAMES)
def test_the_typed_helpers_take_their_ids_by_name(
    cache: OptimizedCacheManager, name: str, ids: dict[str, Any], expected: str
) -> None:
    if name == "uuid_validation":
        ids = {"uuid_str": ids["uuid_hash"], "context": ids["context"]}
    assert getattr(cache, f"set_{name}")(**ids, data=1)
    assert getattr(cache, f"get_{name}")(**ids) == (1, True)
    with pytest.raises(TypeError):
        getattr(cache, f"get_{name}")(**ids, other=1)
    with pytest.raises(TypeError):
        getattr(cache, f"get_{name}")()
    with pytest.raises(TypeError):
        getattr(cache, f"get_{name}")(*ids.values(), "one too many")
    first = next(iter(ids))
    with pytest.raises(TypeError, match=first):
        getattr(cache, f"get_{name}")(ids[first], **ids)


def test_ids_do_not_change_places(cache: OptimizedCacheManager) -> None:
    cache.set_generation_access("a", "b", "a of b")
    cache.set_generation_access("b", "a", "b of a")
    assert cache.get_generation_access("a", "b") == ("a of b", True)
    assert cache.get_generation_access(user_id="a", generation_id="b") == ("b of a", True)


class TestGenerateAuthKey:
    def test_an_unknown_kind_is_refused_and_the_known_ones_are_listed(self) -> None:
        with pytest.raises(ValueError, match=", ".join(NAMES)):
            generate_auth_key("profile", user_id="u1")

    def test_a_huge_unknown_kind_is_not_repeated_in_full(self) -> None:
        with pytest.raises(ValueError, match="no such kind") as caught:
            generate_auth_key("x" * 1_000_000)
        assert len(str(caught.value)) < 500

    def test_a_missing_id_is_named(self) -> None:
        with pytest.raises(TypeError, match="user_id"):
            generate_auth_key("generation_access", generation_id="g1")

    def test_an_unknown_id_is_named(self) -> None:
        with pytest.raises(TypeError, match="usr_id"):
            generate_auth_key("user_profile", usr_id="u1")


class TestUuids:
    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_every_spelling_with_hyphens_is_the_key_of_the_uuid(self, spelling: str) -> None:
        key = generate_auth_key("user_profile", user_id=UUID_)
        assert key == f"auth:user:{TEXT}:profile"
        assert generate_auth_key("user_profile", user_id=spelling) == key
        assert escape_id(spelling) == escape_id(UUID_) == TEXT

    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_a_uuid_and_its_text_name_one_entry(
        self, cache: OptimizedCacheManager, spelling: str
    ) -> None:
        cache.set_generation_access(UUID_, spelling, "granted")
        assert cache.get_generation_access(spelling, UUID_) == ("granted", True)
        assert len(cache) == 1

    @pytest.mark.parametrize(
        "almost",
        [
            TEXT.replace("-", ""),
            TEXT[:-1],
            TEXT + "0",
            TEXT.replace("-", "_"),
            f"{{{TEXT}",
            "g" * 36,
        ],
    )
    def test_what_only_looks_like_it_stays_another_id(
        self, cache: OptimizedCacheManager, almost: str
    ) -> None:
        cache.set_user_profile(UUID_, "the user's")
        assert cache.get_user_profile(almost) == (None, False)

    def test_what_is_to_be_validated_is_told_apart_as_it_was_written(
        self, cache: OptimizedCacheManager
    ) -> None:
        cache.set_uuid_validation(TEXT, "api", "good")
        assert cache.get_uuid_validation(UUID_, "api") == ("good", True)
        assert cache.get_uuid_validation(TEXT.upper(), "api") == (None, False)
        assert cache.get_uuid_validation(TEXT, "other") == (None, False)

    @pytest.mark.parametrize("text", ["", " ", "\0", "*", "\ud800", "x" * 10_000_000])
    def test_anything_can_be_up_for_validation(
        self, cache: OptimizedCacheManager, text: str
    ) -> None:
        assert cache.set_uuid_validation(text, "api", False)
        assert cache.get_uuid_validation(text, "api") == (False, True)
        assert len(cache.keys()[0]) == len("uuid:validation::context:api") + 32

    @pytest.mark.parametrize("wrong", [None, 5, True, b"x", 1.5])
    def test_only_a_text_or_a_uuid_can_be_validated(
        self, cache: OptimizedCacheManager, wrong: Any
    ) -> None:
        with pytest.raises(TypeError, match="uuid_str"):
            cache.get_uuid_validation(wrong, "api")
        with pytest.raises(TypeError, match="uuid_str"):
            cache.set_uuid_validation(wrong, "api", True)


class TestEscaping:
    @pytest.mark.parametrize(
        ("character", "escaped"),
        [
            (":", "%3A"),
            ("*", "%2A"),
            ("?", "%3F"),
            ("[", "%5B"),
            ("]", "%5D"),
            ("%", "%25"),
            ("\0", "%00"),
            ("\n", "%0A"),
            ("\x1f", "%1F"),
            ("\x7f", "%7F"),
        ],
    )
    def test_each_special_character_is_escaped(self, character: str, escaped: str) -> None:
        assert escape_id(f"a{character}b") == f"a{escaped}b"
        key = generate_auth_key("session_data", user_id=character)
        assert key == f"session:{escaped}:data"

    @pytest.mark.parametrize("id_", ["ä", "名前", "😀", "a b", "a@b.c", "-_.~!$&'()+,;=/#", "é"])
    def test_ordinary_text_stays_as_it_is(self, id_: str) -> None:
        assert escape_id(id_) == id_

    def test_characters_that_look_alike_stay_different(self, cache: OptimizedCacheManager) -> None:
        composed, decomposed = "é", "e\u0301"
        cache.set_user_profile(composed, 1)
        assert cache.get_user_profile(decomposed) == (None, False)

    def test_an_escaped_id_is_not_the_id_it_escapes(self, cache: OptimizedCacheManager) -> None:
        cache.set_user_profile("a:b", "real")
        for forged in ("a%3Ab", "a%3ab", "a%253Ab"):
            assert cache.get_user_profile(forged) == (None, False)

    @pytest.mark.parametrize("id_", ["\ud800", "a\udfffb", "\udcff" * 10])
    def test_lone_surrogates_are_ids_like_any_other(
        self, cache: OptimizedCacheManager, id_: str
    ) -> None:
        assert cache.set_user_profile(id_, 1)
        assert cache.get_user_profile(id_) == (1, True)
        assert cache.keys() == [f"auth:user:{id_}:profile"]
        assert cache.invalidate_user_data(id_) == 1

    @pytest.mark.parametrize(
        "forged",
        [
            "u2:profile",
            "u1:profile:x",
            ":",
            "*",
            "u*",
            "?1",
            "[u]1",
            "[!x]1",
            "u1\0",
            "\0u1",
            "u1%",
            "%75%31",
            " u1",
            "u1 ",
            "U1",
        ],
    )
    def test_no_id_reaches_the_entry_of_another(
        self, cache: OptimizedCacheManager, forged: str
    ) -> None:
        cache.set_user_profile("u1", "secret")
        cache.set_user_profile("u2", "secret")
        assert cache.get_user_profile(forged) == (None, False)
        assert cache.get_generation_access(forged, "u1") == (None, False)
        assert cache.invalidate_user_data(forged) == 0
        assert cache.set_user_profile(forged, "own")
        assert cache.get_user_profile("u1") == cache.get_user_profile("u2") == ("secret", True)
        assert cache.get_user_profile(forged) == ("own", True)

    def test_an_id_cannot_move_the_border_between_two_ids(
        self, cache: OptimizedCacheManager
    ) -> None:
        cache.set_generation_access("g:user:u1", "x", 1)
        cache.set_generation_access("g", "u1:user:x", 2)
        assert cache.get_generation_access("g:user:u1", "x") == (1, True)
        assert cache.get_generation_access("g", "u1:user:x") == (2, True)
        assert cache.get_generation_access("g", "u1") == (None, False)
        assert cache.invalidate_user_data("u1") == 0

    def test_an_escaped_id_in_a_pattern_means_that_id_alone(
        self, cache: OptimizedCacheManager
    ) -> None:
        for id_ in ("*", "[ab]", "a", "??"):
            cache.set_user_profile(id_, id_)
        assert cache.invalidate_by_pattern(f"auth:user:{escape_id('*')}:*") == 1
        assert cache.invalidate_by_pattern(f"auth:user:{escape_id('[ab]')}:prof*") == 1
        assert cache.get_user_profile("a") == ("a", True)
        assert cache.get_user_profile("??") == ("??", True)
        assert fnmatch.fnmatchcase("auth:user:%3F%3F:profile", f"auth:user:{escape_id('??')}:*")


class IdText(str):
    __slots__ = ()


class Colour(enum.IntEnum):
    RED = 1


WithId = Callable[[OptimizedCacheManager, Any], object]
USES: dict[str, WithId] = {
    "get": lambda cache, id_: cache.get_user_profile(id_),
    "get second": lambda cache, id_: cache.get_generation_access("g", id_),
    "set": lambda cache, id_: cache.set_user_profile(id_, 1),
    "generate": lambda cache, id_: cache.generate_auth_key("user_profile", user_id=id_),
    "escape": lambda cache, id_: escape_id(id_),
    "invalidate user": lambda cache, id_: cache.invalidate_user_data(id_),
    "invalidate generation": lambda cache, id_: cache.invalidate_generation_data(id_),
}


@pytest.mark.parametrize("use", USES)
class TestWrongIds:
    @pytest.mark.parametrize(
        "wrong", [None, True, False, 1.0, float("nan"), b"u1", ["u1"], ("u1",), {}, object()]
    )
    def test_what_is_no_id_is_a_type_error(
        self, cache: OptimizedCacheManager, use: str, wrong: Any
    ) -> None:
        with pytest.raises(TypeError, match="str, a UUID or an int"):
            USES[use](cache, wrong)
        assert len(cache) == 0

    def test_an_int_of_another_class_is_no_id(self, cache: OptimizedCacheManager, use: str) -> None:
        with pytest.raises(TypeError):
            USES[use](cache, Colour.RED)

    def test_an_empty_id_is_refused(self, cache: OptimizedCacheManager, use: str) -> None:
        with pytest.raises(InvalidKeyError, match="empty"):
            USES[use](cache, "")

    @pytest.mark.parametrize("character", ["x", "*", "é", "\ud800"])
    def test_an_id_of_ten_megabytes_is_refused_in_few_words(
        self, cache: OptimizedCacheManager, use: str, character: str
    ) -> None:
        with pytest.raises(InvalidKeyError, match="1024") as caught:
            USES[use](cache, character * 10_000_000)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("number", [10**40, -(10**40), 10**5000], ids=["big", "-big", "huge"])
    def test_an_integer_beyond_128_bits_is_refused(
        self, cache: OptimizedCacheManager, use: str, number: int
    ) -> None:
        with pytest.raises(VelroCacheError):
            USES[use](cache, number)


class TestIdsOfOtherKinds:
    @pytest.mark.parametrize("number", [0, 5, -5, 2**63, -(2**100), 2**126])
    def test_an_integer_is_its_decimal_text(
        self, cache: OptimizedCacheManager, number: int
    ) -> None:
        cache.set_user_profile(number, 1)
        assert cache.keys() == [f"auth:user:{number}:profile"]
        assert cache.get_user_profile(str(number)) == (1, True)
        assert cache.invalidate_user_data(str(number)) == 1

    def test_a_text_of_a_subclass_is_its_characters(self, cache: OptimizedCacheManager) -> None:
        cache.set_user_profile(IdText("u1"), 1)
        assert cache.get_user_profile("u1") == (1, True)

    def test_an_id_of_exactly_the_longest_length_fits_even_if_all_of_it_is_escaped(
        self, cache: OptimizedCacheManager
    ) -> None:
        longest = ":" * 1024
        assert cache.set_generation_access(longest, longest, 1)
        assert cache.get_generation_access(longest, longest) == (1, True)
        assert cache.invalidate_generation_data(longest) == 1
        with pytest.raises(InvalidKeyError):
            cache.get_user_profile("x" * 1025)


class TestKeysOfOnesOwn:
    @pytest.mark.parametrize(
        "key",
        [
            "x",
            ":",
            "::::",
            "*",
            "[",
            "%",
            "a\0b",
            "\x01",
            "ключ",
            "😀" * 100,
            "\ud800",
            "x\udc80y",
            ":" * 8192,
            "x" * 8192,
            "é" * 4096,
            " ",
            "\n",
        ],
    )
    def test_any_text_of_fitting_length_is_a_key(
        self, cache: OptimizedCacheManager, key: str
    ) -> None:
        assert cache.set(key, 1)
        assert cache.get(key) == (1, True)
        assert cache.get_value(key) == 1
        assert key in cache
        assert cache.keys() == [key]
        assert cache.get_many([key]) == {key: 1}
        assert cache.delete(key)
        assert cache.get(key) == (None, False)

    @pytest.mark.parametrize("wrong", [None, 5, b"key", ("key",), 1.5, True, object()])
    def test_a_key_that_is_no_text_is_a_type_error(
        self, cache: OptimizedCacheManager, wrong: Any
    ) -> None:
        for use in EVERY_USE_OF_A_KEY:
            with pytest.raises(TypeError, match="key must be a str"):
                use(cache, wrong)
        assert len(cache) == 0

    @pytest.mark.parametrize(
        "wrong", ["", "x" * 8193, "é" * 4097, "\ud800" * 2731, "x" * (1 << 20), "x" * 10_000_000]
    )
    def test_an_empty_or_huge_key_is_refused_in_few_words(
        self, cache: OptimizedCacheManager, wrong: str
    ) -> None:
        for use in EVERY_USE_OF_A_KEY:
            with pytest.raises(InvalidKeyError) as caught:
                use(cache, wrong)
            assert len(str(caught.value)) < 200
        assert len(cache) == 0

    def test_keys_that_differ_in_one_character_are_different(
        self, cache: OptimizedCacheManager
    ) -> None:
        keys = ["a", "A", "a ", "a\0", "á", "aa", "b"]
        for number, key in enumerate(keys):
            cache.set(key, number)
        assert [cache.get(key)[0] for key in keys] == list(range(len(keys)))

    def test_a_key_of_a_subclass_of_str_is_its_characters(
        self, cache: OptimizedCacheManager
    ) -> None:
        class Sly(str):
            __slots__ = ()

            def __eq__(self, other: object) -> bool:
                return True

            def __hash__(self) -> int:
                return 1

        cache.set("a", "of a")
        assert cache.get(Sly("b")) == (None, False)
        assert cache.get(Sly("a")) == ("of a", True)


EVERY_USE_OF_A_KEY: list[WithId] = [
    lambda cache, key: cache.get(key),
    lambda cache, key: cache.get_value(key),
    lambda cache, key: cache.set(key, 1),
    lambda cache, key: cache.delete(key),
    lambda cache, key: key in cache,
    lambda cache, key: cache.get_many([key]),
    lambda cache, key: cache.set_many({key: 1}),
    lambda cache, key: cache.get_or_load(key, lambda: 1),
]
