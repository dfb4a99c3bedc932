"""Packing: the documents of a batch as tokens, in sequences of one length."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cuvee.schemas.errors import RecipeError

# Batches that are tokenised while the trainer works on one, and the threads that do it.
_AHEAD, _THREADS = 4, 2


class Packing:
    """Turn the documents of a batch into sequences of `length` tokens.

    length: at least 1. tokenizer: path of a tokenizer.json, a `tokenizers.Tokenizer`, or a function from a text to a
    list of token ids (0 to 2^31 - 1). end: a token that is put behind each document; -1 for none.
    Raises RecipeError for a tokenizer that is none.
    """

    def __init__(self, length: int, tokenizer: Any, end: int = -1) -> None:
        if length < 1:
            raise RecipeError(f"loader: pack={length}: give a number of tokens, at least 1, or 0 not to pack")
        self.length, self.end = length, end
        self.tokenizer = _load(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
        if not (callable(self.tokenizer) or hasattr(self.tokenizer, "encode_batch")):
            raise RecipeError(
                f"loader: pack={length} needs tokenizer=: the path of a tokenizer.json, a tokenizers.Tokenizer, or a "
                "function from a text to a list of token ids"
            )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Pack a batch; columns doc_id, text.

        Returns tokens: int32 (sequences, length), one document after the other, cut where a sequence is full, the rest
        of the last sequence 0; document: int32 of the same shape, each token's position in doc_ids, -1 behind the end;
        doc_ids: the documents of the batch, a copy counts as one; boundaries: int32 of each sequence, where its pieces
        of documents begin, then the number of its tokens (as `cu_seqlens` of attention kernels).
        """
        pieces = [np.asarray(ids, np.int32) for ids in self._encode(batch["text"])]
        if self.end >= 0:
            pieces = [np.append(piece, np.int32(self.end)) for piece in pieces]
        lengths = [len(piece) for piece in pieces]
        count = -(-sum(lengths) // self.length)
        tokens = np.zeros(count * self.length, np.int32)
        document = np.full(count * self.length, -1, np.int32)
        tokens[: sum(lengths)] = np.concatenate([np.empty(0, np.int32), *pieces])
        document[: sum(lengths)] = np.repeat(np.arange(len(pieces)), lengths)
        shape = (count, self.length)
        return {
            "tokens": tokens.reshape(shape),
            "document": document.reshape(shape),
            "doc_ids": batch["doc_id"],
            "boundaries": [_boundaries(row) for row in document.reshape(shape)],
        }

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if hasattr(self.tokenizer, "encode_batch"):
            return [found.ids for found in self.tokenizer.encode_batch(texts)]
        return [self.tokenizer(text) for text in texts]


def _load(path: str | Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more exact
        raise RecipeError(f"loader: tokenizer={path}: not a tokenizer.json ({error})") from None


def _boundaries(document: np.ndarray[Any, np.dtype[np.int32]]) -> np.ndarray[Any, np.dtype[np.int32]]:
    used = int((document >= 0).sum())
    changes = np.flatnonzero(np.diff(document[:used])) + 1
    return np.concatenate([[0], changes, [used]]).astype(np.int32)


def packed_ahead(batches: Iterator[dict[str, Any]], packing: Callable[[dict[str, Any]], Any]) -> Iterator[Any]:
    """Yield each batch packed, in order; threads pack the next ones meanwhile."""
    coming: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(_THREADS) as workers:
        try:
            for batch in batches:
                coming.append(workers.submit(packing, batch))
                if len(coming) > _AHEAD:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()
