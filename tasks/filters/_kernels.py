"""Kernels: one pass over the UTF-8 bytes of many texts. Compiled, cached on disk, and free of the GIL.

All kernels stand in this one file: numba's cache looks at the file of the function that is called, and would not see
a change in a function or a constant of another file.

A text's bytes are content[offsets[i]:offsets[i + 1]]; the layout is Arrow's. Equality of words, pieces and n-grams is
equality of 64-bit hashes: in a text of a million words an accidental match has a probability below 1e-7.
"""

import numba
import numpy as np

# The classes of code points, see _characters.py.
OTHER, SPACE, LINE_FEED, LETTER, STOP, IDEOGRAPHIC_STOP, CLOSING, DIGIT, ALONE = range(9)

# Rows of the matrix that scan_pieces returns.
DOCUMENT, CHARS, WORDS, WORD_CHARS, LETTER_WORDS, LONGEST_WORD, ALONE_WORDS = range(7)
SENTENCES, FIRST, LAST, ELLIPSIS, REPEATED, STOP_WORDS, PHRASES = range(7, 14)
MEASURES = 14

# Repetition is measured on so many words; it bounds the memory that one text can take to 72 MB.
MAX_WORDS = 1_000_000
TOP_SIZES = (2, 3, 4)
DUPLICATE_SIZES = (5, 6, 7, 8, 9, 10)
# So many letters of scripts written without spaces say as much as a word between spaces, or more.
LETTERS_A_WORD = 4

_SEED = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_ELLIPSIS = 0x2026


