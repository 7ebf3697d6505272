"""``velro-cache keys import``: takes in keys of another system, by their digests."""

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

from velro_cache.api_keys.digests import PLAIN_SHA256, Peppers
from velro_cache.api_keys.key_format import KeyFormat
from velro_cache.api_keys.models import as_seconds
from velro_cache.cli.keys.connection import (
    add_action,
    add_database_options,
    add_format_options,
    key_format_of,
    peppers_of,
    with_keys,
)
from velro_cache.exceptions import ConfigError, VelroCacheError

if TYPE_CHECKING:
    from velro_cache.api_keys.sql import ImportedKey, SqlApiKeys

__all__ = ["add_to", "as_config_errors"]

_T = TypeVar("_T")

_AT_ONCE: Final = 500
_MOST_CHARACTERS: Final = 65_536
_PLAIN_CHARACTERS: Final = (8, 512)
_SHOWN_OF: Final = 24
_FIELDS: Final = (
    *("digest", "organization_id", "pepper_id", "id", "shown", "name", "scopes", "expires_at"),
)


def add_to(actions: Any) -> None:
    """Add the command to a parser."""
    parser = add_action(
        actions,
        "import",
        help="take in keys of another system, by their digests",
        description=(
            "Read keys from a file of CSV (with a heading) or JSON lines, with the fields"
            f" {', '.join(_FIELDS)}: the digest as 64 hexadecimal digits, of SHA-256 unless"
            " pepper_id says otherwise. Digests that are there already are passed over. With"
            " --plain, read keys themselves, one a line, from standard input, and digest them at"
            " once."
        ),
    )
    add_database_options(parser, writes=True)
    add_format_options(parser)
    parser.add_argument("file", nargs="?", metavar="FILE", help="left out: standard input")
    parser.add_argument("--format", choices=("csv", "jsonl"), help="left out: as FILE ends")
    parser.add_argument("--plain", action="store_true", help="read keys, not digests")
    parser.add_argument(
        "--organization", metavar="ID", help="whose they are, where the file does not say"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.plain and (options.file is not None or options.format is not None):
        options.parser.error("--plain reads standard input, so that no file has to hold keys")
    if options.plain and options.organization is None:
        options.parser.error("--plain needs --organization")
    peppers = peppers_of(options)
    key_format = key_format_of(options)

    async def work(keys: "SqlApiKeys") -> int:
        imported = seen = 0
        has_plain_sha256 = False
        batch: list[ImportedKey] = []
        with _opened(options) as file:
            try:
                for key in _keys_in(file, options, peppers, key_format):
                    has_plain_sha256 |= key.pepper_id == PLAIN_SHA256
                    batch.append(key)
                    if len(batch) == _AT_ONCE:
                        imported += await keys.import_keys(batch)
                        seen += len(batch)
                        batch = []
                imported += await keys.import_keys(batch)
                seen += len(batch)
            except VelroCacheError as error:
                # Nothing of a batch is written if anything of it is wrong.
                raise type(error)(
                    f"{error}; {imported} keys were imported before. Run it again when that is"
                    " corrected: keys that are there are passed over"
                ) from None
        figures = {"imported": imported, "already_there": seen - imported}
        text = f"imported {imported}, already there {seen - imported}"
        sys.stdout.write((json.dumps(figures) if options.json else text) + "\n")
        if has_plain_sha256:
            sys.stderr.write("the service finds them with accept_plain_sha256=True alone\n")
        return 0

    return with_keys(options, as_config_errors(work), key_format=key_format, peppers=peppers)


def as_config_errors(work: Callable[[Any], Awaitable[_T]]) -> Callable[[Any], Awaitable[_T]]:
    """Make arguments that are refused an answer of the command instead of a traceback.

    Args:
        work: What may raise :class:`ValueError` or :class:`TypeError`.
    """

    async def checked(keys: Any) -> _T:
        try:
            return await work(keys)
        except VelroCacheError:
            raise
        except (ValueError, TypeError) as error:
            raise ConfigError(str(error)) from None

    return checked


def _keys_in(
    file: TextIO, options: argparse.Namespace, peppers: Peppers, key_format: KeyFormat
) -> "Iterator[ImportedKey]":
    from velro_cache.api_keys.sql import ImportedKey

    for number, entry in _entries(file, options):
        try:
            if isinstance(entry, str):
                yield _digested(entry, options.organization, peppers, key_format)
            else:
                if options.organization is not None:
                    entry.setdefault("organization_id", options.organization)
                yield ImportedKey(**_arguments(entry))
        except (ValueError, TypeError, VelroCacheError) as error:
            # Without the entry, which may hold what is not to be seen.
            raise ConfigError(f"line {number}: {error}") from None


def _entries(file: TextIO, options: argparse.Namespace) -> Iterator[tuple[int, Any]]:
    kind = options.format or ("csv" if str(options.file).endswith(".csv") else "jsonl")
    if kind == "csv" and not options.plain:
        reader = csv.DictReader(_lines(file), strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise ConfigError(f"line {reader.line_num}: not as many fields as the heading")
                # An empty field is one that is not there.
                yield reader.line_num, {name: text for name, text in row.items() if text}
        except csv.Error:
            raise ConfigError(f"line {reader.line_num}: this is no CSV") from None
        return
    for number, line in enumerate(_lines(file), start=1):
        text = line.strip()
        if not text:
            continue
        if options.plain:
            yield number, text
            continue
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise ConfigError(f"line {number}: a JSON object is needed")
        yield number, entry


def _arguments(entry: dict[str, Any]) -> dict[str, Any]:
    unknown = set(entry) - set(_FIELDS)
    if unknown:
        raise ValueError(
            f"there are fields that are none of {', '.join(_FIELDS)}"
            + ("; keys themselves are read with --plain alone" if "key" in unknown else "")
        )
    for name in ("digest", "organization_id"):
        if name not in entry:
            raise ValueError(f"{name} is missing")
    found = {name: value for name, value in entry.items() if value is not None}
    try:
        found["digest"] = bytes.fromhex(found["digest"])
    except (ValueError, TypeError):
        raise ValueError("digest must be 64 hexadecimal digits") from None
    if isinstance(found.get("scopes"), str):
        found["scopes"] = found["scopes"].split()
    if "expires_at" in found:
        found["expires_at"] = _moment(found["expires_at"])
    return found


def _moment(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
        try:
            return as_seconds(datetime.fromisoformat(value))
        except (ValueError, OverflowError):
            raise ValueError("expires_at is no moment") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("expires_at is no moment")
    return value


def _digested(
    text: str, organization_id: str, peppers: Peppers, key_format: KeyFormat
) -> "ImportedKey":
    from velro_cache.api_keys.sql import ImportedKey

    least, most = _PLAIN_CHARACTERS
    if not least <= len(text) <= most or not text.isascii() or not text.isprintable():
        raise ValueError(f"a key has {least} to {most} printable ASCII characters")
    if key_format.matches(text):
        shown = key_format.shown(text)
    else:
        # Of a short key, four characters would say too much.
        shown = text[:4] if len(text) >= _SHOWN_OF else ""
    pepper_id, digest = peppers.digest(text)
    return ImportedKey(
        organization_id=organization_id, digest=digest, pepper_id=pepper_id, shown=shown
    )


def _lines(file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(_MOST_CHARACTERS):
        number += 1
        if len(line) >= _MOST_CHARACTERS:
            raise ConfigError(f"line {number} is longer than {_MOST_CHARACTERS} characters")
        yield line


@contextlib.contextmanager
def _opened(options: argparse.Namespace) -> Iterator[TextIO]:
    if options.file is None:
        yield sys.stdin
        return
    with contextlib.ExitStack() as stack:
        try:
            path = Path(options.file)
            file = stack.enter_context(path.open(encoding="utf-8-sig", newline=""))
        except OSError as error:
            raise ConfigError(f"{options.file}: {error.strerror}") from None
        yield file
