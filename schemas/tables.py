"""Tables: the columns of every table that steps exchange, and the types of references to them.

A table always has all columns of its schema, in this order. A shard and a published file, whose Arrow types readers
outside rely on, are in `document`. A filter declares its signal columns in its own file; they travel in a table of that
kind, beside doc_id.

The decided table stands in four parts, row by row the same rows in the same order: what is declared of a row, what the
evidence concludes, how it ended, and how much it is.
"""

from typing import NewType

import polars as pl
from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.document import SHARD, THIN
from cuvee.schemas.marks import Marked
from cuvee.schemas.records import FileRef

# The thin columns of a shard's rows, with the row's address and what is known of its shard.
ROWS = pl.Schema(
    {
        "shard": pl.Int32(),  # place of the shard in the pool's order, from 0
        "position": pl.Int64(),  # of the row in its shard, from 0
        "source": pl.String(),  # the recipe's name; for drafts the generator's
        "accepted": pl.Int32(),  # number of the pool state that first held the shard, from 1
        "generated": pl.Boolean(),  # whether the row is a draft of ours
        "reading": pl.String(),  # hash of how its file was read, or its answer kept (`Run.readings`)
        **pl.Schema(pl.DataFrame(SHARD.empty_table().select(THIN)).schema),
    }
)

# Part one of the decided table: what the row, its source and its recipe declare. One row a current row.
DECLARED = pl.Schema(
    {
        "shard": pl.Int32(),
        "position": pl.Int64(),
        "doc_id": pl.String(),
        "source": pl.String(),
        "file": pl.String(),  # SHA-256 of the source file; for drafts the generator's name
        "row": pl.Int64(),  # 0-based in the file; for drafts the position in the plan
        "source_id": pl.String(),  # the declared id, or the path of a file that is one document; null possible
        "generated": pl.Boolean(),
        "origin": pl.String(),  # human | synthetic | unknown
        "license": pl.String(),  # SPDX, or unknown
        "domain": pl.String(),
        "language": pl.String(),  # as declared, else as found
        "created": pl.Date(),  # null possible
        "trusted_date": pl.Boolean(),  # whether `created` is evidence
        "accepted": pl.Int32(),  # number of the pool state that first held the row's text
        "row_accepted": pl.Int32(),  # and of the one that first held the row
        "text_key": pl.UInt64(),  # equal for texts of equal shingles; 0 without words
        "generator": pl.String(),
        "model": pl.String(),
        "kind": pl.String(),  # drafts only
        "seed_ids": pl.List(pl.String()),  # drafts only
        "grade": pl.Float32(),  # drafts only: the judge's, 1 to 5
        "groundedness": pl.Float32(),  # drafts only: 0 to 1
    }
)

# Part two: what the evidence says of who wrote it.
CONCLUDED = pl.Schema(
    {
        "provenance": pl.String(),  # human | synthetic | unknown
        "p_synthetic": pl.Float32(),  # probability from text and date, 0 to 1; null: not judged
        "evidence": pl.String(),  # comma-joined slugs, the weightiest first
        "suspect": pl.Boolean(),  # declared human, found synthetic
        "depth": pl.Int8(),  # 0 human, 1 synthetic of unknown ancestry, 1 + the largest depth of the seeds
        "p_model": pl.Float64(),  # the classifier's own probability; null in a language that it does not judge
        "threshold": pl.Float64(),  # p_synthetic from which a row of this source is called synthetic
        "calibrated": pl.Boolean(),  # whether that threshold is the source's own
        "own_copy": pl.Boolean(),  # whether it (nearly) equals a draft of ours that was accepted before it
    }
)

# Part three: how the row ended.
VERDICTS = pl.Schema(
    {
        "step": pl.String(),  # the step that objected; null: none did
        "verdict": pl.String(),  # its reason, a slug; null: the row survives
        "keeper": pl.String(),  # doc_id of the row that stands for this one; null possible
        "jaccard": pl.Float64(),  # with its keeper, 0 to 1; null possible
        "detail": pl.String(),  # what else explains the reason; null possible
    }
)

# Part four: how much one copy of it is.
AMOUNTS = pl.Schema(
    {
        "words": pl.Int64(),
        "chars": pl.Int64(),
        "bytes": pl.Int64(),
        "tokens": pl.Int64(),  # null where the recipe counts none
    }
)

