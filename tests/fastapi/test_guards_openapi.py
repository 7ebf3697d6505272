"""The OpenAPI document says what guarded routes need and answer."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from guarded import Issuer, Service, guarded_app

from velro_cache.authorization.models import TeamRole
from velro_cache.fastapi import RequireIdentity, install_problem_handlers, velro_lifespan

schemathesis = pytest.importorskip("schemathesis")


def document(**options: Any) -> dict[str, Any]:
    return guarded_app(**options).openapi()


def test_one_scheme_stands_for_all_guards() -> None:
    described = document()
    assert described["components"]["securitySchemes"] == {
        "Bearer": {"type": "http", "scheme": "bearer"}
    }
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation["security"] == [{"Bearer": []}], path


def test_guards_add_no_parameters() -> None:
    for path, methods in document()["paths"].items():
        for operation in methods.values():
            names = [parameter["name"] for parameter in operation.get("parameters", [])]
            assert names == [part[1:-1] for part in path.split("/") if part.startswith("{")]


def test_refusals_are_documented() -> None:
    for methods in document()["paths"].values():
        for operation in methods.values():
            assert {"401", "403", "503"} <= set(operation["responses"])
            assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]


def test_a_scheme_may_have_its_own_name_and_words() -> None:
    from fastapi import Depends

    guard = RequireIdentity(scheme_name="Session", bearer_format="JWT", description="From /login")
    app = FastAPI()
    app.get("/", dependencies=[Depends(guard)])(lambda: None)
    assert app.openapi()["components"]["securitySchemes"] == {
        "Session": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "From /login",
        }
    }


def answering_app(*, as_problems: bool) -> FastAPI:
    """An application in which every answer comes up: allowed, refused, and nobody can tell."""

    class Moody(Service):
        async def validate_generation_media_access(self, *asked: Any, **more: Any) -> Any:
            generation = str(more["generation_id"])
            if len(generation) % 3 == 0:
                self.grant(generation, more["user_id"], more["auth_token"], can_edit=True)
            return await super().validate_generation_media_access(*asked, **more)

        async def _role(self, place: str, user_id: Any, role: TeamRole) -> Any:
            if len(place) % 3 == 0:
                self.roles[place, str(user_id)] = TeamRole.OWNER
            return await super()._role(place, user_id, role)

    app = guarded_app(lifespan=velro_lifespan(authorization=Moody(), authenticate=Issuer()))
    if as_problems:
        install_problem_handlers(app)
    return app


@pytest.mark.parametrize("as_problems", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_answers_are_those_of_the_document(as_problems: bool) -> None:
    """Every operation, asked all that its schema allows and some that it does not."""
    from fastapi.testclient import TestClient
    from hypothesis import HealthCheck, given, seed, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    app = answering_app(as_problems=as_problems)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    seen: dict[str, set[int]] = {}
    with TestClient(app):
        for result in schema.get_all_operations():
            operation = result.ok()

            @seed(1)
            @settings(
                max_examples=25, deadline=None, database=None, suppress_health_check=HealthCheck
            )
            @given(case=operation.as_strategy(), token=_tokens(), plain=_plain_ids())
            def every_answer(case: Any, token: str | None, plain: str | None) -> None:
                if plain is not None and "uuid" not in case.path:
                    case.path_parameters = dict.fromkeys(case.path_parameters, plain)
                case.headers.pop("Authorization", None)
                if token is not None:
                    case.headers["Authorization"] = f"Bearer {token}"
                response = case.call(app=app)
                # A text of the schema may be an id that no guard takes: with control characters.
                case.validate_response(response, excluded_checks=[positive_data_acceptance])
                seen.setdefault(case.path, set()).add(response.status_code)
                if response.status_code < 300:
                    assert token is not None
                    assert token.startswith("token-of-")

            every_answer()
    assert set(seen) == set(app.openapi()["paths"])
    assert all(401 in statuses for statuses in seen.values())
    assert {200, 403} <= set().union(*seen.values())


def _tokens() -> Any:
    from hypothesis import strategies

    return strategies.sampled_from([None, "token-of-ada", "token-of-ada", "forged", "a b", "="])


def _plain_ids() -> Any:
    """Ids like those of applications; texts that a schema allows are seldom any."""
    from hypothesis import strategies

    return strategies.sampled_from([None, "g", "g1", "gen"])
