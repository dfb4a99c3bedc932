"""Formats: which readers there are, and what the name of a file says of it."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Protocol, cast

from cuvee.schemas.address import shown
from cuvee.schemas.errors import RecipeError
from cuvee.tasks import shelf
from cuvee.tasks.readers._archives import kind_of
from cuvee.tasks.readers._batch import Batch
from cuvee.tasks.readers._bytes import COMPRESSIONS
from cuvee.tasks.readers._columns import Records
from cuvee.tasks.readers._elsewhere import elsewhere
from cuvee.tasks.readers._file import File, Layout

# Where the readers lie.
PACKAGE = "cuvee.tasks.readers"
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
    return shelf.names(PACKAGE)


def check(format: str, where: str) -> None:
    """Raise RecipeError, with the nearest known name, for a format that is neither AUTO nor a reader's name.

    where: the key of the recipe that holds it.
    """
    if format != AUTO and format not in on_shelf()[0]:
        if told := elsewhere(f"x.{format}"):
            raise RecipeError(f"{where}: {told}")
        raise shelf.unknown(PACKAGE, format, where, also=(AUTO,))


def detect(path: str, media_type: str = "") -> tuple[str, str | None]:
    """Tell the format and the compression (gzip, zstd or None) of a path or address from its suffixes.

    media_type: as the web declares it, for addresses whose path has no suffix that is known.
    Raises RecipeError when neither is known.
    """
    suffixes, compression = suffixes_of(path), compression_of(path)
    readers, by_suffix, by_media_type = on_shelf()
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
    suffixes = suffixes_of(path)
    return COMPRESSIONS.get(suffixes[-1]) if suffixes else None


def is_archive(path: str) -> bool:
    """Tell by its name whether a file is an archive, whose members are files of their own."""
    return kind_of(suffixes_of(path)) is not None


def is_hidden(member: str) -> bool:
    """Tell by its name whether a member of an archive is what systems put there beside the files."""
    return any(part.startswith((".", "__MACOSX")) for part in member.split("/"))


def is_one_document(format: str, records: str = "file") -> bool:
    """Tell whether a file of a format is one document, whose id is the path and follows the file when it is renamed.

    records: as in the recipe.
    """
    return on_shelf()[0][format].ONE_DOCUMENT and (format != "text" or records == "file")


def suffixes_of(path: str) -> list[str]:
    """List the suffixes of a path or address, in small letters."""
    name = path.split("?")[0].split("#")[0] if path.startswith(("http://", "https://")) else path
    return [suffix.lower() for suffix in PurePosixPath(name).suffixes]


def is_known(path: str) -> bool:
    """Tell by its name whether a reader reads a file."""
    try:
        detect(path)
    except RecipeError:
        return False
    return True


@functools.cache
def on_shelf() -> tuple[Mapping[str, Reader], Mapping[str, str], Mapping[str, str]]:
    """Return the readers by name, and their names by suffix and by media type."""
    readers = {name: cast(Reader, module) for name, module in shelf.modules(PACKAGE).items()}
    by_suffix = {suffix: name for name, reader in readers.items() for suffix in reader.SUFFIXES}
    by_media_type = {kind: name for name, reader in readers.items() for kind in reader.MEDIA_TYPES}
    return readers, by_suffix, by_media_type
