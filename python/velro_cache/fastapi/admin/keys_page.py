"""Keys by prefix, a page at a time."""

import glob
import heapq
import os
from typing import Final

from velro_cache.fastapi.admin.answers import KeysAnswer
from velro_cache.manager import OptimizedCacheManager

__all__ = ["keys_page"]

_MOST_KEYS_LOOKED_AT: Final = 100_000


def keys_page(cache: OptimizedCacheManager, prefix: str, after: str, limit: int) -> KeysAnswer:
    """Give the keys that begin with a text, in alphabetical order.

    A page begins after a key, not at a number: keys come and go between two pages, and none is
    shown twice or skipped for that.

    Args:
        cache: Whose keys.
        prefix: What they begin with; empty: all.
        after: The last key of the page before; empty: from the first one.
        limit: How many at most.

    Returns:
        The page. Of more than 100,000 keys some are not looked at, which it then says.

    Cost: `O(entries)`, in Rust; the list of those with the prefix, in Python.
    """
    # One more than asked for tells whether that was all; wildcards in the prefix are none.
    found = cache.keys(glob.escape(prefix) + "*", _MOST_KEYS_LOOKED_AT + 1)
    page = heapq.nsmallest(limit + 1, (key for key in found if key > after))
    return KeysAnswer(
        cache=cache.config.name,
        process_id=os.getpid(),
        prefix=prefix,
        keys=page[:limit],
        next_after=page[limit - 1] if len(page) > limit else None,
        is_complete=len(found) <= _MOST_KEYS_LOOKED_AT,
    )
