"""Files of one document: what is done to one row without an engine is what is done to many with it."""

import polars as pl
import pytest

from cuvee.tasks.ingest.names import MOST_NAME_BYTES, without_long
from cuvee.tasks.ingest.normalise import days
from cuvee.tasks.readers import _batch

CELLS = [None, "", " ", "\x1c", "\x1f", "\u3000", "\u200b", "é", "a", " b ", "\n", "\xa0", "2020-01-02", "1 May"]


def test_a_cell_of_one_row_is_blank_where_it_is_blank_among_many() -> None:
    many = _batch.clean({"row": pl.Series(range(len(CELLS))), "url": pl.Series(CELLS), "text": pl.Series(CELLS)})
    each = [
        _batch.clean(
            {"row": pl.Series([row]), "url": pl.Series([cell], dtype=pl.String), "text": many["text"][row:][:1]}
        )
        for row, cell in enumerate(CELLS)
    ]
    assert pl.concat(each).equals(many)
    assert many.schema == _batch.SCHEMA
    assert many["url"].to_list() == [None if not cell or cell in " \u3000\n\xa0" else cell for cell in CELLS]


def test_dates_of_rows_without_any_are_those_of_rows_among_others() -> None:
    values = pl.Series(CELLS, dtype=pl.String)
    assert pl.concat([days(values[row : row + 1], "iso") for row in range(len(CELLS))]).equals(days(values, "iso"))
    assert days(values[:0], "iso").schema == days(values, "iso").schema


@pytest.mark.parametrize("size", [MOST_NAME_BYTES, MOST_NAME_BYTES + 1])
def test_a_long_name_is_found_in_a_batch_of_one_row(size: int) -> None:
    read = _batch.one_document({"text": "Text.", "url": "x" * size})
    assert without_long(read).rows.height == (size <= MOST_NAME_BYTES)
