"""What a person sees while a run is under way, on a real terminal."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from texts import documents, write_jsonl

RECIPE = "corpus: words\nsources: [{name: texts, uri: texts.jsonl}]\n"


def test_bars_move_on_a_terminal(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts.jsonl", documents(40))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    terminal, inside = pty.openpty()
    code = "from cuvee.commands import main; main()"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_API")}
    environment |= {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "recipe.yaml"], cwd=tmp_path, env=environment, stdout=inside, stderr=inside
    )
    os.close(inside)
    seen = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1)
        try:
            part = os.read(terminal, 65536) if ready else b""
        except OSError:  # the terminal closes with its last writer
            break
        seen += part
        if not part and process.poll() is not None:
            break
    assert process.wait(10) == 0, seen.decode()
    text = seen.decode()
    for step in ("ingest", "filter", "publish"):
        assert f"{step} " in text.split("published")[0]
    assert "1/1" in text
    assert "words@v0001 published" in text
