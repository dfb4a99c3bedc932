"""The mark: what a published Parquet file says of itself, in its key-value metadata under the key `cuvee`.

A file is named by its bytes, several versions may hold it, and their manifests name it: so it cannot tell of a version
or the hash of a manifest. It tells what follows from its own rows.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, ValidationError

from cuvee.schemas.base import Frozen
from cuvee.schemas.recipe import Name, Origin, canonical_json

KEY = "cuvee"
# A file's rows may name as many generators as there are rows, each in 8,192 bytes.
MOST_GENERATORS, MOST_NAME_CHARACTERS = 64, 200
_MOST_BYTES = 2**18

_SHARES: dict[str, float | None] = {"human": 0.0, "synthetic": 1.0, "unknown": None}


class Generator(Frozen):
    """What made rows of a file, as they name it."""

    generator: str | None
    model: str | None


class Mark(Frozen):
    """What a file says of its rows, which are all of one provenance.

    rows: how many they are; synthetic_share: of the rows, 0 to 1, null where their provenance is unknown; generators:
    the first MOST_GENERATORS by name; more_generators: how many are left out, those of long names among them.
    """

    published_by: Literal["cuvee"] = "cuvee"
    format: Literal[1] = 1
    corpus: Name
    provenance: Origin
    synthetic_share: float | None
    rows: int = Field(ge=1)
    generators: tuple[Generator, ...] = ()
    more_generators: int = Field(0, ge=0)


def mark_of(corpus: str, provenance: Origin, rows: int, generators: Iterable[tuple[str | None, str | None]]) -> Mark:
    """Return the mark of a file. generators: the generator and model of each row, in any order, of which none may be
    named.
    """
    named = sorted({pair for pair in generators if any(pair)}, key=lambda pair: (pair[0] or "", pair[1] or ""))
    short = [pair for pair in named if max(len(name or "") for name in pair) <= MOST_NAME_CHARACTERS]
    kept = short[:MOST_GENERATORS]
    return Mark(
        corpus=corpus,
        provenance=provenance,
        synthetic_share=_SHARES[provenance],
        rows=rows,
        generators=tuple(Generator(generator=generator, model=model) for generator, model in kept),
        more_generators=len(named) - len(kept),
    )


def write_mark(mark: Mark) -> str:
    """Render a mark as JSON: equal marks, equal text."""
    return canonical_json(mark.model_dump(mode="json"))


def read_mark(value: bytes, rows: int) -> Mark:
    """Read the mark of a file that has so many rows.

    Raises ValueError, saying in words why it is not believed: it is not as it is written, or not of these rows.
    """
    try:
        mark = Mark.model_validate_json(value) if len(value) <= _MOST_BYTES else None
    except ValidationError:
        mark = None
    if mark is None:
        raise ValueError("it is not as cuvee writes it")
    if mark.synthetic_share != _SHARES[mark.provenance]:
        raise ValueError(f"it says {mark.provenance}, and a share of synthetic rows that contradicts it")
    if mark.rows != rows:
        raise ValueError(f"it speaks of {mark.rows:,} rows, and the file has {rows:,}")
    return mark
