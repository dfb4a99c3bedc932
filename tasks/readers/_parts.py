"""Parts: what is read as one file: a file itself, or each member of an archive."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.readers._archives import Member, kind_of
from cuvee.tasks.readers._archives import members as members_of
from cuvee.tasks.readers._batch import BadRow
from cuvee.tasks.readers._bytes import Bounds, size_of
from cuvee.tasks.readers._elsewhere import elsewhere
from cuvee.tasks.readers._formats import AUTO, compression_of, detect, is_archive, is_hidden, suffixes_of


class Part(NamedTuple):
    """What is read as one file. name: for messages, and its id; member, sha256: name and hash of a member of an
    archive, empty for a file itself.
    """

    name: str
    stream: BinaryIO
    format: str
    compression: str | None
    member: str = ""
    sha256: str = ""


def parts(
    path: str, stream: BinaryIO, name: str, format: str = AUTO, media_type: str = "", expansion: int = 1000
) -> Iterator[Part | BadRow | str]:
    """Give what a file is read as, one after the other; of archives also the members that cannot be read, by their
    place, and the kinds of those that hold no document.

    name: of the file, for messages, and its id; format: a reader's, or AUTO. Raises RecipeError where the format cannot
    be told, and InputError for an archive that cannot be read.
    """
    if not is_archive(path):
        yield Part(name, stream, *_format_of(path, format, media_type))
        return
    for row, member in enumerate(members(path, stream, expansion)):
        own = f"{name}/{member.name}"
        if member.fault or member.content is None:
            yield BadRow(row, None, f"{own} {member.fault}")
        elif is_hidden(member.name):
            yield "hidden file"
        elif told := elsewhere(member.name):
            yield BadRow(row, None, f"{own}: {told}")
        else:
            try:
                of_member = _format_of(member.name, format)
            except RecipeError:
                yield f"file of another format ({Path(member.name).suffix[:8].lower() or 'no suffix'})"
            else:
                yield Part(own, member.content, *of_member, member.name, member.sha256)


def members(path: str, stream: BinaryIO, expansion: int = 1000) -> Iterator[Member]:
    """Give the members of an archive, in its order; path: its name, which tells the kind.

    expansion: as for `read`, of the archive. Raises InputError for a zip that cannot be read.
    """
    kind = kind_of(suffixes_of(path)) or ("tar", None)
    return members_of(path, kind, stream, Bounds(expansion=expansion, stored=size_of(stream)))


def _format_of(path: str, format: str, media_type: str = "") -> tuple[str, str | None]:
    return detect(path, media_type) if format == AUTO else (format, compression_of(path))
