"""Read a version by torch's DataLoader, with and without workers, and by torchdata's, which keeps its state."""

import sys
from itertools import chain, islice
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import cuvee


def ids(batches: Any) -> list[list[str]]:
    """Return the documents of each batch."""
    return [batch["doc_id"] for batch in batches]


def main() -> None:
    """Compare every way with the loader itself."""
    version = cuvee.open("made", store=sys.argv[1])
    options: dict[str, Any] = {"seed": 4, "batch": 16}
    for world_size in (1, 3):
        for rank in range(world_size):
            whole = ids(version.loader(rank, world_size, **options))
            for workers in (0, 1, 3):
                data = version.loader(rank, world_size, **options).torch()
                assert ids(DataLoader(data, batch_size=None, num_workers=workers)) == whole
    print("torch: batches with 0, 1 and 3 workers are the loader's, in its order")
    every = ids(version.loader(**options))
    stopped = version.loader(0, 2, **options).torch()
    assert ids(islice(DataLoader(stopped, batch_size=None, num_workers=2), 20)) == every[0:40:2]
    state = stopped.state_after(20)
    rest = []
    for rank in range(3):
        data = version.loader(rank, 3, **options).torch()
        data.load_state_dict(state)
        rest.append(ids(DataLoader(data, batch_size=None, num_workers=rank)))
    assert sorted(map(str, chain(*rest))) == sorted(map(str, every[40:]))
    assert rest[40 % 3] == every[40::3]
    print("torch: three ranks went on where two had stopped")
    for workers in (0, 2):
        first = StatefulDataLoader(version.loader(1, 2, **options).torch(), batch_size=None, num_workers=workers)
        got = ids(islice(first, 21))
        second = StatefulDataLoader(version.loader(1, 2, **options).torch(), batch_size=None, num_workers=workers)
        second.load_state_dict(first.state_dict())
        assert got + ids(second) == every[1::2]
    print("torchdata: an epoch went on at its 21st batch, with 0 and 2 workers")
    packed = version.loader(batch=64, pack=32, tokenizer=_encode).torch()
    batch = next(iter(DataLoader(packed, batch_size=None, num_workers=1, multiprocessing_context="spawn")))
    assert isinstance(batch["tokens"], torch.Tensor)
    assert batch["tokens"].dtype == torch.int32
    assert batch["tokens"].shape == (len(batch["boundaries"]), 32)
    print("torch: packed batches are tensors, also from spawned workers")


def _encode(text: str) -> list[int]:
    return [ord(character) for character in text]


if __name__ == "__main__":
    main()
