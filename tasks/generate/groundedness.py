"""Groundedness: what a draft says that its seed does not, sentence by sentence, without a model.

Looked for in the seed are the draft's numbers (also written out), its names (words with a capital inside a sentence,
and the people whom it names), and its content words (four letters and more, not function words; in scripts without
spaces pairs of characters).
Found this way are invented and swapped facts and foreign text; not found are a denial, two facts put together wrongly,
a right number in a wrong place: for those a judge is needed. Function words are known for English alone; in another
language they are looked for in the seed like any word, and usually found.

Measured on real text: benchmarks/groundedness.py, docs/generation.md.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import polars as pl

from cuvee.tasks.generate.people import people
from cuvee.tasks.words.words import SPACELESS

VERSION = 3

# A wrong number or name spoils a sentence; a word of one's own does not: paraphrases are full of them.
FACT_WEIGHT = 3
# A sentence is foreign when so little of its content is the seed's, or all of it when it is shorter than the second.
FOREIGN_SUPPORT = 0.35
FEWEST_WORDS = 4
# Where more of a seed's distinct content words have capitals, as in German, a capital does not make a name.
MOST_CAPITALS = 0.45

_SPACELESS = "".join(f"{chr(first)}-{chr(last)}" for first, last in SPACELESS)
_SPACELESS_RUN = re.compile(rf"[{_SPACELESS}]+")
_NUMBER = r"\d+(?:[.,]\d+)*(?:st|nd|rd|th|s)?(?!\w)"
_TOKEN = re.compile(rf"{_NUMBER}|[^\W_]+(?:['’][a-z]+)?")
# Three times as slow, for texts that need it.
_TOKEN_OR_RUN = re.compile(rf"{_NUMBER}|[{_SPACELESS}]+|(?:(?![{_SPACELESS}])[^\W_])+(?:['’][a-z]+)?")
# An end mark counts before a space or a closing mark, those of scripts without spaces anywhere.
_SENTENCE = re.compile(
    r"""[^\n.!?。！？।؟]*(?:[.!?]+(?!\s|["'”’)\]]|$)[^\n.!?。！？।؟]*)*(?:[.!?。！？।؟]+["'”’)\]」』]*|\n|$)"""
)
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_MIXED = re.compile(r"[^\W_a-zß-öø-ÿ]")
_COUNT = re.compile(_NUMBER)
_INSIDE = re.compile(r"\d+").findall
# An initial or a title before a name does not end a sentence.
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:[^\W\d_]|Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|No|e\.g|i\.e|U\.S)\.$")

_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_WRITTEN = _TENS | {word: value for value, word in enumerate([*_UNITS.split(), "seventeen", "eighteen", "nineteen"])}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}

_FIRST_OF_NUMBERS = frozenset("0123456789" + "".join(w[0] + w[0].upper() for w in (*_WRITTEN, *_SCALES)))

