"""Worker: one library in its own environment, asked by `compare` over stdin to do its part again and again.

    python worker.py LIBRARY DOCUMENTS.jsonl COUNT

A line on stdin is a task, `sign` or `dedup`; the answer is a JSON line with CPU seconds, peak memory and, after dedup,
the rows that were removed. The documents are loaded beforehand, in the form that the library takes. Words are those of
`str.lower` and `str.split`, which are the cheapest (Daft: split only), but for ours, which folds Unicode as it always
does.
"""

import itertools
import json
import sys
import time

NGRAM, PERMUTATIONS, THRESHOLD = 5, 128, 0.8


def shingles(text):
    words = text.lower().split()
    return {" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))}


def peak_kb():
    """Return the largest resident memory; getrusage would count the process that started this one."""
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        return 0


def cuvee(texts):
    import numpy as np
    import pyarrow as pa

    from cuvee.tasks.dedup.final import keepers
    from cuvee.tasks.dedup.index import choose
    from cuvee.tasks.dedup.resolve import collapse, expand
    from cuvee.tasks.dedup.verify import Comparison
    from cuvee.tasks.words.kernel import signatures, sketch

    column = pa.array(texts, pa.large_string())
    division = choose(THRESHOLD, PERMUTATIONS)

    def sign():
        signatures(column, NGRAM, PERMUTATIONS, 1)

    def dedup():
        sketched = sketch(column, NGRAM, PERMUTATIONS, 1, division.bands, division.rows)
        groups = collapse(sketched.text_key, np.arange(len(column)))
        rows = groups.representative
        _, resolved = keepers(
            lambda band: sketched.band_keys[rows, band],
            division.bands,
            Comparison(lambda ids: column.take(pa.array(rows[ids])), NGRAM, THRESHOLD),
            rows,
        )
        kept = expand(groups, resolved).keeper
        return np.flatnonzero(kept >= 0).tolist()

    return sign, dedup


def _datasketch(texts, **options):
    from datasketch import MinHash, MinHashLSH

    def minhash(text):
        made = MinHash(PERMUTATIONS, **options)
        made.update_batch([shingle.encode() for shingle in shingles(text)])
        return made

    def sign():
        for text in texts:
            minhash(text)

    def dedup():
        index, removed = MinHashLSH(THRESHOLD, PERMUTATIONS), []
        for row, text in enumerate(texts):
            made = minhash(text)
            if index.query(made):
                removed.append(row)
            else:
                index.insert(row, made)
        return removed

    return sign, dedup


def datasketch(texts):
    return _datasketch(texts)


def datasketch_xxh32(texts):
    import xxhash

    return _datasketch(texts, hashfunc=xxhash.xxh32_intdigest)


def rensa(texts):
    from rensa import RMinHash, RMinHashDeduplicator

    def sign():
        for start in range(0, len(texts), 1000):
            batch = [list(shingles(text)) for text in texts[start : start + 1000]]
            RMinHash.from_token_sets(batch, num_perm=PERMUTATIONS, seed=42)

    def dedup():
        index = RMinHashDeduplicator(threshold=THRESHOLD, num_perm=PERMUTATIONS, use_lsh=True)
        keep = index.add_pairs((str(row), list(shingles(text))) for row, text in enumerate(texts))
        return [row for row, stays in enumerate(keep) if not stays]

    return sign, dedup


def daft(texts):
    import daft as library
    from daft.functions import minhash

    frame = library.from_pydict({"text": texts}).collect()

    def sign():
        frame.select(minhash(library.col("text"), num_hashes=PERMUTATIONS, ngram_size=NGRAM)).collect()

    return sign, None


def _datatrove(texts, split):
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    step = MinhashDedupSignature("/tmp", MinhashConfig(n_grams=NGRAM, num_buckets=16, hashes_per_bucket=8))
    if split:
        step.word_tokenizer = type("Split", (), {"word_tokenize": staticmethod(str.split)})()

    def sign():
        for text in texts:
            step.get_signature(step.get_shingles(text))

    return sign, None


def datatrove_split(texts):
    return _datatrove(texts, True)


def datatrove(texts):
    return _datatrove(texts, False)


def main():
    with open(sys.argv[2], encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in itertools.islice(lines, int(sys.argv[3]))]
    sign, dedup = globals()[sys.argv[1]](texts)
    # A small part first: what is compiled or loaded once is no part of the measurement.
    warm_sign, warm_dedup = globals()[sys.argv[1]](texts[:100])
    for warm in (warm_sign, warm_dedup):
        if warm:
            warm()
    print(json.dumps({"tasks": ["sign", "dedup"] if dedup else ["sign"]}), flush=True)
    for task in sys.stdin:
        started = time.process_time()
        removed = (dedup if task.strip() == "dedup" else sign)()
        seconds = time.process_time() - started
        print(json.dumps({"seconds": seconds, "peak_kb": peak_kb(), "removed": removed}), flush=True)


if __name__ == "__main__":
    main()
