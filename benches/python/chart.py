"""The chart: an SVG drawn by hand, for light and for dark pages.

Six panels. Times are multiples of the plain dict on a logarithmic axis, drawn as a line from the
dict's 1x to a dot, since bars need a zero that a logarithmic axis does not have; hit rate and
memory are bars from zero. velro-cache has the accent colour, everybody else is grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Final, Literal

from report import OURS, plain
from results import Results, Standing

Theme = Literal["auto", "light", "dark"]

LIGHT: Final = {
    "page": "#ffffff",
    "text": "#1f2328",
    "muted": "#59636e",
    "grid": "#d8dee4",
    "peer": "#8c959f",
    "ours": "#0b6e99",
    "pure": "#b35900",
}
DARK: Final = {
    "page": "#0d1117",
    "text": "#e6edf3",
    "muted": "#9198a1",
    "grid": "#30363d",
    "peer": "#7d8590",
    "ours": "#4cc2f1",
    "pure": "#f0a04b",
}

WIDTH: Final = 980
MARGIN: Final = 24
GAP: Final = 40
HEADER: Final = 84
PANEL: Final = (WIDTH - 2 * MARGIN - GAP) / 2
LABELS: Final = 168
"""Width of the names at the left of a panel."""
VALUES: Final = 62
"""Width of the figures at the right of a panel."""
ROW: Final = 22
PANEL_HEAD: Final = 50
PANEL_FOOT: Final = 34

NAMES: Final = {
    "velro": "velro-cache",
    "velro-value": "velro-cache get_value",
    "velro-untagged": "velro-cache, no tags",
    "dict-awaited": "dict behind a coroutine",
    "dict": "plain dict",
    "pure": "pure-Python manager",
}
"""Names that are shorter than the tables' ones."""

GET: Final = {"velro": "velro-cache get"}
TAGGED: Final = {"velro": "velro-cache, two tags"}
"""Names of velro-cache's main row where another of its rows stands beside it."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of the chart.

    Attributes:
        scenario: Where its figures come from.
        title: Its heading.
        note: What better means.
        figure: From a standing to its figure; None leaves the standing out.
        kind: ``multiple`` for dots on a logarithmic axis, ``amount`` for bars from zero.
        label: From a figure to its text.
        names: Names that differ from `NAMES` in this panel.
        largest_first: Whether more is better.
    """

    scenario: str
    title: str
    note: str
    figure: Callable[[Standing], float | None]
    kind: Literal["multiple", "amount"]
    label: Callable[[float], str]
    names: Mapping[str, str] = field(default_factory=dict)
    largest_first: bool = False


def _multiple(value: float) -> str:
    return f"{value:.2f}x" if value < 9.95 else f"{value:.0f}x"


def _ratio(standing: Standing) -> float | None:
    return standing.ratio


LESS: Final = "multiples of a plain dict, logarithmic; less is better"

PANELS: Final = (
    Panel("hit", "Hit", LESS, _ratio, "multiple", _multiple, GET),
    Panel("hit_fresh", "Hit with a freshly built key", LESS, _ratio, "multiple", _multiple, GET),
    Panel("set_evict", "Store into a full cache", LESS, _ratio, "multiple", _multiple, TAGGED),
    Panel("decorator_async", "Decorated async function, hit", LESS, _ratio, "multiple", _multiple),
    Panel(
        "zipf",
        "Hit rate, Zipf(0.99), 100,000 keys, room for 10,000",
        "percent; more is better",
        lambda standing: (
            None
            if standing.slug in ("dict", "velro-value")
            else standing.extra.get("hit_rate_percent")
        ),
        "amount",
        lambda value: f"{value:.1f} %",
        largest_first=True,
    ),
    Panel(
        "memory",
        "Memory per entry beside key and value",
        "bytes; less is better",
        lambda standing: standing.extra.get("net_bytes_per_entry"),
        "amount",
        lambda value: f"{value:,.0f}",
        TAGGED,
    ),
)


def draw(results: Results, theme: Theme = "auto") -> str:
    """Return the chart as SVG text.

    Args:
        results: A run; panels without figures are left out.
        theme: ``auto`` follows the reader's colour scheme; the others are fixed.
    """
    filled = [(panel, entries) for panel in PANELS if len(entries := _entries(results, panel)) > 1]
    parts: list[str] = []
    top = float(HEADER)
    for left in range(0, len(filled), 2):
        pair = filled[left : left + 2]
        for column, (panel, entries) in enumerate(pair):
            parts += _panel(panel, entries, MARGIN + column * (PANEL + GAP), top)
        rows = max((len(entries) for _panel_, entries in pair), default=0)
        top += PANEL_HEAD + rows * ROW + PANEL_FOOT
    where = results.machine
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" '
            f'width="{WIDTH}" height="{top:.0f}" role="img" aria-labelledby="title">',
            '<title id="title">velro-cache beside other Python caches</title>',
            f"<style>{_style(theme)}</style>",
            f'<rect class="page" width="{WIDTH}" height="{top:.0f}" rx="8"/>',
            f'<text class="h1" x="{MARGIN}" y="38">velro-cache beside other in-process caches'
            "</text>",
            f'<text class="note" x="{MARGIN}" y="60">'
            f"{escape(f'{where.python}, {where.processor}, {where.date}')}</text>",
            *parts,
            "</svg>",
            "",
        )
    )


