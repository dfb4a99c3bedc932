"""The columns of a document: in a shard, in the thin tables, and as published."""

import hashlib

import pyarrow as pa

# What `hidden_id` gives.
HIDDEN_ID = "^masked:[0-9a-f]{32}$"

# The turns of a chat, in their order.
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

# A shard: every readable row of its source files, in their order, text written once. What the recipe declares
# (origin, licence, domain, dates) is not in it, so that a changed declaration costs no reading.
SHARD = pa.schema(
    [
        ("doc_id", pa.string()),
        ("text", pa.large_string()),
        ("file", pa.string()),  # SHA-256 of the source file; for drafts the generator's name
        ("row", pa.int64()),  # 0-based in the file; for drafts the position in the plan
        ("source_id", pa.string()),  # the declared id, or `hidden_id` of it; for drafts the request key
        ("url", pa.string()),
        ("title", pa.string()),
        ("created", pa.date32()),
        ("license", pa.string()),  # as the row has it, not yet mapped
        ("generator", pa.string()),
        ("model", pa.string()),
        ("origin", pa.string()),
        ("words", pa.int64()),
        ("chars", pa.int64()),
        ("bytes", pa.int64()),
        ("c2pa", pa.string()),
        ("marking", pa.string()),  # what cuvee's mark of the source file says of its rows, null without one
        ("kind", pa.string()),
        ("depth", pa.int8()),  # drafts only
        ("domain", pa.string()),  # drafts only: the seed's
        ("seed_ids", pa.list_(pa.string())),  # drafts only
        ("grade", pa.float32()),  # drafts only: the judge's, 1 to 5
        ("groundedness", pa.float32()),  # drafts only: 0 to 1
        ("gate", pa.string()),  # drafts only: why it is rejected, null where it is not
        ("content_type", pa.string()),  # of web pages, without parameters
        ("opt_out", pa.string()),  # of web pages: JSON of the raw signals, null where there are none
        ("date_trusted", pa.bool_()),  # whether the reader vouches for `created`, as for the date of a capture
        ("messages", pa.large_string()),  # of chats: JSON of MESSAGES, null elsewhere
        ("extra", pa.large_string()),  # JSON object of the columns that the recipe keeps, null where a row has none
    ]
)

# The thin columns of a shard: all that decisions need. Texts are read again only when published; of opt-outs the
# filter's signals are kept, where a recipe has the filter.
_TEXTS = ("text", "title", "url", "content_type", "opt_out", "messages", "extra")
THIN = [name for name in SHARD.names if name not in _TEXTS]

PUBLISHED = pa.schema(
    [
        ("doc_id", pa.string()),
        ("text", pa.string()),
        ("provenance", pa.string()),
        ("origin", pa.string()),
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("license", pa.string()),
        ("domain", pa.string()),
        ("language", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("generator", pa.string()),
        ("model", pa.string()),
        ("kind", pa.string()),
        ("p_synthetic", pa.float32()),
        ("grade", pa.float32()),
        ("groundedness", pa.float32()),
        ("created", pa.date32()),
        ("tokens", pa.int64()),
        ("epochs", pa.int8()),
        ("depth", pa.int8()),
        ("seed_ids", pa.list_(pa.string())),
        ("messages", MESSAGES),
        ("extra", pa.string()),
    ]
)

STRATUM = ["source", "domain", "language", "provenance", "depth"]


def hidden_id(own: str) -> str:
    """Return what stands in the pool and in ledgers for a source's own id that holds what the recipe masks: the same
    for the same id, so that a newer row replaces an older one. Published is the file's SHA-256 and the row instead.
    """
    return f"masked:{hashlib.sha256(own.encode()).hexdigest()[:32]}"
