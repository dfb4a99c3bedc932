"""Columns: all columns of many records, each of one type, whatever block or file a value stands in.

A type follows from all values: what is of one kind keeps it, integers and floats become floats where none loses a
digit, and what is of mixed kinds becomes text, each value as `as_text` renders it.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from typing import TypeAlias, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cuvee.tasks.readers._batch import BadRow, as_text

Object: TypeAlias = dict[str, object]
# Of a JSON value: null, bool, int, float, string, text (mixed kinds), or the kinds of what it holds.
Kind: TypeAlias = "str | _List | _Struct"

_INT64, _UINT64 = (-(2**63), 2**63 - 1), (0, 2**64 - 1)
# Every integer up to here is a float64.
_EXACT = 2**53
_TEXT = "text"
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Objects with keys of their own in each row, as of ids, and what nests deeper, have no type and are text.
_MOST_MEMBERS, _MOST_DEPTH = 1000, 32


@dataclass(frozen=True)
class Records:
    """Records with all their columns, as objects of JSON or as a table, and the bad rows between them."""

    rows: "list[Object] | pa.Table"
    bad: list[BadRow] = field(default_factory=list)


@dataclass(frozen=True)
class _List:
    of: Kind


@dataclass(frozen=True)
class _Struct:
    of: tuple[tuple[str, Kind], ...]


@dataclass
class _Column:
    """What is known of a column. types: of its tables; kind: of its JSON values; low, high: of its integers; farthest:
    seconds from 1970 of its timestamps, at most.
    """

    types: list[pa.DataType] = field(default_factory=list)
    kind: Kind = "null"
    low: int = 0
    high: int = 0
    farthest: int = 0

    def reach(self, low: int, high: int) -> None:
        """Take integers into account."""
        self.low, self.high = min(self.low, low), max(self.high, high)


class Columns:
    """The columns of records, in the order in which they first came."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}

    def add(self, rows: "Sequence[Object] | pa.Table") -> None:
        """Take records into account."""
        if isinstance(rows, pa.Table):
            self._add_table(rows)
            return
        for row in rows:
            for name, value in row.items():
                column = self._columns.get(name)
                if column is None:
                    column = self._columns[name] = _Column()
                column.kind = _unite(column.kind, _kind(value, column))

    def _add_table(self, table: pa.Table) -> None:
        for name, type_ in zip(table.schema.names, table.schema.types, strict=True):
            column = self._columns.setdefault(name, _Column())
            if type_ not in column.types:
                column.types.append(type_)
            if pa.types.is_integer(type_) and len(table) > table[name].null_count:
                bounds = pc.min_max(table[name]).as_py()
                column.reach(bounds["min"], bounds["max"])
            elif pa.types.is_timestamp(type_) and len(table) > table[name].null_count:
                bounds = pc.min_max(table[name].cast(pa.int64())).as_py()
                most = max(-bounds["min"], bounds["max"])
                column.farthest = max(column.farthest, most // _PER_SECOND[type_.unit] + 1)

    def schema(self) -> pa.Schema:
        """Give each column the one type that its values have."""
        return pa.schema([(name, _type_of(column)) for name, column in self._columns.items()])


def conform(rows: "Sequence[Object] | pa.Table", schema: pa.Schema) -> pa.Table:
    """Give records the columns of a schema that `Columns` made of them and others; null where they have none."""
    columns = []
    for name, type_ in zip(schema.names, schema.types, strict=True):
        if not isinstance(rows, pa.Table):
            values = [row.get(name) for row in rows]
            columns.append(pa.array(values if _is_plain(type_) else [_converted(v, type_) for v in values], type_))
        elif name in rows.column_names:
            columns.append(_cast(rows[name], type_))
        else:
            columns.append(pa.nulls(len(rows), type_))
    return pa.Table.from_arrays(columns, schema=schema)


def frame(parts: Iterable[Records]) -> pl.DataFrame:
    """Put records that fit into memory into one frame."""
    known, columns = [part.rows for part in parts], Columns()
    for rows in known:
        columns.add(rows)
    schema = columns.schema()
    return pl.DataFrame(pl.from_arrow(pa.concat_tables([schema.empty_table(), *(conform(r, schema) for r in known)])))


def _kind(value: object, column: _Column, depth: int = 0) -> Kind:
    if value is None:
        return "null"
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        column.reach(value, value)
        return "int"
    if isinstance(value, float):
        return "float"
    if depth == _MOST_DEPTH:
        return _TEXT
    if isinstance(value, list):
        of: Kind = "null"
        for each in value:
            of = _unite(of, _kind(each, column, depth + 1))
        return _List(of)
    members = cast(Mapping[str, object], value).items()
    kinds = tuple((name, _kind(each, column, depth + 1)) for name, each in members)
    return _Struct(kinds) if 0 < len(kinds) <= _MOST_MEMBERS else _TEXT


def _unite(one: Kind, other: Kind) -> Kind:
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if isinstance(one, _List) and isinstance(other, _List):
        return _List(_unite(one.of, other.of))
    if isinstance(one, _Struct) and isinstance(other, _Struct):
        known = dict(one.of)
        for name, kind in other.of:
            known[name] = _unite(known.get(name, "null"), kind)
        return _Struct(tuple(known.items())) if len(known) <= _MOST_MEMBERS else _TEXT
    return "float" if {one, other} == {"int", "float"} else _TEXT


def _type_of(column: _Column) -> pa.DataType:
    types = [type_ for type_ in column.types if not pa.types.is_null(type_)]
    if column.kind != "null":
        types.append(_arrow(column.kind, column))
    if not types:
        return pa.null()
    if all(type_ == types[0] for type_ in types):
        return types[0]
    if all(pa.types.is_integer(type_) or pa.types.is_floating(type_) for type_ in types):
        return _number(column, any(pa.types.is_floating(type_) for type_ in types))
    if len({_family(type_) for type_ in types}) > 1:
        return pa.large_string()
    try:
        united = pa.unify_schemas([pa.schema([("", type_)]) for type_ in types], promote_options="permissive").types[0]
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.large_string()
    if pa.types.is_timestamp(united):  # of a fine unit the numbers end sooner
        fits = column.farthest * _PER_SECOND[united.unit] <= _INT64[1]
    else:
        fits = not pa.types.is_nested(united) or all(_holds(united, type_) for type_ in types)
    return united if fits else pa.large_string()


def _holds(wide: pa.DataType, type_: pa.DataType) -> bool:
    """Tell whether every value of a nested type, and of what it holds, is exact in a wider one."""
    if wide == type_ or pa.types.is_null(type_):
        return True
    if pa.types.is_struct(wide) and pa.types.is_struct(type_):
        return all(_holds(wide.field(member.name).type, member.type) for member in type_)
    if _family(wide) == "list" == _family(type_):
        return _holds(wide.value_type, type_.value_type)
    signed = pa.types.is_signed_integer(wide) and pa.types.is_signed_integer(type_)
    unsigned = pa.types.is_unsigned_integer(wide) and pa.types.is_unsigned_integer(type_)
    floats = pa.types.is_floating(wide) and pa.types.is_floating(type_)
    return signed or unsigned or floats or _family(wide) == _family(type_) in ("text", "bytes")


def _arrow(kind: Kind, column: _Column) -> pa.DataType:
    if isinstance(kind, _List):
        return pa.list_(_arrow(kind.of, column))
    if isinstance(kind, _Struct):
        return pa.struct([(name, _arrow(each, column)) for name, each in kind.of])
    if kind in ("int", "float"):
        return _number(column, kind == "float")
    return {"null": pa.null(), "bool": pa.bool_(), "string": pa.string(), _TEXT: pa.large_string()}[kind]


def _number(column: _Column, has_floats: bool) -> pa.DataType:
    """Choose the type that holds all integers of a column exactly, and its floats; text where there is none."""
    if has_floats:
        return pa.float64() if column.low >= -_EXACT and column.high <= _EXACT else pa.large_string()
    if _INT64[0] <= column.low and column.high <= _INT64[1]:
        return pa.int64()
    return pa.uint64() if column.low >= _UINT64[0] and column.high <= _UINT64[1] else pa.large_string()


def _family(type_: pa.DataType) -> str:
    """Name what types must share to be united; of nested ones Arrow decides."""
    while pa.types.is_dictionary(type_):
        type_ = type_.value_type
    tests = {
        "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        "number": (pa.types.is_integer, pa.types.is_floating),
        "decimal": (pa.types.is_decimal,),
        "bytes": (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary),
        "day": (pa.types.is_date,),
        "time": (pa.types.is_timestamp,),
        "list": (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
    }
    return next((name for name, each in tests.items() if any(test(type_) for test in each)), str(type_.id))


def _is_plain(type_: pa.DataType) -> bool:
    """Tell whether Arrow takes JSON values of this type as they are."""
    return not pa.types.is_nested(type_) and not pa.types.is_large_string(type_)


def _converted(value: object, type_: pa.DataType) -> object:
    """Bring a JSON value into the form of its column, at any depth."""
    if value is None:
        return None
    if isinstance(value, list) and pa.types.is_list(type_):
        return [_converted(each, type_.value_type) for each in value]
    if isinstance(value, dict) and pa.types.is_struct(type_):
        return {member.name: _converted(value.get(member.name), member.type) for member in type_}
    return as_text(value) if pa.types.is_large_string(type_) else value


def _cast(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    if column.type == type_:
        return column
    if _family(type_) == "text" and _family(column.type) != "text":
        return pa.chunked_array([pa.array([_rendered(_value(scalar)) for scalar in column], type_)], type_)
    return column.cast(type_)


def plain_value(value: object) -> object:
    """Give a value of a table, or a cell, as JSON can hold it, at any depth: times as ISO 8601, bytes as text, what is
    no number as null.
    """
    if isinstance(value, pa.Scalar):
        value = _value(value)
    if isinstance(value, dict):
        return {str(key): plain_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _rendered(value)


def _value(scalar: pa.Scalar) -> object:
    """Give the Python value of a cell; a time for which Python has no value as text."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError, KeyError):  # the last of a zone that Python does not know
        pass
    if isinstance(scalar, pa.StructScalar):
        return {name: _value(member) for name, member in scalar.items()}
    if isinstance(scalar, pa.ListScalar):
        return [_value(member) for member in scalar.values]
    unit = "days" if pa.types.is_date32(scalar.type) else getattr(scalar.type, "unit", "ms")
    return f"{scalar.value} {unit} from 1970"


def _rendered(value: object) -> str | None:
    """Render a value of a table as JSON would hold it; what JSON has no form for as Python writes it."""
    if value is None or isinstance(value, str | bool | int | float):
        return as_text(value) if not isinstance(value, float) or math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.isoformat() if isinstance(value, date | time) else str(value)
