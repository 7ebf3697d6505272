"""Finding the service of a process where none is named."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from velro_cache.authorization.current import (
    current_authorization_service,
    register_authorization_service,
    unregister_authorization_service,
)
from velro_cache.authorization.models import GenerationPermissions
from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.manager import Id


class Service:
    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        return GenerationPermissions.denied(generation_id, user_id)


@pytest.fixture
def services() -> Generator[tuple[Service, Service]]:
    both = Service(), Service()
    yield both
    for service in both:
        for _ in range(3):
            unregister_authorization_service(service)


def test_without_a_service_nothing_is_known() -> None:
    with pytest.raises(AuthorizationUnavailable, match="velro_lifespan"):
        current_authorization_service()


def test_the_one_registered_is_found(services: tuple[Service, Service]) -> None:
    register_authorization_service(services[0])
    assert current_authorization_service() is services[0]
    unregister_authorization_service(services[0])
    with pytest.raises(AuthorizationUnavailable):
        current_authorization_service()


def test_with_two_of_them_nobody_guesses(services: tuple[Service, Service]) -> None:
    register_authorization_service(services[0])
    register_authorization_service(services[1])
    with pytest.raises(AuthorizationUnavailable, match="several"):
        current_authorization_service()
    unregister_authorization_service(services[0])
    assert current_authorization_service() is services[1]


def test_one_registered_twice_stays_until_it_was_taken_back_twice(
    services: tuple[Service, Service],
) -> None:
    register_authorization_service(services[0])
    register_authorization_service(services[0])
    unregister_authorization_service(services[0])
    assert current_authorization_service() is services[0]
    unregister_authorization_service(services[0])
    unregister_authorization_service(services[0])
    with pytest.raises(AuthorizationUnavailable):
        current_authorization_service()


def test_what_cannot_decide_is_refused() -> None:
    with pytest.raises(TypeError, match="validate_generation_media_access"):
        register_authorization_service(object())  # type: ignore[arg-type]
