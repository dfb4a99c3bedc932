"""Card: tell people what is in a version, in the form of a dataset card."""

from collections.abc import Mapping, Sequence

from cuvee.schemas.manifest import Manifest, Totals
from cuvee.schemas.marking import KEY
from cuvee.schemas.report import Accounts, Guarded, SourceReport, StepReport
from cuvee.schemas.visible import markdown
from cuvee.storage.copies import CARD
from cuvee.tasks.guard.provenance import Provenance
from cuvee.tasks.provenance.prevalence import Estimate
from cuvee.tasks.publish.documents import Told


def write(told: Told) -> Mapping[str, bytes]:
    """Return README.md: Markdown, with the YAML head that dataset hubs read; all figures are counted."""
    return {CARD: _card(told.manifest, told.accounts, told.guarded).encode()}


def _card(manifest: Manifest, accounts: Accounts, guarded: Guarded) -> str:
    unit, bounds = manifest.mixture.unit, manifest.mixture.bounds
    share = manifest.totals.human_share
    lines = [
        *_head(manifest),
        f"# {manifest.ref}",
        "",
        f"{manifest.totals.documents:,} documents, {manifest.totals.amount:,} {unit}, published {manifest.created}.",
        f"Human share: {'none counted' if share is None else f'{share:.4f}'}; the recipe's bounds are "
        f"{bounds.min:g} to {bounds.max:g}, recounted from the published files.",
        "",
        "Synthetic text is marked in every row: `provenance`, `origin`, `generator`, `model`, `depth`, `seed_ids`.",
        "",
        "## What is in it",
        "",
        *_table(["split", "documents", unit, "human", "synthetic", "unknown"], _splits(manifest)),
        "",
        *_table(["source", "provenance", "domain", "language", "depth", "documents", unit], _strata(manifest)),
        "",
        "## How it came about",
        "",
        *_table(["step", "in", "out", "dropped"], _steps(accounts.steps)),
        "",
        *_table(["source", "rows", "kept", "pooled", "unreadable", "dropped"], _ended(accounts.sources)),
        "",
        *_sources(manifest),
        "",
        "## Who wrote it",
        "",
        "Documents that came as far as the classifier, by what was declared and what the evidence says.",
        "Machine-written: estimated share of those that are neither drafts nor declared synthetic, with its 95%",
        "interval. Wrongly suspected: human documents that the classifier is expected to call synthetic at its rate.",
        "",
        *_table(
            ["source", "declared", "concluded", "suspects", "wrongly suspected", "machine-written", "calibrated on it"],
            _provenance(guarded),
        ),
        "",
        "## Marks",
        "",
        *_marks(manifest),
        "",
        "## Findings",
        "",
        *([f"- {markdown(finding.message)}" for finding in guarded.findings] or ["None."]),
        "",
        "## Limits",
        "",
        "Provenance is concluded from declarations, lineage, dates, phrases and a classifier. The classifier is set to",
        f"suspect at most {manifest.recipe['provenance']['max_false_positive_rate']:.1%} of human text of the kinds it "
        "was calibrated on; on other kinds it may err more",
        "often, and it says nothing of texts under 80 words. Personal data is masked by pattern, so some may be left.",
        "Licences are as declared by the sources.",
        "",
        f"Recipe {manifest.recipe_sha256[:12]}, run {manifest.run_id}, "
        + ", ".join(f"{name} model {value[:12]}" for name, value in sorted(manifest.models.items()))
        + ". The manifest names every file with its SHA-256.",
        "",
    ]
    return "\n".join(lines)


def _head(manifest: Manifest) -> list[str]:
    return [
        "---",
        f"pretty_name: {manifest.ref}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *(
            line
            for split in ("train", "validation")
            if any(file.split == split for file in manifest.files)
            for line in (f"  - split: {split}", f'    path: "data/{split}/*.parquet"')
        ),
        "---",
        "",
    ]