def _style(theme: Theme) -> str:
    """Return the style sheet."""
    shapes = (
        "text{font-family:-apple-system,'Segoe UI','Noto Sans',Helvetica,Arial,"
        "'DejaVu Sans',sans-serif;font-size:12.5px}"
        ".h1{font-size:20px;font-weight:600}.h2{font-size:14.5px;font-weight:600}"
        ".note{font-size:11.5px}.strong{font-weight:600}"
        ".end{text-anchor:end}.mid{text-anchor:middle}.axis{stroke-width:1.5}"
        # Figures stand on the grid lines: a rim in the page's colour keeps them readable.
        ".value{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}"
    )
    if theme == "dark":
        return shapes + _colours(DARK)
    if theme == "light":
        return shapes + _colours(LIGHT)
    return shapes + _colours(LIGHT) + "@media (prefers-color-scheme: dark){" + _colours(DARK) + "}"


def _colours(palette: dict[str, str]) -> str:
    """Return the rules that colour things."""
    return (
        f".page{{fill:{palette['page']}}}.value{{stroke:{palette['page']}}}"
        f"text{{fill:{palette['text']}}}.note{{fill:{palette['muted']}}}"
        f".grid{{stroke:{palette['grid']}}}.axis{{stroke:{palette['muted']}}}"
        + "".join(
            f".{name}{{fill:{palette[name]}}}.line-{name}{{stroke:{palette[name]}}}"
            for name in ("peer", "ours", "pure")
        )
    )


def _entries(results: Results, panel: Panel) -> list[tuple[Standing, float]]:
    """Return a panel's standings with their figures, the best first."""
    outcome = results.of(panel.scenario)
    if outcome is None:
        return []
    found = [
        (standing, figure)
        for standing in outcome.standings
        if (figure := panel.figure(standing)) is not None
        # The yardstick is the axis itself.
        and not (panel.kind == "multiple" and standing.slug == "dict")
    ]
    return sorted(found, key=lambda item: item[1], reverse=panel.largest_first)


def _panel(
    panel: Panel, entries: list[tuple[Standing, float]], left: float, top: float
) -> list[str]:
    """Return the shapes of one panel."""
    begin = left + LABELS
    width = PANEL - LABELS - VALUES
    bottom = top + PANEL_HEAD + len(entries) * ROW
    largest = max(figure for _standing, figure in entries)
    if panel.kind == "multiple":
        smallest = min(0.9, *(figure for _standing, figure in entries)) * 0.9
        span = math.log(largest) - math.log(smallest)

        def place(figure: float) -> float:
            return begin + width * (math.log(figure) - math.log(smallest)) / span

        ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if tick <= largest]
        ticks = _apart([tick for tick in ticks if tick >= smallest], place)
        origin = place(1.0)
    else:

        def place(figure: float) -> float:
            return begin + width * figure / largest

        step = 10 ** math.floor(math.log10(largest))
        step = step if largest / step >= 3 else step / 2
        ticks = [step * count for count in range(int(largest / step) + 1)]
        ticks = _apart(ticks, place)
        origin = begin
    parts = [
        f'<text class="h2" x="{left:.1f}" y="{top + 14:.1f}">{escape(panel.title)}</text>',
        f'<text class="note" x="{left:.1f}" y="{top + 31:.1f}">{escape(panel.note)}</text>',
    ]
    for tick in ticks:
        x = place(tick)
        text = f"{tick:g}x" if panel.kind == "multiple" else f"{tick:,.0f}"
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top + PANEL_HEAD - 6:.1f}" '
            f'y2="{bottom:.1f}"/>'
        )
        parts.append(f'<text class="note mid" x="{x:.1f}" y="{bottom + 15:.1f}">{text}</text>')
    for number, (standing, figure) in enumerate(entries):
        y = top + PANEL_HEAD + number * ROW + ROW / 2 - 3
        parts += _mark(panel, standing, figure, left, y, origin, place(figure))
    parts.append(
        f'<line class="axis" x1="{origin:.1f}" x2="{origin:.1f}" '
        f'y1="{top + PANEL_HEAD - 6:.1f}" y2="{bottom:.1f}"/>'
    )
    return parts


def _apart(ticks: list[float], place: Callable[[float], float]) -> list[float]:
    """Leave out ticks whose labels would touch the one before, but never the 1."""
    kept: list[float] = []
    for tick in ticks:
        if kept and place(tick) - place(kept[-1]) < 36:
            if tick == 1:
                kept[-1] = tick
            continue
        kept.append(tick)
    return kept


def _mark(
    panel: Panel,
    standing: Standing,
    figure: float,
    left: float,
    y: float,
    origin: float,
    x: float,
) -> list[str]:
    """Return one contestant's name, mark and figure."""
    family = "ours" if standing.slug in OURS else "pure" if standing.slug == "pure" else "peer"
    strong = " strong" if family == "ours" else ""
    name = panel.names.get(standing.slug) or NAMES.get(standing.slug)
    name = name or plain(standing.title)
    parts = [
        f'<text class="end{strong}" x="{left + LABELS - 10:.1f}" y="{y + 4:.1f}">'
        f"{escape(name)}</text>"
    ]
    if panel.kind == "multiple":
        parts.append(
            f'<line class="line-{family}" stroke-width="2.5" x1="{origin:.1f}" x2="{x:.1f}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<circle class="{family}" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>')
    else:
        parts.append(
            f'<rect class="{family}" x="{origin:.1f}" y="{y - 7:.1f}" '
            f'width="{max(1.0, x - origin):.1f}" height="14" rx="2"/>'
        )
    # A dot left of the axis has the axis at its right: the figure goes beyond both.
    after = max(x, origin) + 11
    parts.append(
        f'<text class="value{strong}" x="{after:.1f}" y="{y + 4:.1f}">'
        f"{escape(panel.label(figure))}</text>"
    )
    return parts
