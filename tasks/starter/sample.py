"""Sample: the first rows of a source, read as the recipe would, and what filters would drop of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import polars as pl

from cuvee.schemas.errors import InputError
from cuvee.schemas.licenses import UNKNOWN, spdx
from cuvee.schemas.recipe import DateFormat, Ingest, Source
from cuvee.tasks import filters, readers
from cuvee.tasks.ingest import opening
from cuvee.tasks.ingest.normalise import days, shape
from cuvee.tasks.pool import frame_of

# A share of 200 rows is within 7 points of the truth, 19 times of 20.
ROWS = 200
BLOCK_BYTES = 1 << 20
# A filter that drops more of a source does not fit it: FineWeb's filters drop less of the web, each.
MOST_DROPPED = 0.25
# A language of fewer texts is a stray.
FEWEST_OF_LANGUAGE = 0.05
# Longer texts are books.
LONG_WORDS = 20_000


@dataclass(frozen=True)
class Sample:
    """The first rows of a source.

    rows: with the columns of a shard and the signals of language; licenses: as rows write them, and those of them that
    are no SPDX expression.
    """

    name: str
    rows: pl.DataFrame
    unreadable: int
    date_format: DateFormat = "iso"
    licenses: tuple[str, ...] = ()
    unknown_licenses: tuple[str, ...] = ()

    @property
    def languages(self) -> dict[str, float]:
        """Share of the rows by language, the most frequent first."""
        if self.rows.is_empty():
            return {}
        counts = self.rows["language_found"].value_counts(sort=True)
        return {str(name): count / self.rows.height for name, count in counts.iter_rows()}

    @property
    def bad_share(self) -> float:
        """Share of the rows that cannot be read."""
        return self.unreadable / max(1, self.rows.height + self.unreadable)

    @property
    def most_words(self) -> int:
        """Words of the longest row."""
        return 0 if self.rows.is_empty() else int(str(self.rows["words"].max()))

    @property
    def is_english(self) -> bool:
        """Whether most rows are in English."""
        return self.languages.get("en", 0.0) > 0.5


def sample(source: Source, files: Sequence[Path]) -> Sample:
    """Read ROWS rows of a source, evenly from its first, last and middle files."""
    spread = files[:: -(-len(files) // 20)]
    each = -(-ROWS // len(spread))
    parts, unreadable = [], 0
    for file in spread:
        rows, bad = _first_rows(source, file, each)
        parts += rows
        unreadable += bad
    if not parts:
        return Sample(source.name, pl.DataFrame(), unreadable)
    read = pl.concat(parts)
    parsed = {form: days(read["created"], form)["created"] for form in get_args(DateFormat)}
    date_format = min(parsed, key=lambda form: parsed[form].null_count())  # of equals the first, which is iso
    licenses = sorted(set(read["license"].drop_nulls()))
    unknown = tuple(text for text in licenses if spdx(text) == UNKNOWN != text)
    limits = Ingest()
    table = shape(read.with_columns(parsed[date_format], file=pl.lit("")), limits, dict.fromkeys(limits.mask, 0))
    frame = frame_of(table)
    declared = pl.lit(source.license or "unknown")
    frame = frame.with_columns(
        license=pl.col("license").fill_null(declared), origin=pl.lit(source.origin), generated=pl.lit(value=False)
    )
    found = filters.compute(frame, ["language"])
    frame = frame.with_columns(found, language_found=found["language"])
    return Sample(source.name, frame, unreadable, date_format, tuple(licenses), unknown)


def _first_rows(source: Source, file: Path, most: int) -> tuple[list[pl.DataFrame], int]:
    """Read the first rows of a file, or of the members of an archive; return them, and how many cannot be read."""
    rows, bad = list[pl.DataFrame](), 0
    try:
        with file.open("rb") as stream:
            for part in opening.parts(source, Ingest(), str(file), str(file), stream):
                if not isinstance(part, readers.Part):
                    bad += isinstance(part, readers.BadRow)
                    continue
                for batch in opening.read(source, Ingest(), part, BLOCK_BYTES):
                    rows.append(batch.rows.head(most))
                    most -= batch.rows.height
                    bad += len(batch.bad)
                    if most <= 0:
                        return rows, bad
    except InputError:
        bad += 1
    return rows, bad


def kept_languages(samples: Iterable[Sample]) -> list[str]:
    """Return the languages of FEWEST_OF_LANGUAGE of some source's rows and more, the most frequent first."""
    shares: dict[str, float] = {}
    for one in samples:
        for name, share in one.languages.items():
            if share >= FEWEST_OF_LANGUAGE and name != "und":
                shares[name] = shares.get(name, 0.0) + share
    return sorted(shares, key=lambda name: (-shares[name], name))


def dropped(entry: Mapping[str, Any], samples: Sequence[Sample]) -> dict[str, float]:
    """Return the share of each source's sample that a filter would drop; sources without a readable row left out."""
    options = filters.parse(entry, "filters")
    shares = {}
    for one in samples:
        if one.rows.is_empty():
            continue
        signals = filters.compute(one.rows, [options.kind])
        verdicts = filters.judge(one.rows.with_columns(signals), [options])
        shares[one.name] = round(1 - verdicts.null_count() / one.rows.height, 4)
    return shares
