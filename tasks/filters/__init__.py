"""Filters: measure documents, and judge them by a recipe's thresholds.

Every module of this package whose name does not start with "_" is a kind of filter, found without a register. It has
VERSION (int, raised when its signals change), SIGNALS (column name to dtype), READS (columns of a shard that it needs
beside text), Options (the recipe entry), `signals` (shard to columns, without thresholds) and `verdict` (options to a
`Verdict`: null, or the reason to drop and what it rests on). One that looks across the documents of a source is a
`Gathering`. Signals are kept for all documents: a changed threshold needs no text. `above`, `below`, `outside` and
`first_reason` are what a verdict is made of. One whose signals depend on the recipe's entry too is `Parametric`, and
has `measured_by` in place of `signals`.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import polars as pl
import polars.selectors as cs
from pydantic import Field, ValidationError, field_validator

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks import shelf

# A line takes 52 bytes while it is measured: a text of one-letter lines would take 26 times its size.
BATCH_BYTES = 8 * 2**20


class FilterOptions(Frozen):
    """One entry of a recipe's `filters`; every kind narrows `kind` and adds its thresholds."""

    kind: str = Field(description="The filter, named after its file in tasks/filters.")
    sources: tuple[str, ...] = Field((), description="The sources whose rows it judges; none named: all.")

    @field_validator("sources", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Rule(NamedTuple):
    """A rule that a document may break. broken: boolean; told: measure and bound, as "12, wanted at least 50"."""

    broken: pl.Expr
    told: pl.Expr


class Verdict(NamedTuple):
    """What a filter says of a document. reason: null, or why to drop it; told: what that rests on, null possible."""

    reason: pl.Expr
    told: pl.Expr = pl.lit(None, pl.String)


# From a shard to the signals of a kind, a row for each row of the shard, in its order.
Signals: TypeAlias = Callable[[pl.DataFrame], pl.DataFrame]


class Kind(Protocol):
    """What a filter module holds."""

    VERSION: int
    SIGNALS: dict[str, pl.DataType]
    READS: tuple[str, ...]
    Options: type[FilterOptions]

    def signals(self, shard: pl.DataFrame) -> pl.DataFrame:
        """Return exactly SIGNALS, a row for each row of the shard, in its order; shard columns: text and READS."""

    def verdict(self, options: Any) -> Verdict:
        """Say what is objected to, from SIGNALS, the column of `gathered`, and what is declared of a row (DECLARED and
        AMOUNTS of cuvee.schemas.tables).
        """


@runtime_checkable
class Gathering(Protocol):
    """What a filter module holds that looks across the documents of a source, beside what a `Kind` does.

    `measure` cuts documents into parts, once a shard. Of all documents of a source that are to be counted, `count`
    gives how many hold a part; these counts add up. `choose` picks keys, and `gather` makes of them a column that
    `verdict` reads under the name `gathered`.
    """

    def measure(self, shard: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return what `signals` does, and the parts: position (int64, of the document in `shard`), key (uint64), …"""

    def count(self, parts: pl.DataFrame, options: Any) -> pl.DataFrame:
        """Return key (uint64) and documents (uint32), how many documents of `parts` hold it; each key once."""

    def choose(self, counts: pl.DataFrame, options: Any) -> pl.Series:
        """Return the keys (uint64) that these counts choose: of all documents of a source, of one range of keys."""

    def gather(self, signals: pl.DataFrame, parts: pl.DataFrame, chosen: pl.Series, options: Any) -> pl.Series:
        """Return a value for each row of a shard, in its order, from its signals and parts and the chosen keys.

        It is kept as float64: of a boolean, `verdict` reads 1 or 0.
        """

    def gathered(self, options: Any) -> str:
        """Name the column that `gather` makes for these options."""


@runtime_checkable
class Parametric(Protocol):
    """What a filter module holds whose signals depend on the recipe's entry, as on the content of a model."""

    def measured_by(self, options: Any) -> tuple[str, Signals]:
        """Return what measures by these options, and its name, equal for those that give the same signals.

        The name is letters and digits, and of content, not of paths.
        """


def above(signal: str, limit: float) -> Rule:
    """Break where `signal` exceeds `limit`; a value on the limit, at 6 decimals, does not."""
    return Rule(_exact(signal) > limit, _told(signal, limit, "at most"))


def below(signal: str, limit: float) -> Rule:
    """Break where `signal` falls short of `limit`; a value on the limit, at 6 decimals, does not."""
    return Rule(_exact(signal) < limit, _told(signal, limit, "at least"))


def outside(signal: str, least: float, most: float) -> Rule:
    """Break where `signal` falls short of `least` or exceeds `most`."""
    under, over = below(signal, least), above(signal, most)
    return Rule(under.broken | over.broken, pl.when(under.broken).then(under.told).otherwise(over.told))


def first_reason(kind: str, rules: Mapping[str, Rule | pl.Expr]) -> Verdict:
    """Object with "<kind>.<name>" of the first rule, in the mapping's order, that is broken.

    Of a rule that is an expression, true where it is broken, nothing is told.
    """
    nothing = pl.lit(None, pl.String)
    whole = {name: rule if isinstance(rule, Rule) else Rule(rule, nothing) for name, rule in rules.items()}
    return Verdict(
        coalesce([pl.when(rule.broken).then(pl.lit(f"{kind}.{name}")) for name, rule in whole.items()]),
        # `when` takes the first that holds, also where what it tells is null.
        _first([(rule.broken, rule.told) for rule in whole.values()]),
    )


def coalesce(reasons: Sequence[pl.Expr]) -> pl.Expr:
    """Return the first reason that is not null; null where all are, also when there are none."""
    return pl.coalesce([*reasons, pl.lit(None, pl.String)])


def kinds() -> dict[str, Kind]:
    """Return the filter modules by name, sorted."""
    return {name: cast(Kind, module) for name, module in shelf.modules(__name__).items()}


def table(name: str) -> pl.Schema:
    """Return the columns of a kind's table of signals: doc_id, then its own."""
    return pl.Schema({"doc_id": pl.String(), **_kind(name, "filters").SIGNALS})


def is_measured(name: str) -> bool:
    """Tell whether a kind looks at text; one without signals and parts judges by what is declared of a row."""
    kind = _kind(name, "filters")
    return bool(kind.SIGNALS) or isinstance(kind, Gathering)


def step(entry: FilterOptions) -> str:
    """Name the signals of an entry among all kinds of signal."""
    kind = _kind(entry.kind, "filters")
    return f"filter-{entry.kind}" + (f"-{kind.measured_by(entry)[0]}" if isinstance(kind, Parametric) else "")


def parse(spec: Mapping[str, object], where: str, folder: Path = Path()) -> FilterOptions:
    """Return the options of a recipe entry such as {"kind": "language", "keep": ["en"], "min_score": 0.65}.

    where: its place in the recipe, for messages ("filters.0"). folder: the recipe's, which files are relative to.
    Raises RecipeError that names place, key, value and the nearest known name.
    """
    if not isinstance(spec, Mapping):
        raise RecipeError(f"{where}: {spec!r} is not a filter; write for example {{kind: language, keep: [en]}}")
    if "kind" not in spec:
        raise RecipeError(f"{where}.kind: missing; give one of {', '.join(kinds())}")
    kind = _kind(str(spec["kind"]), f"{where}.kind")
    try:
        return kind.Options.model_validate({str(key): value for key, value in spec.items()}, context={"folder": folder})
    except ValidationError as error:
        raise RecipeError(_explain(error, kind, where)) from error


def compute(shard: pl.DataFrame, kinds: Sequence[str]) -> pl.DataFrame:
    """Return the signal columns of all `kinds`, a row for each row of the shard, in its order.

    shard columns: text, bytes, and what the kinds read. Floats have 6 decimals. Raises RecipeError for an unknown kind.
    """
    columns = pl.DataFrame(height=shard.height)
    for name in dict.fromkeys(kinds):
        columns = columns.hstack(measure(shard, name)[0])
    return columns


def measure(shard: pl.DataFrame, name: str, first: int = 0, entry: FilterOptions | None = None) -> list[pl.DataFrame]:
    """Return the signal columns of one kind, and, of a kind that gathers, the parts of the documents beside them.

    first: position of the first row, where these rows are not the beginning of a shard. entry: of a parametric kind.
    """
    kind = _kind(name, "filters")
    signals_of = kind.measured_by(entry)[1] if isinstance(kind, Parametric) else kind.signals
    tables: list[list[pl.DataFrame]] = []
    for batch in _batches(shard):
        own, *beside = kind.measure(batch) if isinstance(kind, Gathering) else [signals_of(batch)]
        signals = own.cast(cast(Any, kind.SIGNALS)).select(list(kind.SIGNALS)).with_columns(cs.float().round(6))
        tables.append([signals, *(parts.with_columns(pl.col("position") + first) for parts in beside)])
        first += batch.height
    return [
        pl.concat(parts) if parts[0].width else pl.DataFrame(height=shard.height) for parts in zip(*tables, strict=True)
    ]


def judge(frame: pl.DataFrame, options: Sequence[FilterOptions]) -> pl.Series:
    """Return "verdict": null for a document to keep, else the reason of the first filter, in order, that objects.

    frame columns: the signals of all kinds in `options`, and what their verdicts read beside.
    """
    reasons = [_of_sources(entry, kinds()[entry.kind].verdict(entry).reason) for entry in options]
    # A literal alone has one row, whatever the frame's height: hence with_columns.
    return frame.with_columns(coalesce(reasons).alias("verdict"))["verdict"]


def _of_sources(entry: FilterOptions, reason: pl.Expr) -> pl.Expr:
    return pl.when(pl.col("source").is_in(list(entry.sources))).then(reason) if entry.sources else reason


def tell(frame: pl.DataFrame, entry: FilterOptions, verdict: pl.Series) -> pl.Series:
    """Say what a filter's verdicts rest on: measure and bound, null where it does not object or nothing is to be told.

    frame: as for `judge`, whose answer for this entry alone is `verdict`.
    """
    dropped = verdict.is_not_null()
    told = frame.filter(dropped).select(kinds()[entry.kind].verdict(entry).told.cast(pl.String).alias("told"))
    return pl.repeat(None, frame.height, dtype=pl.String, eager=True).scatter(dropped.arg_true(), told["told"])


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
    known = kinds()
    if name not in known:
        raise RecipeError(f"{where}: no filter is called {name!r};{_nearest(name, known)} kinds: {', '.join(known)}")
    return known[name]


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


def _first(choices: Sequence[tuple[pl.Expr, pl.Expr]]) -> pl.Expr:
    """Return the value beside the first condition that holds; null where none does."""
    chosen = pl.lit(None, pl.String)
    for condition, value in reversed(choices):
        chosen = pl.when(condition).then(value).otherwise(chosen)
    return chosen


def _told(signal: str, limit: float, which: str) -> pl.Expr:
    return pl.concat_str(_shown(signal, limit), pl.lit(f", wanted {which} {limit:,}"))


def _shown(signal: str, limit: float) -> pl.Expr:
    """Write a value with two decimals, or with six where two would put it on its limit or beyond."""
    exact = _exact(signal)
    short = exact.round(2)
    is_plain = (short < limit) == (exact < limit)
    shown = pl.when(is_plain & (short != limit)).then(short).otherwise(exact)
    return shown.cast(pl.String).str.strip_suffix(".0")


def _exact(signal: str) -> pl.Expr:
    # Signals are stored as Float32: 0.3 comes back as 0.30000001, and would cross a threshold of 0.3.
    return pl.col(signal).cast(pl.Float64).round(6)
