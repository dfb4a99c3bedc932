"""Prompt templates: one file a kind in prompts/, found by name; a new file is a new kind.

A file has three parts, divided by lines of three hyphens: its front lines (`version`, a whole number; `words`, the
words of a draft for one word of its seed), the system message, and the user message with `{text}` where the seed goes.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import nearest

FOLDER = Path(__file__).parent / "prompts"

# Longer seeds crowd the answer out of small context windows; about 1,400 tokens of English.
SEED_WORDS = 1_000
# The bound for scripts without spaces, where a sentence is one word.
SEED_CHARACTERS = 8 * SEED_WORDS
# Rises when `cut_at_sentence` or `Prompt.messages` would give another text for the same document.
RENDERING = 1

_SENTENCE_END = re.compile(r"""[.!?]["'”’)\]]*(?=\s)|[。！？।؟]["'”’」』)\]]*|\n(?=\n)""")


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

    def messages(self, text: str) -> list[dict[str, str]]:
        """Fill in a seed, cut to what a request may hold."""
        user = self.user.replace("{text}", cut_at_sentence(text))
        return [{"role": "system", "content": self.system}, {"role": "user", "content": user}]


def kinds(folder: Path = FOLDER) -> list[str]:
    """List the kinds that have a template, sorted."""
    return sorted(path.stem for path in folder.glob("*.md"))


def find(kind: str, folder: Path = FOLDER) -> Prompt:
    """Read the template of a kind. Raises RecipeError for an unknown kind, naming the nearest, or a broken file."""
    if kind not in kinds(folder):
        raise RecipeError(f"generate.kinds: {kind!r} is not known; {nearest(kind, kinds(folder))}")
    path = folder / f"{kind}.md"
    written = path.read_text(encoding="utf-8")
    try:
        front, system, user = written.split("\n---\n", 2)
        declared = dict(line.split(": ", 1) for line in front.splitlines())
        version, words = int(declared["version"]), float(declared["words"])
        if user.count("{text}") != 1 or words <= 0:
            raise ValueError("the user message needs {text} once, and words is above 0")
    except (KeyError, ValueError) as error:
        raise RecipeError(f"{path}: not a prompt template ({error}); see prompts/encyclopedic.md") from error
    digest = hashlib.sha256(written.encode()).hexdigest()
    return Prompt(kind, version, words, digest, system.strip(), user.strip())


def cut_at_sentence(text: str, words: int = SEED_WORDS, characters: int = SEED_CHARACTERS) -> str:
    """Return the longest beginning of whole sentences within both limits; never empty for a text with words.

    When the first sentence alone is longer, it is cut after the last whole word, or at the limit of characters.
    """
    text = text.strip()
    end = min(len(text), characters)
    for count, word in enumerate(re.finditer(r"\S+", text[:end])):
        if count == words:
            end = word.start()
            break
    if end == len(text):
        return text
    sentence_ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, end + 1) if match.end() <= end]
    if sentence_ends:
        return text[: sentence_ends[-1]].rstrip()
    within = text[:end]
    last_space = max(within.rfind(" "), within.rfind("\n"))
    if last_space > 0 and not text[end].isspace():
        within = within[:last_space]
    return within.rstrip()
