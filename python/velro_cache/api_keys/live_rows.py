"""All live keys of a repository as rows, in the quickest way it knows."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from velro_cache.api_keys.key_rows import Rows, encode
from velro_cache.api_keys.models import ApiKey
from velro_cache.api_keys.repository import ApiKeyRepository

__all__ = ["RowsOfLiveKeys", "live_rows"]

_KEYS_AT_ONCE = 100
"""Encoded before others have the event loop; about half a millisecond."""


@runtime_checkable
class RowsOfLiveKeys(Protocol):
    """A repository that can hand out rows without making keys of them."""

    def fetch_live_rows(self) -> AsyncIterator[Rows] | None:
        """Stream all keys that are active, not revoked, and not expired.

        Yields:
            Rows; see :mod:`velro_cache.api_keys.key_rows`. None: not from this
            database; ``fetch_live`` does.
        """
        ...


def live_rows(repository: ApiKeyRepository, page_size: int) -> AsyncIterator[Rows]:
    """Stream all live keys.

    Args:
        repository: Where they are.
        page_size: Keys that are read at once, where the repository hands out keys.

    Yields:
        Rows.

    Raises:
        Exception: What the repository raises.
    """
    rows = repository.fetch_live_rows() if isinstance(repository, RowsOfLiveKeys) else None
    return _encoded(repository.fetch_live(page_size=page_size)) if rows is None else rows


async def _encoded(pages: AsyncIterator[Sequence[ApiKey]]) -> AsyncIterator[Rows]:
    async for page in pages:
        rows: Rows = []
        for start in range(0, len(page), _KEYS_AT_ONCE):
            rows.append(b"".join(map(encode, page[start : start + _KEYS_AT_ONCE])))
            await asyncio.sleep(0)
        yield rows
