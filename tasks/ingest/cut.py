"""Cut: long texts into pieces of bounded words, each a row of its own.

A text is cut between paragraphs; a paragraph over the bound between lines, a line between sentences, a sentence at
white space. Pieces are as long as the bound allows, and keep the text as it stands, but for what is blank around them.
Chats are not cut: half a chat is none.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from cuvee.tasks.readers import Batch
from cuvee.tasks.words.counts import count_words

# Where a text may be cut, the best places first.
_PLACES = (
    re.compile(r"(?:\r\n|\r|\n)[^\S\r\n]*(?:\r\n|\r|\n)\s*"),
    re.compile(r"[\r\n]+\s*"),
    re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*"),
    re.compile(r"\s+"),
)


def pieces(text: str, most: int) -> list[str]:
    """Cut a text into pieces of at most `most` words (from 1), or a word that is longer; blank pieces are left out."""
    spans = list(_spans(text, 0, len(text), most, 0))
    counts = count_words(pl.Series([text[start:end] for start, end in spans], dtype=pl.String)).to_list()
    found: list[tuple[int, int]] = []
    held = 0
    for (start, end), words in zip(spans, counts, strict=True):
        if found and held + words <= most:
            found[-1] = found[-1][0], end
            held += words
        else:
            found.append((start, end))
            held = words
    return [text[start:end] for start, end in found]


def _spans(text: str, start: int, end: int, most: int, place: int) -> Iterator[tuple[int, int]]:
    """Give the parts of a text that are not cut, in order."""
    parts = []
    at = start
    for mark in _PLACES[place].finditer(text, start, end):
        parts.append((at, mark.start()))
        at = mark.end()
    parts.append((at, end))
    filled = [(first, last) for first, last in parts if text[first:last].strip()]
    words = count_words(pl.Series([text[first:last] for first, last in filled], dtype=pl.String)).to_list()
    for (first, last), count in zip(filled, words, strict=True):
        if count > most and place + 1 < len(_PLACES):
            yield from _spans(text, first, last, most, place + 1)
        else:
            yield first, last


def cut(read: Batch, most: int | None, before: int) -> tuple[Batch, int]:
    """Cut the long texts of a batch; rows are numbered on, as if each piece had been a row of the file.

    most: words of a piece, None for no bound; before: by how many numbers the rows before are more than they were.
    Returns the batch, and that number behind it.
    """
    if most is None:
        return read, 0
    rows = read.rows
    long = ((count_words(rows["text"]) > most) & rows["messages"].is_null()).arg_true()
    if not len(long) and not before:
        return read, 0
    texts: list[list[str]] = [[text] for text in rows["text"]]
    for place in long:
        texts[place] = pieces(texts[place][0], most)
    counts = np.array([len(each) for each in texts], np.int64)
    numbers = rows["row"].to_numpy()
    # How many numbers more stand before each row.
    more = before + np.concatenate(([0], np.cumsum(counts - 1)))
    first = np.repeat(numbers + more[:-1], counts)
    within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    cut_up = rows.with_columns(text=pl.Series(texts, dtype=pl.List(pl.String))).explode("text")
    bad = [replace(fault, row=fault.row + int(more[np.searchsorted(numbers, fault.row)])) for fault in read.bad]
    made = cut_up.with_columns(row=pl.Series(first + within, dtype=pl.Int64))
    return replace(read, rows=made, bad=bad), int(more[-1])