# What a partition has for the mixture: sums of a bin of priority of a stratum of the plan, by label and bin.
BINS = pl.Schema(
    {
        "label": pl.String(),  # of the stratum
        "bin": pl.Int64(),
        "documents": pl.Int64(),
        "amount": pl.Int64(),  # of one copy of each
        "human": pl.Int64(),  # millionths of it that count as human
        "largest": pl.Int64(),  # amount of a document
        "smallest": pl.Int64(),
    }
)
# Its survivors as the mixture sees them, dealt by bin; and with their addresses, by doc_id.
_WEIGHED = {
    "lane": pl.Int32(),  # place of the stratum among the partition's
    "amount": pl.Int64(),
    "human": pl.Int64(),
    "priority": pl.UInt64(),
    "rest": pl.UInt64(),  # second half of the doc_id, which breaks ties
}
RANKED = pl.Schema({"part": pl.Int32(), **_WEIGHED})
SURVIVING = pl.Schema({"shard": pl.Int32(), "position": pl.Int64(), **_WEIGHED, "doubtful": pl.Boolean()})
# Up to which document, and how often, each stratum is taken; null: no document, or no further copies.
BORDERS = pl.Schema(
    {
        "label": pl.String(),
        **dict.fromkeys(["priority", "rest"], pl.UInt64()),  # of the last document that is taken
        "most": pl.Int64(),  # amount of a document that is taken, at most
        "epochs": pl.Int64(),  # copies of each
        **dict.fromkeys(["more_priority", "more_rest"], pl.UInt64()),  # of the last document that is taken once more
    }
)

# The mixture's choice: one row a published document, a file a partition, in sampling order.
PLANNED = pl.Schema(
    {
        "shard": pl.Int32(),
        "position": pl.Int64(),
        "split": pl.String(),  # train | validation
        "amount": pl.Int64(),  # of one copy, in the recipe's unit
        "priority": pl.UInt64(),  # hash that orders the sample, the smallest first
        "epochs": pl.Int8(),  # copies that training sees
    }
)

# Where each row ended; one row a row of a source, readable or not, and a request of a generator.
LEDGER = pl.Schema(
    {
        "source": pl.String(),
        "path": pl.String(),  # the file's id; null for drafts
        "file": pl.String(),
        "row": pl.Int64(),
        "source_id": pl.String(),
        "doc_id": pl.String(),  # null for an unreadable row and a request without a draft
        "outcome": pl.String(),  # kept | pooled | dropped | unreadable | failed
        "step": pl.String(),
        "reason": pl.String(),
        "keeper": pl.String(),
        "jaccard": pl.Float64(),
        "detail": pl.String(),
        "provenance": pl.String(),
        "p_synthetic": pl.Float32(),
        "evidence": pl.String(),
    }
)

# How many rows of a ledger ended in one way.
ENDS = pl.Schema({**dict.fromkeys(["source", "outcome", "step", "reason"], pl.String()), "rows": pl.Int64()})
# The id of each source file.
PATHS = pl.Schema(dict.fromkeys(["source", "file", "path"], pl.String()))

# Rows that could not be read, beside the shards of their batch.
UNREADABLE = pl.Schema(
    {
        "file": pl.String(),  # SHA-256
        "row": pl.Int64(),
        "line": pl.Int64(),  # 1-based; null where a format has no lines
        "reason": pl.String(),
    }
)

# What is measured of every row of a shard beside the signals of filters, in the shard's order.
TOKENS = pl.Schema({"doc_id": pl.String(), "tokens": pl.Int64()})
SCORES = pl.Schema({"doc_id": pl.String(), "p_model": pl.Float64(), "phrase": pl.String()})
TEXT_KEYS = pl.Schema({"doc_id": pl.String(), "text_key": pl.UInt64()})
OVERLAPS = pl.Schema({"doc_id": pl.String(), "overlap": pl.Float32(), "benchmark": pl.String()})
# The parts in which a generator is shown a document, start to stop, characters; null: it is shown whole.
WINDOWS = pl.Schema(
    {
        "doc_id": pl.String(),
        "windows": pl.List(pl.Struct({"start": pl.Int64(), "stop": pl.Int64(), "words": pl.Int64()})),
    }
)

# Verified near-duplicates by text key, each pair once, a < b.
PAIRS = pl.Schema({"a": pl.UInt64(), "b": pl.UInt64(), "jaccard": pl.Float64()})

