"""Every Python block of README.md and docs/ runs, and shows what the page says it shows."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from pages import ROOT, Block, blocks, name_of, pages
from running import describe, run


def _python(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in ("python", "py")]


PAGES = [page for page in pages() if page.parent != ROOT or page.name == "README.md"]
WITH_PYTHON = [found for page in PAGES if (found := _python(page))]


@pytest.mark.parametrize("of_page", WITH_PYTHON, ids=describe)
# What the test client of Starlette says about its own dependencies is none of our readers' concern.
@pytest.mark.filterwarnings("ignore:Using `httpx` with")
def test_python_of_page_runs(
    of_page: list[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run([block for block in of_page if block.not_run is None])


def test_what_is_not_run_says_why() -> None:
    for found in WITH_PYTHON:
        for block in found:
            assert block.not_run is None or len(block.not_run.split()) >= 3, (
                f"{name_of(block.page)}, line {block.line}: give a reason of a few words"
            )


def test_readme_example_answers_as_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient

    example = next(block for block in _python(ROOT / "README.md") if "FastAPI(" in block.code)
    names = SimpleNamespace()
    exec(compile(example.code, "README.md", "exec", dont_inherit=True), names.__dict__)  # noqa: S102
    with TestClient(names.app, headers={"authorization": "Bearer ada"}) as client:
        assert client.get("/generations/sunset").json() == {"may": "look"}
        assert client.get("/generations/sunset").status_code == 200
        assert client.delete("/generations/sunset/viewers/ada").json() == {"dropped": 1}
        assert client.get("/generations/sunset").status_code == 403
    assert capsys.readouterr().out.splitlines() == ["asking the database"] * 2


def _block(code: str) -> list[Block]:
    return [Block(ROOT / "README.md", 1, "python", code, None)]


def test_a_wrong_result_on_a_page_is_found() -> None:
    run(_block("1 + 1  # -> 2\n[1, 2]  # -> [1, ...]\n"))
    with pytest.raises(AssertionError, match="the page shows 3, it is 2"):
        run(_block("1 + 1  # -> 3\n"))


def test_an_error_that_does_not_come_is_found() -> None:
    run(_block("{}['k']  # raises KeyError\n"))
    with pytest.raises(AssertionError, match="raises KeyError; it does not"):
        run(_block("{'k': 1}['k']  # raises KeyError\n"))
    with pytest.raises(ZeroDivisionError):
        run(_block("1 / 0  # raises KeyError\n"))


def test_await_may_stand_anywhere_on_a_page() -> None:
    run(_block("import asyncio\nawait asyncio.sleep(0, 5)  # -> 5\n"))
    with pytest.raises(AssertionError):
        run(_block("async def f():\n    return 1\n\nawait f()  # -> 2\n"))
