"""The loader as a dataset of torch. Only `Loader.torch` imports this module, so nobody else needs torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset, get_worker_info

if TYPE_CHECKING:
    from cuvee.loader.loader import Loader


class TorchBatches(IterableDataset):  # type: ignore[misc]
    """Batches of a rank, for `DataLoader(dataset, batch_size=None, num_workers=n)`.

    Each of the n workers of a rank reads every n-th of the rank's batches, and the DataLoader gives them in the
    loader's own order. Footers are read once, before the workers begin. Workers read ahead of the trainer, so their
    state is not the trainer's: that is `state_after(batches got)`, and `set_epoch` begins the next epoch.
    """

    def __init__(self, loader: "Loader") -> None:
        super().__init__()
        self.loader = loader
        _ = loader.batches

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the batches of this worker."""
        return iter(self._own())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of this worker, or of the rank where there are none."""
        return self._own().state_dict()

    def state_after(self, batches: int) -> dict[str, Any]:
        """Return the state of the rank when it has got so many batches of this DataLoader."""
        return self.loader.state_after(batches)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._own().load_state_dict(state)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch anew."""
        self.loader.set_epoch(epoch)

    def _own(self) -> "Loader":
        """Return the loader of this process: a worker's, or the only one."""
        info = get_worker_info()
        if info is not None and self.loader.share.workers != info.num_workers:
            self.loader = self.loader.for_worker(info.id, info.num_workers)
        return self.loader
