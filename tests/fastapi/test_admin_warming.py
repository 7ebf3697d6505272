"""Warming over HTTP and from the command line: who may, what it begins, what it says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from operated import OPERATOR, PREFIX, client_of, operated
from serving import Serve

from velro_cache.cli.main import main
from velro_cache.manager import OptimizedCacheManager
from velro_cache.warming import PredictionLimits

Run = Callable[..., tuple[int, str, str]]


class Roles:
    """A loader of two roles that waits until it may go on."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.runs = 0

    async def load(self) -> AsyncIterator[tuple[tuple[str, str], str]]:
        self.runs += 1
        yield ("t", "ada"), "editor"
        while not self.gate.is_set():  # noqa: ASYNC110 - it is set by another thread
            await asyncio.sleep(0.001)
        if self.error is not None:
            raise self.error
        yield ("t", "ben"), "viewer"


@pytest.fixture
def roles(cache: OptimizedCacheManager) -> Roles:
    roles = Roles()
    cache.warmers.register("team_role", roles.load)
    return roles


@pytest.fixture
def served(serve: Serve, cache: OptimizedCacheManager, roles: Roles) -> Any:
    client = serve(operated(cache))
    client.headers.update(OPERATOR)
    yield client
    roles.gate.set()


def warm(client: Any, **body: Any) -> Any:
    return client.post(PREFIX + "/warm", json=body)


def test_registered_kinds_are_loaded_again(served: Any, cache: OptimizedCacheManager) -> None:
    answer = warm(served, kinds=["team_role"], reason="after the import", wait_seconds=20)
    assert answer.status_code == 200
    (report,) = answer.json()["kinds"]
    assert (report["loaded"], report["failed"], report["is_running"]) == (2, 0, False)
    assert cache.get_team_role("t", "ben") == ("viewer", True)
    state = served.get(PREFIX + "/warming").json()
    assert state["kinds"] == [report]
    assert state["registered"] == ["team_role"]
    assert not state["is_running"]


def test_one_at_a_time_and_its_progress_is_seen(served: Any, roles: Roles) -> None:
    roles.gate.clear()
    begun = warm(served, kinds="all")
    assert (begun.status_code, begun.json()["is_running"]) == (202, True)
    while not (state := served.get(PREFIX + "/warming").json())["kinds"][0]["is_running"]:
        pass
    assert state["is_running"]
    refused = warm(served, kinds="all")
    assert (refused.status_code, refused.json()["detail"]) == (409, "A warm-up is under way")
    roles.gate.set()
    while (state := served.get(PREFIX + "/warming").json())["is_running"]:
        pass
    assert state["kinds"][0]["loaded"] == 2
    assert roles.runs == 1


def test_what_is_revoked_meanwhile_is_not_brought_back(
    served: Any, roles: Roles, cache: OptimizedCacheManager
) -> None:
    roles.gate.clear()
    warm(served, kinds="all")
    while cache.get_team_role("t", "ada") == (None, False):
        pass
    cache.invalidate_by_tags(["team:t"])
    roles.gate.set()
    while (state := served.get(PREFIX + "/warming").json())["is_running"]:
        pass
    assert state["kinds"][0]["skipped"] == 1
    assert cache.get_team_role("t", "ada") == (None, False)
    assert cache.get_team_role("t", "ben") == (None, False)


def test_names_of_a_kind_are_loaded_by_what_is_registered_for_them(
    served: Any, cache: OptimizedCacheManager
) -> None:
    async def reload(day: str) -> float | None:
        if day == "sunday":
            return None
        await cache.aget_or_load(f"report:{day}", lambda: day, ttl=60, refresh=True)
        return 60

    cache.warmers.register_reload("report", reload)
    answer = warm(served, kind="report", ids=[["monday"], ["sunday"], ["a", "b"]], wait_seconds=20)
    (report,) = answer.json()["kinds"]
    assert (report["loaded"], report["denied"], report["total"]) == (1, 1, 3)
    assert report["errors"] == {"TypeError": 1}
    assert cache.get("report:monday") == ("monday", True)
    assert served.get(PREFIX + "/warming").json()["registered_names"] == ["report"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kinds": []},
        {"kinds": ["nobody knows it"]},
        {"kinds": "some"},
        {"kinds": ["team\x00role"]},
        {"kinds": ["x"] * 101},
        {"kind": "team_role"},
        {"ids": [["a"]]},
        {"kind": "unknown", "ids": [["a"]]},
        {"kind": "team_role", "ids": [["a"]], "kinds": ["team_role"]},
        {"kind": "team_role", "ids": [["a"]] * 1001},
        {"kind": "team_role", "ids": [[]]},
        {"kind": "team_role", "ids": [["a" * 257]]},
        {"kinds": "all", "wait_seconds": 31},
        {"kinds": "all", "wait_seconds": "1"},
        {"kinds": "all", "nobody_knows": 1},
    ],
)
def test_what_makes_no_sense_begins_nothing(
    cache: OptimizedCacheManager, roles: Roles, body: dict[str, Any]
) -> None:
    client = client_of(operated(cache))
    assert client.post(PREFIX + "/warm", json=body).status_code == 422
    assert roles.runs == 0


