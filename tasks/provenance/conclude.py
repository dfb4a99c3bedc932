"""Conclude: gather the evidence on who wrote a document, and weigh it.

A phrase is wording or debris that only assistants leave. Each pattern was kept only if it occurs in no human text of
the development set and the known-human corpora. A text that *talks about* such wording is a risk: so a self-description
counts only where no quotation mark or backtick stands before it, a template token only as the first or last characters
of the text (where a careless copy leaves it; a tutorial has it in the middle), and machine citation marks only with
their digits.

`score` hears the text; `conclude` adds what is declared and known, row by row. Its output columns, beside the input's:
provenance ("human" | "synthetic" | "unknown"), p_synthetic (Float32 or null), evidence (String, comma-joined slugs, the
weightiest first), suspect (Boolean: declared human, found synthetic).
Pure: neither order nor neighbours matter.
"""

import datetime as dt
from typing import Literal

import polars as pl
from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.tasks.provenance.layout import MIN_WORDS
from cuvee.tasks.provenance.protocol import ProvenanceModel

# Changes whenever a text can get another score from the same model, or another phrase.
SCORE_VERSION = 3
VERSION = 4

# The day ChatGPT was released. Before it, machine-written prose in the wild was rare.
FIRST_DAY = dt.date(2022, 11, 30)

# Prior of a text with a trusted date before that day: 1 in 1,000, against the model's even odds: ln(1/999).
DATE_LOG_ODDS = -6.906755
# A phrase outweighs an even prior by as much: no human text of 16,000 has one, which supports 1 in 1,000 amply.
PHRASE_LOG_ODDS = 6.906755


# Not what somebody else is quoted as saying: no opening quotation mark, bracket or backtick directly before.
_UNQUOTED = r"(?:\A|[^\"'“”‘’«»`(\[\s])\s*\b"
_TEMPLATE = (
    r"<\|(?:im_start|im_end|endoftext|eot_id|end_of_text|begin_of_text|start_header_id|assistant|user|system)\|>"
)
_AI = "(?:AI|artificial intelligence)"
_CANNOT = r"(?:cannot|can not|can't|can’t|am unable to|am not able to)"

# In order of weight: the first that matches names the text.
PATTERNS: dict[str, str] = {
    "template-token": rf"\A\s*(?:{_TEMPLATE}|\[INST\])|(?:{_TEMPLATE}|\[/INST\])\s*\z",
    "citation-mark": r":contentReference\[oaicite:|\boai_citation:\d|【\d+†|\bturn\d+(?:search|view|news|image)\d+\b"
    r"|\battributableIndex\b|\bgrok_card\b",
    "tracking-link": r"[?&]utm_source=(?:chatgpt\.com|openai|copilot\.com|perplexity)",
    "self-description": rf"{_UNQUOTED}(?:[Aa]s an? (?:{_AI}|large)?[ -]?language model,? (?:I|my|it's|it is)\b"
    rf"|[Aa]s an {_AI}(?: (?:assistant|chatbot|system|model))?"
    r"(?: (?:developed|created|trained|designed|built) by \w+)?, (?:I|my)\b"
    rf"|I(?:'m| am|’m) (?:just |only |sorry, but as )?an? {_AI} (?:language model|assistant|chatbot)\b)",
    "refusal": rf"{_UNQUOTED}(?:I(?:'m| am|’m) sorry, but I {_CANNOT} "
    r"(?:fulfil+|assist with|help with|comply with|provide assistance|generate) (?:that|this|your|any)\b"
    rf"|I {_CANNOT} (?:fulfil+|comply with) (?:that|this|your) request\b)",
    "knowledge-cutoff": rf"{_UNQUOTED}(?:[Aa]s of my (?:last|latest|most recent) (?:knowledge |training )?"
    r"(?:update|cutoff|cut-off|training)\b|[Mm]y (?:knowledge|training)(?: data)? (?:cutoff|cut-off)\b)",
    "service-line": r"\bRegenerate response\s*\z|\bChatGPT (?:can|may) make mistakes\.",
}

# Each match contains one of these: one pass of Aho-Corasick finds the few texts worth a regular expression.
TRACES = (
    *("<|", "[INST]", "[/INST]", "oaicite", "oai_citation", "†", "turn0", "turn1", "turn2", "attributableIndex"),
    *("grok_card", "utm_source=", "language model", " an AI", " an artificial intelligence", "sorry, but I", " fulfil"),
    *("comply with", " of my la", "of my most recent", "y knowledge cut", "y training cut", "y knowledge data cut"),
    *("y training data cut", "Regenerate response", "make mistakes."),
)

# A text that is rather human than not is never called synthetic, however human the rest of its source looks.
LOWEST_THRESHOLD = 0.5


