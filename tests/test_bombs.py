"""Small files that ask for much: each costs a message, and neither the memory nor the time of a machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bombs import BOMBS, Taken

# A bomb may take this much, and a slow machine a little longer than the ten seconds of a good one.
MOST_MB, MOST_CPU_S = 1000, 10


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Taken]:
    """What each bomb that is quick to make took, measured in a process that holds nothing else."""
    script = """
import json, sys
from pathlib import Path
from tests.bombs import BOMBS, measure
quick = [bomb for bomb in BOMBS if not bomb.large]
print(json.dumps(measure(quick, Path(sys.argv[1]))))
"""
    folder = str(tmp_path_factory.mktemp("bombs"))
    command = [sys.executable, "-c", script, folder]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=300)
    return {name: Taken(*values) for name, values in json.loads(done.stdout).items()}


@pytest.mark.parametrize("bomb", [bomb for bomb in BOMBS if not bomb.large], ids=lambda bomb: bomb.name)
def test_a_bomb_is_told_of_and_takes_neither_memory_nor_time(bomb, taken):
    found = taken[bomb.name]
    assert any(bomb.told in reason for reason in found.reasons) or (not bomb.told and found.rows)
    assert found.peak_mb < MOST_MB
    assert found.cpu_s < MOST_CPU_S
