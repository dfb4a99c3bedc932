"""Readers: source files in, batches of rows out; one module a format, found by its presence here.

What a module holds is a `Reader`. What is wrong with one record is a `BadRow` with its row, line and reason, and the
rest is read; what is wrong with the whole file is an InputError.
Memory is bounded by the size of a batch and of the longest record, never by the size of the file.
"""

import dataclasses
import functools
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, Protocol, cast

import polars as pl

from cuvee.schemas.address import shown
from cuvee.schemas.errors import InputError, RecipeError
from cuvee.schemas.recipe import Csv
from cuvee.tasks import shelf
from cuvee.tasks.readers._archives import Member, kind_of
from cuvee.tasks.readers._archives import members as members_of
from cuvee.tasks.readers._batch import FIELDS, SCHEMA, BadRow, Batch
from cuvee.tasks.readers._bytes import COMPRESSIONS, Bounds, EndsEarlyError, pieces, size_of
from cuvee.tasks.readers._columns import Columns, Records, conform, frame
from cuvee.tasks.readers._dates import DAYS, ISO_DATE
from cuvee.tasks.readers._elsewhere import elsewhere
from cuvee.tasks.readers._file import File, Layout, Names, layout_of
from cuvee.tasks.readers._guess import Guess
from cuvee.tasks.readers._guess import guess as guess_of
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
    "read",
    "records",
    "table",
    "whole",
]

# The format of a source whose files tell theirs by their names.
AUTO = "auto"


class Reader(Protocol):
    """What a module of this package holds.

    SUFFIXES: of its files, with the dot. COMPRESSIBLE: whether .gz or .zst may follow. MEDIA_TYPES: what the web
    declares such a file as. ONE_DOCUMENT: whether a file is one document, whose id is the file's path.
    It may also hold `records(file, text)`, where its files have columns of their own: each record with all of them, as
    `cuvee.tasks.readers.records` gives them; text: the column that must be there and hold strings, or None.
    """

    SUFFIXES: tuple[str, ...]
    COMPRESSIBLE: bool
    MEDIA_TYPES: tuple[str, ...]
    ONE_DOCUMENT: bool

    def read(self, file: File, layout: Layout) -> Iterator[Batch]:
        """Read a file, as `cuvee.tasks.readers.read` says.

        Its `pieces`, `lines` and `whole` decompress and decode it, and see to how far it expands.
        """


class WithRecords(Protocol):
    """What a module of this package holds besides, where its files have columns of their own."""

    def records(self, file: File, text: str | None) -> Iterator[Records]:
        """Read each record with all its columns; text: the one that must be there and hold strings, or None."""


def names() -> list[str]:
    """List the formats, sorted: a format is called as its file in this folder."""
    return shelf.names(__name__)


def check(format: str, where: str) -> None:
    """Raise RecipeError, with the nearest known name, for a format that is neither AUTO nor a reader's name.

    where: the key of the recipe that holds it.
    """
    if format != AUTO and format not in _found()[0]:
        if told := elsewhere(f"x.{format}"):
            raise RecipeError(f"{where}: {told}")
        raise shelf.unknown(__name__, format, where, also=(AUTO,))


def detect(path: str, media_type: str = "") -> tuple[str, str | None]:
    """Tell the format and the compression (gzip, zstd or None) of a path or address from its suffixes.

    media_type: as the web declares it, for addresses whose path has no suffix that is known.
    Raises RecipeError when neither is known.
    """
    suffixes, compression = _suffixes(path), compression_of(path)
    readers, by_suffix, by_media_type = _found()
    found = by_suffix.get(suffixes[-2 if compression else -1]) if len(suffixes) > bool(compression) else None
    if found and not (compression and not readers[found].COMPRESSIBLE):
        return found, compression
    if media_type in by_media_type:
        return by_media_type[media_type], None
    if told := elsewhere(path):
        raise RecipeError(f"{shown(path)}: {told}")
    if is_archive(path):
        raise RecipeError(f"{shown(path)} is an archive; sources of a recipe may be archives, here unpack it first")
    plain = sorted(suffix for suffix, name in by_suffix.items() if not readers[name].COMPRESSIBLE)
    others = sorted(set(by_suffix) - set(plain))
    raise RecipeError(
        f"{shown(path)}: the format cannot be told from the name; name it with `format:`, or use one of the "
        f"suffixes {' '.join(plain)}, or {' '.join(others)}, these also with {' or '.join(COMPRESSIONS)}, or "
        "within .zip or .tar"
    )


