"""Classify: tell of the documents of files, of any format that the readers know, who wrote them.

Output columns: id, p_synthetic (Float32 or null), provenance, evidence (list of slugs), p_model
(Float64 or null).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from cuvee.schemas.errors import InputError, RecipeError
from cuvee.tasks import readers
from cuvee.tasks.provenance.conclude import Thresholds, conclude, score
from cuvee.tasks.provenance.prevalence import Prevalence, prevalence
from cuvee.tasks.provenance.protocol import ProvenanceModel
from cuvee.tasks.words.counts import count_words

# Rows scored together: enough to hide what a call costs, few enough to answer soon.
BATCH_ROWS = 4_096
BATCH_CHARACTERS = 8 << 20

# Language(text) → ISO 639-1 codes, null where none is certain.
Language = Callable[[pl.Series], pl.Series]


def classify_files(
    paths: Iterable[str | Path],
    model: ProvenanceModel,
    thresholds: Thresholds,
    text_field: str = "text",
    language: Language | None = None,
    on_bad: Callable[[str], None] | None = None,
    on_passed: Callable[[Path], None] = lambda path: None,
) -> Iterator[pl.DataFrame]:
    """Classify each document of files of any format that is read by its text alone, in batches, in order.

    Declared fields are ignored. A row without an id is named path:row, a text file by its path; a folder stands for
    the files in it, in byte order of their paths.
    on_bad: called, after the rows before it are given, with one line for each row or whole file that cannot be read,
    naming file and line; the rest is read. None: raises InputError with the first of these lines.
    on_passed: called with each file of a folder whose format is not known; it is passed over.
    Raises RecipeError for a file that is named itself and whose format is not known, before anything is read.
    """
    tell = on_bad or _refuse
    files = list(_expanded(paths, on_passed))
    for path in files:
        if not readers.is_archive(path):
            readers.detect(path)
    waiting: list[pl.DataFrame] = []
    rows = characters = 0
    for path in files:
        for name, batch, bad in _read(path, text_field):
            waiting.append(batch.select(id=pl.col("id").fill_null(_row_name(name)), text="text"))
            rows += len(batch)
            characters += int(batch["text"].str.len_bytes().sum())
            if rows >= BATCH_ROWS or characters >= BATCH_CHARACTERS or (bad and rows):
                yield _classified(pl.concat(waiting), model, thresholds, language)
                waiting, rows, characters = [], 0, 0
            for line in bad:
                tell(line)
    if rows:
        yield _classified(pl.concat(waiting), model, thresholds, language)


def read_audit(path: Path) -> pl.DataFrame:
    """Read what people decided: columns id and label ("human" | "synthetic"), from Parquet, CSV, TSV or jsonl.

    A column doc_id stands for id. Raises RecipeError for another format, a missing column, an id that comes twice, and
    InputError for a file that cannot be read.
    """
    rows = readers.table(path)
    name = "id" if "id" in rows.columns else "doc_id"
    if not {name, "label"} <= set(rows.columns):
        raise RecipeError(f"{path}: an audit needs the columns id and label; it has {', '.join(rows.columns)}")
    audit = rows.select(id=pl.col(name).cast(pl.String), label=pl.col("label").cast(pl.String)).drop_nulls()
    twice = audit.filter(pl.col("id").is_duplicated())
    if twice.height:
        raise RecipeError(f"{path}: {twice['id'][0]} has more than one label; decide for one")
    return audit


def prevalence_of(documents: pl.DataFrame, model: ProvenanceModel, audit: pl.DataFrame | None = None) -> Prevalence:
    """Estimate the machine-written share of documents (columns id, p_model), with an audit where there is one.

    Raises RecipeError for an audited id that no document has, or that several have.
    """
    if audit is None:
        return prevalence(documents["p_model"], model)
    labelled = documents.join(audit, on="id", how="left", maintain_order="left")
    if labelled["label"].count() != audit.height:
        strange = audit.join(documents, on="id", how="anti")["id"].head(1).to_list()
        reason = f"no document has the id {strange[0]}" if strange else "several documents have an id of it"
        raise RecipeError(f"the audit does not fit the documents: {reason}")
    return prevalence(labelled["p_model"], model, label=labelled["label"])


def _refuse(bad: str) -> None:
    raise InputError(bad)


def _read(path: str, text_field: str) -> Iterator[tuple[str, pl.DataFrame, Sequence[str]]]:
    """Yield readable rows of a file, or of the members of an archive, behind its name, and a line for each row that is
    not readable; a whole file that cannot be read is one such line.
    """
    nothing = readers.SCHEMA.to_frame()
    try:
        with open(path, "rb") as stream:
            for part in readers.parts(path, stream, path):
                if isinstance(part, readers.BadRow):
                    yield path, nothing, [part.reason]
                elif not isinstance(part, str):
                    yield from _of_part(part, text_field)
    except (InputError, OSError) as error:
        yield path, nothing, [_told(path, error)]


def _of_part(part: readers.Part, text_field: str) -> Iterator[tuple[str, pl.DataFrame, Sequence[str]]]:
    try:
        for batch in readers.read(part.name, part.stream, part.format, part.compression, {"text": text_field}):
            yield part.name, batch.rows, [f"{part.name}, {_where(bad)}: {bad.reason}" for bad in batch.bad]
    except InputError as error:
        yield part.name, readers.SCHEMA.to_frame(), [_told(part.name, error)]


def _told(name: str, error: InputError | OSError) -> str:
    reason = str(getattr(error, "strerror", None) or error)
    return reason if name in reason else f"{name}: {reason}"


def _where(bad: readers.BadRow) -> str:
    return f"line {bad.line}" if bad.line is not None else f"row {bad.row}"


def _expanded(paths: Iterable[str | Path], on_passed: Callable[[Path], None]) -> Iterator[str]:
    for path in map(Path, paths):
        if not path.is_dir():
            yield str(path)
            continue
        files, passed = readers.expand([str(path)])
        for file in passed:
            on_passed(file)
        yield from map(str, files)


def _row_name(path: str) -> pl.Expr:
    return pl.concat_str(pl.lit(f"{path}:"), pl.col("row").cast(pl.String))


def _classified(
    rows: pl.DataFrame, model: ProvenanceModel, thresholds: Thresholds, language: Language | None
) -> pl.DataFrame:
    scores = score(rows["text"], language(rows["text"]) if language else None, model)
    evidence = rows.select("id", words=count_words(rows["text"])).hstack(scores)
    undeclared = evidence.with_columns(
        origin=pl.lit("unknown"),
        own_draft=pl.lit(value=False),
        own_copy=pl.lit(value=False),
        c2pa=pl.lit(None, pl.String),
        marking=pl.lit(None, pl.String),
        created=pl.lit(None, pl.Date),
        trusted_date=pl.lit(value=False),
    )
    concluded = conclude(undeclared, thresholds)
    spoken = pl.col("evidence").str.split(",").list.filter(pl.element() != "")
    return concluded.select("id", "p_synthetic", "provenance", spoken, "p_model")
