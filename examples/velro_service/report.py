"""Tables and a progress line for the terminal; plain text where the output is none."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import TextIO

__all__ = ["Progress", "heading", "milliseconds", "note", "percentile", "table"]

_BOLD, _DIM, _GREEN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[0m"
_FANCY = {"─": "-", "│": "|", "┌": "+", "┐": "+", "└": "+", "┘": "+"}
_FANCY |= {"├": "+", "┤": "+", "┬": "+", "┴": "+", "┼": "+", "█": "#", "░": "."}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not below ``percent`` of all (nearest rank); NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def milliseconds(seconds: float) -> str:
    """A time in ms with three significant digits, in one notation throughout."""
    ms = seconds * 1000
    if math.isnan(ms):
        return "-"
    return f"{ms:.3f} ms" if ms < 10 else f"{ms:.1f} ms"


def _styled(text: str, style: str, out: TextIO) -> str:
    return f"{style}{text}{_RESET}" if out.isatty() else text


def _write(text: str, out: TextIO) -> None:
    try:
        text.encode(out.encoding or "ascii")
    except UnicodeEncodeError:
        text = "".join(_FANCY.get(char, char) for char in text)
        text = text.encode(out.encoding or "ascii", "replace").decode(out.encoding or "ascii")
    out.write(text + "\n")
    out.flush()


def heading(text: str) -> None:
    """Print a heading."""
    _write("\n" + _styled(text, _BOLD, sys.stdout), sys.stdout)


def note(text: str) -> None:
    """Print a line of explanation."""
    _write(_styled(text, _DIM, sys.stdout), sys.stdout)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, best: int) -> None:
    """Print an aligned table: names to the left, figures to the right.

    Args:
        columns: Headings.
        rows: As many texts as there are columns, in each.
        best: Number of the column to bring out in colour.
    """
    widths = [max(len(line[at]) for line in [columns, *rows]) for at in range(len(columns))]

    def rule(left: str, middle: str, right: str) -> str:
        return left + middle.join("─" * (width + 2) for width in widths) + right

    def line(cells: Sequence[str], style: str) -> str:
        padded = []
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            text = cell.rjust(width) if at else cell.ljust(width)
            chosen = style or (_GREEN if at == best else "")
            padded.append(_styled(text, chosen, sys.stdout) if chosen else text)
        return "│ " + " │ ".join(padded) + " │"

    _write(rule("┌", "┬", "┐"), sys.stdout)
    _write(line(columns, _BOLD), sys.stdout)
    _write(rule("├", "┼", "┤"), sys.stdout)
    for row in rows:
        _write(line(row, ""), sys.stdout)
    _write(rule("└", "┴", "┘"), sys.stdout)


class Progress:
    """Progress of one step: a bar that redraws itself, or a line at each quarter of the way.

    Goes to standard error, so that the tables can be redirected by themselves.

    Args:
        label: What is going on.
        total: Steps to be done.
    """

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = max(1, total)
        self._started = perf_counter()
        self._quarter = 0
        self._drawn = 0.0
        self._live = sys.stderr.isatty()
        if self._live:
            self(0)
        else:
            _write(f"{label} ...", sys.stderr)

    def __call__(self, done: int) -> None:
        """Show that ``done`` steps are done."""
        share = min(1.0, done / self._total)
        seconds = perf_counter() - self._started
        if self._live:
            # Ten times a second is as much as anybody sees.
            if seconds - self._drawn < 0.1 and done < self._total:
                return
            self._drawn = seconds
            bar = "█" * round(24 * share) + "░" * (24 - round(24 * share))
            rate = f"{done / seconds:,.0f}/s" if seconds > 0.2 else ""
            sys.stderr.write(f"\r\x1b[K{self._label:<34} {bar} {share:4.0%} {rate}")
            sys.stderr.flush()
        elif int(share * 4) > self._quarter:
            self._quarter = int(share * 4)
            _write(f"  {share:4.0%} after {seconds:.1f} s", sys.stderr)

    def finish(self) -> None:
        """Show the end of the step."""
        self(self._total)
        if self._live:
            sys.stderr.write("\n")
            sys.stderr.flush()
