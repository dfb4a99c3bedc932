"""Commands that read and move what is published: versions, show, files, diff, verify, pull, tag, rollback, explain."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cuvee.commands.shared import answer, json_option, store_option, table
from cuvee.dataset import Dataset, open_dataset
from cuvee.schemas.errors import IntegrityError, RecipeError
from cuvee.schemas.manifest import Manifest, TagEntry, parse_version, version_name
from cuvee.storage.corpus import load_manifest, move_tag, read_tag, resolve, tags
from cuvee.storage.corpus import versions as list_versions
from cuvee.storage.store import open_store, store_uri

if TYPE_CHECKING:
    import polars as pl


@click.command()
@click.argument("corpus")
@store_option
@json_option
def versions(corpus: str, store: str | None, as_json: bool) -> None:
    """List the versions of CORPUS."""
    place = open_store(store_uri(store))
    resolve(place, corpus)
    pointing: dict[int, list[str]] = {}
    for name in tags(place, corpus):
        if entry := read_tag(place, corpus, name):
            pointing.setdefault(entry.version, []).append(name)
    manifests = [load_manifest(place, corpus, number) for number in list_versions(place, corpus)]
    found = [{**_summary(m), "tags": pointing.get(m.version, [])} for m in manifests]
    if as_json:
        answer(found)
        return
    table(
        ["version", "created", "documents", "amount", "human share", "tags"],
        [
            [f["version"], f["created"], f["documents"], f["amount"], f["human_share"], " ".join(f["tags"])]
            for f in found
        ],
    )


@click.command()
@click.argument("ref")
@store_option
@json_option
def show(ref: str, store: str | None, as_json: bool) -> None:
    """Show what REF is: totals, strata, proof of the mixture, reports."""
    dataset = open_dataset(ref, store)
    if as_json:
        answer(dataset.manifest.model_dump(mode="json"))
        return
    with dataset.store.open(dataset.report("README.md").path) as card:
        text = card.read().decode()
    click.echo(text.split("---\n\n", 1)[-1])


@click.command()
@click.argument("ref")
@click.option("--split", type=click.Choice(["train", "validation"]), help="Only this split.")
@store_option
@json_option
def files(ref: str, split: Any, store: str | None, as_json: bool) -> None:
    """Print the files of REF, one path a line."""
    found = open_dataset(ref, store).files(split)
    if as_json:
        answer(found)
    else:
        click.echo("\n".join(found))


@click.command()
@click.argument("old")
@click.argument("new")
@store_option
@json_option
def diff(old: str, new: str, store: str | None, as_json: bool) -> None:
    """Compare two versions: documents, amounts by source, files, recipe."""
    before, after = open_dataset(old, store), open_dataset(new, store)
    ids_before, ids_after = _doc_ids(before), _doc_ids(after)
    kept_files = {file.sha256 for file in before.manifest.files} & {file.sha256 for file in after.manifest.files}
    tree = {
        "from": _summary(before.manifest),
        "to": _summary(after.manifest),
        "documents": {
            "added": len(ids_after - ids_before),
            "removed": len(ids_before - ids_after),
            "same": len(ids_after & ids_before),
        },
        "files": {
            "shared": len(kept_files),
            "bytes_shared": sum(file.bytes for file in after.manifest.files if file.sha256 in kept_files),
            "bytes_new": sum(file.bytes for file in after.manifest.files if file.sha256 not in kept_files),
        },
        "amounts": _changes(_by_source(before.manifest), _by_source(after.manifest)),
        "recipe": _changes(_flat(before.manifest.recipe), _flat(after.manifest.recipe)),
    }
    if as_json:
        answer(tree)
        return
    for name in ("from", "to"):
        summary: Any = tree[name]
        click.echo(
            f"{before.manifest.corpus}@{summary['version']}: {summary['documents']:,} documents, {summary['amount']:,} "
            f"{summary['unit']}, human share {summary['human_share']}"
        )
    click.echo("documents: {added:,} added, {removed:,} removed, {same:,} the same".format(**tree["documents"]))
    click.echo("files: {shared} shared, {bytes_new:,} bytes new".format(**tree["files"]))
    for name in ("amounts", "recipe"):
        changes: Any = tree[name]
        for key, (was, becomes) in changes.items():
            click.echo(f"  {name[:-1] if name == 'amounts' else name} {key}: {was} → {becomes}")


@click.command()
@click.argument("ref")
@store_option
@json_option
def verify(ref: str, store: str | None, as_json: bool) -> None:
    """Check every byte and count of REF against its manifest."""
    dataset = open_dataset(ref, store)
    faults = list(dataset.verify())
    manifest = dataset.manifest
    if as_json:
        answer({"version": manifest.ref, "files": len(manifest.files), "ok": not faults, "faults": faults})
    elif not faults:
        click.echo(
            f"{manifest.ref} is whole: {len(manifest.files)} files, {manifest.totals.documents:,} documents, "
            f"{sum(file.bytes for file in manifest.files):,} bytes, human share {manifest.totals.human_share}"
        )
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise IntegrityError(
            f"{manifest.ref} is damaged:\n{lines}\nrestore these files, or roll back to another version"
        )


@click.command()
@click.argument("ref")
@click.argument("folder", type=click.Path(path_type=Path))
@store_option
@json_option
def pull(ref: str, folder: Path, store: str | None, as_json: bool) -> None:
    """Copy REF into FOLDER: data/, manifest.json, README.md."""
    dataset = open_dataset(ref, store)
    paths = dataset.pull(folder)
    if as_json:
        answer({"version": dataset.manifest.ref, "files": [str(path) for path in paths]})
    else:
        click.echo(f"{dataset.manifest.ref}: {len(paths)} files in {folder / 'data'}, with manifest.json and README.md")


@click.command()
@click.argument("ref")
@click.argument("name")
@store_option
def tag(ref: str, name: str, store: str | None) -> None:
    """Point the tag NAME at REF."""
    if parse_version(name) is not None or not name.replace("-", "").replace("_", "").isalnum():
        raise RecipeError(f"{name!r} is not a tag; use letters, digits, - and _, and not the form of a version")
    _move(ref, name, store, "tag")


@click.command()
@click.argument("corpus")
@click.argument("version")
@click.option("--tag", "name", default="latest", show_default=True, help="The tag to move.")
@store_option
def rollback(corpus: str, version: str, name: str, store: str | None) -> None:
    """Move a tag of CORPUS back to VERSION; it stays there until `cuvee tag` moves it."""
    _move(f"{corpus}@{version}", name, store, "rollback")


@click.command()
@click.argument("corpus")
@click.argument("doc_id")
@store_option
@json_option
def explain(corpus: str, doc_id: str, store: str | None, as_json: bool) -> None:
    """Tell what became of a document: CORPUS (or a REF), DOC_ID (or its first digits, or a source's own id)."""
    from cuvee.commands.story import rows_of, tell

    dataset = open_dataset(corpus, store)
    rows = rows_of(dataset, doc_id)
    if as_json:
        answer({"version": dataset.manifest.ref, "rows": rows})
    else:
        for line in tell(dataset, rows):
            click.echo(line)


def _move(ref: str, name: str, store: str | None, by: Any) -> None:
    place = open_store(store_uri(store))
    manifest = resolve(place, ref)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    move_tag(place, manifest.corpus, name, TagEntry(version=manifest.version, by=by, created=created))
    click.echo(f"{manifest.corpus}@{name} is {version_name(manifest.version)} now")


def _summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "version": version_name(manifest.version),
        "created": manifest.created,
        "documents": manifest.totals.documents,
        "amount": manifest.totals.amount,
        "unit": manifest.mixture["unit"],
        "human_share": manifest.totals.human_share,
    }


def _doc_ids(dataset: Dataset) -> set[str]:
    ids: pl.DataFrame = dataset.scan(None).select("doc_id").collect()
    return set(ids["doc_id"])


def _by_source(manifest: Manifest) -> dict[str, int]:
    sums: dict[str, int] = {}
    for file in manifest.files:
        sums[file.stratum.source] = sums.get(file.stratum.source, 0) + file.amount
    return sums


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, dict | list) and tree:
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {key: value for name, node in pairs for key, value in _flat(node, f"{path}.{name}".lstrip(".")).items()}
    return {path: tree}


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted(old.keys() | new.keys())
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


COMMANDS = [versions, show, files, diff, verify, pull, tag, rollback, explain]
