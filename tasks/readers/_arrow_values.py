"""Values of Arrow columns: as text, as values of JSON, and how many bytes they decode to."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cuvee.tasks.readers._batch import as_text
from cuvee.tasks.readers._columns import plain_value
from cuvee.tasks.readers._dates import DAYS

# What a value within a list takes as an object, at least.
_ELEMENT_BYTES = 100


def is_text(type_: pa.DataType) -> bool:
    """Tell whether a column holds text: strings, or bytes that may be UTF-8."""
    if pa.types.is_dictionary(type_):
        return is_text(type_.value_type)
    text_types = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(is_type(type_) for is_type in text_types) or _is_bytes(type_)


def _is_bytes(type_: pa.DataType) -> bool:
    return any(test(type_) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def is_plain(type_: pa.DataType) -> bool:
    """Tell whether a type has one obvious spelling as text."""
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    times = (pa.types.is_date, pa.types.is_timestamp)
    return is_text(type_) or any(is_type(type_) for is_type in (*numbers, *times))


def inside(column: pa.Array, path: Sequence[str]) -> pa.Array:
    """Return the members of structs that a path leads to, null where a struct is."""
    for name in path:
        column = pc.struct_field(column, [column.type.get_field_index(name)])
    return column


def as_strings(array: pa.Array) -> tuple[pl.Series, list[int]]:
    """Give a column as strings, dates and timestamps in ISO 8601, and the places of cells that are not UTF-8."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not is_text(array.type):
        if pa.types.is_temporal(array.type):
            return _as_iso(array), []
        return _as_number(array), []
    if pa.types.is_null(array.type):
        return pl.Series([None] * len(array), dtype=pl.String), []
    if _is_bytes(array.type):
        array = array.cast(pa.large_binary()).view(pa.large_string())
    try:
        array.validate(full=True)  # files of other writers may hold bytes that are not UTF-8
    except pa.ArrowInvalid:
        cells = array.cast(pa.large_binary()).to_pylist()
        decoded = [_decode(cell) for cell in cells]
        wrong = [place for place, (cell, text) in enumerate(zip(cells, decoded, strict=True)) if cell and text is None]
        return pl.Series(decoded, dtype=pl.String), wrong
    return cast(pl.Series, pl.from_arrow(array)).cast(pl.String), []


def as_objects(array: pa.Array) -> tuple[list[object], list[int]]:
    """Give a column as values of JSON, and the places of cells that are not UTF-8."""
    try:
        return [plain_value(value) for value in array.to_pylist()], []
    except (UnicodeDecodeError, OverflowError, ValueError, KeyError, ImportError):
        pass
    values: list[object] = []
    wrong: list[int] = []
    for place, scalar in enumerate(array):
        try:
            values.append(plain_value(scalar))
        except UnicodeDecodeError:
            wrong.append(place)
            values.append(None)
    return values, wrong


def lengths(array: pa.Array) -> npt.NDArray[np.int64]:
    """Tell how many bytes the texts of each row decode to, at any depth, without decoding them; what is no text has
    none.
    """
    if pa.types.is_dictionary(array.type):
        of_values = lengths(array.dictionary)
        places = _numbers(array.indices)
        found = of_values[places] if len(of_values) else np.zeros(len(array), np.int64)
        return cast(npt.NDArray[np.int64], np.where(array.is_null().to_numpy(zero_copy_only=False), 0, found))
    if pa.types.is_struct(array.type):
        return sum((lengths(child) for child in array.flatten()), np.zeros(len(array), np.int64))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_map(array.type):
        return _of_lists(array)
    if not is_text(array.type) or pa.types.is_null(array.type):
        return np.zeros(len(array), np.int64)
    return _numbers(pc.binary_length(array))


def _numbers(array: pa.Array) -> npt.NDArray[np.int64]:
    """Return whole numbers, 0 for null, without pandas, which Arrow would import where there is one."""
    return pl.Series(array).fill_null(0).cast(pl.Int64).to_numpy()


def _of_lists(array: pa.Array) -> npt.NDArray[np.int64]:
    offsets = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    values = array.values.slice(first, last - first)
    ends = np.concatenate(([0], np.cumsum(lengths(values) + _ELEMENT_BYTES)))
    return cast(npt.NDArray[np.int64], ends[offsets[1:] - first] - ends[offsets[:-1] - first])


def _decode(value: bytes | None) -> str | None:
    """Decode one cell; None when it is not UTF-8."""
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _as_iso(array: pa.Array) -> pl.Series:
    """Render dates and timestamps; those with a zone as UTC. What lies outside the years 1 to 9999 is no date, and is
    rendered as a distance from 1970.

    Arrow's numbers are taken as they are: polars ends with a panic at a time it cannot show, and knows fewer zones.
    """
    if pa.types.is_date(array.type):
        numbers = cast(pl.Series, pl.from_arrow(array.cast(pa.date32()).cast(pa.int32())))
        is_day = numbers.is_between(*DAYS)
        return _or_distance(numbers.set(~is_day, None).cast(pl.Date).dt.to_string("iso"), numbers, "days")
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
    seconds = cast(pl.Series, pl.from_arrow(array.cast(pa.int64()))) // per_second
    first, last = (day * 86_400 for day in DAYS)
    times = (seconds.set(~seconds.is_between(first, last), None) * 1000).cast(pl.Datetime("ms"))
    return _or_distance(times.dt.strftime("%Y-%m-%dT%H:%M:%S" + ("Z" if array.type.tz else "")), seconds, "seconds")


def _or_distance(rendered: pl.Series, numbers: pl.Series, unit: str) -> pl.Series:
    if rendered.null_count() == numbers.null_count():
        return rendered
    return rendered.zip_with(rendered.is_not_null(), numbers.cast(pl.String) + f" {unit} from 1970")


def _as_number(array: pa.Array) -> pl.Series:
    """Render numbers and booleans, as `as_text` does for those of JSON."""
    if pa.types.is_decimal(array.type):
        return cast(pl.Series, pl.from_arrow(array.cast(pa.string()))).str.replace(r"\.0+$", "")
    series = cast(pl.Series, pl.from_arrow(array))
    if not pa.types.is_floating(array.type):
        return series.cast(pl.String)
    exact = series.cast(pl.Float64)
    # Of a float column few are fractions and none are ids of 20 digits: those alone are rendered one by one.
    is_plain = exact.is_finite() & (exact == exact.floor()) & (exact.abs() < 2.0**63)
    text = exact.cast(pl.Int64, strict=False).cast(pl.String)
    rest = (~is_plain.fill_null(value=True)).arg_true()
    return text.scatter(rest, [as_text(value) for value in series.gather(rest)])
