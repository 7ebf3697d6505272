"""The caches that are compared, in the order of the tables."""

from __future__ import annotations

from typing import Final

from contestants.base import Contestant
from contestants.peers import (
    CacheboxLru,
    CacheboxVttl,
    CachetoolsLru,
    CachetoolsTtl,
    Cashews,
    LruDict,
    MokaPy,
    Theine,
    WarpCache,
)
from contestants.pure_python import PurePython, TightPurePython
from contestants.stdlib import LruCache, PlainDict
from contestants.velro import Velro, VelroShared, VelroUncompressed, VelroUntagged, VelroValue

CONTESTANTS: Final[tuple[type[Contestant], ...]] = (
    Velro,
    VelroValue,
    VelroUntagged,
    VelroUncompressed,
    VelroShared,
    PurePython,
    TightPurePython,
    CacheboxLru,
    CacheboxVttl,
    MokaPy,
    Theine,
    WarpCache,
    LruDict,
    CachetoolsLru,
    CachetoolsTtl,
    Cashews,
    LruCache,
    PlainDict,
)
"""All of them; each says in which scenarios it takes part."""
