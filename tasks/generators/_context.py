"""Context: requests that are longer than a model's context are asked again with less of their seed."""

import json
import re
from collections.abc import Mapping

import polars as pl

from cuvee.schemas.recipe import Generate, canonical_json
from cuvee.tasks.generators._prompts import Prompt, cut_at_sentence
from cuvee.tasks.generators._turns import expected, token_limit
from cuvee.tasks.generators._types import Texts, fetch
from cuvee.tasks.words.counts import count_words

# A window of 1,000 words has 31 then; what does not fit yet was not written for this model.
MOST_CUTS = 5

_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|size|window|limit)|maximum context|exceed_context|n_ctx|max_model_len"
    r"|(?:prompt|input|request|messages?)\W{1,3}(?:is |are |was )?too (?:long|large)|too many (?:input |prompt )?tokens"
    r"|longer than the (?:model|context|maximum)|inputs?`? tokens? \+ `?max_new_tokens"
    r"|(?:input|prompt|total|number of)[ _]tokens?\b[^.]{0,80}(?:exceed|must (?:be|not)|larger than|greater than|limit)"
    r"|string_above_max_length|reduce (?:the|your) (?:length|prompt|input|messages?)",
    re.IGNORECASE,
)


def says_too_long(status: int, message: str) -> bool:
    """Tell whether a server refuses a request since it is longer than the model's context."""
    return status == 413 or (status in (400, 422, 500) and bool(_TOO_LONG.search(message)))


def cut(settings: Generate, rows: pl.DataFrame, prompts: Mapping[str, Prompt], texts: Texts) -> pl.DataFrame:
    """Show half of what requests show of their seeds, up to a sentence; rows that cannot show less are left out.

    rows: PLAN_SCHEMA. Changed are seed_start, seed_stop, words_expected, prompt_words and the token limit in sampling.
    """
    rows = rows.filter(pl.col("brief").is_null())
    documents = fetch(texts, rows["seed_ids"].list.first().to_list())
    changed = [
        _half(text, start or 0, stop)
        for text, (start, stop) in zip(documents, rows.select("seed_start", "seed_stop").iter_rows(), strict=True)
    ]
    schema = dict.fromkeys(("seed_start", "seed_stop", "words", "words_before"), pl.Int64)
    less = rows.with_columns(pl.DataFrame(changed, schema=schema, orient="row"))
    less = less.filter((pl.col("words") > 0) & (pl.col("words") < pl.col("words_before")))
    shares = pl.Series([prompts[kind].words for kind in less["kind"]], dtype=pl.Float64)
    less = less.with_columns(
        expected(settings, pl.col("words") * pl.lit(shares)),
        prompt_words=pl.col("prompt_words") - pl.col("words_before") + pl.col("words"),
    )
    sampling = [_limited(settings, *row) for row in less.select("sampling", "words_expected").iter_rows()]
    return less.drop("words", "words_before").with_columns(sampling=pl.Series(sampling, dtype=pl.String))


def _half(text: str, start: int, stop: int | None) -> tuple[int, int, int, int]:
    """Return start, stop and words of the first half of a window, and the words of all of it."""
    shown = text[start:stop]
    start += len(shown) - len(shown.lstrip())
    words = _words(shown)
    half = cut_at_sentence(shown, max(1, words // 2), max(1, len(shown.strip()) // 2))
    return start, start + len(half), _words(half), words


def _words(text: str) -> int:
    return int(count_words(pl.Series([text]))[0])


def _limited(settings: Generate, sampling: str, words_expected: int) -> str:
    """Give the fields of a request the token limit that follows from its words; what the recipe set itself stands."""
    fields = json.loads(sampling)
    if "max_tokens" in fields and "max_tokens" not in settings.sampling.extra:
        fields["max_tokens"] = token_limit(settings, words_expected)
    return canonical_json(fields)
