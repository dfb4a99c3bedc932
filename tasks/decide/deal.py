"""Deal: read a batch of shards, apply what the recipe declares, and deal the rows to partitions.

Each row goes to the partition of its doc_id, with all that decisions look at. Where something has to be known across
these partitions, a few of its columns go elsewhere too: by declared id where a source has files of several ages or a
row is a draft, and by near key where the pool has drafts.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.document import THIN
from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.records import Run
from cuvee.schemas.tables import BY_ID, BY_NEAR_KEY, ROWS, LinksRef
from cuvee.storage.store import Store
from cuvee.storage.tables import read_tables
from cuvee.tasks import filters
from cuvee.tasks.decide.current import Drafts, declare
from cuvee.tasks.decide.partitions import Batch, by_declared_id, by_doc_id, by_key
from cuvee.tasks.exchange import Dealer, Dealt, Numbers
from cuvee.tasks.filters import language
from cuvee.tasks.ingest.names import hide_ids
from cuvee.tasks.ingest.strings import where_present
from cuvee.tasks.measure.signals import kinds
from cuvee.tasks.pool import declared, frame_of, read_declared
from cuvee.tasks.steps import folder_of, load, look_up

LANGUAGE, TEXT_KEY = f"{filters.step(language.Options())}.language", "sign.text_key"
# What the recipe says of a row, beside the columns of ROWS and the signals.
_ADDED = pl.Schema(
    {
        "trusted_date": pl.Boolean(),
        "language": pl.String(),
        "text_key": pl.UInt64(),
        "near_key": pl.UInt64(),  # equal for texts that near pairs link, however indirectly
        "current": pl.Boolean(),  # whether the recipe speaks of it
        "present": pl.Boolean(),  # whether its source file exists now
        "file_accepted": pl.Int32(),
    }
)
_READ = ("license", "date_trusted", "reading")


class DealtRows(Frozen):
    """A batch's rows by the partition of their doc_id (`columns`), by declared id (BY_ID), by near key (BY_NEAR_KEY);
    null where nothing across partitions has to be known.
    """

    rows: Dealt
    by_id: Dealt | None
    by_near_key: Dealt | None


def columns(run: Run) -> pl.Schema:
    """Return the columns of dealt rows: what is declared, and every signal, named <kind>.<signal>."""
    own = pl.Schema({name: kind for name, kind in ROWS.items() if name not in _READ})
    signals = {f"{kind}.{name}": of for kind, schema in _signals(run).items() for name, of in schema.items()}
    return pl.Schema({**own, "license": pl.String(), **_ADDED, **signals})


def run(
    run: Run,
    store: Store,
    batch: Batch,
    drafts: Drafts,
    aging: frozenset[str],
    has_drafts: bool,
    links: LinksRef,
    partitions: int,
) -> DealtRows:
    """Deal the rows of a batch.

    drafts: (generator's name, request key) of what this recipe's generators produce. aging: sources whose files are
    of several ages. has_drafts: whether the pool has drafts. links: the table LINKS.
    """
    schema, signals, folder = columns(run), _signals(run), folder_of(run)
    rows, by_id, by_near = (Dealer(store, folder, partitions) for _ in range(3))
    table = load(store, links)
    near, linked = table["near_key"].to_numpy(), table["text_key"].to_numpy()
    for frame in _frames(run, store, batch, drafts, signals):
        frame = declared(frame.with_columns(near_key=_near_keys(frame["text_key"], near, linked)), schema)
        rows.add(frame, by_doc_id(frame["doc_id"], partitions))
        if has_drafts:
            by_near.add(frame.select(BY_NEAR_KEY.names()), by_key(frame["near_key"], partitions))
        telling = pl.col("generated") | pl.col("source").is_in(list(aging)) & pl.col("source_id").is_not_null()
        known = frame.filter(telling & pl.col("current")).select(BY_ID.names())
        if known.height:
            by_id.add(known, by_declared_id(known["source"], known["source_id"], partitions))
    return DealtRows(
        rows=rows.finish(),
        by_id=by_id.finish() if aging or has_drafts else None,
        by_near_key=by_near.finish() if has_drafts else None,
    )


def aging(batches: list[Batch]) -> frozenset[str]:
    """Name the sources whose files are of several ages, so that one row may supersede another."""
    ages: dict[str, set[tuple[bool, int]]] = {}
    for batch in batches:
        for file in batch.files:
            ages.setdefault(file.source, set()).add((file.present, file.accepted))
    return frozenset(source for source, found in ages.items() if len(found) > 1)


def _frames(
    run: Run, store: Store, batch: Batch, drafts: Drafts, signals: Mapping[str, pl.Schema]
) -> Iterator[pl.DataFrame]:
    """Yield the rows of each shard, with what the recipe declares of them and their signals (as of `_signals`)."""
    # Shards written before a column was added have it as null.
    tables = read_tables(store, [shard.file for shard in batch.shards], THIN, needed=["doc_id"])
    planned = pl.DataFrame(drafts, schema={"source": pl.String, "source_id": pl.String}, orient="row")
    planned = planned.unique().with_columns(planned=pl.lit(value=True))
    files = [(f.source, f.file, f.present, f.path_id, f.accepted) for f in batch.files]
    names = {"source": pl.String, "file": pl.String, "present": pl.Boolean, "path_id": pl.String}
    known = pl.DataFrame(files, schema={**names, "file_accepted": pl.Int32}, orient="row")
    masks = run.recipe.ingest.mask
    known = known.with_columns(path_id=where_present(known["path_id"], lambda found: hide_ids(found, masks)))
    for number, (shard, table) in enumerate(zip(batch.shards, tables, strict=True)):
        rows = frame_of(table).with_columns(
            shard=pl.lit(batch.first + number, pl.Int32),
            position=pl.int_range(pl.len(), dtype=pl.Int64),
            source=pl.lit(shard.source),
            accepted=pl.lit(shard.accepted, pl.Int32),
            generated=pl.lit(shard.generated),
            reading=pl.lit(shard.reading),
        )
        rows = declared(pl.concat([ROWS.to_frame(), rows], how="diagonal"), ROWS)
        rows = rows.hstack(_signals_of(store, batch, number, rows["doc_id"], signals))
        rows = declare(run, rows.with_columns(language=LANGUAGE, text_key=TEXT_KEY))
        current = pl.lit(run.readings.get(shard.source) == shard.reading)
        if shard.generated:
            rows = look_up(rows, ["source", "source_id"], planned)
            current = current & pl.col("planned").fill_null(value=False)
        rows = rows.with_columns(current=current)
        rows = look_up(rows, ["source", "file"], known)
        # A row of a file that is one document has the path of its file as source_id.
        yield rows.with_columns(pl.col("present").fill_null(value=False), source_id=pl.coalesce("path_id", "source_id"))


def _signals(run: Run) -> dict[str, pl.Schema]:
    """Return the columns of each kind of signal that decisions look at, beside doc_id."""
    looked_at = {name: kind.schema for name, kind in kinds(run).items() if name != "windows"}
    return {name: pl.Schema({n: d for n, d in one.items() if n != "doc_id"}) for name, one in looked_at.items()}


def _signals_of(
    store: Store, batch: Batch, number: int, doc_ids: pl.Series, signals: Mapping[str, pl.Schema]
) -> pl.DataFrame:
    """Return all signals of a shard's rows; a kind that was not measured is null.

    Raises IntegrityError for signals of other rows.
    """
    found = []
    for kind, schema in signals.items():
        if kind in batch.signals:
            file = batch.signals[kind][number][0]
            rows = read_declared(store, [file], pl.Schema({"doc_id": pl.String(), **schema}))
            if not rows["doc_id"].equals(doc_ids):
                place = store.location(file.path)
                raise IntegrityError(f"{place} is of other rows than its shard; remove it, the next run measures them")
            rows = rows.drop("doc_id")
        else:
            rows = pl.select(pl.repeat(None, len(doc_ids), dtype=of).alias(name) for name, of in schema.items())
        found.append(rows.select(pl.all().name.prefix(f"{kind}.")))
    return pl.concat(found, how="horizontal")


def _near_keys(text_keys: pl.Series, near: Numbers, linked: Numbers) -> pl.Series:
    """Return the near key of each text key: its own where it has no near copy."""
    keys = text_keys.to_numpy()
    if not len(linked):
        return text_keys
    at = np.minimum(np.searchsorted(linked, keys), len(linked) - 1)
    return pl.Series(np.where(linked[at] == keys, near[at], keys))
