"""The example with strawberry: fields through the cache, with one question per request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Serve

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import graphql_service  # type: ignore[import-not-found]
from velro_cache.authorization.models import AccessType
from velro_cache.registry import get_cache_manager

QUERY = "query ($ids: [String!]!) { generations(ids: $ids) { id title } }"
IDS = [f"g{number}" for number in range(60)]


@pytest.fixture
def client(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    grants = graphql_service.Grants(set(graphql_service.grants.rows))
    monkeypatch.setattr(graphql_service, "grants", grants)
    yield serve(graphql_service.app)


def titles(client: httpx.Client, user: str, ids: list[str] = IDS) -> dict[str, str | None]:
    answer = client.post(
        "/graphql",
        json={"query": QUERY, "variables": {"ids": ids}},
        headers={"Authorization": f"Bearer token-of-{user}"},
    )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert "errors" not in body
    return {one["id"]: one["title"] for one in body["data"]["generations"]}


def test_sixty_fields_ask_the_source_once_and_then_only_for_what_is_denied(
    client: httpx.Client,
) -> None:
    first = titles(client, "ada")
    assert first["g0"] == "Generation g0"
    assert [one for one in IDS if first[one] is None] == IDS[50:]
    assert graphql_service.grants.queries == 1
    assert titles(client, "ada", IDS[:50]) == {one: first[one] for one in IDS[:50]}
    assert graphql_service.grants.queries == 1
    assert titles(client, "ada") == first
    assert graphql_service.grants.queries == 2


def test_another_user_sees_nothing(client: httpx.Client) -> None:
    titles(client, "ada")
    assert set(titles(client, "bob").values()) == {None}


def test_what_is_revoked_is_not_shown(client: httpx.Client) -> None:
    assert titles(client, "ada", ["g1", "g2"]) == {"g1": "Generation g1", "g2": "Generation g2"}
    graphql_service.grants.rows.discard(("ada", "g1", AccessType.READ))
    get_cache_manager().invalidate_generation_data("g1")
    assert titles(client, "ada", ["g1", "g2"]) == {"g1": None, "g2": "Generation g2"}
    assert graphql_service.grants.queries == 2


def test_without_a_token_nothing_is_resolved(client: httpx.Client) -> None:
    answer = client.post("/graphql", json={"query": QUERY, "variables": {"ids": IDS}})
    assert answer.status_code == 401
    assert graphql_service.grants.queries == 0


def test_a_source_that_fails_is_an_error_of_the_fields(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise OSError("down")

    monkeypatch.setattr(graphql_service.grants, "check_many", fails)
    headers = {"Authorization": "Bearer token-of-ada"}
    body = client.post(
        "/graphql", json={"query": QUERY, "variables": {"ids": ["g1"]}}, headers=headers
    ).json()
    assert body["data"]["generations"] == [{"id": "g1", "title": None}]
    assert body["errors"][0]["path"] == ["generations", 0, "title"]
