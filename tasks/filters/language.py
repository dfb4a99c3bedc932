"""Language: keep documents in the languages wanted, by fastText's lid.176.ftz.

Signal columns: language (string, the model's code, an ISO 639 code for all but a few of its 176 languages; "und" for a
text without a letter), language_score (float32, 0 to 1, 0 for "und").
The model knows neither text in capitals nor white space beyond ASCII: capitals are read in lower case, blanks of any
kind as a space, and characters of no width not at all.
Default score: 0.65, FineWeb's (Penedo et al. 2024, arXiv 2406.17557). Model and licence: see _language_model.py.
"""

from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from cuvee.tasks.filters import FilterOptions, _language_model, below

VERSION = 2
READS: tuple[str, ...] = ()
SIGNALS: dict[str, pl.DataType] = {"language": pl.String(), "language_score": pl.Float32()}
UNDETERMINED = "und"

# Of each text the first 500 characters and 500 from its middle are read, so that neither a foreign heading nor a
# quotation decides. Measured on 4,246 documents of 7 kB: the language of the whole text for all of them, a score of at
# least 0.65 for 99.8%, as with the whole text, and 7 times as fast.
SAMPLE_CHARS = 500
# From this share of capitals on a text is read in lower case. Prose has up to .15, with each word capitalised .2; the
# model is misled from about .4 on.
CAPITALS = 0.25
_BLANK = r"[\s\x{2800}\x{3164}\x{ffa0}]"
_WIDTHLESS = r"[\p{Cf}\x{34f}]"
_EXOTIC = rf"[{_BLANK}--[\x00-\x7f]]|{_WIDTHLESS}"


class Options(FilterOptions):
    """The languages wanted, and how sure the model must be."""

    kind: Literal["language"] = "language"
    keep: tuple[str, ...] = Field((), description="Codes such as en or de; empty for any language.")
    min_score: float = Field(0.65, ge=0, le=1, description="The model's score, at least.")

    @field_validator("keep")
    @classmethod
    def _only_known_codes(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        for code in keep:
            if code != UNDETERMINED and code not in _language_model.LANGUAGES:
                raise ValueError(f"{code!r} is not a language of the model; give codes such as en, de or zh")
        return keep


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return SIGNALS for each document of the shard (column text), in its order. Raises RecipeError without a model."""
    model = _language_model.load(_language_model.path())
    samples = _samples(shard["text"])
    lettered = samples.str.contains(r"\p{L}")
    # The model reads one line, which "\n" ends. Its own Python class fails with numpy 2; the native one does not.
    queries = (samples.str.replace_all("\n", " ", literal=True) + "\n").filter(lettered)
    answers = [model.predict(query, 1, 0.0, "strict")[0] for query in queries]
    found = pl.DataFrame(answers, schema={"score": pl.Float32, "label": pl.String}, orient="row")
    rows = pl.DataFrame({"row": lettered.arg_true(), "label": found["label"], "score": found["score"]})
    return (
        pl.DataFrame({"row": pl.arange(shard.height, dtype=pl.UInt32, eager=True)})
        .join(rows, on="row", how="left", maintain_order="left")
        .select(
            language=pl.col("label").str.strip_prefix("__label__").fill_null(UNDETERMINED),
            # A softmax in 32 bits can add up to slightly more than 1.
            language_score=pl.col("score").fill_null(0.0).clip(0.0, 1.0),
        )
    )


def _samples(texts: pl.Series) -> pl.Series:
    """Return what the model reads of each text: its beginning and middle, in the form that the model knows."""
    text = pl.col("text")
    middle = text.str.slice(text.str.len_chars() // 2, SAMPLE_CHARS)
    both = pl.concat_str(text.str.slice(0, SAMPLE_CHARS), pl.lit(" "), middle)
    long = text.str.len_chars() > 2 * SAMPLE_CHARS
    samples = _plain(texts).to_frame("text").select(pl.when(long).then(both).otherwise(text))
    capitals, small = text.str.count_matches(r"\p{Lu}"), text.str.count_matches(r"\p{Ll}")
    shouted = capitals >= CAPITALS * (capitals + small)
    return samples.select(pl.when(shouted).then(text.str.to_lowercase()).otherwise(text))["text"]


def _plain(texts: pl.Series) -> pl.Series:
    """Replace blanks beyond ASCII by spaces, and remove characters of no width; these are the blanks where few are."""
    places = texts.str.contains(_EXOTIC).arg_true()
    if places.is_empty():
        return texts
    text = pl.col("text")
    # With one behind every letter there are five or six a blank; where they stand for the blanks, few blanks are left.
    instead = text.str.count_matches(_WIDTHLESS) > 10 * text.str.count_matches(_BLANK)
    removed, spaced = (text.str.replace_all(_WIDTHLESS, mark).str.replace_all(_BLANK, " ") for mark in ("", " "))
    plain = texts.gather(places).to_frame("text").select(pl.when(instead).then(spaced).otherwise(removed))["text"]
    return texts.clone().scatter(places, plain)


def verdict(options: Options) -> pl.Expr:
    """Object with "language"."""
    wanted = pl.col("language").is_in(options.keep) if options.keep else pl.lit(True)
    return pl.when(~wanted | below("language_score", options.min_score)).then(pl.lit(options.kind))