def compression_of(path: str) -> str | None:
    """Tell the compression (gzip, zstd or None) of a path or address from its last suffix."""
    suffixes = _suffixes(path)
    return COMPRESSIONS.get(suffixes[-1]) if suffixes else None


def is_archive(path: str) -> bool:
    """Tell by its name whether a file is an archive, whose members are files of their own."""
    return kind_of(_suffixes(path)) is not None


def is_hidden(member: str) -> bool:
    """Tell by its name whether a member of an archive is what systems put there beside the files."""
    return any(part.startswith((".", "__MACOSX")) for part in member.split("/"))


def is_one_document(format: str, records: str = "file") -> bool:
    """Tell whether a file of a format is one document, whose id is the path and follows the file when it is renamed.

    records: as in the recipe.
    """
    return _found()[0][format].ONE_DOCUMENT and (format != "text" or records == "file")


def _suffixes(path: str) -> list[str]:
    name = path.split("?")[0].split("#")[0] if path.startswith(("http://", "https://")) else path
    return [suffix.lower() for suffix in PurePosixPath(name).suffixes]


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
    if format not in _found()[0]:
        raise shelf.unknown(__name__, format, "format")
    reader = _found()[0][format]
    if compression not in (None, *COMPRESSIONS.values()) or (compression and not reader.COMPRESSIBLE):
        raise RecipeError(f"{path}: a {format} file cannot be read with the compression {compression!r}")
    bounds = Bounds(row_mb, expansion, size_of(stream), batch_bytes)
    layout = layout_of(fields, keep, csv, records)
    return reader.read(File(str(path), stream, compression, bounds, encoding), layout)


def members(path: str, stream: BinaryIO, expansion: int = 1000) -> Iterator[Member]:
    """Give the members of an archive, in its order; path: its name, which tells the kind.

    expansion: as for `read`, of the archive. Raises InputError for a zip that cannot be read.
    """
    kind = kind_of(_suffixes(path)) or ("tar", None)
    return members_of(path, kind, stream, Bounds(expansion=expansion, stored=size_of(stream)))


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
    reader = _found()[0][format]
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
    """Read a local file of which no row may be lost, in blocks as `records` does.

    Raises RecipeError for an unknown format, and InputError, naming it, for the first row that cannot be read.
    """
    format, compression = detect(str(path))
    with path.open("rb") as stream:
        for part in records(path, stream, format, compression, text, batch_bytes, row_mb):
            for bad in part.bad[:1]:
                place = f"{path}: row {bad.row}" if bad.line is None else f"{path}:{bad.line}: row {bad.row}"
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
    reader = _found()[0][format]

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
            copy = folder / f"{number}{''.join(_suffixes(member.name)[-2:])}"
            with copy.open("wb") as file:
                shutil.copyfileobj(member.content, file)
            yield copy


def expand(paths: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return the files that paths, folders and globs name, each once, sorted by the bytes of their paths, and those of
    the folders that no reader knows. Raises RecipeError for a path that names no file, or an unknown format itself.
    """
    files, passed = expand_paths(paths, is_known)
    for file in files:
        detect(str(file))
    return files, passed


def is_known(path: str) -> bool:
    """Tell by its name whether a reader reads a file."""
    try:
        detect(path)
    except RecipeError:
        return False
    return True


@functools.cache
def _found() -> tuple[Mapping[str, Reader], Mapping[str, str], Mapping[str, str]]:
    """Return the readers by name, and their names by suffix and by media type."""
    readers = {name: cast(Reader, module) for name, module in shelf.modules(__name__).items()}
    by_suffix = {suffix: name for name, reader in readers.items() for suffix in reader.SUFFIXES}
    by_media_type = {kind: name for name, reader in readers.items() for kind in reader.MEDIA_TYPES}
    return readers, by_suffix, by_media_type
