"""Secrets: keep the values of secret environment variables out of what is stored, logged and told.

Secret are the variables whose names end in one of SECRET_SUFFIXES, and those that a recipe names, where the value has
SHORTEST characters or more; the variable's name takes the place of its value. Rows of source files are not touched.
"""

import base64
import functools
import html
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, quote_plus

from cuvee.schemas.address import SECRET_SUFFIXES
from cuvee.schemas.errors import CuveeError
from cuvee.schemas.visible import visible

SHORTEST = 12
# Names that recipes use, joined by commas: in the environment, so that the processes of a run know them too.
NAMED = "CUVEE_SECRET_NAMES"

_PERCENT = re.compile("%[0-9A-F]{2}")


def remember(names: Iterable[str]) -> None:
    """Count variables that a recipe names among the secret ones, in this process and those that it starts."""
    os.environ[NAMED] = ",".join(sorted({*os.environ.get(NAMED, "").split(","), *names} - {""}))


def hide(text: str) -> str:
    """Put names in the place of secret values, as they are or escaped for JSON, addresses, HTML or in base64."""
    return _without(text, _values())


def hide_in(tree: Any, also_named: bool = True) -> Any:
    """Hide secret values in every text of a JSON value.

    also_named: of variables too that only a recipe names, such as the folder of its texts.
    """
    return _tree_without(tree, _values(also_named))


def hide_in_body(body: str) -> str:
    """Hide secret values in what an endpoint answered, however its JSON escapes them; otherwise it stays as it came."""
    # Once a body, not once a text in it: reading the environment took a third of an answer's time.
    values = _values()
    if not values:
        return body
    body = _without(body, values)
    try:
        tree = json.loads(body)
        clean = _tree_without(tree, values)
        return body if clean == tree else json.dumps(clean, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


@contextmanager
def kept() -> Iterator[None]:
    """Hide secret values in the errors that leave the body, and in those that caused them."""
    try:
        yield
    except Exception as error:
        chain = list(_chain(error))
        for cause in chain:
            cause.args = tuple(_hidden(part) for part in cause.args)
            if notes := getattr(cause, "__notes__", None):
                notes[:] = [hide(str(note)) for note in notes]
        for cause in chain:
            _cut(cause)
        if _tells(error):  # something else than its arguments
            raise CuveeError(hide(f"{type(error).__name__}: {error}")) from None
        raise


def guard_logs() -> None:
    """Hide secret values in all that this process logs from now on, tracebacks too; a second call changes nothing."""
    make = logging.getLogRecordFactory()
    if isinstance(make, _Hiding):
        return
    logging.setLogRecordFactory(_Hiding(make))


class _Hiding:
    """Makes log records without secrets, and without what a terminal would obey."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *arguments: Any, **named: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._make(*arguments, **named)
        try:
            told = record.getMessage()
        except (TypeError, ValueError, KeyError):  # logging itself tells of a message that does not fit its arguments
            return record
        hidden = visible(hide(told))
        if hidden != told:
            record.msg, record.args = hidden, None
        if record.exc_info:
            # Formatters take a text that is there already.
            record.exc_text = visible(hide(logging.Formatter().formatException(record.exc_info)))
        return record


def _hidden(part: Any) -> Any:
    """Hide secret values in an argument of an error; one of another type that tells some becomes a text."""
    clean = hide(str(part))
    return part if clean == str(part) else clean


def _tells(error: BaseException | None) -> bool:
    return error is not None and hide(str(error)) != str(error)


def _cut(error: BaseException) -> None:
    """Part an error from causes that tell secret values still."""
    if _tells(error.__cause__):
        error.__cause__ = None
    if _tells(error.__context__):
        error.__context__ = None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]


def _without(text: str, values: Sequence[tuple[str, str]]) -> str:
    for value, name in values:
        for form in _forms(value):
            if form in text:
                text = text.replace(form, name)
    return text


def _tree_without(tree: Any, values: Sequence[tuple[str, str]]) -> Any:
    if isinstance(tree, str):
        return _without(tree, values)
    if isinstance(tree, dict):
        return {_without(str(key), values): _tree_without(value, values) for key, value in tree.items()}
    return [_tree_without(value, values) for value in tree] if isinstance(tree, list) else tree


def _values(also_named: bool = True) -> list[tuple[str, str]]:
    """List secret values with their names, the longest first: one may stand within another."""
    named = os.environ.get(NAMED, "").split(",") if also_named else []
    found = [
        (value, name)
        for name, value in os.environ.items()
        if len(value) >= SHORTEST
        and name != NAMED
        # A text that a recipe takes from the environment, such as a topic, is no secret.
        and (name.upper().endswith(SECRET_SUFFIXES) or (name in named and not any(map(str.isspace, value))))
    ]
    return sorted(found, key=lambda entry: (-len(entry[0]), entry[1]))


@functools.lru_cache
def _forms(value: str) -> tuple[str, ...]:
    """List how a value may be written, the longest forms first, as one may stand within another."""
    escaped = [json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]]
    escaped += [form.replace("/", "\\/") for form in (value, *escaped)]
    in_html = [html.escape(value), html.escape(value, quote=False), html.escape(value).replace("&#x27;", "&#39;")]
    quoted = [quote(value, safe=""), quote(value), quote_plus(value)]
    quoted += [_PERCENT.sub(lambda found: found.group().lower(), form) for form in quoted]
    forms = {value, *escaped, *in_html, *quoted, *_in_base64(value.encode("utf-8", "surrogateescape"))}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _in_base64(value: bytes) -> Iterator[str]:
    """Yield what base64 makes of a value, also behind other bytes, as in `user:password` of an HTTP header."""
    for before, of_others in enumerate((0, 2, 3)):
        whole = (before + len(value)) * 8 // 6  # characters that no byte behind the value changes
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + value)[of_others:whole].decode()
