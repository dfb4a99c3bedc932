"""A window over a JSON file: one value after the other, parsed within bounds."""

import codecs
import json
import re
from collections import deque
from collections.abc import Iterable
from typing import NoReturn

from cuvee.tasks.readers import _objects
from cuvee.tasks.readers._bytes import RECORD_BYTES, Bounds, EndsEarlyError

# More at a time copies less, and a value that goes on behind the window is parsed again.
_WINDOW = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*+")
# Between elements: a comma that is missing or too much hides nothing.
BETWEEN = re.compile(r"[ \t\r\n,]*+")
# A string that ends in the window, or goes on behind it (its last sign may be half an escape).
_STRING_ENDS = r'(?:[^"\\]++|\\.)*+(?:(")|\\?\Z)'
_TOKEN = re.compile(rf'"{_STRING_ENDS}|[\[\]{{}}]', re.DOTALL)
_REST_OF_STRING = re.compile(_STRING_ENDS, re.DOTALL)
_LITERAL = re.compile(r'[^,\[\]{}"]*+')
_NEXT = re.compile(r",\s*\{")
_NO_BRACKETS = re.compile(r"[^\[\]{}]++")
_SLICE, _NESTED = 1 << 14, 8
# An escape that is cut off ends this much before the window.
_ESCAPE = 12
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


class BadValueError(Exception):
    """Why a value is not read. whole: nothing behind it can be read either; else the window stands behind it."""

    def __init__(self, reason: str, whole: bool = False) -> None:
        super().__init__(reason)
        self.whole = whole


