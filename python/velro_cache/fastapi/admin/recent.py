"""One list of what was invalidated lately: through the routes, and by code."""

import heapq
import itertools
from datetime import UTC, datetime
from typing import Any, Final

from velro_cache.fastapi.admin.answers import AuditEntry
from velro_cache.fastapi.admin.audit import AuditLog, is_mark
from velro_cache.hidden_ids import hidden_name
from velro_cache.manager import OptimizedCacheManager

__all__ = ["recent_invalidations"]

_ACTIONS: Final = {
    "user": "user",
    "generation": "generation",
    "tag": "tags",
    "pattern": "pattern",
    "key": "key",
    "everything": "clear",
}
"""What the journal calls the kind of a name, and what the routes call it."""

_KINDS: Final = {action: kind for kind, action in _ACTIONS.items()}
_MOST_IN_THE_JOURNAL: Final = 500
_MOST_CHARACTERS: Final = 200


def recent_invalidations(
    cache: OptimizedCacheManager, audit: AuditLog, limit: int, *, hash_ids: bool
) -> list[AuditEntry]:
    """List what this process invalidated, each once.

    What came through the routes is in the audit log, failures included, and in the journal of the
    cache, under the same mark. The audit log knows more of it.

    Args:
        cache: Whose journal.
        audit: Of these routes.
        limit: How many at most.
        hash_ids: Whether ids are shown as digests.

    Returns:
        The newest first.
    """
    audited = {mark: _hidden(entry) if hash_ids else entry for mark, entry in audit.latest()}
    found = []
    # The order is the journal's: the two have different clocks.
    for noted in cache.get_recent_invalidations(_MOST_IN_THE_JOURNAL, hash_ids=hash_ids):
        mark, actor = _taken_apart(noted["actor"] or "")
        entry = None if mark is None else audited.pop(mark, None)
        found.append(entry or _of_journal(cache, noted, actor, is_over_http=mark is not None))
    # What failed, and what the journal has no room for any more, goes where its time says.
    merged = heapq.merge(found, audited.values(), key=lambda entry: entry.at, reverse=True)
    return list(itertools.islice(merged, limit))


def _taken_apart(actor: str) -> tuple[str | None, str]:
    """Mark and name. Another router of the same cache leaves marks, too; an application may not."""
    mark, space, name = actor.partition(" ")
    return (mark, name) if space and is_mark(mark) else (None, actor)


def _of_journal(
    cache: OptimizedCacheManager, noted: dict[str, Any], actor: str, *, is_over_http: bool
) -> AuditEntry:
    kinds = {name["kind"] for name in noted["names"]}
    action = _ACTIONS[kinds.pop()] if len(kinds) == 1 else "several"
    named = action != "clear"
    return AuditEntry(
        at=datetime.fromtimestamp(noted["timestamp"], UTC),
        cache=cache.config.name,
        made="over_http" if is_over_http else "by_code",
        actor=actor,
        reason=noted["reason"] or "",
        action=action,  # type: ignore[arg-type]  # one of the texts above
        names=[name["name"][:_MOST_CHARACTERS] for name in noted["names"]] if named else [],
        names_count=noted["named"] if named else 0,
        wait=None,
        outcome="done",
        dropped_entries=noted["dropped"],
    )


def _hidden(entry: AuditEntry) -> AuditEntry:
    kind = _KINDS[entry.action]
    return entry.model_copy(update={"names": [hidden_name(kind, name) for name in entry.names]})
