"""Inputs: the rows of files, in blocks of their texts and of all else that is kept with them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from cuvee.schemas.errors import InputError
from cuvee.tasks import readers

# Large enough for the parser and the kernel to run at full speed; the parser takes about ten times it.
BLOCK_BYTES = 4 << 20
# A text is hashed whole, however long; what is longer than this is a fault.
ROW_MB = 1024
# Objects of JSON wait as they are written there: their columns get types when all rows are known.
_OBJECTS = pa.schema([("", pa.large_string())], {"waits": "objects"})


class Block(NamedTuple):
    """Rows of one file. text: without nulls; rest: the columns, the text empty, or objects of JSON as text."""

    text: pa.LargeStringArray
    rest: pa.Table


def read_blocks(file: Path, text: str, columns: readers.Columns) -> Iterator[Block]:
    """Yield the rows of a file in blocks, and let `columns` know all their columns.

    text: the column of the texts. Raises InputError, naming it, for the first row that cannot be read.
    """
    for part in _parts(file, text):
        if not len(part.rows):
            continue
        columns.add(part.rows)
        if isinstance(part.rows, pa.Table):
            found = part.rows[text].combine_chunks().cast(pa.large_string())
            place = part.rows.column_names.index(text)
            yield Block(found, part.rows.set_column(place, text, pa.nulls(len(found))))
        else:
            found = pa.array([row.pop(text) for row in part.rows], pa.large_string())
            lines = [json.dumps(row, ensure_ascii=False) for row in part.rows]
            yield Block(found, pa.table([pa.array(lines, pa.large_string())], schema=_OBJECTS))


def _parts(file: Path, text: str) -> Iterator[readers.Records]:
    try:
        yield from readers.whole(file, text, BLOCK_BYTES, ROW_MB)
    except InputError as error:
        hint = "; the column of the text is named with --text" if f'"{text}"' in str(error) else ""
        raise InputError(f"{error}{hint}") from error


def conform(block: Block, text: str, schema: pa.Schema) -> pa.Table:
    """Give the rows of a block, the text among them, the columns of a schema; null where they have none."""
    is_objects = block.rest.schema.metadata == _OBJECTS.metadata
    rows = [json.loads(line) for line in block.rest[0].to_pylist()] if is_objects else block.rest
    place = schema.get_field_index(text)
    columns = readers.conform(rows, schema.remove(place)).columns
    columns.insert(place, block.text.cast(schema.field(place).type))
    return pa.Table.from_arrays(columns, schema=schema)
