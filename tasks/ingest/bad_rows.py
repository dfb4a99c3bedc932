"""Bad rows: tell what could not be read, and stop before anything is published where it is too much."""

from collections.abc import Sequence
from typing import Any

from cuvee.schemas.errors import InputError
from cuvee.schemas.recipe import Source
from cuvee.schemas.records import Run, SourceFile, StepRecord

MOST_FAULTS_TOLD = 5


def check_bad_rows(run: Run, files: Sequence[SourceFile], records: Sequence[StepRecord]) -> list[str]:
    """Return a warning for each source with unreadable rows, naming the first of them by file, line and reason.

    files: those that exist now; what was unreadable in a file that is gone or mended does not count. records: of what
    was read as the recipe reads.
    Raises InputError when the share of unreadable rows passes ingest.max_bad_rows in a source, and when no source has
    a readable row; nothing is published then.
    """
    present = {(file.source, file.sha256) for file in files}
    warnings, readable = [], 0
    for source in run.recipe.sources:
        own = [r for r in records if r.report["source"] == source.name]
        found = [file for r in own for file in r.report["files"] if (source.name, file["sha256"]) in present]
        readable += sum(file["rows"] for r in own for file in r.report["files"])
        bad, rows = sum(f["unreadable"] for f in found), sum(f["rows"] for f in found)
        warnings += [
            f"source {source.name}: {file['id']} is empty"
            for file in found
            if not file["rows"] + file["unreadable"] + sum(file.get("skipped", {}).values())
        ]
        warnings += _without_documents(source, found)
        if not bad:
            continue
        faults = [fault for r in own if any(f in found for f in r.report["files"]) for fault in r.report["faults"]]
        message = f"source {source.name}: {bad} of {bad + rows} rows cannot be read:\n  "
        message += "\n  ".join(faults[:MOST_FAULTS_TOLD])
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


def _without_documents(source: Source, files: Sequence[dict[str, Any]]) -> list[str]:
    """Count the records of archives that hold no document, by kind, the most frequent first."""
    kinds: dict[str, int] = {}
    for file in files:
        for kind, count in file.get("skipped", {}).items():
            kinds[kind] = kinds.get(kind, 0) + count
    if not kinds:
        return []
    records = sum(file["rows"] + file["unreadable"] for file in files) + sum(kinds.values())
    told = ", ".join(
        f"{kind} {count:,}" for kind, count in sorted(kinds.items(), key=lambda entry: (-entry[1], entry[0]))
    )
    return [f"source {source.name}: {sum(kinds.values()):,} of {records:,} records hold no document: {told}"]
