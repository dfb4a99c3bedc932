"""Plain text: one file is one document, row 0; its id is the path given."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from cuvee.tasks.readers._batch import Batch, InvalidRowError, one_document
from cuvee.tasks.readers._bytes import Bounds, decode, whole

SUFFIXES = (".txt", ".md", ".text")
COMPRESSIBLE = True
MEDIA_TYPES = ("text/plain",)
ONE_DOCUMENT = True


def read(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], bounds: Bounds
) -> Iterator[Batch]:
    """Read one document; see `cuvee.tasks.readers.read`. The fields and the batch size do not apply."""
    try:
        text = decode(whole(stream, compression, bounds))
        if text:
            yield one_document({"text": text, "id": str(path)})
    except InvalidRowError as error:
        yield one_document({}, bad=str(error))