_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        about above across after again against almost alone along already also although always among another any
        anyone anything anywhere around away back became because become becomes been before began being below beside
        besides better between beyond both came cannot come could dear down during each either else enough even ever
        every everyone everything far few first following from further gave give given gives going gone had half
        hardly has have having hence here hers herself himself how however indeed instead into itself just keep kept
        known knows last later least less like likely made mainly make makes many may maybe mean means might more
        moreover most mostly much must myself near nearly need needs neither never nevertheless next nobody none
        nothing now often once one only onto other others otherwise ought ours ourselves over overall own
        particularly perhaps quite rather really said same says second see seem seemed seems seen several shall she
        should since some someone something sometimes soon still such take taken than that the their theirs them
        themselves then there therefore these they thing things this those though through throughout thus together
        told too took toward towards under unless until upon used uses using usually various very want was well went
        were what whatever when where whereas wherever whether which while who whole whom whose why will with within
        without would yet you your yours yourself question answer questions answers document text article including
        include includes example called describe described describes explain explained explains
        """,
    )
)


class Offence(NamedTuple):
    """A place in a draft, characters start to stop. kind: "number", "name", "person" (of whose name the seed lacks a
    part) or "sentence" (mostly foreign words).
    """

    start: int
    stop: int
    kind: str


class Grounding(NamedTuple):
    """What a draft has in its seed.

    score: 0 to 1, the weighted share of numbers, names and content words that the seed has; facts: 0 to 1, the share of
    numbers and names alone; both null when there is nothing to look for. sentences: with anything to look for;
    grounded: those without an offence.
    """

    score: float | None
    facts: float | None
    sentences: int
    grounded: int
    offences: tuple[Offence, ...]


class Vocabulary(NamedTuple):
    """What a seed can support. words: in lower case; stems, numbers: normalised; pairs: of spaceless characters."""

    words: frozenset[str]
    stems: frozenset[str]
    numbers: frozenset[str]
    pairs: frozenset[str]
    capitals_are_names: bool


class Token(NamedTuple):
    """A token by itself. kind: one of the constants; plain: lower case, without possessive; stem: what forms share."""

    kind: int
    plain: str
    stem: str


# Kinds of tokens: a word that says nothing; a content word; the same with a capital; a word with a capital inside or a
# digit, which is a name anywhere; a short or function word with a capital; a number in digits; one in letters; a run of
# characters of a script without spaces.
_EMPTY, _CONTENT, _CAPITAL, _IDENTIFIER, _SMALL_CAPITAL, _DIGITS, _SPELT, _RUN = range(8)


@lru_cache(maxsize=1 << 17)
def read_token(token: str) -> Token:
    """Classify one token."""
    plain = token.lower().replace("’", "'")
    plain = plain[:-2] if plain.endswith("'s") else plain
    if token[0].isdigit() and _COUNT.fullmatch(token):
        return Token(_DIGITS, plain, _number(token))
    if not token.isascii() and _SPACELESS_RUN.match(token):
        return Token(_RUN, plain, plain)
    if plain in _WRITTEN:
        return Token(_SPELT, plain, str(_WRITTEN[plain]))
    stem = _stem(plain)
    if not token[1:].islower() and _MIXED.search(token, 1):
        return Token(_IDENTIFIER, plain, stem)
    content = len(plain) >= 4 and plain not in _FUNCTION_WORDS
    if token[0].isupper() and plain not in ("i", "i'm", "i've", "i'd", "i'll"):
        return Token(_CAPITAL if content else _SMALL_CAPITAL, plain, stem)
    return Token(_CONTENT if content else _EMPTY, plain, stem)


def _matches(text: str) -> re.Pattern[str]:
    return _TOKEN_OR_RUN if not text.isascii() and _SPACELESS_RUN.search(text) else _TOKEN


@lru_cache(maxsize=256)  # drafts of one seed come together
def vocabulary(seed: str) -> Vocabulary:
    """Collect what the seed says."""
    pattern = _matches(seed)
    texts = pattern.findall(seed)
    kinds, plain, stems = zip(*map(read_token, set(texts)), strict=True) if texts else ((), (), ())
    words = set(plain)
    if "'" in seed or "’" in seed:
        words |= {part for word in plain if "'" in word for part in word.split("'")}
    numbers = {stem for kind, stem in zip(kinds, stems, strict=True) if kind in (_DIGITS, _SPELT)}
    inside = [word for kind, word in zip(kinds, plain, strict=True) if kind == _IDENTIFIER]
    numbers |= {digits for word in inside for digits in _INSIDE(word)}
    if not words.isdisjoint(_SCALES) or not words.isdisjoint(_TENS):
        numbers |= _written_numbers(texts)
    runs = _SPACELESS_RUN.findall(seed) if pattern is _TOKEN_OR_RUN else []
    capitals = kinds.count(_CAPITAL)
    return Vocabulary(
        frozenset(words),
        frozenset(stems),
        frozenset(numbers),
        frozenset(pair for run in runs for pair in _pairs(run)),
        capitals <= MOST_CAPITALS * (capitals + kinds.count(_CONTENT)),
    )


def ground(draft: str, seed: str) -> Grounding:
    """Compare a draft with the text that its seed showed."""
    known, pattern = vocabulary(seed), _matches(draft)
    offences: list[Offence] = []
    weight = supported = facts = facts_found = sentences = grounded = 0
    for start, stop in sentence_spans(draft):
        found = _Sentence(draft, start, stop, pattern, known)
        if not found.weight:
            continue
        sentences += 1
        grounded += not found.offences
        weight, supported = weight + found.weight, supported + found.supported
        facts, facts_found = facts + found.facts, facts_found + found.facts_found
        offences += found.offences
    return Grounding(
        round(supported / weight, 6) if weight else None,
        round(facts_found / facts, 6) if facts else None,
        sentences,
        grounded,
        tuple(offences),
    )


def compare(drafts: Iterable[str], seeds: Iterable[str]) -> pl.DataFrame:
    """Ground each draft in the seed beside it.

    Columns: groundedness, facts (float64 or null), sentences, grounded_sentences (int64), unsupported (list of structs
    start, stop, kind: characters of the draft).
    """
    found = [ground(draft, seed) for draft, seed in zip(drafts, seeds, strict=True)]
    return pl.DataFrame(
        {
            "groundedness": [one.score for one in found],
            "facts": [one.facts for one in found],
            "sentences": [one.sentences for one in found],
            "grounded_sentences": [one.grounded for one in found],
            "unsupported": [[offence._asdict() for offence in one.offences] for one in found],
        },
        schema=SCHEMA,
    )


SCHEMA = pl.Schema(
    {
        "groundedness": pl.Float64(),
        "facts": pl.Float64(),
        "sentences": pl.Int64(),
        "grounded_sentences": pl.Int64(),
        "unsupported": pl.List(pl.Struct({"start": pl.Int64(), "stop": pl.Int64(), "kind": pl.String()})),
    }
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Cut a text into sentences and lines: characters start to stop, without the space around."""
    spans: list[tuple[int, int]] = []
    open_at: int | None = None
    for match in _SENTENCE.finditer(text):
        piece = match.group()
        begin = match.start() if open_at is None else open_at
        if _ABBREVIATION.search(piece) and not piece.endswith("\n"):
            open_at = begin
            continue
        open_at = None
        stripped = text[begin : match.end()].strip()
        if stripped:
            begin += text[begin : match.end()].index(stripped[0])
            spans.append((begin, begin + len(stripped)))
    if open_at is not None and text[open_at:].strip():
        spans.append((open_at, len(text)))
    return spans


