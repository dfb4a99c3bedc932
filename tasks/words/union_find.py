"""Union-find: what hangs together by pairs, however indirectly."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def components(n, a, b):  # type: ignore[no-untyped-def]
    """Return for each of n documents the smallest number that pairs (a, b), int64 each, link it to, however indirectly.

    For counting what hangs together; removal never follows chains.
    """
    root = np.arange(n)
    for k in range(len(a)):
        x, y = a[k], b[k]
        while root[x] != x:
            root[x] = root[root[x]]
            x = root[x]
        while root[y] != y:
            root[y] = root[root[y]]
            y = root[y]
        root[max(x, y)] = min(x, y)
    for i in range(n):
        # The root of a smaller number is final already.
        root[i] = root[root[i]]
    return root
