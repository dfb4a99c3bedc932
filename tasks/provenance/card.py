"""Card: the model card, written from what was measured; no figure in it is typed by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.evaluate import Evaluation, Rate, evaluate
from cuvee.tasks.provenance.model import load
from cuvee.tasks.provenance.train import TrainingReport
from cuvee.tasks.provenance.unseen import Unseen, UnseenPart

# Rows a table shows; groups of fewer texts than this say little.
_MIN_SHOWN = 10

_LIMITS = """\
- **Other domains and generators.** The figures under "At home" hold for texts like the training texts. On a domain
  that was left out of training the false-positive rate is another ("Away from home"); calibrate on dated human text
  of your source, or keep declarations.
- **Base-model continuations** are left out of training and hardly found.
- **Short texts**: no evidence under {words} words, and less certainty under 120.
- **Non-native essays, and other careful plain prose** are often called synthetic by detectors of this kind (Liang et
  al., arXiv 2304.02819). No such texts were in training or evaluation: the rate is not known.
- **Attacks**: prompts that imitate people, and paraphrase, lower the share found ("By attack").
- **Program text and tables**: code in answers of assistants was in training, much human code was not; expect false
  positives on files that are mostly code, unless such files were in training (see the table of domains).
- **Other languages**: trained on {languages} only; texts whose words it does not know get no probability.
- **Edited or mixed texts**: a document gets one probability; the model does not say which part a machine wrote.
- **Later generators** than those in training may write differently.
- **Selection**: options, layout and phrases were compared on such held-out texts before these were fixed; where the
  texts above are the same ones, the figures are somewhat flattered.
- **Long documents**: only the first {characters:,} characters are read.
- **Shared prompts**: several generators answered the same prompt, and the texts do not say which; groups keep source
  documents apart, not prompts, so figures on chat are somewhat flattered.
- **Prior**: probabilities suppose a share of synthetic texts of {base_rate:.2f}. Where machines wrote far less, a
  given probability overstates."""


def card(evaluation: Evaluation, training: TrainingReport | None = None, unseen: Unseen | None = None) -> str:
    """Return a model card in Markdown: what it is, where it comes from, figures, limits."""
    sections = [
        f"# Provenance model `{evaluation.model}`\n\nContent hash `{evaluation.sha256}`. It gives a text the "
        "probability that a machine wrote it: a logistic regression over words and word pairs of the layout-normalised "
        "text, calibrated on texts held out by source document.",
        *([_training(training)] if training else []),
        _figures(evaluation),
        *([_away(unseen)] if unseen else []),
        "## Limits\n\n"
        + _LIMITS.format(
            words=layout.MIN_WORDS,
            characters=layout.MAX_CHARACTERS,
            languages=", ".join(training.options.languages) if training else "the languages named in it",
            base_rate=evaluation.base_rate,
        ),
    ]
    return "\n\n".join(sections) + "\n"


def write(
    folder: Path, frame: pl.DataFrame, training: TrainingReport | None = None, unseen: Unseen | None = None
) -> Evaluation:
    """Evaluate the model in a folder on a labelled frame and write its card, CARD.md, beside it.

    Raises RecipeError as `model.load` and `evaluate` do.
    """
    evaluation = evaluate(load(str(folder)), frame)
    (folder / "CARD.md").write_text(card(evaluation, training, unseen), encoding="utf-8")
    return evaluation


def _training(training: TrainingReport) -> str:
    rows = ([s.repository, s.commit[:12] or "-", s.license, s.human, s.synthetic] for s in training.sources)
    options = ", ".join(f"{name} {value}" for name, value in training.options.model_dump().items())
    return (
        f"## Training\n\n{training.human} human and {training.synthetic} synthetic texts by {training.generators} "
        f"generators; {training.base_continuations_left_out} base-model continuations left out, "
        f"{training.kept_for_evaluation} texts kept for evaluation. {training.words} words have a weight. "
        f"Options: {options}.\n\n"
        + _table(("source", "commit", "licence", "human", "synthetic"), rows)
        + "\n\nThe model holds hashes of words and numbers, no text. Some sources forbid commercial use or state no "
        "licence (see the table); whether that reaches a model trained on them is for its user to judge."
    )


def _figures(evaluation: Evaluation) -> str:
    e = evaluation
    head = [
        ("AUROC", f"{e.auroc:.4f}"),
        ("synthetic texts found at 1% false positives", f"{e.tpr_at_fpr_001:.4f}"),
        ("at 0.1%", f"{e.tpr_at_fpr_0001:.4f}"),
        ("expected calibration error", f"{e.ece:.4f}"),
        (f"threshold for a false-positive rate of {e.max_false_positive_rate:g}", f"{e.threshold:.6f}"),
        ("probability up to which an undeclared text is human", f"{e.human_threshold:.6f}"),
    ]
    parts = [
        f"## At home\n\n{e.human} human and {e.synthetic} synthetic texts that were not in training, of "
        f"{layout.MIN_WORDS} words or more; {e.no_evidence} others got no probability.",
        _table(("figure", "value"), head),
        "### Human texts called synthetic, by domain\n\n" + _rates(e.false_positives, "called synthetic"),
        "### Synthetic texts found, by domain\n\n" + _rates(e.found_by_domain, "found"),
        "### Synthetic texts called human, by domain\n\n" + _rates(e.called_human_by_domain, "called human"),
        "### By attack\n\n" + _rates(e.found_by_attack, "found"),
        "### By length in words\n\n" + _rates(e.found_by_length, "found"),
        "AUROC by length: " + ", ".join(f"{name}: {value:.4f}" for name, value in e.auroc_by_length.items()) + ".",
        f"### By generator ({_MIN_SHOWN} texts or more, worst first)\n\n"
        + _rates(sorted((r for r in e.found_by_generator if r.texts >= _MIN_SHOWN), key=lambda r: r.rate), "found"),
    ]
    if e.base_found and e.base_auroc is not None:
        parts.append(
            f"### Base-model continuations\n\nOf {e.base_found.texts}, {e.base_found.rate:.1%} are found at the "
            f"threshold; AUROC against the human texts {e.base_auroc:.4f}."
        )
    return "\n\n".join(parts)


def _away(unseen: Unseen) -> str:
    return (
        "## Away from home\n\nEach line is a training without one domain, or one fifth of the generators, judged on "
        f"what was left out, at the threshold that passes {unseen.rate:g} of the human texts of the worst other "
        "domain; the model's own threshold is higher, so that unseen kinds pass it less often.\n\n"
        + _table(
            ("left out", "AUROC", "human called synthetic", "synthetic found"),
            (
                [p.left_out, f"{p.auroc:.4f}", _part(p, "false_positives"), _part(p, "found")]
                for p in (*unseen.domains, *unseen.generators)
            ),
        )
    )


def _part(part: UnseenPart, name: str) -> str:
    rate: Rate | None = getattr(part, name)
    return f"{rate.rate:.4f} ({rate.low:.4f}–{rate.high:.4f}, n={rate.texts})" if rate else "none there"


def _rates(rates: Iterable[Rate], verb: str) -> str:
    rows = ([r.group, r.texts, f"{r.rate:.4f}", f"{r.low:.4f}–{r.high:.4f}"] for r in rates)
    return _table(("group", "texts", verb, "95% interval"), rows)


def _table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    lines: list[Iterable[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
