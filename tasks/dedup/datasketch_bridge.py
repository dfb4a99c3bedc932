"""Bridge to datasketch: stored signatures as MinHash objects, and back.

index = datasketch.MinHashLSH(threshold=0.8, num_perm=128)
index.insert("a document", to_minhash(signatures(text)[0], seed=1))
"""

from datasketch import MinHash

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.words.kernel import Uint32s, shingle_hash32


def to_minhash(signature: Uint32s, seed: int = 1) -> MinHash:
    """Return the MinHash with this signature, uint32[permutations], made with `seed`.

    It can be compared, merged, indexed, and updated with shingles: words in UTF-8, joined by single spaces.
    """
    return MinHash(hashvalues=signature, seed=seed, scheme="affine32", hashfunc=shingle_hash32)


def from_minhash(minhash: MinHash) -> Uint32s:
    """Return the signature, uint32[permutations]. Raises RecipeError for another scheme or hash than ours."""
    if minhash.scheme != "affine32" or minhash.hashfunc is not shingle_hash32:
        raise RecipeError("dedup: this MinHash was not made with scheme affine32 and hashfunc=shingle_hash32")
    signature: Uint32s = minhash.digest()
    return signature
