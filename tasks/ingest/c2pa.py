"""C2PA: note and strip the manifests that generators hide in plain text.

C2PA 2.4, appendix A.8 (unstructured text): U+FEFF, then one variation selector for each byte (U+FE00–FE0F for 0–15,
U+E0100–E01EF for 16–255) of: the magic "C2PATXT" and a zero byte, the version (1), the length of the manifest store
(4 bytes, big-endian), the store itself (one JUMBF box), and padding. A generator states its work in the store by the
IPTC digital source types trainedAlgorithmicMedia and compositeWithTrainedAlgorithmicMedia.
Signatures are not verified: a note is evidence, not proof. The armoured form of A.9 is visible text and is left alone.
"""

import re

import polars as pl

_MARKER = "\ufeff"
_MAGIC = b"C2PATXT\0"
_VERSION = 1
_HEADER_BYTES = 13
_GENERATED = (b"trainedAlgorithmicMedia", b"compositeWithTrainedAlgorithmicMedia")

_TABLE = {**{0xFE00 + byte: byte for byte in range(16)}, **{0xE0100 + byte - 16: byte for byte in range(16, 256)}}
_SELECTORS = "[\ufe00-\ufe0f\U000e0100-\U000e01ef]*"
# Every byte of the magic but the last is 16 or more.
PREFIX = _MARKER + "".join(chr(0xE0100 + byte - 16) if byte >= 16 else chr(0xFE00 + byte) for byte in _MAGIC)
_WRAPPER = re.compile(_MARKER + "(" + PREFIX[1:] + _SELECTORS + ")")


def _is_jumbf(store: bytes) -> bool:
    """Tell whether bytes are one JUMBF superbox (ISO 19566-5) that fills them."""
    length = int.from_bytes(store[:4], "big")
    if length == 1:  # an extended length follows the type
        length = int.from_bytes(store[8:16], "big")
    return store[4:8] == b"jumb" and length in (0, len(store))


def _judge(wrapper: str) -> str:
    """Judge the selectors of one wrapper: synthetic, present or damaged."""
    content = bytes(_TABLE[ord(selector)] for selector in wrapper)
    end = _HEADER_BYTES + int.from_bytes(content[9:_HEADER_BYTES], "big")
    store = content[_HEADER_BYTES:end]
    if len(content) < end or content[8] != _VERSION or not _is_jumbf(store):
        return "damaged"
    return "synthetic" if any(kind in store for kind in _GENERATED) else "present"


def _judge_text(text: str) -> str:
    """Judge all wrappers of one text: synthetic if one is, else damaged if one is, else present."""
    found = {_judge(match[1]) for match in _WRAPPER.finditer(text)}
    return next(verdict for verdict in ("synthetic", "damaged", "present") if verdict in found)


def note(text: pl.Series) -> pl.Series:
    """Note the manifest of each text as it was read, before normalisation.

    Gives null (no manifest), synthetic (a sound manifest that names a generative model), present (another sound
    manifest) or damaged (cut off, changed, of an unknown version, or no JUMBF box). Only rows with the magic are
    decoded.
    """
    places = text.str.contains(PREFIX, literal=True).arg_true()
    notes: list[str | None] = [None] * len(text)
    for place in places:
        notes[place] = _judge_text(text[place])
    return pl.Series("c2pa", notes, dtype=pl.String)


def strip(text: pl.Series) -> pl.Series:
    """Take the wrappers, sound or damaged, out of each text; they are invisible, so nothing readable changes."""
    # Taking out an inner wrapper may join the halves of an outer one.
    while text.str.contains(PREFIX, literal=True).any():
        text = text.str.replace_all(PREFIX + _SELECTORS, "")
    return text
