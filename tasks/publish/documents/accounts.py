"""Accounts: the proof of the mixture, what each step let through, where the rows of each source ended, what the guard
found, what came of each generator.
"""

import json
from collections.abc import Mapping
from typing import Any

from cuvee.tasks.generate import report
from cuvee.tasks.publish.documents import Told


def write(told: Told) -> Mapping[str, bytes]:
    """Return mixture.json, steps.json, sources.json, findings.json, and with generators generation.json and .md."""
    steps = {name: step.model_dump(mode="json", by_alias=True) for name, step in told.accounts.steps.items()}
    sources = {name: source.model_dump(mode="json") for name, source in told.accounts.sources.items()}
    files = {
        "mixture.json": as_json(told.manifest.mixture.model_dump(mode="json")),
        "steps.json": as_json(steps),
        "sources.json": as_json(sources),
        "findings.json": as_json(told.guarded.model_dump(mode="json")),
    }
    if told.generated:
        tree, text = report.build(told.run, told.store, told.pool, told.decided, told.generated)
        files |= {"generation.json": as_json(tree), "generation.md": text.encode()}
    return files


def as_json(tree: Any) -> bytes:
    """Render a JSON tree for people and programs: sorted keys, a line each."""
    return json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
