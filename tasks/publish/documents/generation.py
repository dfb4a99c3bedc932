"""Generation: what each generator was asked for, and what came of it."""

from collections.abc import Mapping

from cuvee.tasks.generate import report
from cuvee.tasks.publish.documents import Told
from cuvee.tasks.publish.documents.accounts import as_json


def write(told: Told) -> Mapping[str, bytes]:
    """Return generation.json and generation.md; nothing for a recipe without generators."""
    if not told.generated:
        return {}
    tree, text = report.build(told.run, told.store, told.pool, told.decided, told.generated)
    return {"generation.json": as_json(tree), "generation.md": text.encode()}
