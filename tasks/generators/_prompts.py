"""Prompt templates: one file a kind in prompts/, found by name; a new file is a new kind. A recipe may name its own.

A file has three parts, divided by lines of three hyphens: its front lines (`version`, a whole number; `words`, the
words of a draft for one word of its seed), the system message, and the user message with `{text}` where the seed goes.
A template with `{brief}` instead has no seed: it gets topic, audience and style, and `words` is the length of a draft.
"""

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import nearest
from cuvee.tasks.measure.windows import CHARACTERS, WORDS
from cuvee.tasks.words.counts import count_words, list_words

FOLDER = Path(__file__).parent / "prompts"

# Rises when `cut_at_sentence` or `Prompt.messages` would give another text for the same document.
RENDERING = 1

_SENTENCE_END = re.compile(r"""[.!?]["'”’)\]]*(?=\s)|[。！？।؟]["'”’」』)\]]*|\n(?=\n)""")
_FIELD = re.compile(r"\{([a-z]+)\}")
_KIND = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Prompt:
    """A template. `hash` covers the whole file, so that a changed character gives other request keys."""

    kind: str
    version: int
    words: float
    hash: str
    system: str
    user: str

    @property
    def id(self) -> str:
        """Name the template and its declared version."""
        return f"{self.kind}/{self.version}"

    @property
    def is_seeded(self) -> bool:
        """Whether a draft is made of a seed."""
        return "{text}" in self.user

    @property
    def length(self) -> int:
        """Count the words of the template itself."""
        return int(count_words(pl.Series([self.system, self.user])).sum())

    def messages(self, system: str = "message", **texts: str) -> list[dict[str, str]]:
        """Fill in the named texts, as they are: a brace in one of them is no field.

        system: "merged" for models whose template has no system message.
        """
        user = _FIELD.sub(lambda field: texts.get(field.group(1), field.group()), self.user)
        if system == "merged":
            return [{"role": "user", "content": f"{self.system}\n\n{user}"}]
        return [{"role": "system", "content": self.system}, {"role": "user", "content": user}]


def kinds(folder: Path = FOLDER) -> list[str]:
    """List the kinds that have a template, sorted; files whose name starts with an underscore serve grading."""
    return sorted(path.stem for path in folder.glob("*.md") if not path.name.startswith("_"))


def chosen(names: Sequence[str]) -> dict[str, Prompt]:
    """Read the templates that a recipe names, by kind: names of this folder, and paths that end with .md.

    Raises RecipeError for an unknown kind, naming the nearest; for a broken or missing file; for two of one kind.
    """
    found: dict[str, Prompt] = {}
    for name in dict.fromkeys(names):
        prompt = read(Path(name)) if name.endswith(".md") else find(name)
        if prompt.kind in found:
            raise RecipeError(f"generate.kinds: two templates are called {prompt.kind!r}; rename {name}")
        found[prompt.kind] = prompt
    return found


def find(kind: str, folder: Path = FOLDER) -> Prompt:
    """Read the template of a kind. Raises RecipeError for an unknown kind, naming the nearest, or a broken file."""
    if kind not in kinds(folder):
        raise RecipeError(
            f"generate.kinds: {kind!r} is not known; {nearest(kind, kinds(folder))}; for a template of your own give "
            "its path, ending with .md"
        )
    return read(folder / f"{kind}.md")


def grading(name: str, fields: Sequence[str]) -> Prompt:
    """Read a template of this folder that serves grading, and has the fields."""
    return read(FOLDER / f"_{name}.md", fields)


def read(path: Path, fields: Sequence[str] | None = None) -> Prompt:
    """Read a template; its kind is the file's name. fields: what it must have, by default `text` or `brief`, once."""
    try:
        written = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"generate.kinds: {path}: {reason}; give a path relative to the recipe's folder") from None
    try:
        front, system, user = written.split("\n---\n", 2)
        declared = dict(line.split(": ", 1) for line in front.splitlines())
        version, words = int(declared["version"]), float(declared["words"])
        if words <= 0:
            raise ValueError("words is above 0")
        if fields is None and user.count("{text}") + user.count("{brief}") != 1:
            raise ValueError("the user message needs {text} once, or {brief} once for a kind without a seed")
        if any(user.count(f"{{{field}}}") != 1 for field in fields or ()):
            raise ValueError(f"the user message needs each of {', '.join(fields or ())} once, in braces")
        if fields is None and not _KIND.fullmatch(path.stem):
            raise ValueError("a kind has lower-case letters, digits, _ and -; rename the file")
    except (KeyError, ValueError) as error:
        raise RecipeError(f"{path}: not a prompt template ({error}); see prompts/encyclopedic.md") from error
    digest = hashlib.sha256(written.encode()).hexdigest()
    return Prompt(path.stem.removeprefix("_"), version, words, digest, system.strip(), user.strip())


def cut_at_sentence(text: str, words: int = WORDS, characters: int = CHARACTERS) -> str:
    """Return the longest beginning of whole sentences within both limits; never empty for a text with words.

    When the first sentence alone is longer, it is cut after the last whole word, or at the limit of characters.
    """
    text = text.strip()
    end = min(len(text), characters)
    found = list(itertools.islice(list_words(text[: end + 1]), words + 1))
    if len(found) > words:
        end = found[-1].start()
    if end == len(text):
        return text
    sentence_ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, end + 1) if match.end() <= end]
    if sentence_ends:
        return text[: sentence_ends[-1]].rstrip()
    cut = found[-1]
    return text[: cut.start() if 0 < cut.start() <= end < cut.end() else end].rstrip()
