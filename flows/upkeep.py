"""Upkeep: see once a week that what was published is still there, byte for byte."""

from prefect import flow
from prefect.runtime import flow_run

from cuvee.flows import deployed, outcome
from cuvee.flows.names import corpus_of, day_of
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import IntegrityError, RecipeError
from cuvee.schemas.manifest import Manifest
from cuvee.storage import secrets
from cuvee.storage.corpus import load_manifest, read_tag, tags, versions
from cuvee.storage.integrity import faults
from cuvee.storage.store import Store
from cuvee.tasks.begin import check

_NAMED = 20  # faults in a state's message; `cuvee verify` names all of a version


class Checked(Frozen):
    """What was read. refs: the versions, files: of data, each counted once, size: their bytes."""

    refs: tuple[str, ...]
    files: int
    size: int


def _name() -> str:
    return f"{corpus_of(str(flow_run.parameters.get('recipe', '')))} {day_of(flow_run.scheduled_start_time)} upkeep"


@flow(name="upkeep", flow_run_name=_name, persist_result=False)
def upkeep(recipe: str, store: str | None = None) -> Checked:
    """Read every byte of the newest version and of those that tags point to, as `cuvee verify` does.

    Args:
        recipe: The deployed recipe, which names corpus and store.
        store: The deployed store. None: as the recipe says.
    """

    def work() -> Checked:
        secrets.guard_logs()
        deployed.check(deployed.parameters(), recipe, store)
        run, place, _ = check(recipe, (), store, "upkeep")
        return verified(place, run.corpus)

    return outcome.told(work, _said)


def verified(store: Store, corpus: str) -> Checked:
    """Verify the versions that readers may ask for; raises IntegrityError that names what is wrong, RecipeError where
    nothing is published.
    """
    found: list[tuple[str, str]] = []
    manifests = read_by_name(store, corpus)
    for manifest in manifests:
        found += [(manifest.ref, fault) for fault in faults(store, manifest)]
    if found:
        lines = [f"{ref}: {fault}" for ref, fault in found[:_NAMED]]
        raise IntegrityError(
            f"{corpus} is damaged, {len(found)} faults; restore these files from a backup, or go back to a whole "
            f"version: cuvee rollback {corpus} VERSION\n" + "\n".join(lines)
        )
    files = {file.path: file.bytes for manifest in manifests for file in manifest.files}
    return Checked(refs=tuple(one.ref for one in manifests), files=len(files), size=sum(files.values()))


def read_by_name(store: Store, corpus: str) -> list[Manifest]:
    """Return the newest version and those that tags point to, oldest first; raises RecipeError where there are none."""
    published = versions(store, corpus)
    if not published:
        raise RecipeError(f"{corpus} has no version in {store.uri} yet; there is nothing to verify")
    pointed = (read_tag(store, corpus, tag) for tag in tags(store, corpus))
    wanted = {published[-1], *(entry.version for entry in pointed if entry)}
    return [load_manifest(store, corpus, version) for version in sorted(wanted)]


def _said(checked: Checked) -> tuple[str, str]:
    size = f"{checked.size / 1e6:,.1f} MB"
    return "Whole", f"Whole: {', '.join(checked.refs)}; {checked.files:,} files, {size}, read and counted again"
