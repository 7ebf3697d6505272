"""However an id is written, an invalidation of it reaches what lies under it."""

from __future__ import annotations

import enum
from typing import Any
from uuid import UUID

import pytest

from velro_cache import OptimizedCacheManager, cached_authorization
from velro_cache.authorization import CachedGenerationAccess, GenerationPermissions

TEXT = "0f8fad5b-d9cb-469f-a165-70867728950e"
HEX = TEXT.replace("-", "")
ODD = [
    HEX,
    HEX.upper(),
    f"{{{HEX}}}",
    f"urn:uuid:{HEX}",
    f"{{{TEXT.upper()}}}",
    f"{HEX[:12]}-{HEX[12:]}",
    "-".join(HEX[at : at + 4] for at in range(0, 32, 4)),
    f"uuid:{TEXT}",
]


class DriverUuid(UUID):
    """As database drivers have one."""


class Masked(str):
    """A text that shows itself to nobody."""

    __slots__ = ()

    def __str__(self) -> str:
        return "********"

    __repr__ = __str__


class User(enum.StrEnum):
    ROOT = "root"


@pytest.mark.parametrize("spelling", ODD)
def test_every_spelling_that_python_takes_for_a_uuid_is_reached(
    cache: OptimizedCacheManager, spelling: str
) -> None:
    assert UUID(spelling) == UUID(TEXT)
    cache.set_generation_access(spelling, "bob", "allow")
    cache.invalidate_generation_data(UUID(TEXT))
    assert cache.get_generation_access(spelling, "bob") == (None, False)
    cache.set_user_profile(spelling, "profile")
    cache.invalidate_by_tags([f"user:{TEXT}"])
    assert cache.get_user_profile(spelling) == (None, False)


def test_a_uuid_in_the_middle_of_a_tag_is_merged_too(cache: OptimizedCacheManager) -> None:
    cache.set("k", 1, tags=[f"access:{TEXT.upper()}:7"])
    assert cache.invalidate_by_tags([f"access:{TEXT}:7"]) == 1


@pytest.mark.parametrize("user", ["a%b", "a*b", "x[1]", "tab\tx", "?", "%2A"])
def test_a_key_put_together_by_hand_is_reached_though_nobody_escaped_the_id(
    cache: OptimizedCacheManager, user: str
) -> None:
    cache.set(f"auth:user:{user}:profile", "allow")
    cache.invalidate_user_data(user)
    assert cache.get(f"auth:user:{user}:profile") == (None, False)


@pytest.mark.parametrize(
    ("user", "named"),
    [(DriverUuid(TEXT), TEXT), (DriverUuid(TEXT), UUID(TEXT)), (User.ROOT, "root")],
    ids=["driver", "driver by UUID", "enumeration"],
)
async def test_a_decorated_result_is_reached_whatever_class_its_id_has(
    cache: OptimizedCacheManager, user: Any, named: Any
) -> None:
    @cached_authorization(cache=cache)
    def check(user_id: Any) -> bool:
        return True

    @cached_authorization(cache=cache)
    async def check_later(*, user_id: Any) -> bool:
        return True

    @cached_authorization(cache=cache, key=lambda request, user_id: 1)
    def check_by_key(request: object, user_id: Any) -> bool:
        return True

    check(user)
    await check_later(user_id=user)
    check_by_key(None, user)
    assert cache.invalidate_user_data(named) == 3


def test_a_masked_text_makes_the_tag_of_what_it_holds(cache: OptimizedCacheManager) -> None:
    @cached_authorization(cache=cache, key=lambda user_id: "k")
    def check(user_id: str) -> bool:
        return True

    check(Masked("u1"))
    assert cache.invalidate_user_data("u1") == 1


async def test_a_masked_token_is_told_from_another(cache: OptimizedCacheManager) -> None:
    class Service:
        async def validate_generation_media_access(
            self,
            generation_id: Any,
            user_id: Any,
            auth_token: str,
            client_ip: str | None = None,
            expires_in: int = 3600,
        ) -> GenerationPermissions:
            granted = auth_token == "good-token"  # noqa: S105 - a token of this test alone
            return GenerationPermissions("g", "u", granted=granted, can_view=granted)

    checks = CachedGenerationAccess(Service(), cache)
    assert (await checks.check("g", "u", Masked("good-token"))).granted
    assert not (await checks.check("g", "u", Masked("evil-token"))).granted
    assert (await checks.check("g", "u", Masked("good-token"))).granted
