"""Batches: the one shape that every reader gives."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

# The columns beside `row`, in their order; each may be mapped to a field of the file.
FIELDS = ("text", "id", "url", "title", "created", "license", "generator", "model", "origin")
# What a reader sees beside the fields. content_type: without parameters; opt_out: JSON of the raw signals (see
# `_signals`); date_trusted: whether the reader vouches for `created`. Null where a format has no such thing.
SEEN: dict[str, type[pl.DataType]] = {"content_type": pl.String, "opt_out": pl.String, "date_trusted": pl.Boolean}
# messages: of a chat, JSON of `cuvee.schemas.document.MESSAGES`; extra: JSON object of what the recipe keeps; marking:
# human, synthetic or unknown, as the mark of a file that cuvee published says of its rows.
MORE = ("messages", "extra", "marking")
_TYPES: dict[str, type[pl.DataType]] = {"row": pl.Int64, **dict.fromkeys([*FIELDS, *MORE], pl.String), **SEEN}
SCHEMA = pl.Schema(_TYPES)

_NOTHING = {name: pl.Series(name, [None], kind) for name, kind in SCHEMA.items()}
_VISIBLE = re.compile("[!-~]")
# What a row costs beside its text: eight cells of Python objects while a batch is collected.
ROW_OVERHEAD_BYTES = 200


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that cannot be read. row: 0-based in the file; line: 1-based, None where a format has no lines."""

    row: int
    line: int | None
    reason: str


class Found(NamedTuple):
    """A record that can be read. row: 0-based in the file; values: one for each name; size_bytes: of the record."""

    row: int
    values: Iterable[object]
    size_bytes: int


@dataclass(frozen=True)
class Batch:
    """Readable rows (columns of `SCHEMA`, in file order) and the bad rows between them.

    skipped: how many records hold no document, by kind; they are neither rows nor bad rows. told: what the run says of
    how the file is read, None where nothing was found out.
    """

    rows: pl.DataFrame
    bad: list[BadRow] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    told: str | None = None


class InvalidRowError(Exception):
    """Why one record is bad; the reader that raised it turns it into a `BadRow`."""


def clean(columns: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Put columns in order, add those that are missing as nulls, and make blank cells null, except text.

    An empty id would otherwise be one id shared by all rows that lack one.
    """
    height = len(next(iter(columns.values())))
    found: dict[str, pl.Series] = {}
    for name in SCHEMA:
        column = columns.get(name)
        if column is None:
            found[name] = _NOTHING[name].new_from_index(0, height)
        else:
            found[name] = _without_blank(column) if name in FIELDS[1:] and _may_be_blank(column) else column
    return pl.DataFrame(found)


def _may_be_blank(column: pl.Series) -> bool:
    # Of a file that is one document without polars' engine, which takes a quarter of a millisecond to begin.
    if len(column) != 1:
        return column.null_count() < len(column)
    return column[0] is not None and not _VISIBLE.search(column[0])


def _without_blank(column: pl.Series) -> pl.Series:
    return column.to_frame("value").select(pl.when(pl.col("value").str.contains(r"\S")).then(pl.col("value")))["value"]


def _clean(columns: Mapping[str, list[object]]) -> pl.DataFrame:
    """Clean columns of Python values, and let go of the values."""
    series = {name: pl.Series(name, values, SCHEMA[name]) for name, values in columns.items()}
    for values in columns.values():
        values.clear()
    return clean(series)


def as_text(value: object) -> str | None:
    """Render a value that should be text: strings as they are, the rest (a number as id, a list) as JSON.

    A whole number is the same text whatever its type, 7 and 7.0; what is no number (NaN) or infinite is no value.
    """
    if value is None or isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    return json.dumps(value, ensure_ascii=False)


def collect(
    names: Iterable[str], found: Iterable[Found | BadRow | str], batch_bytes: int, told: str | None = None
) -> Iterator[Batch]:
    """Make batches of about `batch_bytes`; names: of the values of records; told: of the first batch. A string is
    the kind of a record that holds no document.
    """
    columns: dict[str, list[object]] = {"row": [], **{name: [] for name in names}}
    bad: list[BadRow] = []
    skipped: dict[str, int] = {}
    held = 0
    for record in found:
        if isinstance(record, Found):
            row, values, size_bytes = record
            for column, value in zip(columns.values(), (row, *values), strict=True):
                column.append(value)
            held += size_bytes + ROW_OVERHEAD_BYTES
        elif isinstance(record, BadRow):
            bad.append(record)
            held += ROW_OVERHEAD_BYTES
        else:
            skipped[record] = skipped.get(record, 0) + 1
            held += 1
        if held >= batch_bytes:
            yield Batch(_clean(columns), bad, skipped, told)
            bad, skipped, held, told = [], {}, 0, None
    if held:
        yield Batch(_clean(columns), bad, skipped, told)


def one_document(values: Mapping[str, str | None], bad: str | None = None) -> Batch:
    """Make the batch of a file that is one document: row 0, or its fault."""
    if bad is not None:
        return Batch(SCHEMA.to_frame(), [BadRow(0, None, bad)])
    columns: dict[str, list[object]] = {"row": [0], **{name: [value] for name, value in values.items()}}
    return Batch(_clean(columns))
