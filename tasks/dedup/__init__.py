"""Near-duplicates: find them exactly, and keep the first of each.

The way of a text: words (`cuvee.tasks.words`) → word n-grams, called shingles → MinHash signature → band keys
→ candidate pairs (`index`; of large buckets `join`) → exact Jaccard on the text (`verify`) → pairs (`near`) → keepers
(`resolve`). `pairs` does this for what is new in a pool. `final` finds pairs and keepers at once (`crowd`), and `files`
does all of it for plain files; `datasketch_bridge` turns stored signatures into datasketch objects and back.

The functions take and return Arrow and numpy arrays and do no I/O, but for `files`. A caller stores two thin tables:
for each document its band keys and its `text_key` (SIGN_VERSION), and the verified pairs (PAIRS_VERSION).
"""

# A change of which pairs are found, or of their Jaccard, makes stored pairs void: raise it.
PAIRS_VERSION = 1