def test_warming_that_is_switched_off_is_not_begun(
    make_cache: Callable[..., OptimizedCacheManager],
) -> None:
    answer = warm(client_of(operated(make_cache(warming_enabled=False))), kinds="all")
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "Warming is switched off in the settings",
    )


def test_so_many_per_minute(cache: OptimizedCacheManager, roles: Roles) -> None:
    client = client_of(operated(cache, invalidation_burst=1, clock=lambda: 0.0))
    assert warm(client, kinds="all", wait_seconds=20).status_code == 200
    refused = warm(client, kinds="all")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert roles.runs == 1


def test_prediction_is_shown(cache: OptimizedCacheManager) -> None:
    client = client_of(operated(cache))
    state = client.get(PREFIX + "/warming").json()
    nothing = {"precision": None, "preloaded": 0, "used": 0, "switched_off": False}
    assert state["prediction"] == {"enabled": False, **nothing}
    assert (state["journal"], state["kinds"], state["is_ready"]) == (None, [], True)
    cache.warmers.predict({"report": 0}, PredictionLimits())
    state = client.get(PREFIX + "/warming").json()
    assert state["prediction"] == {"enabled": True, **nothing}


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, served: Any
) -> Iterator[Run]:
    """Run ``velro-cache warm`` against the running service."""
    monkeypatch.setenv("VELRO_CACHE_ADMIN_TOKEN", "operator")
    monkeypatch.setattr("velro_cache.cli.admin.warm._LOOK_EVERY_SECONDS", 0.001)

    def run(*words: str) -> tuple[int, str, str]:
        try:
            status = main(["warm", "--url", str(served.base_url) + PREFIX, *words])
        except SystemExit as left:
            assert isinstance(left.code, int)
            status = left.code
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    yield run


def test_the_command_warms_and_says_what_came_of_it(command: Run, roles: Roles) -> None:
    status, out, err = command("team_role", "--reason", "after the import")
    assert (status, err) == (0, "")
    assert out.startswith("OK   team_role: 2 loaded, 0 denied, 0 skipped, 0 failed")
    status, out, _ = command("--json")
    assert (status, json.loads(out)["kinds"][0]["loaded"]) == (0, 2)
    assert roles.runs == 2


def test_the_command_waits_as_long_as_it_is_told(command: Run, roles: Roles) -> None:
    roles.gate.clear()
    status, out, _ = command("--wait", "0")
    assert status == 5
    assert out.startswith(".... team_role")
    status, _, err = command()
    assert status == 1
    assert "A warm-up is under way" in err
    threading.Timer(0.3, roles.gate.set).start()
    status, _, _ = command("--list")
    assert status == 0


def test_the_command_says_that_something_failed(command: Run, roles: Roles) -> None:
    roles.error = ConnectionError("the password is hunter2")
    status, out, _ = command()
    assert status == 1
    assert "1 failed (1 ConnectionError)" in out
    assert "hunter2" not in out


def test_the_command_lists_what_there_is(
    command: Run, roles: Roles, cache: OptimizedCacheManager
) -> None:
    cache.warmers.predict({"report": 0})
    status, out, _ = command("--list")
    assert status == 0
    assert "registered: team_role" in out
    assert "prediction on: 0 loaded ahead, 0 used, precision not known yet" in out
    assert roles.runs == 0


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["nobody-knows-it"], 1, "nothing is registered"),
        (["--wait", "-1"], 2, "must be a number"),
        (["--list", "team_role"], 2, "takes no kinds"),
    ],
)
def test_the_command_says_what_is_wrong(
    command: Run, roles: Roles, words: list[str], status: int, complaint: str
) -> None:
    left, out, err = command(*words)
    assert (left, out, roles.runs) == (status, "", 0)
    assert complaint in err


def test_the_command_says_who_may_not(
    command: Run, roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELRO_CACHE_ADMIN_TOKEN", "somebody")
    assert command()[0] == 4
    monkeypatch.delenv("VELRO_CACHE_ADMIN_TOKEN")
    assert command()[0] == 4
    assert roles.runs == 0
