"""Read an export in MDS by mosaicml-streaming, and compare it with the same export in JSON lines."""

import json
import sys
from pathlib import Path
from types import ModuleType

# The pictures of mosaicml-streaming need torchvision, whose builds fit few builds of torch; texts do without.
sys.modules["streaming.vision"] = ModuleType("streaming.vision")

from streaming import StreamingDataset  # noqa: E402


def main() -> None:
    """Compare all rows, in their order, with the hash of each shard checked."""
    told = [json.loads(line) for path in sorted(Path(sys.argv[2]).glob("*.jsonl")) for line in path.open()]
    read = StreamingDataset(local=sys.argv[1], shuffle=False, batch_size=1, validate_hash="sha256")
    assert len(read) == len(told) > 1000
    for at, row in enumerate(told):
        assert dict(read[at]) == row, (at, read[at], row)
    assert sorted(row["doc_id"] for row in read) == sorted(row["doc_id"] for row in told)
    print(f"mosaicml-streaming: {len(told):,} rows of MDS are those that were exported")


if __name__ == "__main__":
    main()
