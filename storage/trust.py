"""Trust: what is checked of a store before it is believed: where a file lies, how long it is, and what it says.

Whoever can write to a store, or damage it, can put anything there. So the paths that stored files name are checked
here, bytes are counted and hashed before they are used, and every stored JSON is read here.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cuvee.schemas.errors import IntegrityError, RecipeError
from cuvee.schemas.manifest import FORMAT, Manifest
from cuvee.schemas.records import FileRef
from cuvee.storage.store import Store

M = TypeVar("M", bound=BaseModel)

# No reference says how long a manifest or a record is: a version of 100,000 files has one of about 50 MB.
MOST_JSON_BYTES = 2**27
# A pool state has some 400 bytes a record; this one is of a million. A ledger has a file for 2^18 rows.
MOST_STATE_BYTES, MOST_LEDGER_BYTES = 2**29, 2**30
RESTORE = "restore it from a backup"

# A value of what cuvee writes takes 30 bytes of text or more, and some 100 of memory; two bytes are enough for one.
_FREE_VALUES, _LEAST_VALUE_BYTES = 1_000_000, 24

_LEAST_INT, _MOST_INT = -(2**63), 2**64
_PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f]+"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")


def is_key(path: str) -> bool:
    """Tell whether a path is a key: relative, forward slashes between its parts, none of them empty, `.` or `..`."""
    return _KEY.fullmatch(path) is not None


def check_paths(refs: Iterable[FileRef], below: str, where: str) -> None:
    """Raise IntegrityError when a file does not lie below a folder. below: ends with a slash; where: what names it."""
    for ref in refs:
        if not (is_key(ref.path) and ref.path.startswith(below)):
            raise IntegrityError(f"{where}: it names {ref.path!r}, which does not lie below {below}; {RESTORE}")


def read_bounded(store: Store, key: str, most: int = MOST_JSON_BYTES) -> bytes:
    """Return the bytes under a key; raises IntegrityError when it is gone, and for more than `most` bytes, unread."""
    try:
        with store.open(key) as file:
            size = file.seek(0, 2)
            if size > most:
                raise IntegrityError(f"{store.location(key)} has {size:,} bytes, more than {most:,}; {RESTORE}")
            file.seek(0)
            return file.read(size)
    except FileNotFoundError:
        raise IntegrityError(f"{store.location(key)} is missing; {RESTORE}") from None


def read_whole(store: Store, ref: FileRef, most: int = MOST_JSON_BYTES) -> bytes:
    """Return the bytes of a file; raises IntegrityError when it is gone or its bytes are not the recorded ones.

    most: bytes that such a file may have, whatever is recorded.
    """
    content = read_bounded(store, ref.path, min(ref.bytes, most))
    digest = hashlib.sha256(content).hexdigest()
    if digest != ref.sha256:
        raise IntegrityError(f"{store.location(ref.path)} has changed ({_digests(digest, ref)}); {RESTORE}")
    return content


def changed(store: Store, ref: FileRef) -> str | None:
    """Say what is wrong with a file that is too large to be held in memory; None when its bytes are the recorded ones.

    No more than the recorded bytes are read.
    """
    try:
        place = store.location(ref.path)
        with store.open(ref.path) as file:
            size = file.seek(0, 2)
            if size != ref.bytes:
                return f"{place} has changed: it has {size:,} bytes, recorded were {ref.bytes:,}"
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except FileNotFoundError:
        return f"{place} is missing"
    except IntegrityError as error:
        return str(error)
    return None if digest == ref.sha256 else f"{place} has changed: {_digests(digest, ref)}"


def read_json(store: Store, key: str, kind: type[M]) -> M:
    """Read a record of a kind under a key; raises IntegrityError for what is no such record, or gone."""
    return parse_json(read_bounded(store, key), kind, store.location(key))


def read_json_of(store: Store, ref: FileRef, kind: type[M]) -> M:
    """Read a record of a kind from a file whose bytes are known; raises IntegrityError when they have changed."""
    return parse_json(read_whole(store, ref, MOST_STATE_BYTES), kind, store.location(ref.path))


def parse_json(content: bytes, kind: type[M], where: str) -> M:
    """Turn stored JSON into a record; raises IntegrityError, which names `where`, for what is none.

    Refused beside what the type refuses: other text than UTF-8, a key that stands twice, NaN and infinity, integers of
    more than 64 bits, text nested so deep that reading it would end the process, more values than such a record has,
    halves of a surrogate pair.
    """
    parse_tree(content, where)
    return _typed(content, kind, where, "a record of cuvee")


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest as `parse_json` does; raises RecipeError for one that was written in a newer format."""
    tree = parse_tree(content, where, "a manifest")
    written = tree.get("format") if isinstance(tree, dict) else None
    if type(written) is int and written > FORMAT:
        raise RecipeError(f"{where}: written in format {written}, this cuvee reads up to {FORMAT}; upgrade cuvee")
    return _typed(content, Manifest, where, "a manifest")


def parse_tree(content: bytes, where: str, what: str = "a record of cuvee") -> Any:
    """Turn stored JSON of any form into Python's types; raises IntegrityError as `parse_json` does."""
    # Each value but the first of a list or mapping stands behind a comma; commas of texts count too.
    values = sum(map(content.count, (b",", b"[", b"{")))
    if values > max(_FREE_VALUES, len(content) // _LEAST_VALUE_BYTES):
        raise _refused(where, what, f"it has {values:,} values")
    try:
        return json.loads(
            content.decode(),
            object_pairs_hook=_distinct,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RecursionError:
        raise _refused(where, what, "it is nested too deep") from None
    except ValueError as error:
        raise _refused(where, what, str(error)) from None


def _typed(content: bytes, kind: type[M], where: str, what: str) -> M:
    try:
        return kind.model_validate_json(content, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise _refused(where, what, f"{place}: {fault['msg']}" if place else fault["msg"]) from None


def _refused(where: str, what: str, reason: str) -> IntegrityError:
    remedy = "restore the file, or read another version" if what == "a manifest" else RESTORE
    return IntegrityError(f"{where}: not {what} ({reason[:200]}); {remedy}")


def _digests(digest: str, ref: FileRef) -> str:
    return f"its SHA-256 is {digest[:12]}…, recorded was {ref.sha256[:12]}…"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise ValueError("a key stands twice")
    return tree


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text[:20])


def _bounded(text: str) -> int:
    number = int(text) if len(text) <= 20 else _MOST_INT
    if not _LEAST_INT <= number < _MOST_INT:
        raise ValueError(f"{text[:20]}… is too large a number")
    return number
