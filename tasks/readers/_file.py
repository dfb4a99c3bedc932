"""Files as readers are given them: the bytes, with how they are stored, and what the recipe says of their rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, Literal

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Csv
from cuvee.tasks.readers import _bytes
from cuvee.tasks.readers._batch import FIELDS
from cuvee.tasks.readers._bytes import Bounds
from cuvee.tasks.readers._encoding import as_utf8

Names = str | Sequence[str]


@dataclass(frozen=True)
class File:
    """A file that is read once, from its beginning.

    path: for messages, and the id of a document that is a whole file; stream: its bytes; compression: a value of
    `COMPRESSIONS`, or None; bounds: what it may take of the machine; encoding: auto, or a codec's name.
    """

    path: str
    stream: BinaryIO
    compression: str | None
    bounds: Bounds
    encoding: str = "auto"

    def pieces(self) -> Iterator[bytes]:
        """Give the decompressed bytes, text of another encoding as UTF-8; raises as `_bytes.pieces` does.

        What its encoding does not know is a byte that is not UTF-8.
        """
        return as_utf8(_bytes.pieces(self.stream, self.compression, self.bounds), self.encoding)

    def lines(self) -> Iterator[bytes | None]:
        """Give the lines, as `_bytes.lines` does."""
        return _bytes.lines(self.pieces(), self.bounds)

    def whole(self) -> bytes:
        """Give all bytes, as `_bytes.whole` does."""
        return _bytes.whole(self.pieces(), self.bounds)

    def decode(self, content: bytes) -> str:
        """Decode bytes that `pieces` gave; raises InvalidRowError."""
        return _bytes.decode(content, self.encoding)

    def is_named(self, *suffixes: str) -> bool:
        """Tell whether the name has one of these suffixes, whatever compression follows."""
        return any(suffix.lower() in suffixes for suffix in PurePosixPath(self.path).suffixes)


@dataclass(frozen=True)
class Layout:
    """What the recipe says of the rows of a source.

    fields: column → the columns or paths of the file that hold it, every column but origin, and that where it is asked
    for; messages: of a chat, or None; keep: more of them, for `extra`; csv, records: as in the recipe.
    """

    fields: Mapping[str, tuple[str, ...]]
    messages: str | None = None
    keep: tuple[str, ...] = ()
    csv: Csv = field(default_factory=Csv)
    records: Literal["file", "line", "paragraph"] = "file"

    @property
    def columns(self) -> list[str]:
        """The columns of rows that `values` of `_picking` and its like give, in their order."""
        more = {"messages": self.messages is not None, "extra": bool(self.keep)}
        return [*self.fields, *(name for name, wanted in more.items() if wanted)]

    @property
    def needed(self) -> tuple[str, ...]:
        """What must be there: where the text is, or the chat."""
        return (self.messages,) if self.messages is not None else self.fields["text"]


def layout_of(
    fields: Mapping[str, Names | None],
    keep: Sequence[str] = (),
    csv: Csv | None = None,
    records: Literal["file", "line", "paragraph"] = "file",
) -> Layout:
    """Complete what is said of fields: every column is by default in the one of its own name, origin only when asked
    for. Raises RecipeError for a name that is no column.
    """
    for name in fields:
        if name not in FIELDS and name != "messages":
            raise RecipeError(f"fields.{name}: there is no such column; the columns are {', '.join(FIELDS)}, messages")
    messages = fields.get("messages")
    named = {name: fields.get(name) or name for name in FIELDS if name != "origin" or fields.get(name)}
    paths = {name: (found,) if isinstance(found, str) else tuple(found) for name, found in named.items()}
    chat = messages if isinstance(messages, str) or messages is None else messages[0]
    return Layout(paths, chat, tuple(keep), csv or Csv(), records)
