"""Words: what texts are compared by, below all rooms: words, shingles, signatures, and who hangs together."""

# A change of words, shingles, hashes or permutations makes stored band keys void: raise it.
SIGN_VERSION = 4
