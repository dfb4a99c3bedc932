"""Progress: draw what tasks report on the logger `cuvee.progress`, one line a step, on stderr.

A record carries `step` (its name), `done` and `total` (tasks, 0 <= done <= total) as extra fields, and `note`: the pace
of a step that takes long, or "".
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
# A night's log stays readable, and a person who waits sees that it moves.
EVERY_S = 30.0


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
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._drawn: dict[str, TaskID] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Move the bar of the record's step."""
        step, done, total, note = _fields(record)
        if step not in self._drawn:
            self._drawn[step] = self.bars.add_task(step, total=total, note="")
        # A step without tasks has nothing to wait for: rich shows 0 of 0 as unfinished.
        self.bars.update(self._drawn[step], completed=done if total else 1, total=total or 1, note=note)

    def start(self) -> None:
        """Begin to draw."""
        self.bars.start()

    def close(self) -> None:
        """Leave the bars as they are."""
        self.bars.stop()
        super().close()


class LineDisplay(logging.Handler):
    """Write one plain line when a step starts and one when it ends, and its pace each EVERY_S, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._began: dict[str, float] = {}
        self._written: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line if the record is the first or the last of its step, or the first with a pace for a while."""
        step, done, total, note = _fields(record)
        now = time.monotonic()
        if step not in self._began:
            self._began[step] = self._written[step] = now
            self._write(f"{step}: {total} to do")
        if done == total:
            self._write(f"{step}: {done} done in {now - self._began.pop(step):.1f} s" + (f" ({note})" if note else ""))
        elif note and now - self._written[step] >= EVERY_S:
            self._written[step] = now
            self._write(f"{step}: {done} of {total} ({note})")

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


def _fields(record: logging.LogRecord) -> tuple[str, int, int, str]:
    """Read the extra fields; a record without them is a step of its own that is done."""
    step = getattr(record, "step", record.getMessage())
    return step, getattr(record, "done", 1), getattr(record, "total", 1), getattr(record, "note", "")
