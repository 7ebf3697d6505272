"""How a change is made: in turn, to its end, written down, and with an answer to every error."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse

from velro_cache.api_keys.key_format import holds_key
from velro_cache.exceptions import (
    AuthorizationUnavailable,
    CacheStoppedError,
    ConfigError,
    InvalidationNotAcknowledged,
    InvalidKeyError,
    InvalidTagError,
    KeyConflict,
    KeyNotFound,
    OrganizationNotFound,
    SharedTableError,
)
from velro_cache.fastapi.admin.guarding import actor_of
from velro_cache.fastapi.admin.requests import ChangeRequest, Reasoned
from velro_cache.fastapi.key_admin.answers import (
    ApiKeyAnswer,
    ChangeNotAcknowledged,
    CreatedKeyAnswer,
)
from velro_cache.fastapi.key_admin.context import KeyAdminContext
from velro_cache.typed_entries import Wait

__all__ = ["Change", "created_answer", "make", "read"]

log = logging.getLogger("velro_cache")

_HOLDS_ON_THIS_HOST: Final = (
    "The change is made, and holds on this host, in all of its workers. Not acknowledged in time by"
    " the log or by every other host; it is sent to them as soon as the log can be reached, while"
    " this process lives."
)
_HOLDS_IN_THIS_PROCESS: Final = (
    "The change is made in the database and holds in this process. The table of this host is lost,"
    " so its other workers may not know: make room for the table, and make the change again."
)
_UNKNOWN: Final = (
    "The database did not answer as it should. Whether the change was made is not known: look, and"
    " make it again if it was not."
)
_AGAIN: Final = {"Retry-After": "1"}
_DATABASES: Final = frozenset({"sqlalchemy", "asyncpg", "aiosqlite", "sqlite3"})


@dataclass(slots=True)
class Change:
    """A change that somebody asked for.

    Attributes:
        action: What kind of change; see ``ChangeEntry``.
        body: The request.
        names: ``organization_id`` and ``key_id``, as far as they are known.
    """

    action: str
    body: Reasoned
    names: dict[str, str | None] = field(default_factory=dict)


Work = Callable[[Mapping[str, Any]], Awaitable[Any]]


async def make(admin: KeyAdminContext, request: Request, change: Change, work: Work) -> Any:
    """Make a change, to its end even if who asked for it hangs up, and write it down.

    Args:
        admin: What the routes have in common.
        request: Says who asks.
        change: What is asked for.
        work: Makes it; is given ``actor``, ``reason`` and ``wait``.

    Returns:
        What the work returned, or a response that says how far it came.

    Raises:
        HTTPException: 404, 409, 422: nothing was changed. 429: too many changes. 503: nobody can
            tell, or the database did not answer.
    """
    actor = actor_of(request)
    _refuse_keys(change.body)
    _take_turn(admin)
    task = asyncio.ensure_future(_made(admin, change, work, actor))
    admin.running.add(task)
    task.add_done_callback(admin.running.discard)
    # Looked at, so that nobody is told of an error that nobody waits for; it is written down.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(task)


async def read(work: Awaitable[Any]) -> Any:
    """Read something, with an answer to every error.

    Args:
        work: What is to be awaited.

    Raises:
        HTTPException: 404, 422, 503, as for :func:`make`.
    """
    try:
        return await work
    except Exception as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise refusal from None


def created_answer(admin: KeyAdminContext, created: Any) -> CreatedKeyAnswer:
    """Say the key that was made, this once.

    Args:
        admin: What the routes have in common.
        created: What the store made.
    """
    key = ApiKeyAnswer.of(created.key, admin.now().timestamp())
    return CreatedKeyAnswer(key=key, plain_key=created.plain.reveal())


def _refuse_keys(body: Reasoned) -> None:
    """Refuse a body with a key in it, such as in the place of an id: all of it is written down."""
    if any(holds_key(text) for text in body.model_dump().values() if isinstance(text, str)):
        raise HTTPException(
            422,
            "There is an API key in it, which is to be written nowhere; a key is named by its id",
        )


def _take_turn(admin: KeyAdminContext) -> None:
    seconds = admin.turns.take()
    if seconds is not None:
        headers = {"Retry-After": str(max(1, math.ceil(seconds)))}
        raise HTTPException(429, "Too many changes", headers)


async def _made(admin: KeyAdminContext, change: Change, work: Work, actor: str) -> Any:
    body = change.body
    wait = body.wait if isinstance(body, ChangeRequest) else None
    about = {
        "actor": f"{admin.changes.mark()} {actor}",
        "reason": body.reason or None,
        "wait": wait,
    }
    outcome = "failed"
    try:
        answer = await work(about)
        outcome = "done"
        return answer
    except InvalidationNotAcknowledged as error:
        outcome = "not_acknowledged"
        return _not_everywhere(admin, error, wait)
    except SharedTableError as error:
        outcome = "not_shared"
        return _not_everywhere(admin, error, wait)
    except Exception as error:
        refusal = _refusal(error, _UNKNOWN)
        if refusal is None:
            raise
        outcome = "refused" if refusal.status_code < 500 else "failed"
        raise refusal from None
    finally:
        admin.changes.add(
            action=change.action,
            **change.names,
            actor=actor,
            reason=body.reason,
            outcome=outcome,
        )


def _refusal(
    error: Exception, unknown: str = "The database of keys does not answer as it should"
) -> HTTPException | None:
    """What to answer to an error; None: it is a fault of the service."""
    if isinstance(error, KeyNotFound | OrganizationNotFound):
        return HTTPException(404, str(error))
    if isinstance(error, KeyConflict):
        return HTTPException(409, str(error))
    if isinstance(error, InvalidKeyError | InvalidTagError):
        return HTTPException(422, str(error))
    if isinstance(error, ConfigError):
        # The body was checked before, so it is the service that lacks something.
        log.warning("api keys: %s", error)
        return HTTPException(503, "This service is not set up to make keys")
    # Of the store itself: those of other packages may hold what they were given.
    if type(error) is ValueError:
        return HTTPException(422, str(error)[:200])
    if isinstance(error, CacheStoppedError):
        return HTTPException(503, f"The cache is stopped. {unknown}", _AGAIN)
    if isinstance(error, AuthorizationUnavailable):
        return HTTPException(503, str(error), _AGAIN)
    if isinstance(error, OSError) or any(
        kind.__module__.partition(".")[0] in _DATABASES for kind in type(error).__mro__
    ):
        # Its text may name an address.
        log.warning("api keys: the database failed: %s", type(error).__name__)
        return HTTPException(503, unknown, _AGAIN)
    return None


def _not_everywhere(
    admin: KeyAdminContext,
    error: InvalidationNotAcknowledged | SharedTableError,
    wait: Wait | None,
) -> Response:
    is_shared = isinstance(error, InvalidationNotAcknowledged)
    created = error.result
    answer = ChangeNotAcknowledged(
        detail=_HOLDS_ON_THIS_HOST if is_shared else _HOLDS_IN_THIS_PROCESS,
        holds="host" if is_shared else "process",
        wanted=wait or admin.administration.cache.manager.config.invalidation_wait,
        dropped_entries=None,
        created=None if created is None else created_answer(admin, created),
    )
    return JSONResponse(answer.model_dump(mode="json"), 503)
