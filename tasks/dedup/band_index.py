"""Band index: the band keys of the pool, as near-duplicates ask for them."""

from collections.abc import Iterator, Sequence
from itertools import compress, groupby
from operator import not_

import numpy as np

from cuvee.schemas.records import FileRef
from cuvee.storage.store import Store
from cuvee.storage.tables import read_tables
from cuvee.tasks.dedup.candidates import BandKeys, Bools, key_filter, may_meet
from cuvee.tasks.measure.signals import band_name
from cuvee.tasks.words.kernel import Int64s, Uint32s

# Bands held at a time: of a million new documents five, of 50,000 beside ten million old ones 15.
BAND_BYTES = 64 << 20
# Rows of the index read at a time: with 25 bands 26 MB.
ROWS_AT_A_TIME = 1 << 18


class BandIndex:
    """The band keys of the pool, each read once, as many bands at a time as fit into BAND_BYTES, at least one.

    Of old files only the keys that may meet a new one are kept, so memory is bounded by what is new, and a night costs
    little more than reading.
    """

    def __init__(self, store: Store, files: Sequence[FileRef], fresh: Bools, rows: Int64s, bands: int) -> None:
        """Open the files, whose rows are numbered one file after another.

        fresh: bool[all rows], the new ones. rows: those to compare, ascending; document i is rows[i].
        """
        self._store, self._bands = store, bands
        ends = np.cumsum([file.rows for file in files])
        self._documents = np.full(int(ends[-1]) if len(ends) else 0, -1, np.int32)
        self._documents[rows] = np.arange(len(rows), dtype=np.int32)
        places = [(file, int(end) - file.rows) for file, end in zip(files, ends, strict=True)]
        has_new = [bool(fresh[start : start + file.rows].any()) for file, start in places]
        self._new = list(compress(places, has_new))
        self._old = list(compress(places, map(not_, has_new)))
        # `may_meet` lets one old key in 32 pass. A key takes 4 bytes, the document's number 8.
        kept = sum(file.rows for file, _ in self._new) + sum(file.rows for file, _ in self._old) // 32
        self._at_a_time = max(1, BAND_BYTES // (12 * max(1, kept)))
        self._read: dict[int, BandKeys] = {}

    def __call__(self, band: int) -> BandKeys:
        """Return the keys of a band, which are then forgotten."""
        if band not in self._read:
            self._read = self._some(range(band, min(band + self._at_a_time, self._bands)))
        return self._read.pop(band)

    def _some(self, bands: Sequence[int]) -> dict[int, BandKeys]:
        parts: dict[int, list[BandKeys]] = {band: [] for band in bands}
        for band, start, keys in self._columns(self._new, bands):
            parts[band].append(self._chosen(start, keys, np.arange(len(keys))))
        if self._old:
            filters = {band: key_filter(np.concatenate([part.keys for part in parts[band]])) for band in bands}
            for band, start, keys in self._columns(self._old, bands):
                parts[band].append(self._chosen(start, keys, may_meet(keys, filters[band])))
        return {
            band: BandKeys(*(np.concatenate(column) for column in zip(*parts[band], strict=True))) for band in bands
        }

    def _columns(
        self, places: Sequence[tuple[FileRef, int]], bands: Sequence[int]
    ) -> Iterator[tuple[int, int, Uint32s]]:
        """Yield band, first row and keys of each file.

        Files are taken a few at a time, bands outermost: the filter of a band, 256 KB for 50,000 new documents, is
        then loaded into a core's cache for all of them.
        """
        names = {band: band_name(band) for band in bands}
        for _, some in groupby(places, key=lambda place: place[1] // ROWS_AT_A_TIME):
            files, starts = zip(*some, strict=True)
            tables = list(read_tables(self._store, files, list(names.values())))
            for band, name in names.items():
                for table, start in zip(tables, starts, strict=True):
                    yield band, start, table[name].to_numpy()

    def _chosen(self, start: int, keys: Uint32s, places: Int64s) -> BandKeys:
        documents = self._documents[start + places]
        chosen = documents >= 0
        return BandKeys(documents[chosen].astype(np.int64), keys[places[chosen]])
