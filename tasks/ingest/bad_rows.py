"""Bad rows: tell what could not be read, and stop before anything is published where it is too much."""

from collections.abc import Callable, Sequence

import polars as pl
import pyarrow as pa

from cuvee.schemas.errors import InputError
from cuvee.schemas.recipe import Source
from cuvee.schemas.records import IngestRecord, IngestReport, ReadFile, Run, SourceFile
from cuvee.schemas.tables import UNREADABLE
from cuvee.storage.tables import TableWriter

MOST_FAULTS_TOLD = 5
# 25 MB: a quote that is not closed may hide millions of rows.
_ROWS_AT_A_TIME = 100_000


class BadRows:
    """The unreadable rows of some files, in a table that is begun with the first of them.

    first: the first MOST_FAULTS_TOLD; writer: of the table, None where all could be read.
    """

    def __init__(self, begin: Callable[[pa.Schema], TableWriter]) -> None:
        self._begin = begin
        self._waiting: list[pl.DataFrame] = []
        self.first = UNREADABLE.to_frame()
        self.writer: TableWriter | None = None

    def add(self, rows: pl.DataFrame) -> None:
        """Note rows (columns of UNREADABLE)."""
        self.first = pl.concat([self.first, rows]).head(MOST_FAULTS_TOLD)
        self._waiting.append(rows)
        if sum(part.height for part in self._waiting) >= _ROWS_AT_A_TIME:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            table = pl.concat(self._waiting).to_arrow()
            self.writer = self.writer or self._begin(table.schema)
            self.writer.write(table)
            self._waiting = []


def check_bad_rows(run: Run, files: Sequence[SourceFile], records: Sequence[IngestRecord]) -> list[str]:
    """Return a warning for each source with unreadable rows or dates, naming the first of them by file and line, and
    for each field that a recipe names and no row has.

    files: those that exist now; what was unreadable in a file that is gone or mended does not count. records: of what
    was read as the recipe reads.
    Raises InputError when the share of unreadable rows passes ingest.max_bad_rows in a source, and when no source has
    a readable row; nothing is published then.
    """
    present = {(file.source, file.sha256) for file in files}
    warnings, readable = [], 0
    for source in run.recipe.sources:
        own = [record.report for record in records if record.report.source == source.name]
        found = [file for report in own for file in report.files if (source.name, file.sha256) in present]
        readable += sum(file.rows for report in own for file in report.files)
        bad, rows = sum(file.unreadable for file in found), sum(file.rows for file in found)
        warnings += [f"source {source.name}: {file.id} is empty" for file in found if not file.records + file.members]
        warnings += _found_out(source, own, found)
        warnings += _without_documents(source, found)
        warnings += _undated(source, own, found)
        warnings += _empty_fields(source, own, found)
        if not bad:
            continue
        faults = [fault for report in own if any(file in found for file in report.files) for fault in report.faults]
        message = f"source {source.name}: {bad} of {bad + rows} rows cannot be read:\n  "
        message += "\n  ".join(faults[:MOST_FAULTS_TOLD])
        if any("not UTF-8" in fault for fault in faults):
            message += "\n  Where files have another encoding, name it: sources[].encoding"
        if bad / (bad + rows) > run.recipe.ingest.max_bad_rows:
            raise InputError(
                f"{message}\nThat is over the limit ingest.max_bad_rows {run.recipe.ingest.max_bad_rows:g}; nothing is "
                "published; mend the files or raise the limit"
            )
        warnings.append(message)
    if not readable:
        raise InputError(
            "\n".join(["no source has a readable row; nothing is published; look at the files:", *warnings])
        )
    return warnings


def _found_out(source: Source, reports: Sequence[IngestReport], files: Sequence[ReadFile]) -> list[str]:
    """Tell how files are read where the recipe does not say it, and the suffix does not either."""
    told = [line for report in reports if any(file in files for file in report.files) for line in report.told]
    return [f"source {source.name}: " + "\n  ".join(told[:MOST_FAULTS_TOLD])] if told else []


def _undated(source: Source, reports: Sequence[IngestReport], files: Sequence[ReadFile]) -> list[str]:
    """Count the dates of the files that are not understood, and name the first."""
    count, rows = sum(file.undated for file in files), sum(file.rows for file in files)
    if not count:
        return []
    first = [line for report in reports if any(file in files for file in report.files) for line in report.undated]
    wanted = "YYYY-MM-DD" if source.date_format == "iso" else f"YYYY-MM-DD or {source.date_format}"
    return [
        f"source {source.name}: {count:,} of {rows:,} rows have a date that is not understood, and count as undated; "
        f"wanted is {wanted}, years 1 to 9999 (sources[].date_format):\n  " + "\n  ".join(first[:MOST_FAULTS_TOLD])
    ]


def _empty_fields(source: Source, reports: Sequence[IngestReport], files: Sequence[ReadFile]) -> list[str]:
    """Name the fields that the recipe maps and that no row of the files has a value of."""
    if not any(file.rows for file in files):
        return []
    filled = {name for report in reports if any(file in files for file in report.files) for name in report.filled}
    said = {name: value for name in source.fields.model_fields_set if (value := getattr(source.fields, name))}
    named = {f"fields.{name}": _written(said[name]) for name in sorted(said.keys() - filled)}
    if source.origin_field and "origin" not in filled:
        named["origin_field"] = source.origin_field
    if source.keep and "extra" not in filled:
        named["keep"] = _written(source.keep)
    return [
        f"source {source.name}: no row has a value in {column!r}, which sources[].{key} names; correct the name, or "
        "leave the key out"
        for key, column in named.items()
    ]


def _written(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else ", ".join(names)


def _without_documents(source: Source, files: Sequence[ReadFile]) -> list[str]:
    """Count the records of archives that hold no document, by kind, the most frequent first."""
    kinds: dict[str, int] = {}
    for file in files:
        for kind, count in file.skipped.items():
            kinds[kind] = kinds.get(kind, 0) + count
    if not kinds:
        return []
    records = sum(file.records for file in files)
    told = ", ".join(
        f"{kind} {count:,}" for kind, count in sorted(kinds.items(), key=lambda entry: (-entry[1], entry[0]))
    )
    return [f"source {source.name}: {sum(kinds.values()):,} of {records:,} records hold no document: {told}"]
