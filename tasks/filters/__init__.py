"""Filters: measure documents, and judge them by a recipe's thresholds.

Every module of this package whose name does not start with "_" is a kind of filter, found without a register. It has
VERSION (int, raised when its signals change), SIGNALS (column name to dtype), Options (the recipe entry), `signals`
(shard to columns, without thresholds) and `verdict` (options to an expression: null, or the reason to drop).
Signals are kept for all documents: a changed threshold needs no text.
"""

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import polars as pl
import polars.selectors as cs
from pydantic import ValidationError

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.filters._rules import FilterOptions, coalesce

Options = FilterOptions

# A line takes 52 bytes while it is measured: a text of one-letter lines would take 26 times its size.
BATCH_BYTES = 8 * 2**20


class Kind(Protocol):
    """What a filter module holds."""

    VERSION: int
    SIGNALS: dict[str, pl.DataType]
    Options: type[FilterOptions]

    def signals(self, shard: pl.DataFrame) -> pl.DataFrame:
        """Return exactly SIGNALS, a row for each row of the shard, in its order.

        shard columns: doc_id, text, url and opt_out (null possible), license, words, chars, bytes.
        """

    def verdict(self, options: Any) -> pl.Expr:
        """Return null or a reason, from SIGNALS and doc_id, license, words, chars, bytes."""


@functools.cache
def _found() -> Mapping[str, Kind]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: cast(Kind, importlib.import_module(f"{__name__}.{name}")) for name in names}


def kinds() -> dict[str, Kind]:
    """Return the filter modules by name, sorted."""
    return dict(_found())


def parse(spec: Mapping[str, object], where: str, folder: Path = Path()) -> Options:
    """Return the options of a recipe entry such as {"kind": "language", "keep": ["en"], "min_score": 0.65}.

    where: its place in the recipe, for messages ("filters.0"). folder: the recipe's, which files are relative to.
    Raises RecipeError that names place, key, value and the nearest known name.
    """
    if not isinstance(spec, Mapping):
        raise RecipeError(f"{where}: {spec!r} is not a filter; write for example {{kind: language, keep: [en]}}")
    if "kind" not in spec:
        raise RecipeError(f"{where}.kind: missing; give one of {', '.join(_found())}")
    kind = _kind(str(spec["kind"]), f"{where}.kind")
    try:
        return kind.Options.model_validate({str(key): value for key, value in spec.items()}, context={"folder": folder})
    except ValidationError as error:
        raise RecipeError(_explain(error, kind, where)) from error


def compute(shard: pl.DataFrame, kinds: Sequence[str]) -> pl.DataFrame:
    """Return the signal columns of all `kinds`, a row for each row of the shard, in its order.

    shard columns: doc_id, text, url (null possible), license, words, chars, bytes. Floats have 6 decimals.
    Raises RecipeError for an unknown kind.
    """
    wanted = [_kind(name, "filters") for name in dict.fromkeys(kinds)]
    parts = []
    for batch in _batches(shard):
        columns = pl.DataFrame(height=batch.height)
        for kind in wanted:
            found = kind.signals(batch).cast(cast(Any, kind.SIGNALS)).select(list(kind.SIGNALS))
            columns = columns.hstack(found.with_columns(cs.float().round(6)))
        parts.append(columns)
    return pl.concat(parts) if parts[0].width else pl.DataFrame(height=shard.height)


def versions(kinds: Iterable[str]) -> dict[str, int]:
    """Return the version of each kind's signals, sorted by name. Raises RecipeError for an unknown kind."""
    return {name: _kind(name, "filters").VERSION for name in sorted(set(kinds))}


def judge(frame: pl.DataFrame, options: Sequence[Options]) -> pl.Series:
    """Return "verdict": null for a document to keep, else the reason of the first filter, in order, that objects.

    frame columns: doc_id, license, words, chars, bytes, and the signals of all kinds in `options`.
    """
    reasons = [_found()[entry.kind].verdict(entry) for entry in options]
    # A literal alone has one row, whatever the frame's height: hence with_columns.
    return frame.with_columns(coalesce(reasons).alias("verdict"))["verdict"]


def _batches(shard: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Cut the shard into runs of rows of at most BATCH_BYTES of text, or one row; an empty shard is one run."""
    ends = shard["bytes"].cum_sum().to_numpy()
    start = 0
    while start < shard.height or start == 0:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
        yield shard[start:stop]
        start = stop


def _kind(name: str, where: str) -> Kind:
    if name not in _found():
        raise RecipeError(
            f"{where}: no filter is called {name!r};{_nearest(name, _found())} kinds: {', '.join(_found())}"
        )
    return _found()[name]


def _explain(error: ValidationError, kind: Kind, where: str) -> str:
    """Put the first complaint of pydantic into one sentence that says where, what, and what to do."""
    complaint = error.errors()[0]
    place = ".".join([where, *map(str, complaint["loc"])])
    known = [name for name in kind.Options.model_fields if name != "kind"]
    if complaint["type"] == "extra_forbidden":
        hint = _nearest(str(complaint["loc"][0]), known)
        return f"{place}: unknown key (value {complaint['input']!r});{hint} keys: {', '.join(known)}"
    if complaint["type"] == "missing":
        description = kind.Options.model_fields[str(complaint["loc"][0])].description
        return f"{place}: missing; {description}"
    message = complaint["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    if not complaint["loc"]:
        return f"{place}: {message}"
    return f"{place}: {complaint['input']!r} is not allowed: {message}"


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" did you mean {close[0]}?" if close else ""
