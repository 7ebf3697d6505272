"""The tree of exceptions: one root, and the built-in each of them also is."""

from __future__ import annotations

import pytest

import velro_cache
from velro_cache import exceptions

BUILT_IN = {
    "ConfigError": ValueError,
    "InvalidKeyError": ValueError,
    "InvalidTagError": ValueError,
    "SerializationError": TypeError,
    "UncacheableArgumentError": TypeError,
    "SharedTableError": OSError,
    "InvalidationNotAcknowledged": TimeoutError,
    "CacheStoppedError": RuntimeError,
    "LoaderTimeoutError": TimeoutError,
    "LoaderRecursionError": RuntimeError,
    "LoaderCancelledError": RuntimeError,
    "AuthorizationUnavailable": RuntimeError,
    "MissBudgetExceeded": RuntimeError,
    "InvalidTokenError": ValueError,
    "ApiKeyError": ValueError,
    "KeyMalformed": ValueError,
    "KeyUnknown": ValueError,
    "KeyRevoked": ValueError,
    "KeyExpired": ValueError,
    "KeyNotFound": LookupError,
    "OrganizationNotFound": LookupError,
    "KeyConflict": ValueError,
    "InvalidationLogError": ConnectionError,
    "InvalidationLogRefused": ConnectionError,
    "InvalidationLogUnavailable": ConnectionError,
    "NotAnInvalidationLog": ConnectionError,
}


@pytest.mark.parametrize(("name", "built_in"), BUILT_IN.items())
def test_each_error_is_one_of_ours_and_the_built_in_it_stands_for(
    name: str, built_in: type[Exception]
) -> None:
    error = getattr(exceptions, name)
    assert issubclass(error, exceptions.VelroCacheError)
    assert issubclass(error, built_in)
    with pytest.raises(built_in, match="why"):
        raise error("why")


def test_no_error_is_missing_from_the_list_above() -> None:
    assert set(exceptions.__all__) == {"VelroCacheError", *BUILT_IN}


def test_the_root_is_no_built_in_kind_of_error() -> None:
    assert exceptions.VelroCacheError.__bases__ == (Exception,)


def test_errors_are_importable_from_the_package_itself() -> None:
    for name in exceptions.__all__:
        assert getattr(velro_cache, name) is getattr(exceptions, name)


def test_errors_of_the_compiled_half_are_these_very_classes() -> None:
    cache = velro_cache.OptimizedCacheManager()
    with pytest.raises(exceptions.InvalidKeyError) as caught:
        cache.get("")
    assert type(caught.value) is exceptions.InvalidKeyError
