"""Strings: change every string that a row publishes beside its text, also inside JSON, at any depth."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

Change = Callable[[pl.Series], pl.Series]


def where_present(column: pl.Series, change: Change) -> pl.Series:
    """Change the strings of a column; null stays null."""
    places = column.is_not_null().arg_true()
    return column.clone().scatter(places, change(column.gather(places))) if len(places) else column


def inside_json(column: pl.Series, change: Change) -> pl.Series:
    """Change every string in values of JSON (string or null), keys of objects too; null stays null.

    Of keys that become equal, all but the first get a number: nothing is lost.
    """
    places = column.is_not_null().arg_true()
    if places.is_empty():
        return column
    values = [json.loads(text) for text in column.gather(places)]
    holders = list(_holders(values))
    strings = [string for holder in holders for string in _strings(holder)]
    changed = iter(change(pl.Series(strings, dtype=pl.String)).to_list())
    for holder in holders:
        _put(holder, changed)
    written = [json.dumps(value, ensure_ascii=False) for value in values]
    return column.clone().scatter(places, pl.Series(written, dtype=pl.String))


def _holders(value: Any) -> Iterator[Any]:
    """Give all lists and objects, each before what it holds: values may nest too deep for recursion."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        yield holder
        inside = holder.values() if isinstance(holder, dict) else holder
        waiting += [each for each in inside if isinstance(each, dict | list)]


def _strings(holder: Any) -> Iterator[str]:
    if isinstance(holder, dict):
        yield from holder
    inside = holder.values() if isinstance(holder, dict) else holder
    yield from (each for each in inside if isinstance(each, str))


def _put(holder: Any, changed: Iterator[str]) -> None:
    """Put changed strings back, in the order in which `_strings` gave them."""
    if isinstance(holder, list):
        holder[:] = [next(changed) if isinstance(each, str) else each for each in holder]
        return
    keys = [next(changed) for _ in holder]
    values = [next(changed) if isinstance(each, str) else each for each in holder.values()]
    holder.clear()
    for key, value in zip(keys, values, strict=True):
        name, number = key, 1
        while name in holder:
            number += 1
            name = f"{key} {number}"
        holder[name] = value
