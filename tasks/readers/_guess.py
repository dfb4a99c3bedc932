"""Guess: how a file is to be read, told from its beginning: what a recipe would say of its source.

Nothing of this takes part in a run: it makes a recipe for a person to read, who may know better.
"""

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from cuvee.schemas.errors import InputError
from cuvee.schemas.recipe import Csv
from cuvee.tasks.readers import _bytes
from cuvee.tasks.readers._bytes import Bounds, EndsEarlyError
from cuvee.tasks.readers._charset import detected
from cuvee.tasks.readers._dialect import DELIMITERS, SAMPLE_LINES, cells, usual_quote
from cuvee.tasks.readers._encoding import as_utf8
from cuvee.tasks.readers._guess_fields import fields_of

# Of the file; a byte behind it may still be of another encoding.
_MOST_BYTES = 16 << 20
_SAMPLE_BYTES = 1 << 20
_OF_TEXT = ("csv", "json", "jsonl", "text")
# A line is a document where lines are as long as this on average, and hardly any is blank. Han and Kana say in a sign
# what takes three letters.
_NO_SPACES = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_LONG_LINE, _MOST_BLANK = 200, 0.1
_LONG_NAME = 50
_NO_NAME = re.compile(r"[-+]?[\d.,:/ -]+|.*[.!?。！？]", re.DOTALL)


@dataclass(frozen=True)
class Guess:
    """What a recipe would say: keys of a source, as they are written there; `fields` holds what is not the default.

    columns: the columns that the first rows have, dotted paths among them.
    """

    format: str
    encoding: str = "auto"
    csv: Csv = field(default_factory=Csv)
    records: Literal["file", "line", "paragraph"] = "file"
    fields: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()


def guess(
    path: Path, format: str, compression: str | None, rows_in: Callable[[str], Sequence[Mapping[str, object]]]
) -> Guess:
    """Look at the beginning of a local file.

    rows_in: gives its first objects or rows in an encoding, none where its format has no columns or a dialect. Raises
    InputError for a file that cannot be read.
    """
    if format not in _OF_TEXT:
        fields, columns = fields_of(rows_in("auto"))
        return Guess(format, fields=fields, columns=columns)
    head = _head(path, compression)
    encoding = _encoding(head)
    text = b"".join(as_utf8([head[:_SAMPLE_BYTES]], encoding)).decode("utf-8", "replace")
    if format == "text":
        return Guess(format, encoding, records="line" if _is_lines(text) else "file")
    if format == "csv":
        said, rows = _table(text, is_tsv=path.name.lower().partition(".tsv")[1] != "")
        fields, columns = fields_of(rows)
        return Guess(format, encoding, said, fields=fields, columns=columns)
    fields, columns = fields_of(rows_in(encoding))
    return Guess(format, encoding, fields=fields, columns=columns)


def _head(path: Path, compression: str | None) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        with path.open("rb") as stream:
            for piece in _bytes.pieces(stream, compression, Bounds()):
                parts.append(piece)
                size += len(piece)
                if size >= _MOST_BYTES:
                    break
    except (EndsEarlyError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return b"".join(parts)


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "auto"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
        return "auto"
    except UnicodeDecodeError:
        pass
    for name in (detected(head[:_SAMPLE_BYTES]), "cp1252"):
        if name:
            with suppress(UnicodeDecodeError, LookupError):
                head.decode(name)
                return name
    return "latin-1"


def _is_lines(text: str) -> bool:
    lines = text.splitlines()
    filled = [line for line in lines if line.strip()]
    if len(filled) < 2 or len(lines) - len(filled) > _MOST_BLANK * len(lines):
        return False
    return sum(len(line) + 2 * len(_NO_SPACES.findall(line)) for line in filled) / len(filled) >= _LONG_LINE


def _table(text: str, is_tsv: bool) -> tuple[Csv, list[dict[str, object]]]:
    """Return what a recipe would say of a table, and its first rows."""
    lines = list(islice(text.splitlines(keepends=True), 4 * SAMPLE_LINES))
    expected = "\t" if is_tsv else ","
    best, scored = (expected, usual_quote(expected)), 0.0
    for delimiter in DELIMITERS:
        for quote in ('"', "'", ""):
            rows = cells([line.rstrip("\r\n") for line in lines] if not quote else lines, delimiter, quote)
            score = _score(rows, lines, delimiter, quote)
            if score > scored:
                best, scored = (delimiter, quote), score
    delimiter, quote = best
    rows = cells([line.rstrip("\r\n") for line in lines] if not quote else lines, delimiter, quote)
    header = not rows or _is_header(rows)
    said = Csv(
        delimiter="auto" if is_tsv and delimiter == "\t" else delimiter,
        quote="auto" if quote == usual_quote(delimiter) else quote,
        header=header,
    )
    width = len(rows[0]) if rows else 0
    names = [name.strip() for name in rows[0]] if header and rows else [f"column_{n + 1}" for n in range(width)]
    body = [row for row in (rows[1:] if header else rows) if len(row) == width]
    return said, [dict(zip(names, row, strict=True)) for row in body]


def _score(rows: Sequence[Sequence[str]], lines: Sequence[str], delimiter: str, quote: str) -> float:
    """Tell how well a dialect fits: rows of one width, of more than one cell, with quotes that stand around cells."""
    if len(rows) < 1 or len(rows[0]) < 2:
        return 0.0
    even = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
    taken = sum(map(len, (cell for row in rows for cell in row))) / max(1, sum(map(len, lines)))
    around = 0.0
    if quote:
        side = re.escape(delimiter)
        found = re.findall(rf"(?:^|{side}){quote}|{quote}(?:{side}|\r?\n?$)", "".join(lines), re.MULTILINE)
        around = min(1.0, len(found) / (2 * len(lines)))
    plain = 0.05 if quote == usual_quote(delimiter) else 0.0
    return even * taken + around + plain


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first cells are names: short, all different, no numbers and no sentences."""
    first = [cell.strip() for cell in rows[0]]
    return len(set(first)) == len(first) and all(map(_is_name, first))


def _is_name(cell: str) -> bool:
    return 0 < len(cell) <= _LONG_NAME and not _NO_NAME.fullmatch(cell)
