"""Invalidations as the routes make them: checked, counted and written down."""

import os
from typing import Any, Literal

from velro_cache.exceptions import InvalidationNotAcknowledged, SharedTableError
from velro_cache.fastapi.admin.answers import (
    ClearAnswer,
    InvalidationAnswer,
    NotAcknowledged,
)
from velro_cache.fastapi.admin.audit import AuditLog
from velro_cache.fastapi.admin.requests import (
    ClearRequest,
    InvalidateKey,
    InvalidatePattern,
    Invalidation,
)
from velro_cache.manager import OptimizedCacheManager
from velro_cache.typed_entries import Wait

__all__ = ["Action", "clear", "dry_run", "invalidate", "where_it_holds"]

Action = Literal["user", "generation", "tags", "pattern", "key"]

_HOLDS_ON_THIS_HOST = (
    "Invalidated on this host, in all of its workers. Not acknowledged in time by the log or by"
    " every other host; it is sent to them as soon as the log can be reached, while this process"
    " lives."
)
_HOLDS_IN_THIS_PROCESS = (
    "Invalidated in this process. The table of this host is lost, so its other workers may not"
    " know: take it for not done, make room for the table, and invalidate again."
)
_MOST_COUNTED = 100_000
_MOST_NAMES_WRITTEN_DOWN = 10
_MOST_CHARACTERS_WRITTEN_DOWN = 200


def dry_run(cache: OptimizedCacheManager, request: Invalidation) -> InvalidationAnswer:
    """Check the names, and count what an invalidation would drop in this process.

    Args:
        cache: Where.
        request: What.

    Returns:
        The count of a key or a pattern (up to 100,000). What a tag, a user or a generation reaches
        is found out by invalidating only.

    Raises:
        InvalidKeyError, InvalidTagError, TypeError: A name names nothing.
    """
    cache.revoking(**request.names())
    count = None
    if isinstance(request, InvalidateKey):
        count = int(request.key in cache)
    elif isinstance(request, InvalidatePattern):
        count = len(cache.keys(request.pattern, _MOST_COUNTED))
    return InvalidationAnswer(
        cache=cache.config.name,
        process_id=os.getpid(),
        dry_run=True,
        dropped_entries=None,
        would_drop_entries=count,
        holds=None,
    )


def invalidate(
    cache: OptimizedCacheManager,
    request: Invalidation,
    action: Action,
    actor: str,
    audit: AuditLog,
) -> InvalidationAnswer | NotAcknowledged:
    """Invalidate, wait as asked, and write it down, whatever came of it.

    Runs in a thread: it may wait for the log.

    Args:
        cache: Where.
        request: What.
        action: What kind of names these are.
        actor: Who asked for it.
        audit: Where to write it down.

    Returns:
        What was done; or where it holds, and that others may not know.

    Raises:
        InvalidKeyError, InvalidTagError, TypeError: A name names nothing; nothing was done.
        CacheStoppedError: The cache was stopped.
    """
    wait: Wait = request.wait or cache.config.invalidation_wait
    names = request.shown()
    mark = audit.mark()
    entry = _entry(cache, request.reason, actor, action, names, wait, mark)
    try:
        revocation = cache.revoking(
            **request.names(), wait=wait, actor=f"{mark} {actor}", reason=request.reason or None
        )
        with revocation:
            pass
    except (InvalidationNotAcknowledged, SharedTableError) as error:
        return _not_everywhere(error, audit, entry, revocation.dropped)
    except BaseException:
        audit.add(**entry, outcome="failed", dropped_entries=None)
        raise
    audit.add(**entry, outcome="done", dropped_entries=revocation.dropped)
    return InvalidationAnswer(
        cache=cache.config.name,
        process_id=os.getpid(),
        dry_run=False,
        dropped_entries=revocation.dropped,
        would_drop_entries=None,
        holds=where_it_holds(cache, wait),
    )


def clear(
    cache: OptimizedCacheManager, request: ClearRequest, actor: str, audit: AuditLog
) -> ClearAnswer | NotAcknowledged:
    """Invalidate everything, wait as asked, and write it down.

    Args:
        cache: Where.
        request: How, and why.
        actor: Who asked for it.
        audit: Where to write it down.

    Returns:
        What was done; or where it holds, and that others may not know.

    Raises:
        CacheStoppedError: The cache was stopped.
    """
    wait: Wait = request.wait or cache.config.invalidation_wait
    mark = audit.mark()
    entry = _entry(cache, request.reason, actor, "clear", [], wait, mark)
    # Entries that come or go meanwhile are counted or not; all of them are dropped.
    held = len(cache)
    try:
        cache.clear(wait=wait, actor=f"{mark} {actor}", reason=request.reason or None)
    except (InvalidationNotAcknowledged, SharedTableError) as error:
        return _not_everywhere(error, audit, entry, held)
    except BaseException:
        audit.add(**entry, outcome="failed", dropped_entries=None)
        raise
    audit.add(**entry, outcome="done", dropped_entries=held)
    return ClearAnswer(
        cache=cache.config.name,
        process_id=os.getpid(),
        dropped_entries=held,
        holds=where_it_holds(cache, wait),
    )


def where_it_holds(cache: OptimizedCacheManager, waited_for: Wait) -> Wait:
    """Where an invalidation holds that was waited for.

    Args:
        cache: Where it was made.
        waited_for: What was waited for.
    """
    # Without a log there is nobody to wait for, and nobody who was told.
    return "host" if cache.config.log_address is None else waited_for


def _not_everywhere(
    error: InvalidationNotAcknowledged | SharedTableError,
    audit: AuditLog,
    entry: dict[str, Any],
    dropped: int,
) -> NotAcknowledged:
    """Write down, and say, how far an invalidation came."""
    is_shared = isinstance(error, InvalidationNotAcknowledged)
    outcome = "not_acknowledged" if is_shared else "not_shared"
    audit.add(**entry, outcome=outcome, dropped_entries=dropped)
    return NotAcknowledged(
        detail=_HOLDS_ON_THIS_HOST if is_shared else _HOLDS_IN_THIS_PROCESS,
        holds="host" if is_shared else "process",
        wanted=entry["wait"],
        dropped_entries=dropped,
    )


def _entry(
    cache: OptimizedCacheManager,
    reason: str,
    actor: str,
    action: str,
    names: list[str],
    wait: Wait,
    mark: str,
) -> dict[str, Any]:
    return {
        "mark": mark,
        "cache": cache.config.name,
        "actor": actor,
        "reason": reason,
        "action": action,
        "names": [
            name[:_MOST_CHARACTERS_WRITTEN_DOWN] for name in names[:_MOST_NAMES_WRITTEN_DOWN]
        ],
        "names_count": len(names),
        "wait": wait,
    }