class Window:
    """Text of a file, from what is not read yet on. fault: why the file ends before its end, once it has."""

    def __init__(self, pieces: Iterable[bytes], bounds: Bounds):
        self._pieces = iter(pieces)
        # What is no UTF-8 is told of the value that holds it.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.bounds = bounds
        self.fault: str | None = None
        self._held, self._at, self._counted, self._line = "", 0, 0, 1
        self._ended, self._hidden = False, 0
        self._ahead: deque[str] = deque()
        self._more()
        self._held = self._held.removeprefix("\ufeff")

    @property
    def line(self) -> int:
        """The line of the next value, 1-based."""
        self.peek()
        self._line += self._held.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self, over: re.Pattern[str] = _SPACE) -> str:
        """Return the next sign that is no white space, empty at the end of the file, and stand before it.

        over: matches what is passed over.
        """
        while True:
            self._at = over.match(self._held, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._more():
                return ""

    def step(self) -> None:
        """Move over a sign."""
        self._at += 1

    def begins_objects(self) -> bool:
        """Tell whether the array that stands here has an object first."""
        while True:
            behind = _SPACE.match(self._held, self._at + 1).end()  # type: ignore[union-attr]
            if behind < len(self._held):
                return self._held[behind] == "{"
            if not self._more():
                return False

    def holds(self, keys: frozenset[str]) -> bool:
        """Tell whether the object that stands here lies in the window as a whole, and has one of these keys."""
        try:
            value, _ = _scan(self._held, self._at) if len(self._held) <= 4 * _WINDOW else ({}, 0)
        except (StopIteration, ValueError, RecursionError):
            return False
        return isinstance(value, dict) and not keys.isdisjoint(value)

    def value(self) -> tuple[object, bytes]:
        """Parse the value that stands here, and stand behind it; return it and its bytes. Raises BadValueError."""
        self.peek()
        while True:
            size = len(self._held) - self._at
            if size > _objects.WIDE_BYTES and _objects.is_wide(self._held[self._at :]):
                self._pass_over(_objects.too_wide())
            try:
                value, end = _scan(self._held, self._at)
            except (StopIteration, ValueError, RecursionError) as error:
                if size > self.bounds.row_bytes:
                    self._pass_over(self.bounds.too_long())
                if self._is_cut(error) and self._more():
                    continue
                self._pass_over(self.fault if self.fault and not self._ahead else _reason(error))
            if end == len(self._held) and self._more():  # a number may go on
                continue
            return value, self._take(end)

    def skip(self) -> bool:
        """Move behind the value that stands here, by its brackets and quotes; False where it does not end."""
        depth, in_string, self._hidden = 0, False, 0
        while True:
            start = self._at
            closed, depth, in_string = self._walk(depth, in_string)
            if closed:
                return True
            self._hidden += sum(1 for _ in _NEXT.finditer(self._held, start))
            if not self._more():
                return False

    def count_elements(self) -> int:
        """Move to the end of the file, and count what looks like the beginning of a further element, also in a value
        that does not end.
        """
        count, self._hidden = self._hidden, 0
        while True:
            count += sum(1 for _ in _NEXT.finditer(self._held, self._at))
            self._at = max(self._at, len(self._held) - 2)
            if not self._more():
                return count

    def _take(self, end: int) -> bytes:
        text, self._at = self._held[self._at : end], end
        self._shorten()
        try:
            content = text.encode()
        except UnicodeEncodeError:
            raise BadValueError("not UTF-8") from None
        if len(content) > self.bounds.row_bytes:
            raise BadValueError(self.bounds.too_long())
        try:
            values = _objects.VALUE_BYTES * content.count(b",")
            self.bounds.spend(values + max(RECORD_BYTES - len(content), 0))
        except EndsEarlyError as error:
            raise BadValueError(str(error), whole=True) from None
        return content

    def _is_cut(self, error: Exception) -> bool:
        """Tell whether a value may be unreadable since it goes on behind the window."""
        if isinstance(error, StopIteration):
            return int(error.value) >= len(self._held) - _ESCAPE
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.pos >= len(self._held) - _ESCAPE or error.msg.startswith("Unterminated string")

    def _pass_over(self, reason: str) -> NoReturn:
        """Move behind a value that is not read; raises BadValueError."""
        try:
            self.bounds.spend(RECORD_BYTES)
        except EndsEarlyError as error:
            raise BadValueError(str(error), whole=True) from None
        if self.peek() in ("[", "{"):
            raise BadValueError(reason, whole=not self.skip())
        end = _LITERAL.match(self._held, self._at).end()  # type: ignore[union-attr]
        self._at = max(end, self._at + 1)
        raise BadValueError(reason, whole=end == len(self._held) or self._held[end] == '"')

    def _walk(self, depth: int, in_string: bool) -> tuple[bool, int, bool]:
        """Go through the window; returns whether the value has closed, and the state at the end of the window."""
        if in_string:
            rest = _REST_OF_STRING.match(self._held, self._at)
            if rest is None or not rest[1]:
                self._at = len(self._held) - self._half_escape(rest)
                return False, depth, True
            self._at = rest.end()
        while self._at < len(self._held):
            ahead = self._held[self._at : self._at + _SLICE]
            brackets = _unmatched(ahead) if '"' not in ahead else ""
            if '"' not in ahead and depth > brackets.count("]"):
                depth += brackets.count("[") - brackets.count("]")
                self._at += len(ahead)
                continue
            stop = self._at + _SLICE
            for token in _TOKEN.finditer(self._held, self._at):
                self._at = token.end()
                if token[0] in ("[", "{"):
                    depth += 1
                elif token[0] in ("]", "}"):
                    depth -= 1
                    if depth <= 0:
                        return True, 0, False
                elif not token[1]:
                    self._at -= self._half_escape(token)
                    return False, depth, True
                if self._at > stop:
                    break
            else:
                self._at = len(self._held)
        return False, depth, False

    def _half_escape(self, string: re.Match[str] | None) -> int:
        """Tell whether a string that goes on behind the window ends there in half an escape: 1 or 0."""
        return int(string is not None and (len(string[0]) - len(string[0].rstrip("\\"))) % 2)

    def _more(self) -> bool:
        """Read on, as much again as is held; False at the end of the file."""
        parts = [self._held[self._at :]]
        wanted, size = max(_WINDOW, len(parts[0])), 0
        while size < wanted and (self._ahead or self._read()):
            parts.append(self._ahead.popleft())
            size += len(parts[-1])
        if size:
            self._hold("".join(parts))
        return size > 0

    def _read(self) -> bool:
        """Decode the next piece of the file; False at its end."""
        text = ""
        try:
            while not text and not self._ended:
                piece = next(self._pieces, None)
                self._ended = piece is None
                text = self._decoder.decode(piece or b"", final=self._ended)
        except EndsEarlyError as error:
            self._ended, self.fault = True, str(error)
        self._ahead.extend(text[start : start + _WINDOW] for start in range(0, len(text), _WINDOW))
        return bool(text)

    def _hold(self, text: str) -> None:
        """Hold the text from what is not read yet on."""
        self._line += self._held.count("\n", self._counted, self._at)
        self._held, self._at, self._counted = text, 0, 0

    def _shorten(self) -> None:
        """Put back what stands far ahead: each value looks at all that is held."""
        if len(self._held) - self._at > 4 * _WINDOW:
            near = self._at + _WINDOW
            ahead = [self._held[start : start + _WINDOW] for start in range(near, len(self._held), _WINDOW)]
            self._ahead.extendleft(reversed(ahead))
            self._hold(self._held[self._at : near])


def _unmatched(text: str) -> str:
    """Return the brackets of text without quotes, as square ones, most pairs left out."""
    brackets = _NO_BRACKETS.sub("", text).replace("{", "[").replace("}", "]")
    for _ in range(_NESTED):
        left = brackets.replace("[]", "")
        if len(left) == len(brackets):
            break
        brackets = left
    return brackets


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg}"
    return "not JSON: no value" if isinstance(error, StopIteration) else f"not readable JSON: {error}"
