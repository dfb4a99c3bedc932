"""Training: pull a published version, count it again, and hand its folder to a command, once a version.

In a home of its own: `v0007/` the version, `v0007.log` what the command wrote, `finished/v0007.json` once the command
has ended well. An interrupted pull or command is begun again; the folder of the version trained before is kept.
"""

import fcntl
import json
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import polars as pl

from cuvee.schemas.amounts import counted_columns
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import CuveeError, IntegrityError, RecipeError
from cuvee.schemas.manifest import Manifest, version_name
from cuvee.storage.copies import CARD, copied, copy_version
from cuvee.storage.corpus import resolve
from cuvee.storage.integrity import miscount
from cuvee.storage.store import Store

KEPT = 2  # folders of versions: the one in training, and the one before, for whoever still reads it
_LAST_LINES = 5
_logger = logging.getLogger("cuvee.training")


class Trained(Frozen):
    """What became of a version. done: whether the command ran now; else it had ended well before.

    folder: of the version; documents, amount: as counted in the pulled files, amount in `unit` with epochs.
    """

    ref: str
    done: bool
    folder: str
    documents: int = 0
    amount: int = 0
    unit: str = ""


def run(store: Store, ref: str, corpus: str, command: Sequence[str], home: Path) -> Trained:
    """Pull, verify, count, and run `command` with the version's folder as its last argument, without a shell.

    ref: of the corpus. command: an absolute path and arguments. home: absolute; it is made. Two calls take turns.
    Does nothing for a version that the command has finished.
    Raises RecipeError for a reference to another corpus or to no version, IntegrityError where the pulled files are not
    what the manifest says, CuveeError where the command fails.
    """
    manifest = resolve(store, ref)
    if manifest.corpus != corpus:
        raise RecipeError(f"{ref}: this is for {corpus}; give a reference to one of its versions")
    name = version_name(manifest.version)
    folder, mark = home / name, home / "finished" / f"{name}.json"
    with _one_at_a_time(home) as lock:
        if mark.exists():
            return Trained(ref=manifest.ref, done=False, folder=str(folder))
        documents = pull(store, manifest, folder)
        amount, unit = manifest.totals.amount, manifest.mixture.unit
        _logger.info("%s is in %s: %s documents, %s %s, as published", manifest.ref, folder, documents, amount, unit)
        _call([*command, str(folder)], home, home / f"{name}.log", lock, manifest.ref)
        _finish(mark, manifest.ref, command)
        _forget(home, manifest.version)
    return Trained(ref=manifest.ref, done=True, folder=str(folder), documents=documents, amount=amount, unit=unit)


def pull(store: Store, manifest: Manifest, folder: Path) -> int:
    """Copy a version, and count it again from the copies; return its documents.

    Files that an earlier version's folder beside this one holds are linked, not fetched.
    Raises IntegrityError where bytes, rows or amounts are not those of the manifest.
    """
    card = next((ref for ref in manifest.reports if ref.path.endswith(f"/{CARD}")), None)
    copy_version(store, manifest, card, folder, _before(folder.parent, manifest.version))
    proof, documents = manifest.mixture, 0
    for path, file in copied(manifest, folder).items():
        rows = pl.read_parquet(path, columns=counted_columns(proof.unit, proof.unknown_as))
        fault = miscount(rows, file, proof, str(path))
        if fault:
            raise IntegrityError(fault)
        documents += rows.height
    return documents


def _before(home: Path, version: int) -> Path | None:
    """Return the folder of the newest other version that was pulled whole."""
    return next((folder for number, folder in _pulled(home) if number != version), None)


def _pulled(home: Path) -> list[tuple[int, Path]]:
    """Return numbers and folders of the versions that were pulled whole, newest first."""
    found = [folder for folder in home.iterdir() if re.fullmatch(r"v\d{4,}", folder.name) and not folder.is_symlink()]
    return sorted(((int(one.name[1:]), one) for one in found if (one / "manifest.json").is_file()), reverse=True)


def _call(command: Sequence[str], home: Path, log: Path, lock: IO[str], ref: str) -> None:
    """Run the command in `home`. It holds the lock too: should this process die, nobody begins a second one beside it.

    What belongs to the runs of cuvee, such as the login of their server, is not in its environment.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CUVEE_"))}
    with log.open("ab") as out:
        try:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=own,
                pass_fds=[lock.fileno()],
            )
        except OSError as error:
            raise CuveeError(f"the training command {command[0]} cannot be started: {error.strerror}") from None
        try:
            code = child.wait()
        except BaseException:
            child.terminate()
            raise
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
    for line in lines:
        _logger.info("%s: %s", ref, line)
    if code:
        said = lines[-1].strip() if lines else "it said nothing"
        raise CuveeError(
            f"the training command ended with {code} for {ref} ({said}); its log is {log}; "
            "it is tried again with the next version, or when you run this deployment again"
        )


def _finish(mark: Path, ref: str, command: Sequence[str]) -> None:
    """Write down, in one step, that the command has ended well."""
    mark.parent.mkdir(exist_ok=True)
    draft = mark.with_suffix(".new")
    tree = {"ref": ref, "finished": datetime.now(UTC).isoformat(timespec="seconds"), "command": list(command)}
    draft.write_text(json.dumps(tree) + "\n", encoding="utf-8")
    draft.replace(mark)


def _forget(home: Path, version: int) -> None:
    """Remove the folders of earlier trainings, but for the newest."""
    others = [folder for number, folder in _pulled(home) if number != version]
    for folder in others[KEPT - 1 :]:
        shutil.rmtree(folder)


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[IO[str]]:
    """Hold the lock on a home; wait for it, and say so."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _logger.info("a training command still runs in %s: waiting for its end", home)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
