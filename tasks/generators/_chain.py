"""A word chain: an n-gram model that is one sorted array, and the text it writes.

Every token of the fitted text is filed under the three tokens before it, packed nearest first into one sortable
number. All continuations of a context of one, two or three tokens then lie next to each other, so that counting a
context is a binary search and drawing a continuation is drawing an index.

Smoothing is MacKay and Peto's hierarchical Dirichlet ("A hierarchical Dirichlet language model", Natural Language
Engineering 1(3), 1995): P(w | context) = (count(w, context) + A * P(w | shorter context)) / (count(context) + A).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.tasks.words.words import SPACELESS

ORDER = 4
# A context seen once is then left in half of the draws: 0.41 of a draft's 5-grams stood in the 1.6 M words it was
# fitted to, and no draft came near any one document.
SMOOTHING = 1
# Three token numbers share one signed 64-bit number.
TOKEN_BITS = 21
# Words after its target length within which a text has to find the end of a sentence.
OVERRUN = 60

# Scripts written without spaces: each character is a token, and each letter a word.
_SPACELESS = "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in (*SPACELESS, (0xFF01, 0xFFEF)))
_TOKEN = rf"\n+| ?[{_SPACELESS}]|[^\s{_SPACELESS}]+"
# Three letters or digits before the mark: "e.g.", "U.S." and "Dr." do not end a sentence.
_SENTENCE_END = r"""[\p{L}\p{N}]{3}[.!?]["'”’)\]]*$|[。！？।؟]["'”’」』)\]]*$"""

_BREAK, _SPACED, _ENDS_SENTENCE, _STARTS_WORD = 1, 2, 4, 8

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chain:
    """A fitted model. Token 0 stands for "before the document"; tokens are numbered by their bytes' order.

    contexts: packed contexts, ascending; following: the token after each; firsts: where contexts that end in a token
    begin (one more entry than tokens); flags: what a token is; vocabulary: its text;
    openers: (documents, ORDER - 1) first tokens of each document, 0 where it has fewer.
    """

    contexts: Integers
    following: npt.NDArray[np.int32]
    firsts: Integers
    flags: npt.NDArray[np.uint8]
    vocabulary: pl.Series
    openers: npt.NDArray[np.int32]


def tokenise(texts: pl.Series, most: int) -> pl.Series:
    """Split each text into at most `most` tokens (list of strings): words with their punctuation, and line breaks."""
    # 16 characters a token is far above any prose: a book is not read to its end for its first page.
    head = texts.str.head(16 * most).str.replace_all(r"[^\S\n]+", " ").str.replace_all(" ?\n ?", "\n")
    return head.str.replace_all("\n{2,}", "\n\n").str.strip_chars().str.extract_all(_TOKEN).list.head(most)


def fit(documents: Iterable[pl.Series]) -> Chain:
    """Fit a chain to tokenised documents, given in batches (list of strings). Deterministic."""
    lists = pl.concat(list(documents))
    lengths = lists.list.len().to_numpy().astype(np.int64)
    words = pl.DataFrame({"token": lists.explode(empty_as_null=False)})
    vocabulary = words["token"].unique().sort()
    numbers = words.join(
        pl.DataFrame({"token": vocabulary, "number": np.arange(1, len(vocabulary) + 1, dtype=np.int32)}),
        on="token",
        how="left",
        maintain_order="left",
    )["number"].to_numpy()
    tokens, begins = _lay_out(numbers, lengths)
    contexts, following = _file_under_contexts(tokens)
    vocabulary = pl.concat([pl.Series([""]), vocabulary.alias("")])
    firsts = np.searchsorted(contexts, np.arange(len(vocabulary) + 1, dtype=np.int64) << (2 * TOKEN_BITS))
    places = begins[:, None] + np.arange(ORDER - 1)
    inside = np.arange(ORDER - 1) < lengths[:, None]
    openers = np.where(inside, tokens[np.minimum(places, len(tokens) - 1)], 0).astype(np.int32)
    return Chain(contexts, following, firsts.astype(np.int64), _flags(vocabulary), vocabulary, openers)


def _lay_out(numbers: npt.NDArray[np.int32], lengths: Integers) -> tuple[npt.NDArray[np.int32], Integers]:
    """Put all documents into one array with ORDER - 1 zeros before each, so that no context spans two of them."""
    begins = np.cumsum(lengths) - lengths + (ORDER - 1) * np.arange(1, len(lengths) + 1)
    tokens = np.zeros(len(numbers) + (ORDER - 1) * len(lengths), dtype=np.int32)
    tokens[np.arange(len(numbers)) + np.repeat((ORDER - 1) * np.arange(1, len(lengths) + 1), lengths)] = numbers
    return tokens, begins


def _file_under_contexts(tokens: npt.NDArray[np.int32]) -> tuple[Integers, npt.NDArray[np.int32]]:
    places = np.flatnonzero(tokens)
    contexts = np.zeros(len(places), dtype=np.int64)
    for back in range(1, ORDER):
        contexts = (contexts << TOKEN_BITS) | tokens[places - back]
    order = np.argsort(contexts, kind="stable")
    return contexts[order], tokens[places][order]


def _flags(vocabulary: pl.Series) -> npt.NDArray[np.uint8]:
    is_break = vocabulary.str.starts_with("\n").to_numpy()
    spaceless = vocabulary.str.contains(rf"^ ?[{_SPACELESS}]$").to_numpy()
    ends = vocabulary.str.contains(_SENTENCE_END).to_numpy()
    starts_word = ~is_break & (~spaceless | vocabulary.str.contains(r"[\p{L}\p{Nl}]").to_numpy())
    spaced = ~is_break & ~spaceless
    flags = is_break * _BREAK + spaced * _SPACED + ends * _ENDS_SENTENCE + starts_word * _STARTS_WORD
    return np.asarray(flags, dtype=np.uint8)


@numba.njit(nogil=True, cache=True)
def _bound(contexts, low, high, wanted):  # type: ignore[no-untyped-def]
    """Find the first place in contexts[low:high] whose number is not below the wanted one."""
    while low < high:
        middle = (low + high) >> 1
        if contexts[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(nogil=True, cache=True)
def _next_random(state):  # type: ignore[no-untyped-def]
    """Advance splitmix64: return the new state and 64 random bits."""
    state += np.uint64(0x9E3779B97F4A7C15)
    bits = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, bits ^ (bits >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def _draw(contexts, following, firsts, last, second, third, state):  # type: ignore[no-untyped-def]
    """Draw one token after (third, second, last): from the longest context, or, with A / (n + A), a shorter one."""
    low, high = np.zeros(ORDER, np.int64), np.zeros(ORDER, np.int64)
    high[0] = len(following)
    low[1], high[1] = firsts[last], firsts[last + 1]
    pair = ((np.int64(last) << TOKEN_BITS) | np.int64(second)) << TOKEN_BITS
    low[2] = _bound(contexts, low[1], high[1], pair)
    high[2] = _bound(contexts, low[2], high[1], pair + (np.int64(1) << TOKEN_BITS))
    low[3] = _bound(contexts, low[2], high[2], pair | np.int64(third))
    high[3] = _bound(contexts, low[3], high[2], (pair | np.int64(third)) + 1)
    for length in range(ORDER - 1, -1, -1):
        count = high[length] - low[length]
        if count > 0:
            state, bits = _next_random(state)
            choice = np.int64(bits % np.uint64(count + (SMOOTHING if length > 0 else 0)))
            if choice < count:
                return following[low[length] + choice], state
    return following[0], state


@numba.njit(nogil=True, cache=True)
def _write(contexts, following, firsts, flags, openers, states, targets, ends, out):  # type: ignore[no-untyped-def]
    """Write each draft into out[ends[i - 1] : ends[i]]; return how many tokens each took and whether it was cut."""
    taken = np.zeros(len(states), np.int64)
    cut = np.zeros(len(states), np.bool_)
    for draft in range(len(states)):
        begin = ends[draft - 1] if draft > 0 else 0
        place, words, state = begin, 0, states[draft]
        last = second = third = np.int32(0)
        finished = False
        while place < ends[draft] and not finished:
            opening = place - begin < ORDER - 1 and openers[draft, place - begin] > 0
            if opening:
                token = openers[draft, place - begin]
            else:
                token, state = _draw(contexts, following, firsts, last, second, third, state)
            if flags[token] & _BREAK and (last == 0 or flags[last] & _BREAK):
                # Two breaks in a row are no text; the place counts as used, so that the loop always ends.
                ends[draft] -= 1
                continue
            out[place] = token
            place += 1
            if flags[token] & _STARTS_WORD:
                words += 1
            third, second, last = second, last, token
            finished = words >= targets[draft] and (flags[token] & _ENDS_SENTENCE) != 0
            if words >= targets[draft] + OVERRUN:
                break
        taken[draft] = place - begin
        cut[draft] = not finished
    return taken, cut


def write(
    chain: Chain, openers: npt.NDArray[np.int32], states: npt.NDArray[np.uint64], targets: Integers
) -> tuple[pl.Series, npt.NDArray[np.bool_]]:
    """Write one text for each row of `openers`; return the texts and which ended at their limit, mid-sentence.

    openers: (n, ORDER - 1) first tokens; states: one random state a text, the only source of chance in it;
    targets: words after which a text ends with its sentence.
    """
    # In scripts without spaces marks and punctuation are tokens beside the words.
    room = 4 * targets + OVERRUN
    ends = np.cumsum(room)
    out = np.zeros(int(ends[-1]), dtype=np.int32)
    begins = ends - room
    taken, cut = _write(
        chain.contexts, chain.following, chain.firsts, chain.flags, openers, states, targets, ends.copy(), out
    )
    drafts = np.repeat(np.arange(len(states)), taken)
    within = np.arange(len(drafts)) - np.repeat(np.cumsum(taken) - taken, taken)
    return _spell(chain, out[begins[drafts] + within], drafts, within == 0), cut


def _spell(chain: Chain, tokens: npt.NDArray[np.int32], drafts: Integers, opening: npt.NDArray[np.bool_]) -> pl.Series:
    """Join tokens to texts: spaces between words, a capital after each sentence end, a full stop at the end."""
    flags = chain.flags[tokens]
    before = np.where(opening, _BREAK, np.roll(flags, 1))
    spaced = (flags & _SPACED > 0) & (before & _BREAK == 0)
    starts = before & (_BREAK | _ENDS_SENTENCE) > 0
    plain = chain.vocabulary
    # A break keeps its line ends; any other token that starts a line loses the space it may carry.
    bare = pl.select(pl.when(plain.str.starts_with("\n")).then(plain).otherwise(plain.str.strip_chars())).to_series()
    capital = bare.str.slice(0, 1).str.to_uppercase() + bare.str.slice(1)
    forms = pl.concat([plain, capital, " " + plain, " " + capital])
    pieces = forms.gather(tokens + len(plain) * (starts + 2 * spaced))
    joined = pl.DataFrame({"draft": drafts, "piece": pieces}).group_by("draft", maintain_order=True)
    texts = joined.agg(pl.col("piece").str.join(""))["piece"].str.strip_chars()
    ended = texts.str.contains(_SENTENCE_END)
    stopped = texts.str.strip_chars_end(" \n,;:-–—") + "."
    return pl.select(pl.when(ended).then(texts).otherwise(stopped)).to_series()
