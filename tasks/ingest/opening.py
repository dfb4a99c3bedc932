"""Opening: which local files a pattern names, and how a file of a source is read, as its recipe says."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Ingest, Source
from cuvee.tasks import readers

WILDCARDS = frozenset("*?[")


def expand(pattern: str, folder: Path) -> dict[str, str]:
    """Return absolute path → id, the path below the last folder that has no wildcard.

    Raises RecipeError for the name of a folder.
    """
    written = Path(os.path.normpath(os.path.expanduser(pattern)))
    if (folder / written).is_dir():
        raise RecipeError(f"{pattern!r} is a folder; name its files, for example {pattern.rstrip('/')}/*")
    # Only the pattern has wildcards; a folder's own name may hold brackets.
    fixed = next((i for i, part in enumerate(written.parts) if WILDCARDS & set(part)), len(written.parts) - 1)
    root = Path(os.path.normpath(folder.joinpath(*written.parts[:fixed])))
    name = os.path.join(*written.parts[fixed:])
    matches = [name] if (root / name).exists() else glob.glob(name, root_dir=root, recursive=True)
    return {str(root / match): Path(match).as_posix() for match in matches if (root / match).is_file()}


def format_of(source: Source, path: str, media_type: str = "") -> tuple[str, str | None]:
    """Tell format and compression of a source's file; raises RecipeError where they cannot be told from its name."""
    if source.format != readers.AUTO:
        return source.format, readers.compression_of(path)
    return readers.detect(path, media_type)


class Part(NamedTuple):
    """What is read as one file: a file of a source, or a member of an archive among them. name: for messages, and its
    id; member, sha256: name and hash of a member, empty for a file itself.
    """

    name: str
    stream: BinaryIO
    format: str
    compression: str | None
    member: str = ""
    sha256: str = ""


def parts(
    source: Source, limits: Ingest, path: str, name: str, stream: BinaryIO, media_type: str = ""
) -> Iterator[Part | readers.BadRow | str]:
    """Give what a file is read as, one after the other; of archives also the members that cannot be read, by their
    place, and the kinds of those that hold no document.

    Raises RecipeError as `format_of`, and InputError for an archive that cannot be read.
    """
    if not readers.is_archive(path):
        yield Part(name, stream, *format_of(source, path, media_type))
        return
    for row, member in enumerate(readers.members(path, stream, limits.max_expansion)):
        own = f"{name}/{member.name}"
        if member.fault or member.content is None:
            yield readers.BadRow(row, None, f"{own} {member.fault}")
        elif readers.is_hidden(member.name):
            yield "hidden file"
        elif told := readers.elsewhere(member.name):
            yield readers.BadRow(row, None, f"{own}: {told}")
        else:
            try:
                format, compression = format_of(source, member.name)
            except RecipeError:
                yield f"file of another format ({Path(member.name).suffix[:8].lower() or 'no suffix'})"
            else:
                yield Part(own, member.content, format, compression, member.name, member.sha256)


def read(source: Source, limits: Ingest, part: Part, batch_bytes: int = 8 << 20) -> Iterator[readers.Batch]:
    """Read what is read as one file in batches of about `batch_bytes`; raises as a reader does."""
    fields = source.fields.model_dump() | {"origin": source.origin_field}
    return readers.read(
        part.name,
        part.stream,
        part.format,
        part.compression,
        fields,
        batch_bytes,
        row_mb=limits.max_row_mb,
        expansion=limits.max_expansion,
        encoding=source.encoding,
        keep=source.keep,
        csv=source.csv,
        records=source.records,
    )
