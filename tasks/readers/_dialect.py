"""Dialects: how a table of text parts its cells, as the recipe says or the first lines show."""

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from cuvee.schemas.recipe import Csv

# Looked at to tell a dialect.
SAMPLE_LINES, SAMPLE_BYTES = 50, 256 << 10
# In the order in which they are believed.
DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Dialect:
    """delimiter: one character; quote: one, or empty for none; found: whether the delimiter was told by the lines, and
    is not what the suffix says.
    """

    delimiter: str
    quote: str
    found: bool = False


def dialect(said: Csv, is_tsv: bool, lines: Sequence[str], wanted: Sequence[str]) -> Dialect:
    """Choose the dialect of a table.

    said: what the recipe says; lines: the first of the file; wanted: columns that one of its cells must name, where the
    file has a header.
    """
    expected = "\t" if is_tsv else ","
    delimiter = said.delimiter
    if delimiter == "auto":
        delimiter = "\t" if is_tsv else _delimiter(said, lines, wanted)
    return Dialect(delimiter, _quote(said, delimiter), found=said.delimiter == "auto" and delimiter != expected)


def usual_quote(delimiter: str) -> str:
    """Return what quotes cells where nothing else is said; empty for none."""
    return "" if delimiter == "\t" else '"'


def cells(lines: Sequence[str], delimiter: str, quote: str) -> list[list[str]]:
    """Part lines into cells; those behind a fault are left out, as is a last one that may go on."""
    if not quote:
        return [line.split(delimiter) for line in lines if line]
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows.extend(row for row in csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True) if row)
    return rows


def _delimiter(said: Csv, lines: Sequence[str], wanted: Sequence[str]) -> str:
    """Tell the delimiter by what the header names, else by how evenly it parts the lines."""
    if not lines:
        return ","
    found = {sign: cells(lines, sign, _quote(said, sign)) for sign in DELIMITERS}
    if said.header:
        for sign, rows in found.items():
            names = [name.strip() for name in rows[0]] if rows else []
            if len(names) > 1 and all(name in names for name in wanted):
                return sign
    even = {sign: score for sign, rows in found.items() if (score := _evenness(rows))}
    return max(even, key=lambda sign: even[sign], default=",")


def _quote(said: Csv, delimiter: str) -> str:
    return usual_quote(delimiter) if said.quote == "auto" else said.quote


def _evenness(rows: Sequence[Sequence[str]]) -> float:
    """Tell how many of the rows have as many cells as the first, 0 to 1; 0 where that has one."""
    if not rows or len(rows[0]) < 2:
        return 0.0
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows)
