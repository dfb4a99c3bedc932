"""Compiling: a run says that it compiles, and set-up compiles what a common run needs."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from cuvee.flows import compiling
from cuvee.tasks.demo import texts


def test_the_first_kernel_that_is_compiled_is_told_once_and_what_is_compiled_is_not() -> None:
    told: list[str] = []
    first, second = (numba.njit(lambda number: number + 1) for _ in range(2))
    with compiling.heard(lambda: told.append("compiling")):
        assert first(1) == second(1) == 2
    with compiling.heard(lambda: told.append("again")):
        first(2)
    second("outside" == "")
    assert told == ["compiling"]


@pytest.mark.slow
def test_after_set_up_the_demo_compiles_nothing(tmp_path: Path) -> None:
    texts.recipe(tmp_path, texts.gather(tmp_path))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
    program = [sys.executable, "-c", "from cuvee.commands import main; main()"]
    run = [*program, "run", str(tmp_path / "demo.yaml"), "--store", str(tmp_path / "store"), "--runner", "plain"]
    before = subprocess.run([*run, "--limit", "1"], env=environment, check=True, capture_output=True, text=True)
    assert compiling.TOLD in before.stderr
    subprocess.run([sys.executable, "-m", "cuvee.flows.compiling"], env=environment, check=True)
    after = subprocess.run(run, env=environment, check=True, capture_output=True, text=True)
    assert compiling.TOLD not in after.stderr
