"""Searches the memory of a process for API keys.

A process of its own, because whoever searches holds what is searched for. It runs under the
debugging allocator of Python and with ``MALLOC_PERTURB_`` of glibc, which overwrite memory when it
is freed: what is found there is held by somebody, or lies on a stack. Without them, what is found
may as well be memory that was given back and waits for its next use; ``is_wiping=False`` is for
counting that.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

__all__ = ["Found", "Searched", "can_search", "parts_of"]

HERE: Final = Path(__file__).parent

WIPING: Final = {"PYTHONMALLOC": "debug", "MALLOC_PERTURB_": "165"}

Found = tuple[str, str]
"""Of what something was found, and in which mapping."""

_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)")
_CHARACTERS: Final = 12

can_search = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not Path("/proc/self/mem").exists(),
    reason="the memory of a process can be read only on Linux",
)


def parts_of(plain: str) -> list[bytes]:
    """What gives a key away: any third of it, as it is sent, and as a text with wide characters.

    Not what it begins with, which all keys do, and not the four characters that may be shown.
    """
    secret = plain[-36:]
    thirds = [secret[at : at + _CHARACTERS] for at in (2, 12, 24)]
    return [third.encode(form) for third in thirds for form in ("ascii", "utf-16le", "utf-32le")]


class Searched:
    """A process that is told what to do, line by line, and whose memory is searched meanwhile.

    Args:
        program: A file beside this one.
        is_wiping: Whether what it frees is overwritten.
        environment: Further variables.
    """

    def __init__(self, program: str, *, is_wiping: bool = True, **environment: str) -> None:
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", str(HERE / program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Development mode has allocators of its own.
            env=_without(os.environ, "PYTHONDEVMODE", "PYTHONMALLOC")
            | {"PYTHONPATH": path}
            | (WIPING if is_wiping else {})
            | environment,
        )

    def do(self, what: str, text: str = "") -> str:
        """Have something done, and return what it says of that.

        Args:
            what: A name that the program knows.
            text: What with; a key, for most.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        os.write(self.process.stdin.fileno(), f"{what} {text}\n".encode())
        # Unbuffered, so that no reader of this process keeps it.
        answer = b""
        while not answer.endswith(b"\n"):
            part = os.read(self.process.stdout.fileno(), 65536)
            assert part, f"it ended: {self.process.wait(60)}"
            answer += part
        return answer.decode().strip()

    def search(self, wanted: Mapping[str, list[bytes]]) -> set[Found]:
        """Look for byte strings in all memory that the process can write to.

        Args:
            wanted: What of one thing is looked for, by a name of the thing.
        """
        return {
            (name, mapping)
            for mapping, memory in self._memory()
            for name, parts in wanted.items()
            if any(part in memory for part in parts)
        }

    def find(self, pattern: bytes) -> list[bytes]:
        """All that fits a pattern, in all memory that the process can write to.

        Args:
            pattern: A regular expression with one group.
        """
        return [found for _, memory in self._memory() for found in re.findall(pattern, memory)]

    def _memory(self) -> Iterator[tuple[str, bytes]]:
        folder = Path("/proc") / str(self.process.pid)
        with open(folder / "mem", "rb", buffering=0) as file:
            for line in (folder / "maps").read_text().splitlines():
                fields = _MAPPING.match(line)
                assert fields is not None
                begin, end = int(fields[1], 16), int(fields[2], 16)
                if not fields[3].startswith("rw"):
                    continue
                file.seek(begin)
                parts = []
                while begin < end and (part := file.read(min(end - begin, 1 << 24))):
                    parts.append(part)
                    begin += len(part)
                assert begin == end
                yield fields[4] or "anonymous", b"".join(parts)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


def _without(variables: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in names}
