"""Commands that read and move what is published: versions, show, files, diff, verify, pull, tag, rollback, explain."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click

from cuvee.commands.announce import announce
from cuvee.commands.shared import answer, json_option, say, store_option, table
from cuvee.comparison import compare
from cuvee.dataset import open_dataset
from cuvee.schemas.errors import IntegrityError, RecipeError
from cuvee.schemas.manifest import Manifest, TagEntry, parse_ref, parse_version, version_name
from cuvee.storage.copies import CARD
from cuvee.storage.corpus import load_manifest, move_tag, read_tag, resolve, tags
from cuvee.storage.corpus import versions as list_versions
from cuvee.storage.store import Store, open_store, store_uri
from cuvee.storage.trust import parse_tree

# A tag is a folder's name in the store, and a word in commands.
_TAG = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@click.command()
@click.argument("corpus")
@store_option
@json_option
def versions(corpus: str, store: str | None, as_json: bool) -> None:
    """List the versions of CORPUS, oldest first, and the tags that point to them."""
    place = open_store(store_uri(store))
    corpus, _ = parse_ref(corpus)
    numbers = list_versions(place, corpus)
    if not numbers:
        resolve(place, corpus)  # raises, naming the corpora that there are
    pointing = _tags_by_version(place, corpus)
    found = [
        {**_summary(m), "tags": pointing.pop(m.version, [])}
        for m in (load_manifest(place, corpus, number) for number in numbers)
    ]
    if as_json:
        answer(found)
    else:
        table(
            ["version", "created", "documents", "amount", "human share", "tags"],
            [
                [
                    *(f[name] for name in ("version", "created", "documents", "amount")),
                    _share(f["human_share"]),
                    " ".join(f["tags"]),
                ]
                for f in found
            ],
        )
    for number, names in pointing.items():
        for name in names:
            say(
                f"cuvee: {corpus}@{name} points to {version_name(number)}, which is missing; restore its manifest, or "
                f"move the tag: cuvee tag {corpus}@{version_name(numbers[-1])} {name}",
                err=True,
            )


@click.command()
@click.argument("ref")
@store_option
@json_option
def show(ref: str, store: str | None, as_json: bool) -> None:
    """Show the card of REF: amounts by split and stratum, what each step dropped of each source, findings, limits.

    REF is corpus, corpus@latest or another tag, or corpus@v0007. --json prints the whole manifest, and where the rows
    of each source ended.
    """
    dataset = open_dataset(ref, store)
    card = dataset.find_report(CARD)
    if as_json:
        told = dataset.find_report("sources.json")
        place = dataset.store.location(told.path) if told else ""
        sources = parse_tree(dataset.read_report("sources.json"), place) if told else None
        answer({**dataset.manifest.model_dump(mode="json"), "sources": sources})
    elif card is None:
        say(f"{_line(dataset.manifest)}\n(this version has no card; all that is known of it: --json)")
    else:
        text = dataset.read_report(CARD).decode(errors="replace")
        say(text.split("---\n\n", 1)[-1])


@click.command()
@click.argument("ref")
@click.option("--split", type=click.Choice(["train", "validation"]), help="Only this split; default: both.")
@store_option
@json_option
def files(ref: str, split: Any, store: str | None, as_json: bool) -> None:
    """Print the Parquet files of REF, one absolute path or s3:// URL a line; nothing when there are none.

    The list stays right: published files never change, and versions share those that did not.
    """
    found = open_dataset(ref, store).files(split)
    if as_json:
        answer(found)
    else:
        for path in found:
            say(path)


@click.command()
@click.argument("old")
@click.argument("new")
@store_option
@json_option
def diff(old: str, new: str, store: str | None, as_json: bool) -> None:
    """Compare the versions OLD and NEW: documents, amounts by source, files, recipe.

    Only files that the two do not share are read, and of them only the column doc_id.
    """
    before, after = open_dataset(old, store), open_dataset(new, store)
    tree = {"from": _summary(before.manifest), "to": _summary(after.manifest), **compare(before, after)}
    if as_json:
        answer(tree)
        return
    say(_line(before.manifest))
    say(_line(after.manifest))
    say("documents: {added:,} added, {removed:,} removed, {same:,} the same".format(**tree["documents"]))
    say("files: {shared} shared, {bytes_new:,} bytes new".format(**tree["files"]))
    for name in ("amounts", "recipe"):
        changes: Any = tree[name]
        for key, (was, becomes) in changes.items():
            say(f"  {name[:-1] if name == 'amounts' else name} {key}: {_shown(was)} → {_shown(becomes)}")


@click.command()
@click.argument("ref")
@store_option
@json_option
def verify(ref: str, store: str | None, as_json: bool) -> None:
    """Check REF against its manifest: every published byte, every count, and the files of its pool.

    Published files and reports are read whole, hashed and counted again. The pool, which readers do without, is not
    hashed: its files must stand with their recorded sizes. Exit 1 when anything is wrong, with a line for each fault.
    """
    from cuvee.storage.integrity import pool_files

    dataset = open_dataset(ref, store)
    faults = list(dataset.verify())
    manifest = dataset.manifest
    if as_json:
        answer({"version": manifest.ref, "files": len(manifest.files), "ok": not faults, "faults": faults})
    elif not faults:
        say(
            f"{manifest.ref} is whole: {len(manifest.files)} files, {manifest.totals.documents:,} documents, "
            f"{sum(file.bytes for file in manifest.files):,} bytes, human share {_share(manifest.totals.human_share)}; "
            f"the {len(pool_files(dataset.store, manifest))} files of its pool stand with their sizes (not hashed)"
        )
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise IntegrityError(
            f"{manifest.ref} is damaged:\n{lines}\nrestore these files from a backup, or go back to a whole version: "
            f"cuvee rollback {manifest.corpus} VERSION"
        )


@click.command()
@click.argument("ref")
@click.argument("folder", type=click.Path(path_type=Path))
@store_option
@json_option
def pull(ref: str, folder: Path, store: str | None, as_json: bool) -> None:
    """Copy REF into FOLDER: data/, manifest.json, README.md.

    FOLDER is new or an earlier pull, whose files below data/ that REF does not name are removed. A folder with a data/,
    manifest.json or README.md of your own is refused and left as it is. An interrupted pull is completed by the next.
    """
    dataset = open_dataset(ref, store)
    paths = dataset.pull(folder)
    if as_json:
        answer({"version": dataset.manifest.ref, "files": [str(path) for path in paths]})
    else:
        beside = "manifest.json and README.md" if dataset.find_report(CARD) else "manifest.json; it has no card"
        say(f"{dataset.manifest.ref}: {len(paths)} files in {folder / 'data'}, with {beside}")


@click.command()
@click.argument("ref")
@click.argument("name")
@store_option
def tag(ref: str, name: str, store: str | None) -> None:
    """Point the tag NAME, new or not, at the version REF; readers then find it as corpus@NAME."""
    place = open_store(store_uri(store))
    _move(place, resolve(place, ref), name, "tag")


@click.command()
@click.argument("corpus")
@click.argument("version")
@click.option("--tag", "name", default="latest", show_default=True, help="The tag to move; it must exist.")
@store_option
def rollback(corpus: str, version: str, name: str, store: str | None) -> None:
    """Move a tag of CORPUS back to VERSION (written v0007).

    Runs go on publishing versions, but the tag stays there until `cuvee tag` moves it.
    """
    place = open_store(store_uri(store))
    plain, _ = parse_ref(corpus)
    known = [version_name(number) for number in list_versions(place, plain)]
    if plain != corpus or (known and parse_version(version) is None):
        raise RecipeError(
            f"rollback {corpus} {version}: give the name of a corpus, then a version of it as it is listed; "
            f"versions of {plain}: {', '.join(known) or 'none'}"
        )
    _move(place, resolve(place, f"{plain}@{version}"), name, "rollback")
    say(f"  it stays there; to follow new versions again: cuvee tag {plain}@{known[-1]} {name}")


@click.command()
@click.argument("corpus")
@click.argument("name", metavar="DOC_ID")
@store_option
@json_option
def explain(corpus: str, name: str, store: str | None, as_json: bool) -> None:
    """Tell what became of rows of CORPUS (or of a REF): kept, pooled, dropped or unreadable, at which step, and why.

    Of CORPUS the last run is told, also one that published nothing; of a REF with a tag or version that version.

    DOC_ID may also be a source's own id, the name of a source file, which finds its unreadable rows too, or the SHA-256
    of a source file; of a doc_id and a SHA-256 the first 6 digits do. At most 20 rows are told; --json gives all.
    """
    from cuvee.commands.story import ledger_of, rows_of, tell

    ledger = ledger_of(corpus, store, name)
    rows = rows_of(ledger, name)
    if as_json:
        run = {"run_id": ledger.end.run_id, "outcome": ledger.end.outcome} if ledger.end else None
        answer({"version": ledger.ref, "run": run, "rows": rows})
    else:
        for line in tell(ledger, rows):
            say(line)


def _move(place: Store, manifest: Manifest, name: str, by: Literal["tag", "rollback"]) -> None:
    """Move a tag; raises RecipeError for a name that is no tag, and for a rollback of a tag that does not exist."""
    if parse_version(name) is not None or not _TAG.fullmatch(name):
        raise RecipeError(
            f"{name!r} is not a tag; use up to 63 letters, digits, - and _, a letter or digit first, and not the "
            "form of a version"
        )
    known = tags(place, manifest.corpus)
    alike = [other for other in known if other != name and other.lower() == name.lower()]
    if alike:
        raise RecipeError(
            f"{name!r} is the tag {alike[0]} but for its case, which some disks do not tell; name another"
        )
    if by == "rollback" and name not in known:
        raise RecipeError(
            f"{manifest.corpus} has no tag {name!r} to roll back; tags: {', '.join(known) or 'none'} (--tag); "
            f"a new one is made by: cuvee tag {manifest.ref} {name}"
        )
    created = datetime.now(UTC).isoformat(timespec="seconds")
    move_tag(place, manifest.corpus, name, TagEntry(version=manifest.version, by=by, created=created))
    say(f"{manifest.corpus}@{name} is {version_name(manifest.version)} now")
    announce(place, manifest.corpus)


def _tags_by_version(place: Store, corpus: str) -> dict[int, list[str]]:
    pointing: dict[int, list[str]] = {}
    for name in tags(place, corpus):
        if entry := read_tag(place, corpus, name):
            pointing.setdefault(entry.version, []).append(name)
    return pointing


def _summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "corpus": manifest.corpus,
        "version": version_name(manifest.version),
        "created": manifest.created,
        "documents": manifest.totals.documents,
        "amount": manifest.totals.amount,
        "unit": manifest.mixture.unit,
        "human_share": manifest.totals.human_share,
    }


def _line(manifest: Manifest) -> str:
    totals = manifest.totals
    return (
        f"{manifest.ref}: {totals.documents:,} documents, {totals.amount:,} {manifest.mixture.unit}, "
        f"human share {_share(totals.human_share)}, published {manifest.created}"
    )


def _share(share: float | None) -> str:
    return "none counted" if share is None else f"{share:g}"


def _shown(value: object) -> str:
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


COMMANDS = [versions, show, files, diff, verify, pull, tag, rollback, explain]
