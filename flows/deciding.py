"""Deciding: what becomes of every row of a pool, partition by partition.

shards → rows by partition ┬ of declared ids: superseded, second drafts ┐
                           └ of near keys: copies of our own drafts     ┴ patches → what filters gather → filters →
thresholds of sources → evidence, exact copies → near copies, by near key → verdicts.
No task holds more than a partition, or a shard of a batch; what it is given are references.
"""

from collections.abc import Sequence

from cuvee.flows.hands import Hands
from cuvee.schemas.records import Run, SourceFile
from cuvee.schemas.tables import DecidedRef
from cuvee.storage.store import Store
from cuvee.tasks.decide import deal, evidence, gather, judge, patches, verdicts
from cuvee.tasks.decide.current import Drafts
from cuvee.tasks.decide.partitions import Batch, Linked, batches, link, partitions_of
from cuvee.tasks.exchange import Dealt, again, groups
from cuvee.tasks.pool import Pool
from cuvee.tasks.steps import folder_of


def decide(
    run: Run,
    store: Store,
    pool: Pool,
    files: Sequence[SourceFile],
    drafts: Drafts,
    dates: dict[int, str],
    hands: Hands,
    partitions: int | None = None,
) -> DecidedRef:
    """Decide over all current rows, and save the tables.

    files: the source files that exist now. drafts: (generator's name, request key) of what this recipe's generators
    produce, none in the first pass. dates: the day on which each pool state was committed. partitions: a power of two,
    null for as many as the pool has; it changes nothing in the result.
    """
    many = partitions or partitions_of(pool)
    parts = range(many)
    linked = hands.one("link", link, run, store, pool, many)
    cut = batches(pool, files)
    dealing = [(run, store, batch, drafts, deal.aging(cut), bool(pool.drafted), linked.links, many) for batch in cut]
    dealt = hands.each("deal", deal.run, dealing)
    rows = _again(run, store, hands, [one.rows for one in dealt])
    by_id = _again(run, store, hands, [one.by_id for one in dealt if one.by_id])
    by_near = _again(run, store, hands, [one.by_near_key for one in dealt if one.by_near_key])
    found = hands.each("superseded", patches.by_id, [(run, store, by_id, p, many) for p in parts]) if by_id else []
    own = [(run, store, by_near, linked, dates, p, many) for p in parts]
    found += hands.each("own copies", patches.by_near_key, own) if by_near else []
    known = _again(run, store, hands, found)
    seen = _gather(run, store, hands, cut, rows, known, linked, many) if gather.asked(run) else []

    judged = hands.each("filter", judge.run, [(run, store, rows, known, seen, p) for p in parts])
    own_thresholds = hands.one("thresholds", evidence.thresholds, run, store, [one.known_human for one in judged])
    concluded = hands.each("classify", evidence.run, [(run, store, one, own_thresholds, many) for one in judged])
    survivors = _again(run, store, hands, [one.survivors for one in concluded])
    near = hands.each("dedup", verdicts.near, [(run, store, survivors, linked, p, many) for p in parts])
    near = _again(run, store, hands, near)
    ends = [(run, store, *one, near, p) for p, one in enumerate(zip(judged, concluded, strict=True))]
    return DecidedRef(partitions=tuple(hands.each("decide", verdicts.run, ends)))


def _gather(
    run: Run,
    store: Store,
    hands: Hands,
    cut: Sequence[Batch],
    rows: Sequence[Dealt],
    known: Sequence[Dealt],
    linked: Linked,
    many: int,
) -> list[Dealt]:
    """Work out what the recipe's filters see only across the documents of a source."""
    parts, firsts, ranges = range(many), [batch.first for batch in cut], gather.key_ranges(run, cut)
    counted = hands.each("count", gather.counted, [(run, store, rows, known, p, many) for p in parts])
    counted = _again(run, store, hands, counted)
    left = hands.each("distinct", gather.distinct, [(run, store, counted, linked, firsts, p) for p in parts])
    left = _again(run, store, hands, left)
    counts = hands.each("gather", gather.count, [(run, store, batch, left, ranges) for batch in cut])
    counts = _again(run, store, hands, counts)
    chosen = hands.each("choose", gather.choose, [(run, store, counts, part) for part in range(ranges)])
    return _again(run, store, hands, hands.each("values", gather.value, [(run, store, b, chosen, many) for b in cut]))


def _again(run: Run, store: Store, hands: Hands, files: Sequence[Dealt]) -> list[Dealt]:
    """Deal in a second round what went to groups of partitions in the first."""
    firsts, folder = groups(files), folder_of(run)
    if not firsts:
        return list(files)
    return hands.each("exchange", again, [(store, folder, files, first) for first in firsts])
