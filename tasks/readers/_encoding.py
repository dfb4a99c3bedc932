"""Encodings: text of another encoding as UTF-8, piece by piece; UTF-16 is known by its mark."""

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain

from cuvee.tasks.readers._bytes import begun

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# No character has this byte in UTF-8: it shows where an encoding does not know what is there.
_UNKNOWN = "\udcff"

codecs.register_error("cuvee-unknown", lambda error: (_UNKNOWN, error.end))  # type: ignore[attr-defined]


def as_utf8(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Give the text of pieces in UTF-8, without a mark at its beginning.

    encoding: auto (UTF-8, or UTF-16 where its mark stands first), or a codec's name.
    """
    rest = iter(pieces)
    if encoding == "auto":
        head, behind = begun(rest, _shows_a_mark)
        rest = chain(head, behind)
        encoding = "utf-16" if b"".join(head).startswith(_MARKS) else "utf-8"
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    head, rest = begun(rest if is_utf8 else _decoded(rest, encoding), _shows_a_mark)
    if first := b"".join(head).removeprefix(codecs.BOM_UTF8):
        yield first
    yield from rest


def _shows_a_mark(head: list[bytes]) -> bool:
    return sum(map(len, head)) >= len(codecs.BOM_UTF8)


def _decoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("cuvee-unknown")
    for piece in chain(pieces, [None]):
        try:
            text = decoder.decode(piece or b"", final=piece is None)
        except UnicodeError:  # of the whole file: UTF-16 and UTF-32 without a mark
            yield _UNKNOWN.encode("utf-8", "surrogateescape")
            return
        if text:
            yield text.encode("utf-8", "surrogateescape")
