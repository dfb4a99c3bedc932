"""Guess of fields: which columns of the first rows hold text, chats, ids, titles and the like."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

# Names in the order in which they are believed; several together are one text.
_TEXTS: tuple[tuple[str, ...], ...] = (
    ("text",), ("content",), ("body",), ("article",), ("instruction", "input", "output"),
    ("instruction", "context", "response"), ("instruction", "response"), ("instruction", "output"),
    ("question", "context", "answer"), ("question", "answer"), ("prompt", "completion"), ("prompt", "response"),
    ("query", "response"), ("input", "output"), ("document",), ("passage",), ("story",), ("abstract",),
    ("description",),
)  # fmt: skip
_OTHERS = {
    "id": ("id", "_id", "doc_id", "uid", "guid", "identifier"),
    "url": ("url", "link", "uri", "source_url", "permalink"),
    "title": ("title", "headline", "name", "subject"),
    "created": ("created", "date", "published", "created_at", "published_at", "pubdate", "timestamp"),
    "license": ("license", "licence", "rights"),
}
_CHATS = ({"role", "content"}, {"from", "value"})
_MOST_DEPTH = 4
_MOST_JSON = 1 << 20


def fields_of(rows: Sequence[Mapping[str, object]]) -> tuple[dict[str, str | tuple[str, ...]], tuple[str, ...]]:
    """Return the fields of a recipe that are not the default ones, and all columns and dotted paths of the rows."""
    values: dict[str, list[object]] = {}
    for row in rows:
        _walk(row, "", values)
    columns = tuple(values)
    by_end = {path.rpartition(".")[2].lower(): path for path in reversed(columns)}
    fields: dict[str, str | tuple[str, ...]] = {}
    chats = [path for path, found in values.items() if _are_chats(found)]
    if chats:
        fields["messages"] = chats[0]
    else:
        fields["text"] = _text(values, by_end)
    for field, names in _OTHERS.items():
        path = next((by_end[name] for name in names if name in by_end), field)
        if path not in fields.get("text", ()):
            fields[field] = path
    said = {name: path for name, path in fields.items() if path and (name == "messages" or path != name)}
    return said, columns


def _walk(row: Mapping[str, object], before: str, values: dict[str, list[object]], depth: int = 0) -> None:
    for name, value in row.items():
        path = f"{before}{name}"
        if isinstance(value, Mapping) and depth < _MOST_DEPTH:
            _walk(value, f"{path}.", values, depth + 1)
        elif isinstance(value, bytes):
            with suppress(UnicodeDecodeError):
                values.setdefault(path, []).append(value.decode())
        elif value is not None:
            values.setdefault(path, []).append(value)


def _text(values: Mapping[str, Sequence[object]], by_end: Mapping[str, str]) -> str | tuple[str, ...]:
    """Choose by name, else the column with the longest strings."""
    lengths = {path: sum(map(len, found)) for path, each in values.items() if (found := _strings(each))}
    for names in _TEXTS:
        if all(name in by_end and by_end[name] in lengths for name in names):
            paths = tuple(by_end[name] for name in names)
            return paths if len(paths) > 1 else paths[0]
    return max(lengths, key=lambda path: lengths[path], default="")


def _strings(values: Sequence[object]) -> list[str]:
    found = [value for value in values if isinstance(value, str)]
    return found if len(found) == len(values) else []


def _are_chats(values: Sequence[object]) -> bool:
    """Tell whether values are lists of messages, or JSON of such; some may be empty."""
    lists = list(map(_as_list, values))
    turns = [turn for each in lists if each is not None for turn in each]
    return (
        bool(turns)
        and None not in lists
        and all(isinstance(turn, Mapping) and any(names <= turn.keys() for names in _CHATS) for turn in turns)
    )


def _as_list(value: object) -> list[object] | None:
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            value = json.loads(value[:_MOST_JSON])
    return value if isinstance(value, list) else None
