"""The route that says what the figures suggest.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

import asyncio
import dataclasses
import os
from typing import Any, Final, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from velro_cache.authorization.deny_budget import deny_budget_of
from velro_cache.fastapi.admin.context import AdminContext
from velro_cache.manager import OptimizedCacheManager
from velro_cache.recommendations import Evidence, recommend

__all__ = [
    "FindingAnswer",
    "RecommendationsAnswer",
    "add_recommendations_route",
    "recommendations_answer",
]

_ALL_TOP_KEYS: Final = 500


class FindingAnswer(BaseModel):
    """One thing that is worth looking at."""

    code: str = Field(description="What it is, for programs")
    severity: Literal["info", "warning", "critical"]
    title: str
    detail: str = Field(description="The figures it rests on")
    action: str = Field(description="What to do about it")


class RecommendationsAnswer(BaseModel):
    """What the figures of one worker suggest."""

    cache: str
    process_id: int
    recommendations: list[FindingAnswer] = Field(description="The most urgent first")
    what_if: dict[str, Any] | None = Field(
        description="Hit rates at other sizes and lives; None: not enough lookups yet"
    )


def add_recommendations_route(router: APIRouter, admin: AdminContext) -> None:
    """Add the route.

    Args:
        router: One with a guard.
        admin: What all routes have in common.
    """
    cache_of_request = Depends(admin.cache)

    @router.get("/recommendations", summary="What the figures suggest")
    async def recommendations(
        cache: OptimizedCacheManager = cache_of_request,
    ) -> RecommendationsAnswer:
        # Reading the simulation and the counters of names takes milliseconds; requests go on.
        return await asyncio.to_thread(recommendations_answer, cache)


def recommendations_answer(cache: OptimizedCacheManager) -> RecommendationsAnswer:
    """What the figures of this process suggest."""
    denials = deny_budget_of(cache)
    evidence = Evidence(
        stats=cache.get_stats(),
        settings=cache.config,
        what_if=cache.get_what_if(),
        history=cache.get_history(),
        top_keys=cache.get_top_keys(_ALL_TOP_KEYS, hash_ids=True),
        denials={"kept": denials.kept, "not_kept": denials.not_kept},
    )
    return RecommendationsAnswer(
        cache=cache.config.name,
        process_id=os.getpid(),
        recommendations=[
            FindingAnswer(**dataclasses.asdict(finding)) for finding in recommend(evidence)
        ],
        what_if=None if evidence.what_if is None else dict(evidence.what_if),
    )
