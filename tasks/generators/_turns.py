"""Turns: what can be asked of seeds, best first: windows of documents, and briefs where a kind has no seed."""

import hashlib
from collections.abc import Mapping
from itertools import product

import numpy as np
import polars as pl

from cuvee.schemas.recipe import Generate
from cuvee.schemas.tables import WINDOWS
from cuvee.tasks.generators._prompts import Prompt
from cuvee.tasks.generators._types import by_priority, seed_priority
from cuvee.tasks.words.counts import count_words

# English prose: about 100 tokens for 75 words, so an answer cannot hold more words than this of its token limit.
WORDS_A_TOKEN = 0.75
# What a request allows for a word expected: thrice the length in English, the length itself where words take four.
TOKENS_A_WORD = 4
# In steps, so that a seed that is counted a little otherwise asks the same.
TOKENS_STEP = 128
# Characters of an English word with its space; where words are longer, tokens follow the characters.
WORD = 6


def windows(seeds: pl.DataFrame) -> pl.DataFrame:
    """Return what requests can show of seeds. Columns: name, doc_id, seed_start, seed_stop, brief (null), words,
    prompt_words.

    name: of the text that is shown, as request keys have it: of a document shown whole its doc_id. prompt_words: its
    words, or a sixth of its characters where that is more: addresses, numbers and encoded bytes are long words.
    """
    absent = {"windows": WINDOWS["windows"], "chars": pl.Int64()}
    added = [pl.lit(None, kind).alias(name) for name, kind in absent.items() if name not in seeds.columns]
    parts = seeds.with_columns(added).select("doc_id", "words", "chars", "windows").explode("windows")
    start, stop, words = (pl.col("windows").struct.field(name) for name in ("start", "stop", "words"))
    window = pl.format("{}:{}-{}", "doc_id", start, stop)
    return parts.select(
        pl.coalesce(window, "doc_id").alias("name"),
        "doc_id",
        start.alias("seed_start"),
        stop.alias("seed_stop"),
        pl.lit(None, pl.String).alias("brief"),
        pl.coalesce(words, "words").alias("words"),
        pl.max_horizontal(pl.coalesce(words, "words"), pl.coalesce(stop - start, "chars") // WORD).alias(
            "prompt_words"
        ),
    )


def window_name(doc_id: str, start: int | None, stop: int | None) -> str:
    """Name what is shown of a document, as request keys have it; null: all of it."""
    return doc_id if start is None else f"{doc_id}:{start}-{stop}"


def briefs(settings: Generate) -> pl.DataFrame:
    """Return what drafts without a seed are about, in the columns of `windows`; name: a hash of the brief."""
    written = [
        f"Topic: {topic}\nFor: {audience}\nForm: {style}"
        for topic, audience, style in product(settings.free.topics, settings.free.audiences, settings.free.styles)
    ]
    names = [brief_name(brief) for brief in written]
    schema = windows(pl.DataFrame(schema={"doc_id": pl.String, "words": pl.Int64})).schema
    lengths = count_words(pl.Series(written, dtype=pl.String))
    table = pl.DataFrame({"name": names, "doc_id": names, "brief": written, "words": 1, "prompt_words": lengths})
    return pl.concat([schema.to_frame(), table], how="diagonal_relaxed").unique("name", keep="any")


def brief_name(brief: str) -> str:
    return hashlib.sha256(brief.encode()).hexdigest()[:32]


def turns(settings: Generate, sources: pl.DataFrame, prompts: Mapping[str, Prompt]) -> pl.DataFrame:
    """List what could be asked, best first: each source once, then each again with its next kind.

    sources: columns of `windows`. Column turn: grows with the number of kinds before, so that lists of several kinds
    can be merged and each kind has the same share.
    """
    kinds = pl.Series("kind", sorted(prompts), dtype=pl.String)
    ordered = by_priority(sources.filter(pl.col("words") > 0), settings.sampling.seed, "name")
    added = {"kind": pl.String, "seed": pl.Int64, "words_expected": pl.Int64}
    rounds = [pl.DataFrame(schema={**ordered.drop("priority").schema, **added})]
    if prompts and len(ordered):
        order_of_kinds = np.argsort([seed_priority(ordered["name"], kind) for kind in kinds], axis=0)
        lengths = pl.Series([prompts[kind].length for kind in kinds], dtype=pl.Int64)
        shares = pl.Series([prompts[kind].words for kind in kinds], dtype=pl.Float64)
        words = pl.col("words")
        for use in range(settings.seeds.max_per_seed):
            at = order_of_kinds[use % len(kinds)]
            rounds.append(
                ordered.drop("priority").with_columns(
                    kinds.gather(at).alias("kind"),
                    pl.lit(settings.sampling.seed + use // len(kinds), pl.Int64).alias("seed"),
                    expected(settings, words * pl.lit(shares.gather(at))),
                    (pl.col("prompt_words") + pl.lit(lengths.gather(at))).cast(pl.Int64),
                )
            )
    turn = (pl.int_range(pl.len(), dtype=pl.Int64) / max(len(kinds), 1)).alias("turn")
    return pl.concat(rounds).with_columns(turn)


def expected(settings: Generate, words: pl.Expr) -> pl.Expr:
    """Return the words that drafts are planned at, column words_expected; words: as their kinds have them."""
    most = max(1, int(settings.sampling.max_tokens * WORDS_A_TOKEN))
    return words.round(0).clip(1, most).cast(pl.Int64).alias("words_expected")


def token_limit(settings: Generate, words_expected: int) -> int:
    """Return the tokens that a request for this many words may take; `sampling.max_tokens` is a ceiling."""
    steps = -(-words_expected * TOKENS_A_WORD // TOKENS_STEP)
    return min(settings.sampling.max_tokens, steps * TOKENS_STEP)