class _Sentence:
    """What one sentence of a draft asks of the seed, and what the seed has of it."""

    def __init__(self, draft: str, start: int, stop: int, pattern: re.Pattern[str], known: Vocabulary) -> None:
        self.offences: list[Offence] = []
        self.facts = self.facts_found = 0
        self._known = known
        words = words_found = 0
        matches = list(pattern.finditer(draft, start, stop))
        tokens = [read_token(match.group()) for match in matches]
        named = known.capitals_are_names and not _is_heading(draft, stop, tokens)
        persons = people(draft, matches)
        for person in persons:
            self._person(matches[person.start : person.stop], tokens[person.start : person.stop])
        in_persons = {place for person in persons for place in person}
        for place, (kind, plain, stem) in enumerate(tokens):
            if kind == _EMPTY or place in in_persons:
                continue
            if kind == _DIGITS:
                self._fact("number", matches[place], stem in known.numbers or stem in ("0", "1"))
            elif kind == _SPELT:
                if plain != "one":
                    self._fact("number", matches[place], self._has_spelt(tokens, place))
            elif kind == _RUN:
                pairs = _pairs(plain)
                words, words_found = words + len(pairs), words_found + sum(pair in known.pairs for pair in pairs)
            elif named and (kind == _IDENTIFIER or (kind != _CONTENT and _is_inside(draft, start, matches[place]))):
                self._fact("name", matches[place], self._has_name(plain))
            elif kind != _SMALL_CAPITAL:
                words += 1
                words_found += stem in known.stems
        if words >= FEWEST_WORDS and words_found <= FOREIGN_SUPPORT * words:
            self.offences.append(Offence(start, stop, "sentence"))
        self.weight = words + FACT_WEIGHT * self.facts
        self.supported = words_found + FACT_WEIGHT * self.facts_found

    def _fact(self, kind: str, match: re.Match[str], found: bool) -> None:
        self.facts += 1
        self.facts_found += found
        if not found:
            self.offences.append(Offence(match.start(), match.end(), kind))

    def _person(self, matches: list[re.Match[str]], tokens: list[Token]) -> None:
        """Look for every part of a person's name but initials and particles."""
        parts = [token.plain for match, token in zip(matches, tokens, strict=True) if match.group()[0].isupper()]
        found = [self._has_name(part) for part in parts if len(part) > 1]
        self.facts += len(found)
        self.facts_found += sum(found)
        if not all(found):
            self.offences.append(Offence(matches[0].start(), matches[-1].end(), "person"))

    def _has_spelt(self, tokens: list[Token], place: int) -> bool:
        word, value = tokens[place].plain, _WRITTEN[tokens[place].plain]
        if word in self._known.words or str(value) in self._known.numbers:
            return True
        # The parts of "twenty-five" stand for 25 together.
        before = tokens[place - 1].plain if place else ""
        after = tokens[place + 1].plain if place + 1 < len(tokens) else ""
        whole = _WRITTEN.get(before, 0) + value if before in _TENS else value + _WRITTEN.get(after, 0)
        return str(whole) in self._known.numbers

    def _has_name(self, name: str) -> bool:
        if name in self._known.words or name in _FUNCTION_WORDS:
            return True
        if name.endswith("s") and name[:-1] in self._known.words:
            return True
        # Canada and Canadian, Norway and Norways: the same name in another form.
        beginning = name[: max(5, len(name) - 3)]
        return name[:5] in self._known.stems and any(
            word.startswith(beginning) and abs(len(word) - len(name)) <= 3 for word in self._known.words
        )


