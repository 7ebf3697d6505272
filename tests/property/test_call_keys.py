"""Two calls share a result if, and only if, they mean the same: compared with `inspect`."""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache import OptimizedCacheManager, cached_authorization, generate_auth_key
from velro_cache.exceptions import VelroCacheError


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Access(enum.IntFlag):
    READ = 1


TEXT = "0f8fad5b-d9cb-469f-a165-70867728950e"
# Few and much alike, so that calls meet.
atoms = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, 1.0, 0.0, -0.0, "", "1", "a", "b", b"", b"1", b"a", TEXT]
    ),
    st.sampled_from([uuid.UUID(TEXT), Colour.RED, Colour.BLUE, Access.READ, Access(8), Access(16)]),
    st.sampled_from([dt.date(2030, 1, 1), dt.datetime(2030, 1, 1), dt.timedelta(1)]),
    st.integers(),
    st.text(max_size=3),
)
arguments = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner), st.tuples(inner, inner), st.frozensets(inner, max_size=2)
    ),
    max_leaves=3,
)
positional = st.lists(arguments, max_size=4)
named = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d", "args", "user_id"]), arguments, max_size=3
)
calls = st.tuples(positional, named)


def meaning(value: Any) -> Any:
    """A value with its type, hashable, the same for values that mean the same."""
    if type(value) is tuple:
        return tuple, tuple(map(meaning, value))
    if type(value) is frozenset:
        return frozenset, frozenset(map(meaning, value))
    if isinstance(value, enum.Enum):
        return type(value), value.value
    return type(value), repr(value)


def plain(a: Any, b: Any = 1, *, c: Any = None) -> None: ...
def positions(a: Any, /, b: Any = "b") -> None: ...
def more(a: Any = 0, *args: Any, c: Any = 0) -> None: ...
def anything(*args: Any, **kwargs: Any) -> None: ...
def both(a: Any, *args: Any, b: Any = 1, **kwargs: Any) -> None: ...
def hidden(a: Any, /, **kwargs: Any) -> None: ...


SHAPES: list[Callable[..., None]] = [plain, positions, more, anything, both, hidden]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@given(made=st.lists(calls, min_size=2, max_size=12))
def test_calls_share_a_result_exactly_if_they_mean_the_same(
    shape: Callable[..., None], made: list[tuple[list[Any], dict[str, Any]]]
) -> None:
    cache = OptimizedCacheManager()
    signature = inspect.signature(shape)
    numbers: dict[Any, int] = {}
    ran = 0

    def count(*args: Any, **kwargs: Any) -> int:
        nonlocal ran
        ran += 1
        return ran

    count.__signature__ = signature  # type: ignore[attr-defined]
    decorated: Any = cached_authorization(cache=cache)(count)
    for args, kwargs in made:
        try:
            # A real call: some `Signature.bind` takes what the function does not.
            shape(*args, **kwargs)
        except TypeError:
            with pytest.raises(TypeError):
                decorated(*args, **kwargs)
            continue
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        same = tuple(
            (name, tuple(sorted((k, meaning(v)) for k, v in value.items())))
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
            else (name, meaning(value))
            for name, value in bound.arguments.items()
        )
        number = decorated(*args, **kwargs)
        assert number == numbers.setdefault(same, number), "the same call was made twice"
        assert list(numbers.values()).count(number) == 1, "two calls share a result"
    assert ran == len(numbers)


ids = st.one_of(
    st.text(max_size=12),
    st.text(st.sampled_from(":*?[]%\0ab/-{}1"), max_size=6),
    st.integers(),
    st.uuids(),
    st.uuids().map(lambda value: str(value).upper()),
)


def same_id(id_: Any) -> str:
    text = str(id_)
    try:
        canonical = str(uuid.UUID(text))
    except ValueError:
        return text
    with_hyphens = text.lower().removeprefix("urn:uuid:").strip("{}") == canonical
    return canonical if with_hyphens else text


@given(ids, ids, ids, ids)
def test_two_pairs_of_ids_have_one_key_exactly_if_they_are_the_same_ids(
    one: Any, two: Any, three: Any, four: Any
) -> None:
    def key(generation_id: Any, user_id: Any) -> str | None:
        try:
            return generate_auth_key(
                "generation_access", generation_id=generation_id, user_id=user_id
            )
        except VelroCacheError:
            return None

    left, right = key(one, two), key(three, four)
    if left is None or right is None:
        assert "" in (one, two, three, four) or max(map(abs, _integers(one, two, three, four))) > 9
        return
    same = (same_id(one), same_id(two)) == (same_id(three), same_id(four))
    assert (left == right) == same
    assert left.count(":") == 5


def _integers(*ids: Any) -> list[int]:
    return [id_ for id_ in ids if isinstance(id_, int)] or [0]


def test_no_id_reaches_the_entries_of_another() -> None:
    collisions: set[Any] = set()

    @given(st.sampled_from(["user_profile", "session_data"]), ids, ids)
    def any_two(kind: str, one: Any, other: Any) -> None:
        if "" in (one, other) or any(abs(n) >= 2**127 for n in _integers(one, other)):
            return
        if not reaches_only_its_own(kind, one, other):
            collisions.add((one, other))

    any_two()
    # Two tags may share a slot, and then one takes the other's entries with it: one pair in
    # 65,536, and never the other way round.
    assert len(collisions) <= 1


def reaches_only_its_own(kind: str, one: Any, other: Any) -> bool:
    cache = OptimizedCacheManager()
    getattr(cache, f"set_{kind}")(one, "of one")
    same = same_id(one) == same_id(other)
    assert getattr(cache, f"get_{kind}")(other)[1] == same
    dropped = cache.invalidate_user_data(other)
    # Tags also take a UUID without hyphens for the UUID: more may be dropped, never less.
    merged = str(one).replace("-", "").lower() == str(other).replace("-", "").lower()
    assert dropped >= same
    return dropped == same or merged
