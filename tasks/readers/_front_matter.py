"""Front matter: what Markdown holds before its text, between lines of --- (YAML) or +++ (TOML).

Title and date are read, as plain or quoted values of a line; the rest, and values of another form, are left alone. What
does not begin with a key is a rule and text.
"""

import re
from collections.abc import Sequence

# Front matter of people has a dozen lines; behind so much there is none.
_MOST_LINES = 1000
_MOST_CHARACTERS = 100_000
_BLOCK = re.compile(
    r"\ufeff?(?:---[ \t]*\r?\n(?=\s*[A-Za-z_][\w -]*:)(?P<yaml>.*?)^(?:---|\.\.\.)"
    r"|\+\+\+[ \t]*\r?\n(?=\s*(?:[A-Za-z_][\w -]*=|\[|#))(?P<toml>.*?)^\+\+\+)[ \t]*\r?(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_ENTRY = re.compile(r"^(title|date)[ \t]*[:=][ \t]*(.+?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_QUOTED = re.compile(r"""(["'])(.*)\1(?:\s+#.*)?""")
_COLUMNS = {"title": "title", "date": "created"}


def split(text: str) -> tuple[dict[str, str], str]:
    """Return the title and date (as `created`) that the front matter of a text states, and the text behind it."""
    found = _BLOCK.match(text, 0, _MOST_CHARACTERS)
    if found is None:
        return {}, text
    values: dict[str, str] = {}
    for key, value in _ENTRY.findall(found["yaml"] or found["toml"] or ""):
        quoted = _QUOTED.fullmatch(value)
        plain = quoted[2] if quoted else value.partition(" #")[0].strip()
        if plain and plain[0] not in "|>[{&*!":
            values.setdefault(_COLUMNS[key.lower()], plain)
    return values, text[found.end() :]


def may_go_on(head: Sequence[bytes | None]) -> bool:
    """Tell whether lines from the beginning of a file are front matter that has not ended."""
    fence = (head[0] or b"").rstrip()
    last = (head[-1] or b"").rstrip()
    if fence not in (b"---", b"+++") or len(head) >= _MOST_LINES:
        return False
    return len(head) == 1 or last not in ((b"---", b"...") if fence == b"---" else (b"+++",))


def of_lines(head: Sequence[bytes | None]) -> tuple[dict[str, str], int]:
    """Return what `split` does of the lines at the beginning of a file, and how many of them are front matter."""
    if not head or None in head:
        return {}, 0
    text = b"\n".join(line for line in head if line is not None).decode("utf-8", "replace") + "\n"
    values, behind = split(text)
    return values, 0 if behind == text else len(head)
