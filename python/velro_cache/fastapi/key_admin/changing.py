"""Routes that change organizations and keys.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.fastapi.admin.answers import Message
from velro_cache.fastapi.admin.invalidating import where_it_holds
from velro_cache.fastapi.key_admin.answers import (
    ApiKeyAnswer,
    ChangedAnswer,
    ChangeNotAcknowledged,
    CreatedKeyAnswer,
    NotUnderstood,
    OrganizationAnswer,
    RefreshReportAnswer,
)
from velro_cache.fastapi.key_admin.bodies import (
    CreateKey,
    CreateOrganization,
    ExpireKey,
    LimitsBody,
    NameKey,
    NameOrganization,
    RefreshNow,
    RotateKey,
    SetKeyActive,
    SetKeyLimits,
    SetOrganizationActive,
    SetOrganizationLimits,
    SetPlan,
)
from velro_cache.fastapi.key_admin.context import KeyAdminContext
from velro_cache.fastapi.key_admin.making_changes import Change, created_answer, make

__all__ = ["CHANGING_KEYS_RESPONSES", "add_key_routes", "add_organization_routes", "add_refresh"]

CHANGING_KEYS_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": Message, "description": "The body cannot be parsed"},
    401: {"model": Message, "description": "The guard wants to know who it is"},
    403: {"model": Message, "description": "The guard refuses, or it is a page of another site"},
    404: {"model": Message, "description": "There is no such organization or key"},
    409: {"model": Message, "description": "It contradicts what is there; nothing was changed"},
    413: {"model": Message, "description": "The body is too large"},
    415: {"model": Message, "description": "The body is not JSON"},
    422: {"model": NotUnderstood, "description": "The body is not understood"},
    429: {"model": Message, "description": "Too many changes; see Retry-After"},
    503: {
        "model": ChangeNotAcknowledged | Message,
        "description": "Made, and others may not know yet; or the database does not answer",
    },
}

About = Mapping[str, Any]


def add_organization_routes(router: APIRouter, admin: KeyAdminContext) -> None:
    """Add the routes that make and change organizations.

    Args:
        router: One with a guard, and with routes that refuse other sites.
        admin: What all routes have in common.
    """
    keys = admin.administration

    @router.post(
        "/organizations",
        status_code=201,
        response_model=OrganizationAnswer,
        summary="Make an organization",
    )
    async def create_organization(request: Request, body: CreateOrganization) -> Any:
        change = Change("create_organization", body, {"organization_id": body.organization_id})

        async def work(_about: About) -> Any:
            made = await admin.store.create_organization(
                body.name,
                organization_id=body.organization_id,
                plan=body.plan,
                limits=_limits(body.limits),
            )
            change.names["organization_id"] = made.id
            return OrganizationAnswer.of(made)

        return await make(admin, request, change, work)

    @router.post(
        "/organizations/plan", response_model=ChangedAnswer, summary="Say what it has booked"
    )
    async def set_plan(request: Request, body: SetPlan) -> Any:
        async def work(about: About) -> None:
            await keys.set_plan(body.organization_id, body.plan, **about)

        return await _make(admin, request, "set_plan", body, work)

    @router.post(
        "/organizations/limits",
        response_model=ChangedAnswer,
        summary="Say how many requests all its keys may make",
    )
    async def set_organization_limits(request: Request, body: SetOrganizationLimits) -> Any:
        async def work(about: About) -> None:
            limits = _limits(body.limits)
            await keys.set_limits(limits, organization_id=body.organization_id, **about)

        return await _make(admin, request, "set_organization_limits", body, work)

    @router.post(
        "/organizations/active",
        response_model=ChangedAnswer,
        summary="Switch an organization with all its keys on or off",
    )
    async def set_organization_active(request: Request, body: SetOrganizationActive) -> Any:
        async def work(about: About) -> None:
            await keys.set_active(body.is_active, organization_id=body.organization_id, **about)

        return await _make(admin, request, "set_organization_active", body, work)


def add_key_routes(router: APIRouter, admin: KeyAdminContext) -> None:
    """Add the routes that make, change and end keys.

    Args:
        router: One with a guard, and with routes that refuse other sites.
        admin: What all routes have in common.
    """
    keys = admin.administration

    @router.post(
        "/keys",
        status_code=201,
        response_model=CreatedKeyAnswer,
        summary="Make a key; the answer tells it this once",
    )
    async def create_key(request: Request, body: CreateKey) -> Any:
        change = Change("create_key", body, {"organization_id": body.organization_id})

        async def work(_about: About) -> Any:
            made = await keys.create(
                body.organization_id,
                scopes=body.scopes,
                name=body.name,
                expires_at=body.expires_at,
                environment=body.environment,
                limits=_limits(body.limits),
            )
            change.names["key_id"] = made.key.id
            return _told_once(created_answer(admin, made))

        return await make(admin, request, change, work)

    @router.post(
        "/keys/rotate",
        status_code=201,
        response_model=CreatedKeyAnswer,
        summary="Make a key in the place of another one; the answer tells it this once",
    )
    async def rotate_key(request: Request, body: RotateKey) -> Any:
        async def work(about: About) -> Any:
            made = await keys.rotate(body.key_id, overlap_seconds=body.overlap_seconds, **about)
            return _told_once(created_answer(admin, made))

        change = Change("rotate_key", body, {"key_id": body.key_id})
        return await make(admin, request, change, work)

    @router.post("/keys/revoke", response_model=ChangedAnswer, summary="End a key for good")
    async def revoke_key(request: Request, body: NameKey) -> Any:
        async def work(about: About) -> ApiKey:
            return await keys.revoke(body.key_id, **about)

        return await _make(admin, request, "revoke_key", body, work)

    @router.post("/keys/expire", response_model=ChangedAnswer, summary="Say when a key ends")
    async def expire_key(request: Request, body: ExpireKey) -> Any:
        async def work(about: About) -> ApiKey:
            return await keys.expire(body.key_id, body.expires_at, **about)

        return await _make(admin, request, "expire_key", body, work)

    @router.post(
        "/keys/limits", response_model=ChangedAnswer, summary="Say how many requests it may make"
    )
    async def set_key_limits(request: Request, body: SetKeyLimits) -> Any:
        async def work(about: About) -> None:
            await keys.set_limits(_limits(body.limits), key_id=body.key_id, **about)

        return await _make(admin, request, "set_key_limits", body, work)

    @router.post("/keys/active", response_model=ChangedAnswer, summary="Switch a key on or off")
    async def set_key_active(request: Request, body: SetKeyActive) -> Any:
        async def work(about: About) -> None:
            await keys.set_active(body.is_active, key_id=body.key_id, **about)

        return await _make(admin, request, "set_key_active", body, work)


def add_refresh(router: APIRouter, admin: KeyAdminContext) -> None:
    """Add the route that reads all live keys now.

    Args:
        router: One with a guard, and with routes that refuse other sites.
        admin: What all routes have in common, with what refreshes.
    """
    refresh = admin.refresh
    assert refresh is not None  # noqa: S101 - the router looks before

    @router.post(
        "/refresh",
        response_model=RefreshReportAnswer,
        summary="Read all live keys from the database",
    )
    async def refresh_now(request: Request, body: RefreshNow) -> Any:
        async def work(_about: About) -> Any:
            report = await refresh.refresh_now()
            return RefreshReportAnswer.model_validate(report, from_attributes=True)

        return await make(admin, request, Change("refresh", body), work)


async def _make(
    admin: KeyAdminContext,
    request: Request,
    action: str,
    body: NameOrganization | NameKey,
    work: Callable[[About], Awaitable[ApiKey | None]],
) -> Any:
    """Change an organization or a key that is there, and say where that holds."""
    names = body.model_dump(include={"organization_id", "key_id"})

    async def change(about: About) -> ChangedAnswer:
        key = await work(about)
        cache = admin.administration.cache.manager
        return ChangedAnswer(
            **names,
            key=None if key is None else ApiKeyAnswer.of(key, admin.now().timestamp()),
            holds=where_it_holds(cache, body.wait or cache.config.invalidation_wait),
        )

    return await make(admin, request, Change(action, body, names), change)


def _limits(body: LimitsBody | None) -> KeyLimits | None:
    return None if body is None else body.limits()


def _told_once(answer: CreatedKeyAnswer) -> JSONResponse:
    # Not through FastAPI's own check of answers, whose error would show what it was given.
    return JSONResponse(answer.model_dump(mode="json"), 201)
