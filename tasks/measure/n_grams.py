"""N-grams: the loops of decontamination, over the word hashes of many texts.

An n-gram is known by a 64-bit hash; `hashes` are those of all benchmark items, ascending, and item owners[k] holds
hashes[i] for k from starts[i] to starts[i + 1]. totals: distinct n-grams of each item.
"""

import numba
import numpy as np
import numpy.typing as npt

from cuvee.tasks.words.kernel import Uint64s

ABSENT, UNUSABLE = -1, -2


def filter_of(hashes: Uint64s) -> Uint64s:
    """Return a table that says of most other hashes that they are not among these.

    A hash's upper bits name one of the table's 64-bit values, and its lowest twelve bits two bits in it, which are set.
    With about 24 bits an n-gram one in a hundred others passes; 10,000 items of 80 words take 2 MB.
    """
    bits = max(10, (len(hashes) // 4).bit_length())
    table = np.zeros(1 << bits, np.uint64)
    one, six, low = np.uint64(1), np.uint64(6), np.uint64(63)
    np.bitwise_or.at(table, hashes >> np.uint64(64 - bits), (one << (hashes & low)) | (one << ((hashes >> six) & low)))
    return table


def list_n_grams(words: Uint64s, has_letter: npt.NDArray[np.bool_], size: int) -> tuple[Uint64s, npt.NDArray[np.bool_]]:
    """Return the hash of the `size` words from each place on, and whether one of them has a letter."""
    total = max(0, len(words) - size + 1)
    running = words.copy()
    extend(words, running, 1, size)
    return _finish(running[:total]), (next_letters(has_letter) - np.arange(len(words)) < size)[:total]


@numba.njit(nogil=True, cache=True)
def extend(words, running, size, wanted):  # type: ignore[no-untyped-def]
    """Bring running[i], the hash of `size` words from i on, to `wanted` words (Horner's rule), where there are as many.

    The last wanted - 1 places hold no n-gram and must not be used.
    """
    for i in range(len(words) - wanted + 1):
        total = running[i]
        for j in range(size, wanted):
            total = total * np.uint64(0xBF58476D1CE4E5B9) + words[i + j]
        running[i] = total


@numba.njit(nogil=True, cache=True)
def next_letters(has_letter):  # type: ignore[no-untyped-def]
    """Return for each word the place of the first word from it on that has a letter; far behind the end if none."""
    places = np.empty(len(has_letter), np.int64)
    place = np.int64(1) << 40
    for i in range(len(has_letter) - 1, -1, -1):
        if has_letter[i]:
            place = np.int64(i)
        places[i] = place
    return places


@numba.njit(nogil=True, cache=True)
def _finish(running):  # type: ignore[no-untyped-def]
    return (running ^ (running >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)


@numba.njit(nogil=True, cache=True)
def look_up(running, next_letter, size, hashes, seen):  # type: ignore[no-untyped-def]
    """Return the place of each n-gram among the ascending hashes; ABSENT, or UNUSABLE when it has no letter."""
    bits = 1
    while (1 << bits) < len(seen):
        bits += 1
    shift, six, low = np.uint64(64 - bits), np.uint64(6), np.uint64(63)
    total = max(0, len(running) - size + 1)
    values, maybe, places = np.empty(total, np.uint64), np.empty(total, np.uint64), np.full(total, ABSENT, np.int64)
    # Without a branch, so that the processor waits for many places of the filter at once.
    for i in range(total):
        value = (running[i] ^ (running[i] >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
        bits_there = seen[value >> shift]
        values[i] = value
        maybe[i] = (bits_there >> (value & low)) & (bits_there >> ((value >> six) & low)) & np.uint64(1)
    for i in range(total):
        if next_letter[i] - i >= size:
            places[i] = UNUSABLE
        elif maybe[i]:
            place = np.searchsorted(hashes, values[i])
            if place < len(hashes) and hashes[place] == values[i]:
                places[i] = place
    return places


@numba.njit(nogil=True, cache=True)
def judge_items(places, offsets, size, starts, owners, totals, overlap, owner, counted, text_of, hits, before):  # type: ignore[no-untyped-def]
    """Raise overlap and owner of each text to the largest share of an item's n-grams that it holds.

    counted, text_of, hits: those of a tally; before: texts scanned before these.
    """
    for text in range(len(offsets) - 1):
        number = before + text
        for i in range(offsets[text], offsets[text + 1] - size + 1):
            place = places[i]
            if place < 0 or counted[place] == number:
                continue
            counted[place] = number
            for k in range(starts[place], starts[place + 1]):
                candidate = owners[k]
                if text_of[candidate] != number:
                    text_of[candidate], hits[candidate] = number, 0
                hits[candidate] += 1
                share = hits[candidate] / totals[candidate]
                if share > overlap[text] or (share == overlap[text] and candidate < owner[text]):
                    overlap[text], owner[text] = share, candidate


@numba.njit(nogil=True, cache=True)
def judge_paragraphs(  # type: ignore[no-untyped-def]
    places, lines, offsets, size, starts, owners, totals, overlap, owner, paragraph_of, hits, before
):
    """Raise overlap and owner of each text to the largest share of a paragraph's n-grams that any item holds.

    paragraph_of, hits: those of a tally; before: words scanned before these.
    """
    for text in range(len(offsets) - 1):
        begin = offsets[text]
        while begin < offsets[text + 1]:
            end = begin
            total, found, best = 0, 0, -1
            while end < offsets[text + 1] and lines[end] == lines[begin]:
                end += 1
            for i in range(begin, end - size + 1):
                place = places[i]
                total += place != UNUSABLE
                if place < 0:
                    continue
                found += 1
                for k in range(starts[place], starts[place + 1]):
                    candidate = owners[k]
                    # Words are numbered through, so their number tells paragraphs apart.
                    if paragraph_of[candidate] != before + begin:
                        paragraph_of[candidate], hits[candidate] = before + begin, 0
                    hits[candidate] += 1
                    if best < 0 or hits[candidate] > hits[best] or (hits[candidate] == hits[best] and candidate < best):
                        best = candidate
            begin = end
            if found and (found / total > overlap[text] or (found / total == overlap[text] and best < owner[text])):
                overlap[text], owner[text] = found / total, best
