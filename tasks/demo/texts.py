"""Gather the text of `cuvee demo` and write its recipe.

Three sources in three formats, each with a declared licence:

    packages.jsonl.gz           id, text, title, url, license, created   long descriptions of installed distributions
    language_reference.parquet  id, text, title                          the topics of Python's help(), PSF-2.0
    standard_library.csv        id, text, title                          docstrings by module and by class, PSF-2.0

No file holds a time, so one machine gives the same bytes each time.
"""

import gzip
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import InputError, RecipeError
from cuvee.tasks.demo.python_text import Row, language_reference, packages, standard_library
from cuvee.tasks.words.counts import count_words


class GatheredSource(Frozen):
    """One file of the demo: what it is declared to be, and how much it holds."""

    name: str
    path: Path
    domain: str
    license: str | None
    """SPDX, of all rows; null: each row declares its own."""
    documents: int
    words: int


class Gathered(Frozen):
    """What `gather` wrote."""

    sources: tuple[GatheredSource, ...]


Progress = Callable[[GatheredSource], None]


def write_jsonl(rows: list[Row], path: Path) -> None:
    """Write gzipped JSON lines without a time or a file name in the gzip header."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))


def write_parquet(rows: list[Row], path: Path) -> None:
    """Write a Parquet file, zstd-compressed, without statistics."""
    pl.DataFrame(rows).write_parquet(path, compression="zstd", statistics=False)


def write_csv(rows: list[Row], path: Path) -> None:
    """Write a CSV file with a header; texts of several lines are quoted."""
    pl.DataFrame(rows).write_csv(path)


class Kind(NamedTuple):
    """How one source of the demo is read, written and declared; license null: row by row."""

    name: str
    file: str
    domain: str
    license: str | None
    read: Callable[[], list[Row]]
    write: Callable[[list[Row], Path], None]


KINDS = (
    Kind("packages", "packages.jsonl.gz", "software", None, packages, write_jsonl),
    Kind("language_reference", "language_reference.parquet", "reference", "PSF-2.0", language_reference, write_parquet),
    Kind("standard_library", "standard_library.csv", "software", "PSF-2.0", standard_library, write_csv),
)


def gather(folder: Path, progress: Progress | None = None) -> Gathered:
    """Write the demo's sources into `folder`, made if absent, over what an earlier call wrote.

    `progress` is called with each source once its file is written. A source of which this machine has no text is left
    out. One machine gives the same bytes each time. Raises InputError when it has no text at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gathered: list[GatheredSource] = []
    for kind in KINDS:
        rows = kind.read()
        path = folder / kind.file
        path.unlink(missing_ok=True)
        if not rows:
            continue
        kind.write(rows, path)
        source = GatheredSource(
            name=kind.name,
            path=path,
            domain=kind.domain,
            license=kind.license,
            documents=len(rows),
            words=count_words(pl.Series([str(row["text"]) for row in rows])).sum(),
        )
        gathered.append(source)
        if progress:
            progress(source)
    if not gathered:
        raise InputError(
            "this Python has neither package descriptions nor documented modules; try `cuvee init` instead"
        )
    return Gathered(sources=tuple(gathered))


HEAD = """\
# The recipe of `cuvee demo`: text that was on this machine already, and drafts of {drafts}.
# Edit it, then: cuvee run {path}
# Every key is in docs/recipe.md.
corpus: demo
{store}
# Origin is declared, not proved: no date in an installed package is evidence of when its text was written.
# vanished: drop: what a removed package or another Python took away leaves the next version.
sources:
"""

SOURCE = """\
  # {documents:,} documents, {words:,} words
  - name: {name}
    uri: {file}
    origin: human
    domain: {domain}
    vanished: drop
"""

TAIL = """\
filters:
  # Text about software: code between sentences lowers the language score (0.65 is usual for prose) and the share of
  # words with a letter (0.8), and Markdown headings and shell comments are hash signs (0.1 a word).
  - {{kind: language, keep: [en], min_score: 0.4}}
  - {{kind: gopher_quality, min_letter_words: 0.65, max_symbol_ratio: 0.2}}
  - {{kind: gopher_repetition}}

# Near-copies on one machine are forks and old names of a module: 0.6 finds them, 0.8 is usual.
dedup: {{threshold: 0.6}}

# Human documents that are never trained on nor used as seeds. The usual 0.005 would be three or four here.
holdout: {{share: 0.02}}

generate:
{generator}

# The promise, proved in the report: at least 70% of the words are human. Too few drafts: publish what there is.
mixture:
  unit: words
  human: {{min: 0.7}}
  shortage: shrink

# Say what looks like collapse, and publish all the same.
guard: {{action: warn}}
"""

BASELINE = """\
  # Offline: nonsense that reads like the corpus. It shows every step at work and must never be trained on.
  - name: baseline
    generator: ngram
    allow_baseline: true
    # auto: what mixture.human.min leaves room for.
    budget: {amount: auto}"""

ENDPOINT = """\
  # Any server with an OpenAI-compatible API. Of the key only the name of its variable is written here.
  - name: rephrased
    generator: openai
    base_url: ${OPENAI_BASE_URL}
    model: ${OPENAI_MODEL}
    api_key_env: OPENAI_API_KEY
    # What mixture.human.min leaves room for, and no more than 50 requests; raise that once the drafts please.
    budget: {amount: auto, requests: 50}"""


def recipe(
    folder: Path, gathered: Gathered, store: str | None = None, environment: Mapping[str, str] = os.environ
) -> str:
    """Write `folder`/demo.yaml, the recipe over what `gather` wrote there, and return its text.

    store: null leaves the choice to the command. environment: with OPENAI_BASE_URL set, drafts come from that server
    and OPENAI_MODEL must be set too; else from the offline baseline. Raises RecipeError when the model is missing.
    """
    endpoint = bool(environment.get("OPENAI_BASE_URL"))
    if endpoint and not environment.get("OPENAI_MODEL"):
        raise RecipeError("OPENAI_BASE_URL is set and OPENAI_MODEL is not; set it to a model of that server")
    path = folder / "demo.yaml"
    text = HEAD.format(
        drafts="your model" if endpoint else "an offline baseline",
        path=path,
        store=f"store: {json.dumps(store)}" if store else "# store: ./cuvee-store   by default --store, or CUVEE_STORE",
    )
    for source in gathered.sources:
        text += SOURCE.format(file=source.path.name, **source.model_dump())
        text += f"    license: {source.license}\n" if source.license else ""
    text += TAIL.format(generator=ENDPOINT if endpoint else BASELINE)
    path.write_text(text, encoding="utf-8")
    return text
