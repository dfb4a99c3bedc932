"""Quality: train a fastText model that tells good texts from bad ones, for the filter `fasttext`.

As the classifier of DCLM (Li et al. 2024, arXiv 2406.11794): words and pairs of words, softmax. The same texts give the
same file, in any order: they are sorted by a hash of their content, and one thread trains.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import InputError, RecipeError
from cuvee.tasks import readers
from cuvee.tasks.filters import _fasttext
from cuvee.tasks.ingest.normalise import doc_ids
from cuvee.tasks.priority import below, priorities

GOOD, BAD = "good", "bad"
# Kept from training, to tell what the model is worth on texts that it has not seen.
HELD_OUT = 0.1
FEWEST = 20
# 34 MB, and 128 bytes a word; pairs of words share 2^18 vectors.
OPTIONS = {"dim": 32, "wordNgrams": 2, "bucket": 1 << 18, "minCount": 2, "epoch": 5, "lr": 0.5}
_BLANKS = r"[\x00\t\n\x0b\x0c\r ]+"  # of fastText


class Quality(Frozen):
    """What was trained on what. held_out: texts kept from training; good_kept, bad_kept: the shares of them, good and
    bad, whose score of `good` is 0.5 or more, null without any.
    """

    sha256: str
    bytes: int
    good: int
    bad: int
    held_out: int
    good_kept: float | None
    bad_kept: float | None
    passed_over: tuple[str, ...]


def train(good: Sequence[str], bad: Sequence[str], out: Path) -> Quality:
    """Train a model on the texts of two sets of files, and write it to `out` in one step.

    good, bad: files of any format that is read, folders, globs; text from the column `text`. A text that is in both
    sets counts as neither. Raises RecipeError where fewer than FEWEST texts of a kind are left, and InputError for the
    first row that cannot be read.
    """
    import fasttext

    (of_good, passed), (of_bad, more) = _texts(good, GOOD), _texts(bad, BAD)
    texts = pl.concat([of_good, of_bad]).unique(["doc_id", "label"]).filter(~pl.col("doc_id").is_duplicated())
    texts = texts.with_columns(order=priorities(texts["doc_id"], "quality order")).sort("order", "doc_id")
    held = below(texts["doc_id"], "quality held out", HELD_OUT)
    learned = texts.filter(~held)
    for label, given in ((GOOD, "--good"), (BAD, "--bad")):
        count = learned.filter(label=label).height
        if count < FEWEST:
            raise RecipeError(f"{given}: {count} texts of its own to train on; give {FEWEST} or more, best thousands")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".quality-") as folder:
        lines, made = Path(folder, "lines.txt"), Path(folder, "model.bin")
        line = pl.concat_str(pl.lit(_fasttext.LABEL_PREFIX), "label", pl.lit(" "), "line").alias("line")
        lines.write_text("\n".join(learned.select(line)["line"]) + "\n", encoding="utf-8")
        model = fasttext.train_supervised(str(lines), loss="softmax", thread=1, seed=1, verbose=0, **OPTIONS)
        model.save_model(str(made))
        os.replace(made, out)
    content = out.read_bytes()
    unseen = texts.filter(held)
    scored = unseen.with_columns(kept=_fasttext.load(out).scores(_fasttext.whole(unseen["text"]), GOOD) >= 0.5)
    kept = {label: scored.filter(label=label)["kept"].mean() for label in (GOOD, BAD)}
    return Quality(
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        good=learned.filter(label=GOOD).height,
        bad=learned.filter(label=BAD).height,
        held_out=unseen.height,
        good_kept=kept[GOOD],
        bad_kept=kept[BAD],
        passed_over=tuple(map(str, (*passed, *more))),
    )


def _texts(paths: Sequence[str], label: str) -> tuple[pl.DataFrame, Sequence[Path]]:
    """Return doc_id, label, text and its line for fastText of each text that holds any, and the files passed over."""
    files, passed = readers.expand(paths)
    found = [pl.Series("text", [], pl.String).to_frame()]
    for path in files:
        with path.open("rb") as stream:
            for part in readers.parts(str(path), stream, str(path)):
                if isinstance(part, readers.BadRow):
                    raise InputError(f"{part.reason}; take it out")
                if isinstance(part, str):
                    continue
                for batch in readers.read(part.name, part.stream, part.format, part.compression, {}):
                    for bad in batch.bad[:1]:
                        raise InputError(f"{part.name}: row {bad.row}: {bad.reason}; correct it, or take it out")
                    found.append(batch.rows.select("text"))
    texts = pl.concat(found).filter(pl.col("text").str.contains(r"\S"))
    # Words that look like labels would be some; in texts that it scores fastText passes over them.
    is_label = pl.element().str.starts_with(_fasttext.LABEL_PREFIX)
    words = _fasttext.whole(texts["text"]).str.replace_all(_BLANKS, " ").str.split(" ")
    line = pl.lit(words).list.eval(pl.element().filter(~is_label)).list.join(" ")
    return texts.select(doc_ids(texts["text"]), "text", label=pl.lit(label), line=line), passed
