"""How questions are asked ahead of the requests that are likely to ask them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from velro_cache.authorization.cached_steps import STEPS, CachedSteps, Step
from velro_cache.authorization.models import TeamRole
from velro_cache.warming.prediction import Predictable

__all__ = ["USER_AT", "predictable"]

USER_AT: Final = {step.name: 1 for step in STEPS}
"""Which of the ids of a noted question is the user's: resource, user, role."""


def predictable(step: Step, open_steps: Callable[[], CachedSteps]) -> Predictable:
    """Make the two functions by which answers to a question are loaded ahead.

    Args:
        step: The question.
        open_steps: Where it is asked; raises if the service was shut down.
    """

    async def load(resource_id: str, user_id: str, *role: str) -> float | None:
        return await open_steps().preload(step, resource_id, user_id, _role_of(role))

    def is_cached(resource_id: str, user_id: str, *role: str) -> bool:
        return open_steps().is_kept(step, resource_id, user_id, _role_of(role))

    return Predictable(load, is_cached)


def _role_of(role: tuple[str, ...]) -> TeamRole | None:
    return TeamRole(role[0]) if role else None
