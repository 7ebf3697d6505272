"""Where the names of API keys are, with FastAPI and without."""

from __future__ import annotations

import sys

import pytest

import velro_cache.api_keys
import velro_cache.fastapi

OF_FASTAPI = ["ApiKeyMiddleware", "ApiKeyAuth", "API_KEY_RESPONSES"]


@pytest.mark.parametrize("name", OF_FASTAPI)
def test_what_is_for_fastapi_is_found_here_too(name: str) -> None:
    assert getattr(velro_cache.api_keys, name) is getattr(velro_cache.fastapi, name)


@pytest.mark.parametrize("name", OF_FASTAPI)
def test_without_fastapi_it_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "velro_cache.fastapi", None)
    with pytest.raises(ImportError, match=r"pip install 'velro-cache\[fastapi\]'"):
        getattr(velro_cache.api_keys, name)


def test_other_names_are_unknown_as_everywhere() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        velro_cache.api_keys.Nothing  # noqa: B018
    assert not hasattr(velro_cache.api_keys, "Nothing")
