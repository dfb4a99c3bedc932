"""Recipe: write down a recipe for files, with what was seen of them as comments."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Csv, Ingest, Source
from cuvee.tasks.starter.groups import Group, groups
from cuvee.tasks.starter.sample import LONG_WORDS, MOST_DROPPED, Sample, dropped, kept_languages, sample

# Files of which more cannot be read are not understood.
MOST_BAD = 0.5
# Books are cut at paragraphs into pieces that a reader of a corpus shuffles.
MAX_WORDS = 2000
# Answers to these were written by an assistant as often as by a person: nobody knows from the file.
_INSTRUCTIONS = {"instruction", "prompt", "query"}
_HEAD = """\
# Made by cuvee init from files as they are: read it, correct what it guessed, then: cuvee run {path}
# Every key and its default: docs/recipe.md
corpus: {corpus}

sources:
"""
_TAIL = """\

# At least 70% of the words human: nothing is published that holds less.
# mixture:
#   human: {min: 0.7}
"""


@dataclass(frozen=True)
class Entry:
    """A source to be: the keys of the recipe, with what its files and its first rows look like."""

    group: Group
    keys: dict[str, Any]
    sample: Sample


def write(paths: Sequence[str], out: Path, corpus: str, passed: Callable[[str], None]) -> str:
    """Return the text of a recipe, for a file `out`, over files, folders and patterns.

    passed: is told each file that is left out, and why. Raises RecipeError where no file can be read.
    """
    entries = []
    for entry in (_entry(group, out.absolute().parent) for group in groups(paths, passed)):
        if entry.sample.bad_share > MOST_BAD:
            passed(f"{_files(entry)}: {entry.sample.bad_share:.0%} of a sample cannot be read")
        elif entry.sample.rows.is_empty():
            passed(f"{_files(entry)}: nothing is in it to read")
        else:
            entries.append(entry)
    if not entries:
        raise RecipeError(f"{', '.join(paths)}: none of these files can be read")
    text = _HEAD.format(path=out, corpus=corpus)
    text += "\n".join(_source(entry) for entry in entries)
    text += _limits([entry.sample for entry in entries])
    text += _filters([entry.sample for entry in entries])
    if any(entry.keys["origin"] == "unknown" for entry in entries):
        text += "\n# Rows of which nobody knows who wrote them are published, and count as synthetic.\n"
        text += "provenance: {unknown_as: synthetic}\n"
    return text + _TAIL


def _files(entry: Entry) -> str:
    return ", ".join(map(str, entry.group.files[:3]))


def _entry(group: Group, folder: Path) -> Entry:
    guess = group.guess
    keys: dict[str, Any] = {"name": group.name, "uri": group.uri(folder)}
    keys |= {} if guess.encoding == "auto" else {"encoding": guess.encoding}
    said = {name: value for name, value in guess.csv.model_dump().items() if value != getattr(Csv(), name)}
    keys |= {"csv": said} if said else {}
    keys |= {} if guess.records == "file" else {"records": guess.records}
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in guess.fields.items()}
    keys |= {"fields": fields} if fields else {}
    keys["origin"] = "unknown" if "messages" in fields or _INSTRUCTIONS & set(fields.get("text", ())) else "human"
    first = sample(Source.model_validate(keys), group.files)
    if first.date_format != "iso":
        keys["date_format"] = first.date_format
    if first.most_words > LONG_WORDS:
        keys["max_words"] = MAX_WORDS
    return Entry(group, keys, first)


def _source(entry: Entry) -> str:
    keys, seen = entry.keys, entry.sample
    languages = ", ".join(f"{name} {share:.0%}" for name, share in list(seen.languages.items())[:4])
    bad = f", {seen.unreadable:,} unreadable" if seen.unreadable else ""
    files = f"{len(entry.group.files):,} {entry.group.guess.format} file{'s' * (len(entry.group.files) > 1)}"
    lines = [f"  # {files}; of {seen.rows.height:,} rows: {languages}{bad}"]
    for key, value in keys.items():
        written = value[0] if key == "uri" and len(value) == 1 else value
        remark = _REMARKS.get((key, str(written)))
        line = f"    {key}: {_yaml(written)}"
        lines.append(f"{line:<31} # {remark}" if remark else line)
    lines[1] = "  - " + lines[1].lstrip()
    return "\n".join([*lines, f"    {_license(seen)}", ""])


_REMARKS = {
    ("origin", "human"): "who wrote it: human | synthetic | unknown",
    ("origin", "unknown"): "an assistant, by the looks of it; if you know, say human or synthetic",
    ("max_words", str(MAX_WORDS)): "books, cut at paragraphs",
}


def _license(seen: Sample) -> str:
    """Say what the rows say of a licence, or leave a place for it."""
    if not seen.licenses:
        return "# license: CC0-1.0          # rows say none; name theirs, since drafts are made of licensed text only"
    named = ", ".join(json.dumps(text, ensure_ascii=False) for text in seen.licenses[:3])
    if seen.unknown_licenses:
        maps = ", ".join(f"{_yaml(text)}: unknown" for text in seen.unknown_licenses)
        return f"license_map: {{{maps}}}   # rows say {named}; name the SPDX expression of each"
    return f"# each row names its licence: {named}"


def _limits(samples: Sequence[Sample]) -> str:
    """Let a run read on past as many bad rows as the samples make likely: twice their share, and no more than half."""
    worst = max(samples, key=lambda one: one.bad_share)
    likely = min(math.ceil(200 * worst.bad_share) / 100, MOST_BAD)
    if likely <= Ingest().max_bad_rows:
        return ""
    told = f"# Of a sample of {worst.name} {worst.bad_share:.1%} cannot be read; a run that meets more than this stops."
    return f"\n{told}\ningest: {{max_bad_rows: {likely}}}\n"


def _filters(samples: Sequence[Sample]) -> str:
    lines = ["", f"# Of a sample. A filter that drops over {MOST_DROPPED:.0%} of a source does not fit it.", "filters:"]
    english = [one.name for one in samples if one.is_english]
    others = [one.name for one in samples if not one.is_english]
    languages = {"kind": "language", "keep": kept_languages(samples), "min_score": 0.65}
    lines += _fitting(languages, samples, [one.name for one in samples])
    for kind in ("gopher_quality", "gopher_repetition"):
        if kind == "gopher_quality" and others:
            lines += _fitting({"kind": kind}, samples, english) if english else []
            lines += _fitting({"kind": kind, "min_stop_words": 0}, samples, others)
        else:
            lines += _fitting({"kind": kind}, samples, [one.name for one in samples])
    return "\n".join(lines) + "\n"


def _fitting(entry: Mapping[str, Any], samples: Sequence[Sample], names: Sequence[str]) -> list[str]:
    """Write a filter for those of the named sources that it fits, and as a comment for the others."""
    shares = dropped(entry, [one for one in samples if one.name in names])
    fits = [name for name in names if shares.get(name, 0.0) <= MOST_DROPPED]
    lines = []
    for chosen, mark in ((fits, ""), ([name for name in names if name not in fits], "# ")):
        if chosen:
            told = _told({name: shares[name] for name in chosen if name in shares})
            whole = dict(entry) if len(chosen) == len(samples) else {**entry, "sources": chosen}
            lines += [f"  # {'drops' if not mark else 'not used: would drop'} {told}"]
            lines += [f"  {mark}- {_yaml(whole)}"]
    return lines


def _told(shares: Mapping[str, float]) -> str:
    """Name the sources of which a filter drops a row in a hundred and more, and count the others."""
    most = {name: share for name, share in shares.items() if share >= 0.01}
    named = [f"{share:.0%} of {name}" for name, share in sorted(most.items(), key=lambda entry: -entry[1])]
    rest = len(shares) - len(most)
    return ", ".join([*named, *([f"under 1% of {rest} source{'s' * (rest > 1)}"] if rest else [])])


def _yaml(value: object) -> str:
    """Write a value in one line, as YAML 1.2 reads it; words without signs of YAML stay without quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_yaml(key)}: {_yaml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    text = str(value)
    plain = text.isascii() and text.replace("_", "").replace("-", "").replace(".", "").replace("/", "").isalnum()
    is_word = plain and text[0].isalpha() and text.lower() not in ("true", "false", "null", "yes", "no", "on", "off")
    return text if is_word else json.dumps(text, ensure_ascii=False)
