"""The ngram baseline: text that looks like the corpus and means nothing.

It lets a whole pipeline run offline, without a model, and costs no money. It is never for training: each row says
so (kind "baseline", model "cuvee-ngram-baseline"), and publishing refuses it unless the recipe allows the baseline.

One chain is fitted to each language. A draft opens with the first words of one seed, the row's only `seed_ids`:
domain, license and language are that document's. What follows is drawn from all documents of the fit.
The journal is not used: a draft costs microseconds and depends only on the fit and its request key.
"""

import numpy as np
import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Generate, canonical_json, canonical_sha256
from cuvee.tasks.generators import _chain
from cuvee.tasks.generators._journal import Journal
from cuvee.tasks.generators._purse import Purse
from cuvee.tasks.generators._types import (
    ANSWER_SCHEMA,
    FAILURE_SCHEMA,
    PLAN_SCHEMA,
    Drafts,
    Progress,
    Texts,
    by_priority,
    cut_to_budget,
    draft_rows,
    fetch,
)

VERSION = 1
# Nonsense by design, which would pass no gate.
GRADED = False
BASELINE = True
KIND = "baseline"
MODEL = "cuvee-ngram-baseline"

# Bounds of memory for one fit: about 32 bytes a token while it is sorted.
FIT_DOCUMENTS = 8_000
FIT_TOKENS = 2_000_000
# A language with less human text than this gets no drafts: they would repeat its few sentences.
LEAST_WORDS = 100
# Under 80 words the classifier says nothing; 800 keeps a batch of drafts small.
SHORTEST, LONGEST = 80, 800
_BATCH = 500


def plan(settings: Generate, seeds: pl.DataFrame, wanted_words: int) -> pl.DataFrame:
    """Plan drafts as long as their seeds, within 80 to 800 words; each seed opens at most `max_per_seed` of them.

    Empty when no language has 100 words of human text. Plans less than wanted when the seeds of the fits run out.
    Expected words are exact to a sentence.
    """
    rows = _planned(settings, seeds)
    return cut_to_budget(rows, wanted_words, settings.budget.requests).select(list(PLAN_SCHEMA)).cast(PLAN_SCHEMA)


def run(
    settings: Generate,
    seeds: pl.DataFrame,
    plan: pl.DataFrame,
    texts: Texts,
    journal: Journal,
    progress: Progress | None = None,
    purse: Purse | None = None,
) -> Drafts:
    """Fit one chain a language and write the planned drafts; nothing fails, nothing is kept in the journal.

    Raises RecipeError if the plan was made from other seeds or settings.
    """
    planned = plan.join(_planned(settings, seeds), on="request_key", how="left", maintain_order="left", suffix="_now")
    if planned["fit"].null_count():
        raise RecipeError(f"generate.{settings.name}: the plan was made from other seeds or settings; plan again")
    fitted = _fitted(settings, seeds)
    answers = []
    done = 0
    for fit_hash in planned["fit"].unique(maintain_order=True):
        rows = planned.filter(fit=fit_hash)
        documents = fitted.filter(fit=fit_hash)["doc_id"].to_list()
        chain = _fit(documents, texts)
        place_of = {doc_id: place for place, doc_id in enumerate(documents)}
        for batch in rows.iter_slices(_BATCH):
            answers.append(_write(chain, batch, place_of))
            done += len(batch)
            if progress:
                progress(done, len(plan))
    answered = pl.concat(answers) if answers else pl.DataFrame(schema=ANSWER_SCHEMA)
    rows = draft_rows(settings, seeds, plan, answered, {"model": MODEL, "endpoint": None})
    return Drafts(rows, pl.DataFrame(schema=FAILURE_SCHEMA))


def _fitted(settings: Generate, seeds: pl.DataFrame) -> pl.DataFrame:
    """Choose the documents of each language's fit, in hash-priority order, and name the fit (column `fit`).

    The name covers the ids, and so the texts, of the fit's documents and everything that shapes a chain.
    """
    usable = by_priority(seeds.filter(pl.col("words") >= _chain.ORDER), settings.sampling.seed)
    chosen = (
        usable.with_columns(pl.col("language").fill_null(""))
        .filter(pl.col("words").sum().over("language") >= LEAST_WORDS)
        .filter(pl.int_range(pl.len()).over("language") < FIT_DOCUMENTS)
    )
    options = [VERSION, _chain.ORDER, _chain.SMOOTHING, FIT_TOKENS, FIT_DOCUMENTS]
    fits = {
        language: canonical_sha256([options, documents["doc_id"].to_list()])
        for (language,), documents in chosen.group_by("language")
    }
    return chosen.with_columns(pl.col("language").replace_strict(fits, return_dtype=pl.String).alias("fit"))


def _planned(settings: Generate, seeds: pl.DataFrame) -> pl.DataFrame:
    """Return every row that could be planned, best first, with the column `fit`: each seed once, then each again."""
    fitted = _fitted(settings, seeds)
    rounds = pl.DataFrame({"use": range(settings.seeds.max_per_seed)}, schema={"use": pl.Int64})
    rows = rounds.join(fitted.select("doc_id", "words", "fit"), how="cross", maintain_order="left_right")
    sampling = {"order": _chain.ORDER, "seed": settings.sampling.seed}
    keys = [
        canonical_sha256({"generator": "ngram", "fit": fit, "seed_ids": [doc_id], "use": use, "sampling": sampling})
        for use, doc_id, fit in rows.select("use", "doc_id", "fit").iter_rows()
    ]
    return rows.select(
        pl.Series("request_key", keys, dtype=pl.String),
        pl.lit(KIND).alias("kind"),
        pl.concat_list("doc_id").alias("seed_ids"),
        pl.lit(None, dtype=pl.Int64).alias("seed_start"),
        pl.lit(None, dtype=pl.Int64).alias("seed_stop"),
        pl.lit(None, dtype=pl.String).alias("brief"),
        pl.lit(None, dtype=pl.String).alias("prompt_id"),
        pl.lit(None, dtype=pl.String).alias("prompt_hash"),
        pl.lit(canonical_json(sampling)).alias("sampling"),
        pl.col("words").clip(SHORTEST, LONGEST).cast(pl.Int64).alias("words_expected"),
        pl.lit(0, dtype=pl.Int64).alias("prompt_words"),
        "fit",
    )


def _fit(documents: list[str], texts: Texts) -> _chain.Chain:
    """Fit a chain; of n documents each gives at most FIT_TOKENS / n tokens, and text is held for one batch."""
    most = FIT_TOKENS // len(documents)
    batches = (documents[start : start + _BATCH] for start in range(0, len(documents), _BATCH))
    return _chain.fit(_chain.tokenise(pl.Series(fetch(texts, batch)), most) for batch in batches)


def _write(chain: _chain.Chain, rows: pl.DataFrame, place_of: dict[str, int]) -> pl.DataFrame:
    """Write the drafts of one batch of plan rows; the request key is all the chance there is in a draft."""
    places = [place_of[seed_id] for seed_id in rows["seed_ids"].list.first()]
    states = np.array([int(key[:16], 16) for key in rows["request_key"]], dtype=np.uint64)
    written, cut = _chain.write(chain, chain.openers[places], states, rows["words_expected"].to_numpy())
    return pl.DataFrame(
        {
            "request_key": rows["request_key"],
            "text": written,
            "model_returned": MODEL,
            "finish_reason": np.where(cut, "length", "stop").tolist(),
            "prompt_tokens": None,
            "completion_tokens": None,
            "stripped": None,
        },
        schema=ANSWER_SCHEMA,
    )
