"""What cannot be pickled or copied says so; a decorated function is pickled by its name."""

from __future__ import annotations

import copy
import pickle

import pytest

from velro_cache import OptimizedCacheManager, cached_authorization


class Manager(OptimizedCacheManager):
    """With a dict of its own."""


@cached_authorization(cache=OptimizedCacheManager())
def check(user_id: int) -> bool:
    """Stand for a decorated function of a module."""
    return user_id > 0


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [OptimizedCacheManager, Manager])
def test_a_cache_is_pickled_by_no_protocol(
    kind: type[OptimizedCacheManager], protocol: int
) -> None:
    with pytest.raises(TypeError, match=f"cannot pickle or copy {kind.__name__}: .* process"):
        pickle.dumps(kind(), protocol)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_cache_is_not_copied(copied: object) -> None:
    assert callable(copied)
    with pytest.raises(TypeError, match="cannot pickle or copy OptimizedCacheManager"):
        copied(OptimizedCacheManager())


def test_a_decorated_function_is_pickled_by_its_name_and_copied_as_itself() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(check, protocol)) is check  # noqa: S301 (its own dump)
    assert copy.copy(check) is check
    assert copy.deepcopy(check) is check
