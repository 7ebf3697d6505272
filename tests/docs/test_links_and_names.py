"""What the pages name is there: other pages, commands, settings, files, errors."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
from pathlib import Path

import pytest
from pages import ROOT, anchors, blocks, commands, name_of, pages, prose, spans

from velro_cache import exceptions
from velro_cache.cli.main import main
from velro_cache.config import OptimizedCacheConfig

EVERY_PAGE = pytest.mark.parametrize("page", pages(), ids=name_of)

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_MAKE = re.compile(r"make(?: [A-Z_]+=\S+)* (?P<target>[a-z][a-z-]*)\b")
_CLI = re.compile(r"(?:velro-cache|python -m velro_cache) (?P<arguments>[a-z-].*)")
_PLACE = re.compile(r"(?:src|python|tests|benches|examples|docs)/[\w./*-]*")


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if re.match(r"https://|mailto:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), f"{name_of(page)} links to {target}"
        assert file == ROOT or ROOT in file.parents, f"{target} leads out of the project"
        if anchor:
            assert anchor in anchors(file), f"{name_of(page)} links to {target}"


@EVERY_PAGE
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for command in commands(page):
        named = _MAKE.match(command)
        if named:
            assert named["target"] in targets, f"{name_of(page)} names `{command}`"


@EVERY_PAGE
def test_commands_exist_with_their_options(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(page):
        named = _CLI.match(command)
        if not named:
            continue
        words = shlex.split(named["arguments"].partition("|")[0], comments=True)
        subcommand = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
        with pytest.raises(SystemExit) as left:
            main([*subcommand, "--help"])
        help_text = capsys.readouterr().out
        assert left.value.code == 0, f"{name_of(page)} names `{command}`"
        for word in words:
            if word.startswith("-"):
                option = word.partition("=")[0]
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", help_text), (
                    f"{name_of(page)} names `{command}`; there is no {option}"
                )


@EVERY_PAGE
def test_environment_variables_name_settings(page: Path) -> None:
    fields = {field.name for field in dataclasses.fields(OptimizedCacheConfig)}
    # Python blocks run, and may show what a wrong name does.
    text = prose(page) + "".join(b.code for b in blocks(page) if b.language != "python")
    for name in re.findall(r"\bVELRO_CACHE_([A-Z][A-Z_]*)", text):
        of_commands = {"PRESET", "ADMIN_TOKEN", "DATABASE_URL", "PEPPER"}
        known = name in of_commands or name.lower() in fields
        assert known, f"{name_of(page)}: VELRO_CACHE_{name}"


@EVERY_PAGE
def test_files_that_are_named_are_there(page: Path) -> None:
    for span in spans(page):
        if _PLACE.fullmatch(span):
            found = [path for path in ROOT.glob(span.rstrip("/")) if _holds_something(path)]
            assert found, f"{name_of(page)} names `{span}`"


def _holds_something(path: Path) -> bool:
    """Whether it is a file, or a folder that a checkout would have."""
    return path.is_file() or any(
        file.is_file() for file in path.rglob("*") if "__pycache__" not in file.parts
    )


def test_code_map_names_every_file() -> None:
    named = set(spans(ROOT / "ARCHITECTURE.md"))
    rust = {path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.rs")}
    rust -= {path for path in rust if path.endswith("/mod.rs")}
    package = ROOT / "python" / "velro_cache"
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    missing = sorted((rust | folders | modules) - named)
    assert not missing


@EVERY_PAGE
def test_no_page_names_a_path_of_one_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    private = {"/home/", "/root/", "/Users/", "/tmp/", str(ROOT), str(Path.home())}  # noqa: S108
    if len(ROOT.parts) > 2:
        private.add(f"{ROOT.parent}/")
    assert not [path for path in private if path in text]


@EVERY_PAGE
def test_spans_end_on_their_line(page: Path) -> None:
    # Otherwise the tests here would read what stands between two spans instead of the spans.
    odd = [line for line in prose(page).splitlines() if line.count("`") % 2]
    assert not odd


def test_every_error_is_explained() -> None:
    explained = set(spans(ROOT / "docs" / "troubleshooting.md"))
    assert set(exceptions.__all__) <= explained


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in _LINK.findall(prose(page)):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.is_file():
                todo.append(file)
    lost = [name_of(page) for page in pages() if page not in reached]
    assert not lost


def test_figures_stand_beside_the_command_that_made_them() -> None:
    # The README names no time of its own: times belong to a machine, and to docs/benchmarks.md.
    text = prose(ROOT / "README.md")
    assert not re.findall(r"\d[\d.,]* ?(?:ns|µs|us)\b", text)


def test_shell_blocks_have_a_known_language() -> None:
    known = {"python", "sh", "text", "ini", "toml", "rust", "json", "yaml", "make", "js"}
    for page in pages():
        if page.name == "benchmarks.md":
            continue
        for block in blocks(page):
            assert block.language in known, f"{name_of(page)}, line {block.line}"
