"""Copies: a version in a folder of its own, apart from the store.

The folder is claimed before the first copy by `manifest.json.part`, and `manifest.json` is written last, by rename:
without it the copy is not whole.
"""

import hashlib
import json
from pathlib import Path

from cuvee.schemas.errors import CuveeError, IntegrityError, RecipeError
from cuvee.schemas.manifest import DataFile, Manifest
from cuvee.schemas.records import FileRef
from cuvee.storage.store import Store
from cuvee.storage.trust import MOST_JSON_BYTES, parse_manifest

MANIFEST, CLAIM, CARD = "manifest.json", "manifest.json.part", "README.md"


def copied(manifest: Manifest, target: Path) -> dict[Path, DataFile]:
    """Return where the data files of a version are in its copy."""
    return {target / "data" / file.split / file.path.rsplit("/", 1)[-1]: file for file in manifest.files}


def copy_version(
    store: Store, manifest: Manifest, card: FileRef | None, target: Path, beside: Path | None = None
) -> list[Path]:
    """Copy a version into a folder: data/<split>/…, README.md, manifest.json; return the data files, sorted.

    card: the report that becomes README.md; None leaves none. Files that stand already are kept, files below data/
    that the manifest does not name are removed. An interrupted copy is completed by the next one.
    beside: the copy of another version; files that it holds whole become hard links, where the file system has them.
    Raises RecipeError, and touches nothing, when the folder holds what no pull wrote; IntegrityError when a copy does
    not have its recorded bytes.
    """
    _check_is_ours(target)
    target.mkdir(parents=True, exist_ok=True)
    claim = target / CLAIM
    claim.write_text(json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    names = copied(manifest, target)
    for path, file in names.items():
        if not (_is_whole(path, file) or (beside and _link(beside / path.relative_to(target), path, file))):
            _copy(store, file, path)
    if card is None:
        (target / CARD).unlink(missing_ok=True)
    else:
        _copy(store, card, target / CARD)
    for path in _files_below(target / "data"):
        if path not in names:
            path.unlink()
    claim.replace(target / MANIFEST)
    return sorted(names)


def _check_is_ours(target: Path) -> None:
    """Raise RecipeError when a pull would replace or remove files that no pull wrote."""
    if target.is_symlink() and not target.exists():
        raise RecipeError(f"{target} is a link that leads nowhere; choose another folder")
    if target.exists() and not target.is_dir():
        raise RecipeError(f"{target} is a file; choose another folder")
    data = target / "data"
    for folder in (data, *data.glob("*")):
        if folder.is_symlink() and folder.is_dir():
            raise RecipeError(
                f"{folder} is a link, and a pull would write and remove files where it leads; choose another folder, "
                "or remove the link"
            )
    if any(_is_manifest(target / name) for name in (MANIFEST, CLAIM)):
        return
    own = [path for path in (target / MANIFEST, target / CARD) if path.exists()] or _files_below(target / "data")[:1]
    if own:
        raise RecipeError(
            f"{own[0]} was not written by a pull (no manifest of cuvee beside it), and a pull would replace or remove "
            "it; choose another folder, or move your files away"
        )


def _is_manifest(path: Path) -> bool:
    try:
        if path.is_file() and path.stat().st_size <= MOST_JSON_BYTES:
            parse_manifest(path.read_bytes(), str(path))
            return True
    except (OSError, CuveeError):
        pass
    return False


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _is_whole(path: Path, ref: FileRef) -> bool:
    return path.is_file() and path.stat().st_size == ref.bytes and _sha256(path) == ref.sha256


def _link(known: Path, path: Path, ref: FileRef) -> bool:
    """Make a path another name of a file; tell whether that was possible, and the file is what it should be."""
    if known.is_symlink() or not _is_whole(known, ref):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        path.hardlink_to(known)
    except OSError:
        return False
    return True


def _copy(store: Store, ref: FileRef, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with store.open(ref.path) as source, part.open("wb") as copy:
            left = ref.bytes + 1  # one more than recorded: a longer file is found out by its hash
            while left and (piece := source.read(min(left, 2**20))):
                copy.write(piece)
                left -= len(piece)
    except FileNotFoundError:
        raise IntegrityError(f"{store.location(ref.path)} is missing; restore it from a backup") from None
    if _sha256(part) != ref.sha256:
        part.unlink()
        raise IntegrityError(f"{store.location(ref.path)} is not what the manifest names; see: cuvee verify")
    part.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
