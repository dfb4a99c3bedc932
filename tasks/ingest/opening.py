"""Opening: which local files a pattern names, and how a file of a source is read, as its recipe says."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

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
    # By names, and not by Path, which takes three times as long: a source may have a hundred thousand files.
    paths = ((os.path.join(root, match), match) for match in matches)
    return {path: match for path, match in paths if os.path.isfile(path)}


def parts(
    source: Source, limits: Ingest, path: str, name: str, stream: BinaryIO, media_type: str = ""
) -> Iterator[readers.Part | readers.BadRow | str]:
    """Give what a file of a source is read as, as `readers.parts` does; name: for messages, and its id."""
    return readers.parts(path, stream, name, source.format, media_type, limits.max_expansion)


def read(source: Source, limits: Ingest, part: readers.Part, batch_bytes: int = 8 << 20) -> Iterator[readers.Batch]:
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
