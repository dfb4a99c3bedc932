"""What readers in environments of their own make of a version: torch with workers, and mosaicml-streaming.

    python -m tests.outside TORCH MDS

TORCH: a Python with torch, torchdata and cuvee; MDS: one with mosaicml-streaming. `make test-readers` makes both.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from made import Files, publish

from cuvee.export import export

TESTS = Path(__file__).parent
STRATA = [
    Files("news", "human", [[500, 300], [400]]),
    Files("rephrased", "synthetic", [[100] * 5], (1, 3)),
    Files("letters", "human", [[5], [3]], (2,)),
]


def main() -> None:
    """Publish, export, and let each environment read."""
    with tempfile.TemporaryDirectory(prefix="cuvee-outside-") as folder:
        dataset = publish(f"{folder}/store", STRATA)
        for form in ("mds", "jsonl"):
            export(dataset, Path(folder, form), 5, 3, form)
        subprocess.run([sys.argv[1], str(TESTS / "outside_torch.py"), f"{folder}/store"], check=True)
        subprocess.run([sys.argv[2], str(TESTS / "outside_mds.py"), f"{folder}/mds", f"{folder}/jsonl"], check=True)


if __name__ == "__main__":
    main()
