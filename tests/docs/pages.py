"""The pages of this project, and the code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")

_FENCE = re.compile(r"^ *```+ *(?P<language>[\w-]*)")
_NOT_RUN = re.compile(r"^<!-- not run: (?P<reason>.*) -->$")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.*?) *$")
_SPAN = re.compile(r"`([^`\n]+)`")
_SHELL = ("sh", "bash", "console", "shell")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: Where it stands.
        line: Number of its first line of code, from 1.
        language: What stands after the fence; may be empty.
        code: Its lines.
        not_run: Why it cannot be run, as the page says; None if it can.
    """

    page: Path
    line: int
    language: str
    code: str
    not_run: str | None


def pages() -> list[Path]:
    """All pages: those at the top of the project, then everything below ``docs/``."""
    return [ROOT / name for name in TOP] + sorted((ROOT / "docs").rglob("*.md"))


def name_of(page: Path) -> str:
    """A page by its path from the top of the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    inside: list[str] | None = None
    language, start, before = "", 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if inside is None and fence:
            inside, language, start = [], fence["language"], number + 1
        elif inside is not None and fence:
            mark = _NOT_RUN.match(before)
            code = "\n".join(inside) + "\n"
            found.append(Block(page, start, language, code, mark["reason"] if mark else None))
            inside, before = None, ""
        elif inside is not None:
            inside.append(line)
        elif line.strip():
            before = line.strip()
    assert inside is None, f"{name_of(page)}: the block at line {start} is never closed"
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    kept, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def spans(page: Path) -> list[str]:
    """What stands between backticks in the prose of a page."""
    return _SPAN.findall(prose(page))


def commands(page: Path) -> Iterator[str]:
    """Every line of a shell block, and every span; whoever looks for a command picks its own."""
    for block in blocks(page):
        if block.language in _SHELL:
            for line in block.code.splitlines():
                yield line.strip().removeprefix("$ ")
    yield from spans(page)


def anchors(page: Path) -> set[str]:
    """What a link may name after ``#``, as GitHub makes it from the headings."""
    titles = [
        match["title"] for line in prose(page).splitlines() if (match := _HEADING.match(line))
    ]
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.replace(" ", "-") for title in kept}


def tables(page: Path) -> list[list[list[str]]]:
    """All tables of a page: rows of cells, the heading first, without the line below it."""
    found: list[list[list[str]]] = []
    in_table = False
    for line in prose(page).splitlines():
        if not line.startswith("|"):
            in_table = False
            continue
        if not in_table:
            found.append([])
            in_table = True
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            found[-1].append(cells)
    return found


def table_with(page: Path, heading: str) -> list[dict[str, str]]:
    """The one table of a page whose first column has this heading, a mapping for each row."""
    fitting = [table for table in tables(page) if table[0][0] == heading]
    assert len(fitting) == 1, f"{name_of(page)}: {len(fitting)} tables begin with {heading!r}"
    return [dict(zip(fitting[0][0], row, strict=True)) for row in fitting[0][1:]]
