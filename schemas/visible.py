"""Visible: texts of others as a terminal or a document shows them, so that none of them says anything but itself.

Control characters, escape sequences and marks that change the direction of writing stand as `\\u001b`.
"""

import re

# C0 but tab and line feed, DEL, C1, line and paragraph separators, embeddings, overrides and isolates of direction,
# halves of surrogate pairs (bytes of file names that are not UTF-8).
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*[]|"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def visible(text: str) -> str:
    """Escape what a terminal would obey; lines and tabs stay."""
    return _CONTROLS.sub(_escaped, text)


def on_line(text: str) -> str:
    """Escape what a terminal would obey, line feeds and tabs too: a name cannot begin a line of its own."""
    return re.sub(r"[\n\t]", _escaped, visible(text))


def markdown(text: str) -> str:
    """Write a text as itself within a line of Markdown, or a cell of its tables; line ends become spaces."""
    return visible(" ".join(text.split())).translate(_MARKDOWN)


def _escaped(found: "re.Match[str]") -> str:
    return f"\\u{ord(found.group()):04x}"