class Thresholds(Frozen):
    """Where probability becomes a conclusion, and what becomes of a suspect."""

    synthetic: float = Field(gt=0, le=1, description="p_synthetic from which a document is synthetic")
    human: float = Field(ge=-1, le=0.5, description="p_synthetic up to which one of unknown origin is human")
    suspects: Literal["auto", "relabel", "drop", "keep"] = Field(
        "auto",
        description="declared human, found synthetic: count as synthetic, drop, or leave human; auto: count as "
        "synthetic what more than the model found, or the model where it was calibrated on the source",
    )


def score(text: pl.Series, language: pl.Series | None, model: ProvenanceModel) -> pl.DataFrame:
    """Return p_model (Float64 in [0, 1], null: no evidence) and phrase (String or null) of each text, in order.

    language: ISO 639-1 codes; a null code gives no p_model, no column at all means the model's languages.
    """
    p_model = pl.Series("p_model", model.score(text, language), dtype=pl.Float64).fill_nan(None)
    return pl.DataFrame([p_model, phrase(text).alias("phrase")])


def phrase(text: pl.Series) -> pl.Series:
    """Return the slug of the first pattern in each whole text, or null; same length, null in, null out."""
    slug = pl.coalesce(
        [pl.when(pl.col("text").str.contains(rule)).then(pl.lit(name)) for name, rule in PATTERNS.items()]
    )
    frame = text.cast(pl.String).to_frame("text").with_row_index("row")
    named = frame.filter(pl.col("text").str.contains_any(list(TRACES))).select("row", phrase=slug.cast(pl.String))
    return frame.select("row").join(named, on="row", how="left", maintain_order="left")["phrase"]


def dated_human() -> pl.Expr:
    """Select the rows that a trusted date proves human: columns trusted_date, created, own_draft, own_copy."""
    old = pl.col("trusted_date") & (pl.col("created") < FIRST_DAY)
    return old.fill_null(value=False) & ~(pl.col("own_draft") | pl.col("own_copy")).fill_null(value=False)


def known_human(rows: pl.DataFrame) -> pl.DataFrame:
    """Count each source's texts known to be human that the model judged: source, p_model, texts.

    These counts add up over rows, where no two parts of them hold a text of one doc_id. rows: columns source, doc_id,
    words, p_model, and those of `dated_human`.
    """
    judged = rows.filter(dated_human(), pl.col("words") >= MIN_WORDS).unique(["source", "doc_id"])
    judged = judged.with_columns(pl.col("p_model").cast(pl.Float64).fill_nan(None)).drop_nulls("p_model")
    return judged.group_by("source", "p_model").agg(texts=pl.len()).sort("source", "p_model")


def of_known(
    known: pl.DataFrame, sources: pl.DataFrame, default: float, max_false_positive_rate: float
) -> pl.DataFrame:
    """Return the threshold of each source.

    Columns: source, known_human (UInt32: its texts known to be human that the model judged), threshold (Float64),
    calibrated (Boolean: the threshold is the source's own).

    known: what `known_human` counts, of all parts. sources: column source, each once. A source with enough known-human
    texts gets the probability that at most `max_false_positive_rate` of further ones reach (split conformal
    prediction, as in training: 199 texts support .005), at least LOWEST_THRESHOLD; every other source gets `default`.
    """
    summed = known.group_by("source", "p_model").agg(pl.col("texts").sum()).sort("p_model", descending=True)
    texts = pl.col("texts").sum()
    above = ((max_false_positive_rate * (texts + 1) + 1e-9).floor() - 1).cast(pl.Int64)
    reached = pl.col("p_model").filter(pl.col("texts").cum_sum() > above.clip(0)).first()
    own = pl.when(above >= 0).then(reached + 1e-6).round(6)
    counted = summed.group_by("source", maintain_order=True).agg(known_human=texts.cast(pl.UInt32), own=own)
    return (
        sources.join(counted, on="source", how="left")
        .select(
            "source",
            known_human=pl.col("known_human").fill_null(0),
            threshold=pl.when(pl.col("own").is_not_null())
            .then(pl.max_horizontal(pl.col("own"), pl.lit(LOWEST_THRESHOLD)))
            .otherwise(default),
            calibrated=pl.col("own").is_not_null(),
        )
        .sort("source")
    )


