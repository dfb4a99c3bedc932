"""Keys: what decides the text that is kept of a source's files and of a generator's answers, as hashes.

Rows of the pool count for a recipe whose keys are theirs (`Run.readings`).
"""

from collections.abc import Sequence

from cuvee.schemas.recipe import Generate, Ingest, Recipe, Source, canonical_sha256

# Rises when the same bytes would give other rows, or the same answer another text.
READING_VERSION = 3


def reading_key(source: Source, ingest: Ingest) -> str:
    """Hash what decides the text that a source's files give."""
    fields = source.fields.model_dump() | {"origin": source.origin_field}
    return canonical_sha256([source.format, fields, sorted(ingest.mask), READING_VERSION])


def drafting_key(recipe: Recipe, entry: Generate, versions: Sequence[int]) -> str:
    """Hash what decides which of a generator's drafts are kept, and their text, beside the requests themselves.

    versions: of all that measures its drafts; empty where they are not graded.
    """
    masks = canonical_sha256([sorted(recipe.ingest.mask), READING_VERSION])
    if not versions:
        return masks
    gates, grade = entry.gates.model_dump(mode="json"), entry.grade.model_dump(mode="json")
    return canonical_sha256([masks, list(versions), gates, grade])
