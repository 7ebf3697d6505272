"""Patterns mean what they mean to Python's `fnmatch.fnmatchcase`, in every odd corner."""

from __future__ import annotations

import fnmatch
import warnings

from hypothesis import example, given
from hypothesis import strategies as st

from velro_cache import OptimizedCacheManager

# Everything that means something in a pattern, and its neighbours.
NASTY = "*?[]!^-\\ab:\n\0&|~.$(){}+#%éЖ名😀\ud800\udfff\u0301\x7fAZ09"
letters = st.sampled_from(NASTY)
texts = st.text(letters, min_size=1, max_size=12)
pieces = st.one_of(
    texts,
    st.sampled_from(
        ["*", "?", "**", "[!a]", "[a-b]", "[b-a]", "[]]", "[!]]", "[", "]", "[]", "[!]"]
    ),
    st.builds(
        lambda inside: f"[{inside}]", st.text(st.sampled_from("ab!-]^\\[é😀\ud800*?:"), max_size=6)
    ),
)
patterns = st.lists(pieces, min_size=1, max_size=4).map("".join)
few_keys = st.lists(texts, min_size=1, max_size=8, unique=True)


@st.composite
def related(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A pattern and keys made of its pieces, so that they often fit."""
    parts = draw(st.lists(pieces, min_size=1, max_size=4))
    keys = draw(few_keys)
    for _ in range(draw(st.integers(0, 5))):
        filled = "".join(draw(st.one_of(texts, st.just(part))) for part in parts)
        keys.append(filled)
        keys.append("".join(part.strip("[]!*?") or "a" for part in parts))
    return "".join(parts), sorted({key for key in keys if key})


def fits(key: str, pattern: str) -> bool:
    with warnings.catch_warnings():
        # `re` wonders about a set within a set; to fnmatch it is none.
        warnings.simplefilter("ignore", FutureWarning)
        return fnmatch.fnmatchcase(key, pattern)


def is_a_collision(too_many: set[str], pattern: str) -> bool:
    """Whether a prefix took keys of one other prefix, too: two prefixes may share a slot.

    That is the documented price of an invalidation in constant time, and rare.
    """
    parents = [key.split(":")[:-1] for key in too_many]
    shared = [names for names in zip(*parents, strict=False) if len(set(names)) == 1]
    return pattern.endswith(":*") and bool(shared)


@given(related())
@example(("[", ["[", "a"]))
@example(("[!", ["[!", "[", "!"]))
@example(("[]", ["[]", "]"]))
@example(("[!]", ["[!]", "!", "]"]))
@example(("[z-a]", ["z", "-", "a", "m"]))
@example(("[!z-a]", ["z", "-", "a", "m"]))
@example(("[a-]", ["a", "-", "b"]))
@example(("[-a]", ["a", "-", "b"]))
@example(("[^a]", ["^", "a", "b"]))
@example(("[!^a]", ["^", "a", "b"]))
@example(("[a-c-e]", ["a", "b", "d", "-", "e"]))
@example(("[c-a-e]", ["a", "b", "d", "-", "e", "c"]))
@example(("[b-a-]", ["a", "b", "-"]))
@example(("[!--0]", ["-", ".", "0", "!"]))
@example(("[--]", ["-"]))
@example(("[---]", ["-", "a"]))
@example(("[\\]", ["\\", "]"]))
@example(("[\\-a]", ["\\", "_", "a", "-"]))
@example(("[[]", ["[", "a"]))
@example(("[[a]", ["[", "a", "[a"]))
@example(("[a&&b]", ["a", "&", "b"]))
@example(("[a||b~~c]", ["|", "~"]))
@example(("?", ["😀", "é", "\ud800", "\n", "ab"]))
@example(("[\ud800-\udfff]", ["\ud900", "é", "\ud800"]))
@example(("[é-名]", ["Ж", "é", "名", "😀"]))
@example(("*?", ["a", "😀"]))
@example(("*😀", ["a😀", "😀😀"]))
@example(("a*a", ["a", "aa", "aba"]))
@example(("*", ["\n"]))
def test_a_pattern_fits_exactly_the_keys_fnmatch_says(case: tuple[str, list[str]]) -> None:
    pattern, keys = case
    cache = OptimizedCacheManager()
    for key in keys:
        cache.set(key, 1)
    expected = {key for key in keys if fits(key, pattern)}
    assert set(cache.keys(pattern)) == expected
    count = cache.invalidate_by_pattern(pattern)
    dropped = set(keys) - set(cache.keys())
    assert count == len(dropped)
    assert dropped == expected or is_a_collision(dropped - expected, pattern)


@given(related())
def test_a_load_under_way_is_refused_exactly_if_the_pattern_fits_its_key(
    case: tuple[str, list[str]],
) -> None:
    pattern, keys = case
    cache = OptimizedCacheManager()
    stamp = cache.snapshot()
    cache.invalidate_by_pattern(pattern)
    refused = {key for key in keys if not cache.set(key, 1, stamp=stamp)}
    expected = {key for key in keys if fits(key, pattern)}
    assert refused == expected or is_a_collision(refused - expected, pattern)


@given(st.lists(st.sampled_from(["a", "b", "ab", ""]), min_size=1, max_size=10))
def test_a_prefix_pattern_covers_what_is_below_it_and_nothing_else(segments: list[str]) -> None:
    key = ":".join(segments) + ":end"
    cache = OptimizedCacheManager()
    for depth in range(1, len(segments) + 1):
        prefix = ":".join(segments[:depth])
        neighbours = {key, prefix, f"{prefix}x", f"{prefix}x:y", f"x{prefix}:y"} - {""}
        for neighbour in neighbours:
            cache.set(neighbour, 1)
        below = {neighbour for neighbour in neighbours if neighbour.startswith(f"{prefix}:")}
        count = cache.invalidate_by_pattern(f"{prefix}:*")
        dropped = neighbours - set(cache.keys())
        assert count == len(dropped)
        assert dropped == below or is_a_collision(dropped - below, f"{prefix}:*")
        cache.clear()
