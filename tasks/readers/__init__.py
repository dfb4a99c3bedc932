"""Readers: source files in, batches of rows out; one module a format, found by its presence here.

What a module holds is a `Reader`. What is wrong with one record is a `BadRow` with its row, line and reason, and the
rest is read; what is wrong with the whole file is an InputError.
Memory is bounded by the size of a batch and of the longest record, never by the size of the file.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal, cast

import polars as pl

from cuvee.schemas.errors import InputError, RecipeError
from cuvee.schemas.recipe import Csv
from cuvee.tasks import shelf
from cuvee.tasks.readers._archives import Member
from cuvee.tasks.readers._batch import FIELDS, SCHEMA, BadRow, Batch
from cuvee.tasks.readers._bytes import COMPRESSIONS, Bounds, EndsEarlyError, pieces, size_of
from cuvee.tasks.readers._columns import Columns, Records, conform, frame
from cuvee.tasks.readers._dates import DAYS, ISO_DATE
from cuvee.tasks.readers._elsewhere import elsewhere
from cuvee.tasks.readers._file import File, Names, layout_of
from cuvee.tasks.readers._formats import (
    AUTO,
    PACKAGE,
    Reader,
    WithRecords,
    check,
    compression_of,
    detect,
    is_archive,
    is_hidden,
    is_known,
    is_one_document,
    names,
    on_shelf,
    suffixes_of,
)
from cuvee.tasks.readers._guess import Guess
from cuvee.tasks.readers._guess import guess as guess_of
from cuvee.tasks.readers._parts import Part, members, parts
from cuvee.tasks.readers._paths import expand as expand_paths

__all__ = [
    "AUTO",
    "DAYS",
    "FIELDS",
    "ISO_DATE",
    "SCHEMA",
    "BadRow",
    "Batch",
    "Columns",
    "Guess",
    "Member",
    "Part",
    "Reader",
    "Records",
    "check",
    "compression_of",
    "conform",
    "copies",
    "decoded",
    "detect",
    "elsewhere",
    "expand",
    "frame",
    "guess",
    "is_archive",
    "is_hidden",
    "is_known",
    "is_one_document",
    "members",
    "names",
    "parts",
    "read",
    "records",
    "table",
    "whole",
]


def read(
    path: Path | str,
    stream: BinaryIO,
    format: str,
    compression: str | None,
    fields: Mapping[str, Names | None],
    batch_bytes: int = 8 << 20,
    *,
    row_mb: int = 64,
    expansion: int = 1000,
    encoding: str = "auto",
    keep: Sequence[str] = (),
    csv: Csv | None = None,
    records: Literal["file", "line", "paragraph"] = "file",
) -> Iterator[Batch]:
    """Read a source file in batches of about `batch_bytes` (> 0), in file order.

    path: for messages, and the id of a document that is a whole file; stream: the bytes, open for reading.
    fields: column → name of the field in the file, a dotted path, or a list of these, joined by a blank line; every
    column but origin defaults to the field of its own name. Only text must be there, or, where `messages` names a chat,
    that. encoding, keep, csv, records: as in the recipe. The rows have the columns `SCHEMA`; `row` counts from 0 and
    counts bad rows too, and in archives the records that hold no document, which `skipped` counts by kind.
    Values that are no strings are rendered: numbers and lists as JSON, dates and timestamps as ISO 8601; text must be a
    string. Blank cells are null, except in text. An empty file gives nothing.
    row_mb: MB that one record may hold, a bad row above; expansion: decoded / stored bytes of the file from 256 MB on,
    beyond which it is not read further. Memory is bounded by them.
    Raises RecipeError for an unknown format, compression or column at once, and InputError, at the first batch, when
    the file as a whole cannot be read.
    """
    if format not in on_shelf()[0]:
        raise shelf.unknown(PACKAGE, format, "format")
    reader = on_shelf()[0][format]
    if compression not in (None, *COMPRESSIONS.values()) or (compression and not reader.COMPRESSIBLE):
        raise RecipeError(f"{path}: a {format} file cannot be read with the compression {compression!r}")
    bounds = Bounds(row_mb, expansion, size_of(stream), batch_bytes)
    layout = layout_of(fields, keep, csv, records)
    return reader.read(File(str(path), stream, compression, bounds, encoding), layout)


def records(
    path: Path | str,
    stream: BinaryIO,
    format: str,
    compression: str | None,
    text: str | None,
    batch_bytes: int,
    row_mb: int = 64,
) -> Iterator[Records]:
    """Read a file in blocks of about `batch_bytes` (> 0), in file order, each record with all its columns.

    text: the column that must be there and hold strings, large strings in tables; None: no column must. A format that
    has no columns of its own gives those that `read` does and that hold something.
    format: a reader's name. Raises as `read` does.
    """
    reader = on_shelf()[0][format]
    if own := getattr(reader, "records", None):
        bounds = Bounds(row_mb, 1000, size_of(stream), batch_bytes)
        yield from own(File(str(path), stream, compression, bounds), text)
        return
    for batch in read(path, stream, format, compression, {}, batch_bytes, row_mb=row_mb):
        held = [name for name in FIELDS[1:] if batch.rows[name].null_count() < batch.rows.height]
        table = batch.rows.select("text", *held).to_arrow()
        yield Records(table.rename_columns([text or "text", *table.column_names[1:]]), batch.bad)


def table(path: Path) -> pl.DataFrame:
    """Read a file that fits into memory, with all its columns; mixed kinds in one are text.

    Raises RecipeError for an unknown format, and InputError, naming it, for the first row that cannot be read.
    """
    return frame(whole(path))


def whole(path: Path, text: str | None = None, batch_bytes: int = 4 << 20, row_mb: int = 64) -> Iterator[Records]:
    """Read a local file of which no row may be lost, in blocks as `records` does; of an archive each member that has a
    known format.

    Raises RecipeError for an unknown format, and InputError, naming it, for the first row that cannot be read.
    """
    with path.open("rb") as stream:
        for file in parts(str(path), stream, str(path)):
            if isinstance(file, BadRow):
                raise InputError(f"{file.reason}; take it out")
            if isinstance(file, str):
                continue
            for part in records(file.name, file.stream, file.format, file.compression, text, batch_bytes, row_mb):
                for bad in part.bad[:1]:
                    place = (
                        f"{file.name}: row {bad.row}" if bad.line is None else f"{file.name}:{bad.line}: row {bad.row}"
                    )
                    raise InputError(f"{place} (counted from 0): {bad.reason}; correct it, or take it out")
                yield part


def decoded(path: Path, compression: str | None) -> Iterator[bytes]:
    """Give the bytes of a local file, decompressed, in pieces; where they are damaged they end."""
    with path.open("rb") as stream, suppress(EndsEarlyError):
        yield from pieces(stream, compression, Bounds(stored=size_of(stream)))


def guess(path: Path, most_rows: int = 200) -> Guess:
    """Tell how a local file is to be read, from its beginning: what `cuvee init` writes of it.

    Raises RecipeError for an unknown format, and InputError for a file that cannot be read at all.
    """
    if is_archive(str(path)):
        with tempfile.TemporaryDirectory() as folder:
            for copy in copies(path, Path(folder)):
                return dataclasses.replace(guess(copy, most_rows), format=AUTO)
        raise InputError(f"{path} has no member of a known format")
    format, compression = detect(str(path))
    reader = on_shelf()[0][format]

    def rows_in(encoding: str) -> list[Mapping[str, object]]:
        rows: list[Mapping[str, object]] = []
        if format not in ("json", "jsonl", "parquet"):
            return rows
        with path.open("rb") as stream:
            bounds = Bounds(stored=size_of(stream), batch_bytes=1 << 20)
            file = File(str(path), stream, compression, bounds, encoding)
            for part in cast(WithRecords, reader).records(file, None):
                found = part.rows if isinstance(part.rows, list) else part.rows.slice(0, most_rows).to_pylist()
                rows += found[: most_rows - len(rows)]
                if len(rows) >= most_rows:
                    break
        return rows

    return guess_of(path, format, compression, rows_in)


def copies(archive: Path, folder: Path) -> Iterator[Path]:
    """Copy the members of a local archive that a reader knows, one after the other, into a folder: named by numbers,
    with their suffixes. Raises InputError for an archive that cannot be read.
    """
    with archive.open("rb") as stream:
        for number, member in enumerate(members(str(archive), stream)):
            if member.content is None or is_hidden(member.name) or not is_known(member.name):
                continue
            copy = folder / f"{number}{''.join(suffixes_of(member.name)[-2:])}"
            with copy.open("wb") as file:
                shutil.copyfileobj(member.content, file)
            yield copy


def expand(paths: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return the files that paths, folders and globs name, each once, sorted by the bytes of their paths, and those of
    the folders that no reader knows. Raises RecipeError for a path that names no file, or an unknown format itself.
    """
    files, passed = expand_paths(paths, lambda path: is_archive(path) or is_known(path))
    for file in files:
        if not is_archive(str(file)):
            detect(str(file))
    return files, passed