@numba.njit(nogil=True, cache=True)
def _mix(value):  # type: ignore[no-untyped-def]
    """Spread the bits of a 64-bit hash (finaliser of splitmix64); never 0, which marks an empty slot."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_A
    value = (value ^ (value >> np.uint64(27))) * _MIX_B
    value = value ^ (value >> np.uint64(31))
    return value if value != np.uint64(0) else np.uint64(1)


@numba.njit(nogil=True, cache=True)
def _decode(content, i):  # type: ignore[no-untyped-def]
    """Return the code point at byte `i` of valid UTF-8 and its width in bytes."""
    lead = np.int64(content[i])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | (content[i + 1] & 0x3F), 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | np.int64(content[i + 1] & 0x3F) << 6 | (content[i + 2] & 0x3F), 3
    high = (lead & 0x07) << 18 | np.int64(content[i + 1] & 0x3F) << 12
    return high | np.int64(content[i + 2] & 0x3F) << 6 | (content[i + 3] & 0x3F), 4


@numba.njit(nogil=True, cache=True)
def _slot(keys, key):  # type: ignore[no-untyped-def]
    """Return the slot of an open-addressing table (length a power of 2) that holds `key`, or where it belongs."""
    mask = np.uint64(len(keys) - 1)
    place = key & mask
    while keys[place] != np.uint64(0) and keys[place] != key:
        place = (place + np.uint64(1)) & mask
    return place


@numba.njit(nogil=True, cache=True)
def _capacity(entries):  # type: ignore[no-untyped-def]
    size = 16
    while size < 2 * entries:
        size *= 2
    return size


@numba.njit(nogil=True, cache=True)
def _skip_space(content, i, stop, classes):  # type: ignore[no-untyped-def]
    """Return the first byte from `i` on that is not white space, and the characters and line feeds passed over."""
    spaces = line_feeds = 0
    while i < stop:
        code, width = _decode(content, i)
        if classes[code] not in (SPACE, LINE_FEED):
            break
        spaces += 1
        line_feeds += code == 10
        i += width
    return i, spaces, line_feeds


@numba.njit(nogil=True, cache=True)
def _pack(packed, letters, code):  # type: ignore[no-untyped-def]
    """Add the last of so many letters to those packed into 64 bits; 0 for more than 8, a byte 255 beyond ASCII."""
    small = code | 32 if code < 128 else 255
    return packed << np.uint64(8) | np.uint64(small) if letters <= 8 else np.uint64(0)


@numba.njit(nogil=True, cache=True)
def _read_chunk(content, i, stop, classes, unfinished):  # type: ignore[no-untyped-def]
    """Read to the next white space from byte `i` on; `unfinished`: its piece has a sentence that has not ended.

    Return the byte after it; its characters, hash, letters, letters that stand alone, and letters packed in lower case
    (`_pack`); the sentences that end in it, and whether one is unfinished after it; its last code point and the full
    stops in a row at its end.
    """
    chars = letters = alone = sentences = last = dots = 0
    packed = np.uint64(0)
    chunk_hash = _SEED
    stopped = False
    while i < stop:
        code, width = _decode(content, i)
        kind = classes[code]
        if kind in (SPACE, LINE_FEED):
            break
        if kind == STOP:
            stopped = True
        elif kind == IDEOGRAPHIC_STOP:
            sentences += unfinished
            unfinished = stopped = False
        elif kind != CLOSING:
            stopped = False
            unfinished = True
        if kind == LETTER:
            letters += 1
            packed = _pack(packed, letters, code)
        alone += kind == ALONE
        for j in range(i, i + width):
            chunk_hash = (chunk_hash ^ np.uint64(content[j])) * _PRIME
        dots = dots + 1 if code == 46 else 0
        last = code
        chars += 1
        i += width
    if stopped:
        sentences += unfinished
        unfinished = False
    return i, chars, _mix(chunk_hash), letters, alone, packed, sentences, unfinished, last, dots


@numba.njit(nogil=True, cache=True)
def _read_part(content, i, end, classes):  # type: ignore[no-untyped-def]
    """Read from byte `i` on a letter that stands alone, or all that comes before the next one.

    Return the byte after it, its characters, whether it is a word (a letter or digit is in it), its hash, whether it
    stands alone, its letters and these packed.
    """
    chars = letters = 0
    packed = np.uint64(0)
    part_hash = _SEED
    is_word = alone = False
    while i < end and not alone:
        code, width = _decode(content, i)
        kind = classes[code]
        if kind == ALONE and chars > 0:
            break
        alone = kind == ALONE
        is_word |= alone or kind in (LETTER, DIGIT)
        if alone or kind == LETTER:
            letters += 1
            packed = _pack(packed, letters, code)
        for j in range(i, i + width):
            part_hash = (part_hash ^ np.uint64(content[j])) * _PRIME
        chars += 1
        i += width
    return i, chars, is_word, _mix(part_hash), alone, letters, packed


@numba.njit(nogil=True, cache=True)
def _add_word(row, chars, letters, packed, stop_words):  # type: ignore[no-untyped-def]
    """Add a word that does not stand alone to what is measured of its piece."""
    row[WORDS] += 1
    row[WORD_CHARS] += chars
    row[LONGEST_WORD] = max(row[LONGEST_WORD], chars)
    row[LETTER_WORDS] += letters > 0
    for k in range(len(stop_words)):
        row[STOP_WORDS] |= (stop_words[k] == packed) << k


@numba.njit(nogil=True, cache=True)
def _find_phrases(content, i, end, stop, phrases, lengths):  # type: ignore[no-untyped-def]
    """Return a bit for each phrase (lower-case ASCII, a row each) that starts in bytes `i` to `end`, in either case."""
    found = 0
    for start in range(i, end):
        for k in range(len(lengths)):
            j = 0
            # The first byte is a letter; | 32 makes it a small one.
            while j < lengths[k] and start + j < stop:
                byte = content[start + j]
                if phrases[k, j] != (byte | 32 if 65 <= byte <= 90 else byte):
                    break
                j += 1
            if j == lengths[k]:
                found |= 1 << k
    return found


@numba.njit(nogil=True, cache=True)
def _mark_repeated(hashes, rows, first, stop):  # type: ignore[no-untyped-def]
    """Set REPEATED on the pieces first..stop that are equal to an earlier one of them."""
    if stop - first < 2:
        return
    keys = np.zeros(_capacity(stop - first), np.uint64)
    for piece in range(first, stop):
        place = _slot(keys, hashes[piece])
        rows[REPEATED, piece] = keys[place] != np.uint64(0)
        keys[place] = hashes[piece]


@numba.njit(nogil=True, cache=True)
def scan_pieces(offsets, content, classes, breaks, stop_words, phrases, lengths):  # type: ignore[no-untyped-def]
    """Measure the pieces (lines: breaks=1; paragraphs: breaks=2) of each text; return int32 (MEASURES, pieces).

    A piece is what stands between `breaks` line feeds with nothing but white space among them, without the white space
    around it; two are equal when they differ in white space only. Words are those of `cuvee.tasks.words.counts`; in
    WORD_CHARS and LONGEST_WORD those that are a letter alone do not count. stop_words: packed letters, at most 16.
    phrases, lengths: lower-case ASCII phrases, at most 16, looked for in either case.
    """
    bound = len(offsets) - 1
    for byte in content[offsets[0] : offsets[-1]]:
        bound += byte == 10
    rows = np.zeros((MEASURES, bound), np.int32)
    hashes = np.zeros(bound, np.uint64)
    count = 0
    for document in range(len(offsets) - 1):
        stop = offsets[document + 1]
        first_piece = count
        unfinished = False
        i, _, _ = _skip_space(content, offsets[document], stop, classes)
        while i < stop:
            row = rows[:, count]
            if row[CHARS] == 0:
                row[DOCUMENT] = document
                row[FIRST], _ = _decode(content, i)
                hashes[count] = _SEED
            start = i
            i, chars, chunk, letters, alone, packed, ended, unfinished, last, dots = _read_chunk(
                content, i, stop, classes, unfinished
            )
            if alone == 0:
                _add_word(row, chars, letters, packed, stop_words)
            else:
                part = start
                while part < i:
                    part, size, is_word, _, stands_alone, letters, packed = _read_part(content, part, i, classes)
                    if stands_alone:
                        row[WORDS] += 1
                        row[ALONE_WORDS] += 1
                        row[LETTER_WORDS] += 1
                    elif is_word:
                        _add_word(row, size, letters, packed, stop_words)
            row[CHARS] += chars
            row[SENTENCES] += ended
            row[LAST] = last
            row[ELLIPSIS] = last == _ELLIPSIS or dots >= 3
            hashes[count] = _mix(hashes[count] * _PRIME ^ chunk)
            if len(lengths) > 0:
                row[PHRASES] |= _find_phrases(content, start, i, stop, phrases, lengths)
            i, spaces, line_feeds = _skip_space(content, i, stop, classes)
            if i == stop or line_feeds >= breaks:
                row[SENTENCES] += unfinished
                unfinished = False
                count += 1
            else:
                row[CHARS] += spaces
        _mark_repeated(hashes, rows, first_piece, count)
    return rows[:, :count]


@numba.njit(nogil=True, cache=True)
def _split_words(content, start, stop, classes, hashes, begins, ends):  # type: ignore[no-untyped-def]
    """Fill hashes, begins and ends of at most MAX_WORDS words.

    Return their number, how many of them are letters alone, and the characters up to there.
    Begins and ends count the characters of words, and one for white space between two.
    """
    count = letters = chars = place = 0
    i = start
    while count < MAX_WORDS:
        i, spaces, _ = _skip_space(content, i, stop, classes)
        chars += spaces
        if i == stop:
            break
        chunk, size, word_hash, alone = i, 0, _SEED, False
        while i < stop:
            code, width = _decode(content, i)
            if classes[code] in (SPACE, LINE_FEED):
                break
            alone |= classes[code] == ALONE
            for j in range(i, i + width):
                word_hash = (word_hash ^ np.uint64(content[j])) * _PRIME
            size += 1
            i += width
        part = chunk if alone else i
        if not alone:
            hashes[count], begins[count], ends[count] = _mix(word_hash), place, place + size
            count += 1
            place += size
            chars += size
        while part < i and count < MAX_WORDS:
            part, size, is_word, part_hash, stands_alone, _, _ = _read_part(content, part, i, classes)
            if is_word:
                letters += stands_alone
                hashes[count], begins[count], ends[count] = part_hash, place, place + size
                count += 1
                place += size
            chars += size
        place += 1
    return count, letters, chars


@numba.njit(nogil=True, cache=True)
def _top(grams, begins, ends, n, keys, counts):  # type: ignore[no-untyped-def]
    """Return the characters of the n-gram that occurs most (at least twice), times its occurrences."""
    best = 1
    covered = 0
    for i in range(len(grams)):
        place = _slot(keys, grams[i])
        keys[place] = grams[i]
        counts[place] += 1
        occurrences = counts[place]
        chars = (ends[i + n - 1] - begins[i]) * occurrences
        if occurrences > best or (occurrences == best and best > 1 and chars > covered):
            best = occurrences
            covered = chars
    return covered


@numba.njit(nogil=True, cache=True)
def _repeated(grams, begins, ends, n, keys):  # type: ignore[no-untyped-def]
    """Return the characters of the n-grams seen before, from left to right and without overlap."""
    covered = 0
    i = 0
    while i < len(grams):
        place = _slot(keys, grams[i])
        if keys[place] == grams[i]:
            covered += ends[i + n - 1] - begins[i]
            i += n
        else:
            keys[place] = grams[i]
            i += 1
    return covered


@numba.njit(nogil=True, cache=True)
def scan_ngrams(offsets, content, classes):  # type: ignore[no-untyped-def]
    """Return int64 (texts, 10): characters looked at, then those of the top 2- to 4- and repeated 5- to 10-grams."""
    texts = len(offsets) - 1
    found = np.zeros((texts, 1 + len(TOP_SIZES) + len(DUPLICATE_SIZES)), np.int64)
    longest = 0
    for text in range(texts):
        longest = max(longest, offsets[text + 1] - offsets[text])
    room = min(longest // 2 + 1, MAX_WORDS)
    hashes = np.empty(room, np.uint64)
    begins = np.empty(room, np.int64)
    ends = np.empty(room, np.int64)
    grams = np.empty(room, np.uint64)
    all_keys = np.empty(_capacity(room), np.uint64)
    all_counts = np.empty(_capacity(room), np.int32)
    for text in range(texts):
        words, letters, chars = _split_words(content, offsets[text], offsets[text + 1], classes, hashes, begins, ends)
        found[text, 0] = chars
        size = _capacity(words)
        keys = all_keys[:size]
        counts = all_counts[:size]
        for i in range(words):
            grams[i] = hashes[i]
        scale = LETTERS_A_WORD if 2 * letters > words else 1
        for n in range(2, min(words, 10 * scale) + 1):
            # grams[i] hashes n - 1 words from word i on; one more makes the n-gram.
            for i in range(words - n + 1):
                grams[i] = _mix(grams[i] * _PRIME ^ hashes[i + n - 1])
            if n > 4 and (n < 5 * scale or n % scale > 0):
                continue
            keys[:] = 0
            if n <= 4:
                counts[:] = 0
                found[text, n - 1] = _top(grams[: words - n + 1], begins, ends, n, keys, counts)
            else:
                found[text, n // scale - 1] = _repeated(grams[: words - n + 1], begins, ends, n, keys)
    return found
