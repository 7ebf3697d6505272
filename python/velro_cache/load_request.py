"""What a caller asks of one load, checked before anything is done."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple, TypedDict

from velro_cache.freshness.policy import Freshness
from velro_cache.loader import Permissive, Ttl

__all__ = ["CONFIGURED", "LoadOptions", "LoadRequest", "requested"]

CONFIGURED: Final[Any] = object()
"""Stands for a limit that a caller left out."""

_BY_KEY: Final[Any] = object()

_MORE_THAN_MAY_BE: Final = 65
"""Tags, of which a call may name one less."""


class LoadOptions(TypedDict, total=False):
    """What may be said of a load; see ``get_or_load`` for what it has, too."""

    ttl: Ttl
    tags: Iterable[str] | None
    priority: int
    load_timeout_seconds: float | None
    refresh: bool
    permissive: Permissive
    freshness: Freshness | None
    l2_key: str | None
    """The key under which other hosts look for the value. None: they could not find it, so L2 is
    neither asked nor told. Left out: the key."""
    private_tags: Iterable[str]
    """Those of the tags that must not leave this host."""


class LoadRequest(NamedTuple):
    """What a caller asked for, and may."""

    key: str
    loader: Callable[[], Any]
    ttl: Ttl
    tags: Iterable[str] | None
    priority: int
    load_timeout_seconds: float | None
    refresh: bool
    permissive: Permissive
    freshness: Freshness | None
    l2_key: str | None
    """Its key in L2; None: it has none."""
    private_tags: Iterable[str]

    @property
    def life_seconds(self) -> float | None:
        """The life that is known before the value is; None: there is none."""
        return None if callable(self.ttl) else self.ttl

    @property
    def grace_seconds(self) -> float | None:
        """How long the value is kept beyond its end, for who may have an old one."""
        freshness = self.freshness
        return None if freshness is None else freshness.longest_stale_seconds or None


def requested(
    key: str,
    loader: Callable[[], Any],
    configured_timeout_seconds: float | None,
    *,
    ttl: Ttl = None,
    tags: Iterable[str] | None = None,
    priority: int = 1,
    load_timeout_seconds: float | None = CONFIGURED,
    refresh: bool = False,
    permissive: Permissive = True,
    freshness: Freshness | None = None,
    l2_key: str | None = _BY_KEY,
    private_tags: Iterable[str] = (),
) -> LoadRequest:
    """Refuse what makes no sense; the engine looks at keys, lives, tags and priorities itself.

    Raises:
        TypeError: ``permissive``, ``freshness`` or the limit is of a wrong kind.
        ValueError: The limit is not above 0, or ``freshness`` may not be asked for.
    """
    if load_timeout_seconds is CONFIGURED:
        timeout = configured_timeout_seconds
    else:
        timeout = _checked_timeout(load_timeout_seconds)
    if not (isinstance(permissive, bool) or callable(permissive)):
        kind = type(permissive).__name__
        raise TypeError(f"permissive must be True, False or a function of the value, not {kind}")
    if freshness is not None:
        if not isinstance(freshness, Freshness):
            kind = type(freshness).__name__
            raise TypeError(f"freshness must be a Freshness or None, not {kind}")
        freshness.check_permissive(permissive)
    if isinstance(tags, Iterator):
        # Read more than once, and one may be endless: the engine refuses too many.
        tags = tuple(islice(tags, _MORE_THAN_MAY_BE))
    return LoadRequest(
        key,
        loader,
        ttl,
        tags,
        priority,
        timeout,
        refresh,
        permissive,
        freshness,
        key if l2_key is _BY_KEY else l2_key,
        private_tags,
    )


def _checked_timeout(asked: float | None) -> float | None:
    if asked is None:
        return None
    if isinstance(asked, bool) or not isinstance(asked, (int, float)):
        raise TypeError(f"load_timeout_seconds must be a number, not {type(asked).__name__}")
    if not asked > 0:
        raise ValueError(f"load_timeout_seconds must be above 0, not {asked!r}")
    return asked
