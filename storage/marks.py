"""Marks: the files of reviewers' marks that a corpus has, each named by the SHA-256 of its content."""

import hashlib
import re

from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.marks import Mark, Marks
from cuvee.storage.corpus import corpus_folder
from cuvee.storage.store import Store
from cuvee.storage.trust import RESTORE, parse_json, read_bounded

_NAME = re.compile(r"([0-9a-f]{64})\.json")


def write_marks(store: Store, corpus: str, marks: Marks) -> str:
    """Keep a file of marks; return its SHA-256. The same marks are kept once."""
    content = marks.model_dump_json(indent=1).encode()
    name = hashlib.sha256(content).hexdigest()
    store.put(f"{marks_folder(corpus)}{name}.json", content)
    return name


def read_marks(store: Store, corpus: str) -> dict[str, tuple[Mark, ...]]:
    """Return the marks of each file, by its SHA-256, in the order of these; raises IntegrityError for a changed one."""
    found = {}
    for name in marks_files(store, corpus):
        key = f"{marks_folder(corpus)}{name}.json"
        content = read_bounded(store, key)
        if hashlib.sha256(content).hexdigest() != name:
            raise IntegrityError(f"{store.location(key)} has changed: its name is its SHA-256; {RESTORE}")
        found[name] = parse_json(content, Marks, store.location(key)).marks
    return found


def marks_files(store: Store, corpus: str) -> list[str]:
    """List the SHA-256 of the files of marks, unread, in their order."""
    folder = marks_folder(corpus)
    named = (_NAME.fullmatch(key.removeprefix(folder)) for key in store.keys(folder))
    return [found[1] for found in named if found]


def marks_folder(corpus: str) -> str:
    """Return the folder of a corpus's marks, with a slash at its end."""
    return f"{corpus_folder(corpus)}marks/"
