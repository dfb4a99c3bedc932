"""Readers: source files in, batches of rows out; one module a format, found by its presence here.

A reader module gives SUFFIXES, COMPRESSIBLE (may .gz or .zst follow?), MEDIA_TYPES (what the web declares such a file
as), ONE_DOCUMENT (is a file one document, whose id is the file's path?) and `read`. What is wrong with one record is a
`BadRow` with its row, line and reason, and the rest is read; what is wrong with the whole file is an InputError.
Memory is bounded by the size of a batch and of the longest record, never by the size of the file.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path, PurePosixPath
from pkgutil import iter_modules
from typing import BinaryIO

from cuvee.schemas.address import shown
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.readers._batch import FIELDS, MAX_RECORD_BYTES, SCHEMA, BadRow, Batch, complete_fields
from cuvee.tasks.readers._bytes import COMPRESSIONS

__all__ = [
    "FIELDS",
    "FORMATS",
    "MAX_RECORD_BYTES",
    "SCHEMA",
    "BadRow",
    "Batch",
    "compression_of",
    "detect",
    "is_one_document",
    "read",
]

_MODULES = {
    module.name: import_module(f"{__name__}.{module.name}")
    for module in iter_modules(__path__)
    if not module.name.startswith("_")
}
FORMATS = tuple(_MODULES)
_BY_SUFFIX = {suffix: name for name, module in _MODULES.items() for suffix in module.SUFFIXES}
_BY_MEDIA_TYPE = {kind: name for name, module in _MODULES.items() for kind in module.MEDIA_TYPES}


def detect(path: str, media_type: str = "") -> tuple[str, str | None]:
    """Tell the format and the compression (gzip, zstd or None) of a path or address from its suffixes.

    media_type: as the web declares it, for addresses whose path has no suffix that is known.
    Raises RecipeError when neither is known.
    """
    suffixes, compression = _suffixes(path), compression_of(path)
    found = _BY_SUFFIX.get(suffixes[-2 if compression else -1]) if len(suffixes) > bool(compression) else None
    if found and not (compression and not _MODULES[found].COMPRESSIBLE):
        return found, compression
    if media_type in _BY_MEDIA_TYPE:
        return _BY_MEDIA_TYPE[media_type], None
    plain = sorted(suffix for suffix in _BY_SUFFIX if not _MODULES[_BY_SUFFIX[suffix]].COMPRESSIBLE)
    others = sorted(set(_BY_SUFFIX) - set(plain))
    raise RecipeError(
        f"{shown(path)}: the format cannot be told from the name; name it with `format:`, or use one of the "
        f"suffixes {' '.join(plain)}, or {' '.join(others)}, these also with {' or '.join(COMPRESSIONS)}"
    )


def compression_of(path: str) -> str | None:
    """Tell the compression (gzip, zstd or None) of a path or address from its last suffix."""
    suffixes = _suffixes(path)
    return COMPRESSIONS.get(suffixes[-1]) if suffixes else None


def is_one_document(format: str) -> bool:
    """Tell whether a file of a format is one document, whose id is the path and follows the file when it is renamed."""
    return bool(_MODULES[format].ONE_DOCUMENT)


def _suffixes(path: str) -> list[str]:
    name = path.split("?")[0].split("#")[0] if path.startswith(("http://", "https://")) else path
    return [suffix.lower() for suffix in PurePosixPath(name).suffixes]


def read(
    path: Path | str,
    stream: BinaryIO,
    format: str,
    compression: str | None,
    fields: Mapping[str, str],
    batch_bytes: int = 8 << 20,
) -> Iterator[Batch]:
    """Read a source file in batches of about `batch_bytes` (> 0), in file order.

    path: for messages, and the id of a document that is a whole file; stream: the bytes, open for reading.
    fields: column → name of the field in the file; every column but origin defaults to the field of its own name, and
    only text must be there. The rows have the columns `SCHEMA`; `row` counts from 0 and counts bad rows too, and in
    archives the records that hold no document, which `skipped` counts by kind.
    Values that are no strings are rendered: numbers and lists as JSON, dates and timestamps as ISO 8601; text must be a
    string. Blank cells are null, except in text. An empty file gives nothing.
    Raises RecipeError for an unknown format, compression or column at once, and InputError, at the first batch, when
    the file as a whole cannot be read.
    """
    if format not in _MODULES:
        raise RecipeError(f"format: {format!r} is not known; the formats are {', '.join(FORMATS)}")
    module = _MODULES[format]
    if compression not in (None, *COMPRESSIONS.values()) or (compression and not module.COMPRESSIBLE):
        raise RecipeError(f"{path}: a {format} file cannot be read with the compression {compression!r}")
    batches: Iterator[Batch] = module.read(path, stream, compression, complete_fields(fields), batch_bytes)
    return batches
