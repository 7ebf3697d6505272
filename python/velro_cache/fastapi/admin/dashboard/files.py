"""The files of the page, read once and named after what is in them."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ASSETS", "PageFiles", "files_in", "put_together", "read_files"]

ASSETS: Final = Path(__file__).parent / "assets"

_CONTENT_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}
"""By the end of a name; the licence of what is not ours has none."""

_IN_EVERY_PAGE: Final = ("head", "signing_in")
"""What stands in this page and in others, each in a file of its own."""

_FRAGMENTS: Final = frozenset(
    {"page.html", "changing.html", "head.html", "signing_in.html", "vendor/SHA256SUMS"}
)
"""What goes to browsers within the page, or not at all."""


@dataclass(frozen=True, slots=True)
class PageFiles:
    """What browsers get.

    Attributes:
        page: The page itself.
        version: Changes with any of the files; part of their addresses.
        assets: Content and content type by name.
    """

    page: bytes
    version: str
    assets: Mapping[str, tuple[bytes, str]]


def read_files(*, read_only: bool) -> PageFiles:
    """Read the files of the page.

    Args:
        read_only: Whether the page is made without the form that invalidates.

    Raises:
        OSError: The package is not complete.
    """
    form = "" if read_only else (ASSETS / "changing.html").read_text("utf-8")
    names = [name for name in files_in(ASSETS) if name not in _FRAGMENTS]
    return put_together(ASSETS / "page.html", {ASSETS: names}, {"changing": form})


def files_in(folder: Path) -> list[str]:
    """Name all files in a folder and below it.

    Args:
        folder: Where.
    """
    return [
        path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()
    ]


def put_together(
    page: Path, files: Mapping[Path, Collection[str]], parts: Mapping[str, str]
) -> PageFiles:
    """Read a page and what belongs to it.

    Args:
        page: Its text, with ``{{assets}}`` where the folder of its files belongs, ``{{head}}``
            where what every page begins with does, and ``{{signing_in}}`` where somebody signs in.
        files: Names of files by the folder they are in; no name may be in two of them.
        parts: What goes where ``{{name}}`` is, by name.

    Raises:
        OSError: A file is missing.
    """
    assets = {
        name: ((folder / name).read_bytes(), _CONTENT_TYPES[(folder / name).suffix])
        for folder, names in files.items()
        for name in names
    }
    digest = hashlib.sha256()
    for name, (content, _) in assets.items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    version = digest.hexdigest()[:16]
    text = page.read_text("utf-8")
    shared = {name: (ASSETS / f"{name}.html").read_text("utf-8") for name in _IN_EVERY_PAGE}
    for name, part in (*shared.items(), *parts.items(), ("assets", f"assets/{version}")):
        text = text.replace(f"{{{{{name}}}}}", part)
    return PageFiles(text.encode(), version, assets)
