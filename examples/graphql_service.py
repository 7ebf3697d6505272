"""GraphQL with strawberry: fields that are checked through the cache, one question per request.

A query for fifty generations asks fifty times whether the user may see one. A data loader gathers
what one step of the query asks for, and ``BatchedChecks`` answers it: from the cache, and the rest
with a single query to the source.

Run it with ``uvicorn graphql_service:app`` and look at ``/graphql``::

    { generations(ids: ["g1", "g2"]) { id title } }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import strawberry
from fastapi import FastAPI
from strawberry.dataloader import DataLoader
from strawberry.fastapi import BaseContext, GraphQLRouter

from velro_cache.authorization.batched_checks import BatchedChecks
from velro_cache.authorization.models import AccessType
from velro_cache.fastapi import CacheManagerDep, Identity, IdentityDep, velro_lifespan
from velro_cache.manager import Id


class Grants:
    """Stands for the table of permissions.

    Attributes:
        rows: Who may do what with which generation.
        queries: How often it was asked.
    """

    def __init__(self, rows: set[tuple[Id, Id, AccessType]]) -> None:
        self.rows = rows
        self.queries = 0

    async def check_many(
        self, user_id: Id, generation_ids: Sequence[Id], access: AccessType
    ) -> Mapping[Id, bool | Exception]:
        """One query: ``SELECT ... WHERE user_id = :user AND generation_id = ANY(:ids)``."""
        self.queries += 1
        return {one: (user_id, one, access) in self.rows for one in generation_ids}


grants = Grants({("ada", f"g{number}", AccessType.READ) for number in range(50)})


class Context(BaseContext):
    """What belongs to one request: above all its loader, which must not outlive it."""

    def __init__(self, identity: Identity, checks: BatchedChecks) -> None:
        super().__init__()

        async def load(generation_ids: list[Id]) -> list[bool | Exception]:
            answers = await checks.check_many(identity.user_id, generation_ids)
            # What is not known of one generation is the error of its field alone.
            return [answers.errors.get(one) or answers[one] for one in generation_ids]

        self.may_read: DataLoader[Id, Any] = DataLoader(load)


@strawberry.type
class Generation:
    """A generation; its id is known to whoever asked for it, all else is checked."""

    id: str

    @strawberry.field
    async def title(self, info: strawberry.Info[Context]) -> str | None:
        """Its title; None for those who may not see it."""
        if await info.context.may_read.load(self.id) is not True:
            return None
        return f"Generation {self.id}"


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry.field
    async def generations(self, ids: list[str]) -> list[Generation]:
        """Some generations."""
        return [Generation(id=one) for one in ids[:100]]


async def context(identity: IdentityDep, cache: CacheManagerDep) -> Context:
    """Make the context of a request, for whom the guard lets in."""
    return Context(identity, BatchedChecks(cache, grants.check_many))


async def verify(token: str) -> Identity | None:
    """Stand for the verification of a token: ``token-of-<user>``."""
    user_id = token.removeprefix("token-of-")
    return Identity(user_id) if user_id != token and user_id else None


app = FastAPI(lifespan=velro_lifespan(authenticate=verify))
app.include_router(
    GraphQLRouter(strawberry.Schema(Query), context_getter=context), prefix="/graphql"
)
