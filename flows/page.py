"""Page: what a run says of itself in the Prefect UI, as tables and Markdown; nothing is sent from here."""

import shlex
from collections.abc import Mapping, Sequence

from cuvee.schemas.errors import CuveeError, GateError
from cuvee.schemas.manifest import Manifest, version_name
from cuvee.schemas.report import Finding, RunReport, SourceReport, StepReport
from cuvee.schemas.visible import markdown

Row = dict[str, str | int]
_REASONS = 8  # the commonest, each with its count; the rest together
_FINDINGS = 20


def steps(figures: Mapping[str, StepReport]) -> list[Row]:
    """Return a row a step: what went in and out, and why the rest did not."""
    return [
        {
            "step": name,
            "in": step.into,
            "out": step.out,
            "dropped": sum(step.dropped.values()),
            "why": why(step.dropped),
        }
        for name, step in figures.items()
    ]


def sources(figures: Mapping[str, SourceReport]) -> list[Row]:
    """Return a row a source: where its rows have ended, and why."""
    return [
        {
            "source": name,
            "rows": source.rows,
            "published": source.kept,
            "not selected": source.pooled,
            "unreadable": source.unreadable,
            "dropped": sum(source.dropped.values()),
            "why": why(source.dropped),
        }
        for name, source in figures.items()
    ]


def why(dropped: Mapping[str, int]) -> str:
    """List reasons with their counts, the commonest first."""
    ordered = sorted(dropped.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = [f"{reason} {count:,}" for reason, count in ordered[:_REASONS]]
    rest = ordered[_REASONS:]
    return ", ".join(shown + ([f"{len(rest)} more reasons {sum(n for _, n in rest):,}"] if rest else []))


def of_report(report: RunReport, manifest: Manifest | None, parent: Manifest | None) -> str:
    """Tell how a run ended, what to do, what has changed, and what was found.

    manifest: of the version that stands now, None for a plan or before the first; parent: of the one before it.
    """
    ref = f"{report.corpus}@{version_name(report.version)}"
    share = "nothing that the ratio counts" if report.human_share is None else f"{report.human_share:.1%} human"
    figures = f"{report.documents:,} documents, {report.amount:,} {report.unit}, **{share}** (floor {report.floor:.0%})"
    if report.plan:
        head, todo = "A plan: nothing was sent or published", ["Run without `plan_only` to publish."]
    elif not report.published:
        head, todo = f"Nothing new: {ref} stands", ["Nothing."]
    else:
        head = f"Published {ref}"
        todo = ["Look at the findings below."] if report.findings else ["Nothing. Readers find it under its tag."]
    todo += [f"Look at the warning: {markdown(warning)}" for warning in report.warnings]
    return "\n\n".join(
        [
            f"## {head}",
            figures,
            *_listed("What to do", todo),
            *(_since(manifest, parent) if manifest and report.published else []),
            *_listed("Findings", [_finding(finding) for finding in report.findings[:_FINDINGS]]),
            *_listed("The mixture", [markdown(sentence) for sentence in report.mixture]),
            *_listed("Generators", _outlooks(report)),
            *_commands(report, ref),
        ]
    )


def of_error(corpus: str, error: CuveeError) -> str:
    """Tell of a run that published nothing what stopped it; what an error of cuvee says is also what to do."""
    is_gate = isinstance(error, GateError)
    head = f"Stopped: nothing of {corpus} was published" if is_gate else f"Failed: nothing of {corpus} was published"
    lines = [markdown(line) for line in str(error).splitlines() if line.strip()]
    kept = "What was finished is kept; the next run goes on from there. The version that stands is as it was."
    tables = ["The tables beside this text say where each row of this run ended."] if is_gate else []
    return "\n\n".join([f"## {head}", *_listed("Why, and what to do", lines), kept, *tables])


def _finding(finding: Finding) -> str:
    return f"**{markdown(finding.kind)}**, {markdown(finding.subject)}: {markdown(finding.message)}"


def _outlooks(report: RunReport) -> list[str]:
    return [line for name, seen in report.outlooks.items() for line in seen.as_lines(name, samples=False)]


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    return [f"### {title}", "\n".join(f"- {line}" for line in lines)] if lines else []


def _since(manifest: Manifest, parent: Manifest | None) -> list[str]:
    """Say what has changed since the version before, whole and by source."""
    if parent is None:
        return ["### Since the last version", "This is the first one."]
    now, then = by_source(manifest), by_source(parent)
    unit = manifest.mixture.unit
    lines = [
        f"| source | {unit} in {version_name(parent.version)} | {unit} now | change |",
        "|---|---:|---:|---:|",
    ]
    for source in sorted(now.keys() | then.keys()):
        before, after = (sum(amounts.get(source, {}).values()) for amounts in (then, now))
        lines.append(f"| {markdown(source)} | {before:,} | {after:,} | {after - before:+,} |")
    lines.append(_whole(then, now))
    shares = [totals.human_share for totals in (parent.totals, manifest.totals)]
    told = " → ".join("none" if share is None else f"{share:.3f}" for share in shares)
    return [f"### Since {version_name(parent.version)}", "\n".join(lines), f"Human share {told}."]


def _whole(then: Mapping[str, Mapping[str, int]], now: Mapping[str, Mapping[str, int]]) -> str:
    before, after = (sum(sum(amounts.values()) for amounts in one.values()) for one in (then, now))
    return f"| **all** | {before:,} | {after:,} | {after - before:+,} |"


def by_source(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Return source → provenance → amount of a version."""
    found: dict[str, dict[str, int]] = {}
    for file in manifest.files:
        own = found.setdefault(file.stratum.source, {})
        for provenance, amount in file.amounts.items():
            own[provenance] = own.get(provenance, 0) + amount
    return dict(sorted(found.items()))


def bounds(manifest: Manifest) -> list[tuple[str, float, float | None]]:
    """Return each bound of the mixture, all of which a published version holds: its key, what was asked and counted."""
    return [(bound.key.removeprefix("mixture."), bound.asked, bound.counted) for bound in manifest.mixture.constraints]


def _commands(report: RunReport, ref: str) -> list[str]:
    """List what to type for more; the store is named, since a page may be read anywhere."""
    if report.plan or not report.version or "`" in report.store:
        return []
    place = f" --store {shlex.quote(report.store)}" if report.store else ""
    lines = [f"cuvee show {ref}{place}", f"cuvee files {ref}{place}", f"cuvee verify {ref}{place}"]
    lines.append(f"cuvee pull {ref} ./{report.corpus}{place}")
    if report.example:
        lines.append(f"cuvee explain {report.corpus} {report.example}{place}")
    return ["### Commands", "```bash\n" + "\n".join(lines) + "\n```"]