def _is_inside(draft: str, start: int, match: re.Match[str]) -> bool:
    """Tell a capital that the beginning of a sentence, a quotation or a list entry does not explain."""
    before = draft[start : match.start()].rstrip()
    # A dash alone opens a list entry.
    return before[-1:].isalnum() or (before[-1:] in tuple(",;’'&/-–—.") and any(map(str.isalnum, before)))


def _is_heading(draft: str, stop: int, tokens: list[Token]) -> bool:
    """Tell a line of words with capitals and no end mark, where capitals are a matter of style."""
    if draft[stop - 1] in ".!?。！？।؟\"'”’":
        return False
    kinds = [kind for kind, plain, _ in tokens if len(plain) > 3]
    return len(kinds) <= 12 and 2 * (kinds.count(_CAPITAL) + kinds.count(_IDENTIFIER)) > len(kinds)


def _stem(word: str) -> str:
    """Cut a word to what its forms have in common, roughly."""
    if len(word) > 3 and word[-1] == "s" and word[-2] != "s":
        word = word[:-1]
    return word[:5] if len(word) > 5 else word[: max(4, len(word) - 1)]


def _number(token: str) -> str:
    """Write a number one way: no grouping, no ordinal ending, no zeros that say nothing."""
    digits = token.lower().rstrip("sthndr")
    if _GROUPED.fullmatch(digits):
        digits = digits.replace(",", "")
    digits = digits.replace(",", ".")
    if digits.count(".") == 1:
        digits = digits.rstrip("0").rstrip(".")
    return digits.lstrip("0") or "0"


def _written_numbers(texts: list[str]) -> set[str]:
    """Return the numbers that words spell: seven, twenty-five, two million, 1.5 million."""
    found: set[str] = set()
    value, last, tens = 0.0, -2, False
    for place in (place for place, text in enumerate(texts) if text[0] in _FIRST_OF_NUMBERS):
        kind, word, stem = read_token(texts[place])
        joined = last == place - 1
        if kind == _SPELT:
            value = value + _WRITTEN[word] if joined and tens and _WRITTEN[word] < 10 else _WRITTEN[word]
        elif word in _SCALES and joined:
            value *= _SCALES[word]
        elif kind == _DIGITS and stem.count(".") < 2:
            value = float(stem)
        else:
            continue
        last, tens = place, word in _TENS
        found.add(_number(f"{value:f}" if value != int(value) else str(int(value))))
    return found


def _pairs(run: str) -> list[str]:
    return [run[place : place + 2] for place in range(len(run) - 1)] or [run]