def _splits(manifest: Manifest) -> list[list[object]]:
    def row(name: str, totals: Totals) -> list[object]:
        amounts = totals.by_provenance
        return [name, totals.documents, totals.amount, *(amounts.get(p, 0) for p in ("human", "synthetic", "unknown"))]

    return [row(name, totals) for name, totals in manifest.splits.items()]


def _strata(manifest: Manifest) -> list[list[object]]:
    sums: dict[tuple[object, ...], list[int]] = {}
    for file in manifest.files:
        s = file.stratum
        entry = sums.setdefault((s.source, s.provenance, s.domain, s.language, s.depth), [0, 0])
        entry[0] += file.rows
        entry[1] += file.amount
    return [
        [*stratum, *counted] for stratum, counted in sorted(sums.items(), key=lambda entry: tuple(map(str, entry[0])))
    ]


def _steps(steps: Mapping[str, StepReport]) -> list[list[object]]:
    return [[name, step.into, step.out, _counts(step.dropped)] for name, step in steps.items()]


def _ended(sources: Mapping[str, SourceReport]) -> list[list[object]]:
    return [[name, s.rows, s.kept, s.pooled, s.unreadable, _counts(s.dropped)] for name, s in sources.items()]


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in found.items()) or "-"


def _provenance(guarded: Guarded) -> list[list[object]]:
    """Tell what the evidence says, a row a source."""

    def share(best: Estimate | None) -> str:
        return f"{best.share:.1%} ({best.low:.1%} to {best.high:.1%})" if best else "not judged"

    return [
        [
            name,
            _counts(found.declared),
            _counts(found.concluded),
            found.suspects,
            found.expected_wrong,
            share(found.prevalence.best),
            "yes" if found.calibrated else "no",
        ]
        for figures in guarded.figures.values()
        if isinstance(figures, Provenance)
        for name, found in figures.sources.items()
    ]


def _marks(manifest: Manifest) -> list[str]:
    """Tell what the files say of themselves, and of the version what they cannot say."""
    published = {file.stratum.source for file in manifest.files}
    made = [
        f"{entry['name']} ({entry['generator']}, model {markdown(entry['model'] or 'none')})"
        for entry in manifest.recipe["generate"]
        if entry["name"] in published
    ]
    amount, synthetic = manifest.totals.amount, manifest.totals.by_provenance.get("synthetic", 0)
    share = f"{synthetic / amount:.4f} of the {manifest.mixture.unit}" if amount else "none counted"
    if manifest.recipe["publish"]["marking"] == "metadata":
        says = f"Each data file says in its Parquet metadata, under the key `{KEY}`, that cuvee published it, in which"
        files = [says, "corpus, the provenance of its rows, the share of synthetic ones, and the generators they name."]
    else:
        files = ["The data files carry no mark (`publish.marking: none`)."]
    return [
        *files,
        f"Synthetic share of the version: {share}. Generators of this corpus: {', '.join(made) or 'none'}. Synthetic",
        "rows of sources name theirs in `generator` and `model`, where the source does.",
        "The manifest names this card and every data file by SHA-256, so neither can hold the manifest's own: hash the",
        "manifest itself, which lies beside this card as `manifest.json` where the version was pulled.",
    ]


def _sources(manifest: Manifest) -> list[str]:
    lines = ["Sources, as declared:", ""]
    for source in manifest.recipe["sources"]:
        license = source["license"] or "as each row says"
        origin = source["origin_field"] or source["origin"]
        lines.append(f"- {source['name']}: origin {markdown(origin)}, licence {markdown(license)}")
    for entry in manifest.recipe["generate"]:
        lines.append(
            f"- {entry['name']}: generated by {entry['generator']}, model {markdown(entry['model'] or 'none')}"
        )
    return lines


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    shown = [[f"{cell:,}" if isinstance(cell, int) else markdown(str(cell)) for cell in row] for row in rows]
    return [
        "| " + " | ".join(names) + " |",
        "|" + " --- |" * len(names),
        *("| " + " | ".join(row) + " |" for row in shown),
    ]
