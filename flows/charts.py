"""Charts: figures of a version as SVG, drawn as text and rectangles on a white ground."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from cuvee.schemas.visible import on_line

# Of Okabe and Ito's palette for all kinds of colour vision; each also has its name and figure beside it.
COLOURS = {"human": "#0072B2", "synthetic": "#E69F00", "unknown": "#999999"}
_COUNTED, _TRACK = "#009E73", "#DDDDDD"
_WIDTH, _LEFT, _RIGHT, _LINE, _BAR = 760, 220, 150, 34, 16
_LONGEST_NAME = 30


def bounds(rows: Sequence[tuple[str, float, float | None]]) -> str:
    """Draw what was counted beside its bound, a line a bound.

    rows: name, bound, counted (None: nothing was counted); shares from 0 to 1, or amounts.
    """
    drawn = []
    for place, (name, bound, counted) in enumerate(rows):
        scale = max(1.0, bound, counted or 0.0) if max(bound, counted or 0.0) <= 1 else max(bound, counted or 0.0)
        top = _LINE * place
        drawn += [_name(name, top), _bar(0, _room(), top, _TRACK)]
        drawn.append(_bar(0, _room() * (counted or 0.0) / scale, top, _COUNTED))
        at = _LEFT + _room() * bound / scale
        drawn.append(f'<path d="M{at:.1f} {top + 4}v{_LINE - 8}" stroke="#000" stroke-width="3"/>')
        drawn.append(_figure(f"{_shown(counted)} (bound {_shown(bound)})", top))
    return _svg(drawn, len(rows), "Counted beside its bound, the black line")


def provenance(rows: Mapping[str, Mapping[str, int]]) -> str:
    """Draw who wrote what: source → provenance → amount, a line a source, as parts of the largest source."""
    largest = max([1, *(sum(amounts.values()) for amounts in rows.values())])
    drawn = []
    for place, (source, amounts) in enumerate(rows.items()):
        top, begun = _LINE * place, 0.0
        drawn.append(_name(source, top))
        for kind, colour in COLOURS.items():
            length = _room() * amounts.get(kind, 0) / largest
            drawn.append(_bar(begun, length, top, colour))
            begun += length
        drawn.append(_figure(f"{sum(amounts.values()):,}", top))
    legend, top = [], _LINE * len(rows)
    for place, (kind, colour) in enumerate(COLOURS.items()):
        left = 130 * place
        legend.append(_bar(left, 14, top, colour))
        whole = sum(amounts.get(kind, 0) for amounts in rows.values())
        legend.append(f'<text x="{_LEFT + left + 20}" y="{top + 22}">{kind} {whole:,}</text>')
    return _svg(drawn + legend, len(rows) + 1, "Amounts by source and provenance")


def address(svg: str) -> str:
    """Return an image as an address that needs no server."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _room() -> int:
    return _WIDTH - _LEFT - _RIGHT


def _name(name: str, top: int) -> str:
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return f'<text x="{_LEFT - 10}" y="{top + 22}" text-anchor="end">{escape(on_line(short))}</text>'


def _figure(text: str, top: int) -> str:
    return f'<text x="{_WIDTH - _RIGHT + 8}" y="{top + 22}">{escape(text)}</text>'


def _bar(left: float, length: float, top: int, colour: str) -> str:
    place = f'x="{_LEFT + left:.1f}" y="{top + 9}" width="{max(length, 0):.1f}" height="{_BAR}"'
    return f'<rect {place} fill="{colour}"/>'


def _shown(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.3f}" if value <= 1 else f"{value:,.0f}"


def _svg(drawn: Sequence[str], lines: int, title: str) -> str:
    height = _LINE * max(lines, 1) + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="13"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(drawn)}</svg>'
    )