# What decisions exchange between partitions, or hand from one step to the next.
# The smallest text key of those that near pairs link, however indirectly; of each text key that has a near copy.
LINKS = pl.Schema({"text_key": pl.UInt64(), "near_key": pl.UInt64()})
# Addresses of rows in the pool: place of the shard, position in it.
ADDRESSES = pl.Schema({"shard": pl.Int32(), "position": pl.Int64()})
# Rows by declared id, of sources with files of several ages, and drafts by their request.
BY_ID = pl.Schema(
    {
        **ADDRESSES,
        **dict.fromkeys(["doc_id", "source", "source_id"], pl.String()),
        **dict.fromkeys(["generated", "present"], pl.Boolean()),
        "file_accepted": pl.Int32(),
    }
)
# Rows by near key, of a pool that has drafts.
BY_NEAR_KEY = pl.Schema(
    {
        **ADDRESSES,
        **dict.fromkeys(["doc_id", "origin"], pl.String()),
        **dict.fromkeys(["generated", "trusted_date"], pl.Boolean()),
        "accepted": pl.Int32(),
        "created": pl.Date(),
        "text_key": pl.UInt64(),
        "seed_ids": pl.List(pl.String()),
    }
)
# What rows elsewhere mean for a row; what: superseded | second (draft of a request) | own_copy.
PATCHES = pl.Schema({**ADDRESSES, "what": pl.String()})
# Rows that count as documents where a filter looks across a source.
COUNTED = pl.Schema({**ADDRESSES, "source": pl.String(), "doc_id": pl.String(), "text_key": pl.UInt64()})
# Documents of a source that hold a part, and the parts that their counts choose; filter: number of the recipe's entry.
COUNTS = pl.Schema({"filter": pl.Int32(), "source": pl.String(), "key": pl.UInt64(), "documents": pl.UInt32()})
CHOSEN = pl.Schema({"filter": pl.Int32(), "source": pl.String(), "key": pl.UInt64()})
# What is heard of the rows of DECLARED, in their order, and how they ended so far.
HEARD = pl.Schema(
    {
        **dict.fromkeys(["step", "verdict", "detail"], pl.String()),  # as in VERDICTS
        **dict.fromkeys(["c2pa", "marking", "phrase", "benchmark"], pl.String()),
        "own_copy": pl.Boolean(),
        "p_model": pl.Float64(),  # null in a language that the model does not judge
        "depth": pl.Int8(),  # as a draft's row has it
        "overlap": pl.Float32(),
        "near_key": pl.UInt64(),
    }
)
# Texts of a source that are known to be human, by the model's probability: what thresholds are made of.
KNOWN_HUMAN = pl.Schema({"source": pl.String(), "p_model": pl.Float64(), "texts": pl.UInt32()})
THRESHOLDS = pl.Schema({"source": pl.String(), "threshold": pl.Float64(), "calibrated": pl.Boolean()})
# Rows alive when near copies are looked for, by near key; and those that are found.
SURVIVORS = pl.Schema(
    {
        **dict.fromkeys(["doc_id", "source", "provenance"], pl.String()),
        "text_key": pl.UInt64(),
        "accepted": pl.Int32(),
        "chars": pl.Int64(),
    }
)
NEAR = pl.Schema({**dict.fromkeys(["doc_id", "reason", "keeper"], pl.String()), "jaccard": pl.Float64()})

DeclaredRef = NewType("DeclaredRef", FileRef)
ConcludedRef = NewType("ConcludedRef", FileRef)
VerdictsRef = NewType("VerdictsRef", FileRef)
AmountsRef = NewType("AmountsRef", FileRef)
LinksRef = NewType("LinksRef", FileRef)
HeardRef = NewType("HeardRef", FileRef)
KnownHumanRef = NewType("KnownHumanRef", FileRef)
ThresholdsRef = NewType("ThresholdsRef", FileRef)
ChosenRef = NewType("ChosenRef", FileRef)
EndsRef = NewType("EndsRef", FileRef)
PathsRef = NewType("PathsRef", FileRef)
KeptRef = NewType("KeptRef", FileRef)
BinsRef = NewType("BinsRef", FileRef)
SurvivingRef = NewType("SurvivingRef", FileRef)
BordersRef = NewType("BordersRef", FileRef)


class PlannedRef(Frozen):
    """What the mixture publishes. kept: PLANNED, a file a partition of the decided table; strata: name of a stratum of
    the plan → amount with copies, empty where the human share is all that is asked; guaranteed: human share of the
    train split, 0 to 1, with all that is suspected or unknown counted against it; why: what the plan runs into and what
    more text would allow, a sentence each; marked: as of `Proof`.
    """

    kept: tuple[KeptRef, ...]
    strata: dict[str, int] = Field({})
    guaranteed: float | None = None
    why: tuple[str, ...] = ()
    marked: Marked | None = None


class DecidedPart(Frozen):
    """Where the four parts of the decided table lie, of one partition: rows by doc_id, shard and position."""

    declared: DeclaredRef
    concluded: ConcludedRef
    verdicts: VerdictsRef
    amounts: AmountsRef


class DecidedRef(Frozen):
    """Where the decided table lies, a partition of doc_ids after the other."""

    partitions: tuple[DecidedPart, ...]