def conclude(frame: pl.DataFrame, thresholds: Thresholds) -> pl.DataFrame:
    """Return the frame with provenance, p_synthetic, evidence and suspect.

    frame: one row a document; columns
      origin: "human" | "synthetic" | "unknown", as declared;
      own_draft, own_copy: Boolean, a draft of ours, or (nearly) equal to an earlier one;
      marking: "human" | "synthetic" | "unknown" | null, from cuvee's mark of the source file;
      c2pa: "synthetic" | "present" | null, from a C2PA text manifest;
      phrase: String or null, a slug of PATTERNS;
      created: Date or null; trusted_date: Boolean, whether the date is believed (a claimed one is no evidence);
      words: Int64; p_model: Float64 in [0, 1], null or NaN where the model gives no evidence;
    and, where sources were calibrated (see `of_known`), threshold: Float64, the source's own in place of
    `thresholds.synthetic`; calibrated: Boolean, false adds "uncalibrated" to the evidence that the model found.

    Own lineage and a synthetic declaration decide. Else cuvee's mark finds a document synthetic, whatever its date; or
    a C2PA manifest, a phrase, or p_synthetic at or above the threshold, unless a trusted date before 2022-11-30 forbids
    it. A mark that says human or unknown decides nothing: anybody can write one. A declared
    human document so found is a suspect, and `thresholds.suspects` says what it counts as; one of unknown origin is
    synthetic, or unknown if the date forbids it. What is left of unknown origin is human up to `thresholds.human`, and
    otherwise unknown. p_synthetic comes from text and date alone; it is null under 80 words and where the model is
    silent. Rows of own lineage are no suspects.
    """
    origin, own = pl.col("origin"), (pl.col("own_draft") | pl.col("own_copy")).fill_null(value=False)
    old = (pl.col("trusted_date") & (pl.col("created") < FIRST_DAY)).fill_null(value=False)
    marked = (pl.col("marking") == "synthetic").fill_null(value=False)
    signed = (pl.col("c2pa") == "synthetic").fill_null(value=False)
    phrased = pl.col("phrase").is_not_null()
    known = pl.col("_p").is_not_null()
    threshold = pl.col("threshold") if "threshold" in frame.columns else pl.lit(thresholds.synthetic)
    calibrated = pl.col("calibrated") if "calibrated" in frame.columns else pl.lit(value=True)
    modelled = ~old & known & (pl.col("_p") >= threshold)
    found = marked | ~old & (signed | phrased) | modelled
    suspect = (origin == "human") & ~own & found
    # Of human mathematics solutions, a kind that no training text is of, the model called 42% synthetic.
    unsure = ~(marked | signed | phrased | calibrated)
    stands = {"keep": pl.lit(value=True), "auto": unsure}.get(thresholds.suspects, pl.lit(value=False))
    provenance = (
        pl.when(own | (origin == "synthetic"))
        .then(pl.lit("synthetic"))
        .when(suspect)
        .then(pl.when(stands).then(pl.lit("human")).otherwise(pl.lit("synthetic")))
        .when(origin == "human")
        .then(pl.lit("human"))
        .when(found)
        .then(pl.lit("synthetic"))
        .when(known & ~signed & ~phrased & (pl.col("_p") <= thresholds.human))
        .then(pl.lit("human"))
        .otherwise(pl.lit("unknown"))
    )
    heard = frame.with_columns(
        _model=pl.when(pl.col("words") >= MIN_WORDS).then(pl.col("p_model").cast(pl.Float64).fill_nan(None))
    ).with_columns(_p=_probability(old))
    return heard.with_columns(
        provenance=provenance,
        p_synthetic=pl.col("_p").cast(pl.Float32),
        evidence=_evidence(old, modelled & ~calibrated),
        suspect=suspect,
    ).drop("_model", "_p")


def _probability(old: pl.Expr) -> pl.Expr:
    """Return the model's odds, shifted by date and phrase, as a probability rounded to 6 decimals."""
    shift = pl.when(old).then(DATE_LOG_ODDS).otherwise(0.0) + pl.when(pl.col("phrase").is_not_null()).then(
        PHRASE_LOG_ODDS
    ).otherwise(0.0)
    # Six decimals hide odds beyond a million to one: probabilities of 0 and 1 stand for those.
    model = pl.col("_model").clip(5e-7, 1 - 5e-7)
    shifted = 1 / (1 + (-((model / (1 - model)).log() + shift)).exp())
    return pl.when(shift == 0).then(pl.col("_model")).otherwise(shifted).round(6)


def _evidence(old: pl.Expr, uncalibrated: pl.Expr) -> pl.Expr:
    """Return the slugs that spoke, with their weights, in the order of the docstring of `conclude`.

    Lineage, declaration, mark and C2PA decide and have no weight; phrase and date shift the log-odds by the number
    behind them; the model's number is its probability.
    """
    number = pl.col("_model").round(3).cast(pl.String)
    return pl.concat_str(
        pl.when("own_draft").then(pl.lit("lineage:own_draft")),
        pl.when("own_copy").then(pl.lit("lineage:own_copy")),
        pl.when(pl.col("origin") != "unknown").then(pl.concat_str(pl.lit("declared:"), "origin")),
        pl.concat_str(pl.lit("marking:"), "marking"),
        pl.concat_str(pl.lit("c2pa:"), "c2pa"),
        pl.concat_str(pl.lit("phrase:"), "phrase", pl.lit(f":{PHRASE_LOG_ODDS:+.1f}")),
        pl.when(old).then(pl.lit(f"date:{DATE_LOG_ODDS:.1f}")),
        pl.concat_str(pl.lit("model:"), number),
        pl.when(uncalibrated).then(pl.lit("uncalibrated")),
        separator=",",
        ignore_nulls=True,
    )
