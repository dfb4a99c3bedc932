"""Progress: draw what tasks report on the logger `cuvee.progress`, one line a step, on stderr.

A record carries `step` (its name), `done` and `total` (tasks, 0 <= done <= total) as extra fields.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from cuvee.schemas.visible import on_line

LOGGER = "cuvee.progress"


class BarDisplay(logging.Handler):
    """Draw a bar for each step on a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.bars = Progress(
            SpinnerColumn("line"),  # ASCII: a spinner that the terminal's encoding lacks would fail
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._drawn: dict[str, TaskID] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Move the bar of the record's step."""
        step, done, total = _fields(record)
        if step not in self._drawn:
            self._drawn[step] = self.bars.add_task(step, total=total)
        # A step without tasks has nothing to wait for: rich shows 0 of 0 as unfinished.
        self.bars.update(self._drawn[step], completed=done if total else 1, total=total or 1)

    def start(self) -> None:
        """Begin to draw."""
        self.bars.start()

    def close(self) -> None:
        """Leave the bars as they are."""
        self.bars.stop()
        super().close()


class LineDisplay(logging.Handler):
    """Write one plain line when a step starts and one when it ends, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._began: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line if the record is the first or the last of its step."""
        step, done, total = _fields(record)
        if step not in self._began:
            self._began[step] = time.monotonic()
            self._write(f"{step}: {total} to do")
        if done == total:
            self._write(f"{step}: {done} done in {time.monotonic() - self._began.pop(step):.1f} s")

    def start(self) -> None:
        """Begin; there is nothing to draw yet."""

    def _write(self, line: str) -> None:
        self._stream.write(on_line(line) + "\n")
        self._stream.flush()


@contextmanager
def display(quiet: bool, stream: TextIO | None = None) -> Iterator[None]:
    """Show the progress of the steps that the body runs.

    quiet: show nothing. stream: None is stderr as it is now.
    The logger is as before when the body ends, however it ends; stdout is never touched.
    """
    if quiet:
        yield
        return
    out = sys.stderr if stream is None else stream
    console = Console(file=out)
    shown = BarDisplay(console) if console.is_interactive else LineDisplay(out)
    logger = logging.getLogger(LOGGER)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(shown)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # the root handler would write each record once more
    shown.start()
    try:
        yield
    finally:
        logger.removeHandler(shown)
        logger.setLevel(level)
        logger.propagate = propagate
        shown.close()


def _fields(record: logging.LogRecord) -> tuple[str, int, int]:
    """Read the extra fields; a record without them is a step of its own that is done."""
    return getattr(record, "step", record.getMessage()), getattr(record, "done", 1), getattr(record, "total", 1)
