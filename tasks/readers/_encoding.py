"""Encodings: text of another encoding as UTF-8, piece by piece; UTF-16 is known by its mark."""

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain

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
        head, rest = _begun(rest)
        encoding = "utf-16" if head.startswith(_MARKS) else "utf-8"
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    head, rest = _begun(rest if is_utf8 else _decoded(rest, encoding))
    next(rest, None)
    if behind := head.removeprefix(codecs.BOM_UTF8):
        yield behind
    yield from rest


def _begun(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Put pieces together until a mark could be seen, and give all of them again."""
    head = b""
    while len(head) < len(codecs.BOM_UTF8) and (piece := next(pieces, None)) is not None:
        head += piece
    return head, chain([head], pieces)


def _decoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("cuvee-unknown")
    for piece in chain(pieces, [None]):
        text = decoder.decode(piece or b"", final=piece is None)
        if text:
            yield text.encode("utf-8", "surrogateescape")
