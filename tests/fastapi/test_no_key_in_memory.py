"""API keys in plain text are looked for in the memory of processes that were sent some."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from searched import Searched, can_search, parts_of

from velro_cache.api_keys import KeyFormat
from velro_cache.api_keys.key_format import _checksum

pytestmark = [can_search, pytest.mark.timeout(300)]

PEPPER = "a-pepper-that-is-looked-for-0123456789"
FORMAT = KeyFormat()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Searched] = []

    def start(program: str, **options: Any) -> Searched:
        database = f"sqlite:///{tmp_path}/keys.db"
        options |= {"SEARCHED_DATABASE": database, "SEARCHED_PEPPER": PEPPER}
        started.append(Searched(program, **options))
        return started[-1]

    yield start
    for process in started:
        process.close()


def test_the_search_finds_what_is_held_and_nothing_that_was_freed(start: Any) -> None:
    process = start("searched_cache.py")
    held, freed = FORMAT.generate(), FORMAT.generate()
    process.do("hold", held)
    process.do("free", freed)
    found = process.search({"held": parts_of(held), "freed": parts_of(freed)})
    assert {name for name, _ in found} == {"held"}


def test_a_cache_holds_no_key_whatever_happened_to_it(start: Any) -> None:
    process = start("searched_cache.py")
    keys = {name: process.do("make") for name in ("good", "revoked", "rotated")}
    keys["unknown"] = FORMAT.generate()
    # As others make them.
    keys["of another format"] = "sk-" + FORMAT.generate()[8:]
    keys["misspelt"] = FORMAT.generate()[:-1] + "!"
    assert process.do("revoke", "1") == "revoked"
    keys["new"] = process.do("rotate", "2")
    for name, expected in {
        "good": "good good KeyMalformed KeyUnknown KeyUnknown",
        "revoked": "KeyRevoked KeyRevoked KeyMalformed KeyUnknown KeyUnknown",
        "unknown": "KeyUnknown KeyUnknown KeyMalformed KeyUnknown KeyUnknown",
        "of another format": "KeyUnknown KeyUnknown KeyMalformed KeyUnknown KeyUnknown",
    }.items():
        assert process.do("use", keys[name]) == expected, name
    for name in ("rotated", "misspelt", "new"):
        process.do("use", keys[name])
    assert process.do("request", keys["good"]) == "200 200 403 401 401"
    assert process.do("request", keys["revoked"]) == "403 403 403 401 401"
    keys["while away"] = FORMAT.generate()
    assert process.do("away", keys["while away"]).startswith("AuthorizationUnavailable")
    assert process.do("late", keys["good"]).startswith("good good")
    assert process.do("observe") == "observed"
    wanted = {name: parts_of(plain) for name, plain in keys.items()}
    assert process.search(wanted) == set()
    # It is there, and not only where the environment lies, or no key could be digested.
    assert {where for _, where in process.search({"": [PEPPER.encode()]})} - {"[stack]"}


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_a_service_holds_no_key_when_requests_have_ended(start: Any, parser: str) -> None:
    pytest.importorskip(parser)
    process = start("searched_cache.py")
    keys = {name: process.do("make") for name in ("good", "revoked")}
    keys["unknown"], keys["misspelt"] = FORMAT.generate(), FORMAT.generate()[:-1] + "!"
    process.do("revoke", "1")
    address = f"http://127.0.0.1:{process.do('serve', parser)}/whose"
    with httpx.Client(timeout=60) as client:
        for name, status in {"good": 200, "revoked": 403, "unknown": 403, "misspelt": 403}.items():
            as_bearer = {"authorization": f"Bearer {keys[name]}"}
            alone = {"x-api-key": keys[name]}
            for headers in (as_bearer, alone, as_bearer | alone, as_bearer, alone):
                assert client.get(address, headers=headers).status_code == status, name
            twice = [("x-api-key", keys[name]), ("x-api-key", keys[name])]
            assert client.get(address, headers=twice).status_code == 401
            malformed = {"authorization": b"Bearer " + keys[name].encode() + b"\xe9"}
            assert client.get(address, headers=malformed).status_code == 401
    assert process.do("closed") == "closed"
    process.do("observe")
    wanted = {name: parts_of(plain) for name, plain in keys.items()}
    assert process.search(wanted) == set()


def numbered(number: int) -> str:
    """A key that says in each of its parts which it is."""
    body = FORMAT.start + f"Zq{number:04}Xw" * 4
    return body + _checksum(body)


def left_of(process: Searched) -> set[int]:
    return {int(number) for number in process.find(rb"Zq(\d{4})Xw")}


def test_freed_memory_holds_the_last_keys_and_not_all(start: Any) -> None:
    process = start("searched_cache.py", is_wiping=False)
    process.do("make")
    for number in range(200):
        process.do("check", numbered(number))
    # It is not overwritten, or all the rest of this page would say nothing.
    assert 1 <= len(left_of(process)) <= 20
    address = f"http://127.0.0.1:{process.do('serve', 'h11')}/whose"
    with httpx.Client(timeout=60) as client:
        for number in range(1000, 1200):
            assert client.get(address, headers={"x-api-key": numbered(number)}).status_code == 403
    process.do("closed")
    assert 1 <= len(left_of(process)) <= 20
