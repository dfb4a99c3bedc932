"""Units: what lets systemd start `cuvee deploy` with the machine, as the user who deploys."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cuvee.deployments import daemons
from cuvee.schemas.errors import CuveeError

_MAIN = "from cuvee.commands import main; main()"
_FIRST = """# Written by cuvee deploy --systemd; written anew by the next.
[Unit]
Description=cuvee: {recipe}, every night
StartLimitIntervalSec=600
StartLimitBurst=3

[Service]
Type=exec
WorkingDirectory={folder}
Environment={variables}
EnvironmentFile=-{secrets}
ExecStart={start}
ExecStop={stop}
TimeoutStopSec=90
Restart=on-failure
RestartSec=30

[Install]
WantedBy=default.target
"""
# A further recipe is deployed on what the first one has started.
_FURTHER = """# Written by cuvee deploy --systemd; written anew by the next.
[Unit]
Description=cuvee: {recipe}, every night
Requires=cuvee.service
After=cuvee.service

[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory={folder}
Environment={variables}
EnvironmentFile=-{secrets}
ExecStart={start}

[Install]
WantedBy=default.target
"""


def write(recipe: str, options: Sequence[str], name: str | None) -> Path:
    """Write the unit for a recipe, and return its path.

    options: of the command line, without --systemd. name: of a further corpus, whose unit is cuvee-NAME.service.
    Raises CuveeError where it cannot be written.
    """
    command = [sys.executable, "-c", _MAIN, "deploy"]
    path = _folder() / (f"cuvee-{name}.service" if name else "cuvee.service")
    start = [*command, str(Path(recipe).absolute()), *options, *(["--detach"] if name else [])]
    kept = {key: value for key in ("PREFECT_HOME", "CUVEE_STORE", "PATH") if (value := os.environ.get(key))}
    text = (_FURTHER if name else _FIRST).format(
        recipe=Path(recipe).name.replace("%", "%%"),
        folder=_path(Path.cwd()),
        variables=" ".join(_quoted(f"{key}={value}") for key, value in kept.items()),
        secrets=_path(secrets()),
        start=_line(start),
        stop=_line([*command, "--stop"]),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise CuveeError(f"{path} cannot be written: {error.strerror}") from None
    return path


def secrets() -> Path:
    """Return the file in which the user may set variables that no unit should hold, such as keys."""
    return daemons.home() / "environment"


def _folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "systemd" / "user"


def _line(words: Sequence[str]) -> str:
    """Write a command as systemd reads it: no shell, but a variable's value stands for its name."""
    return " ".join(_quoted(word.replace("$", "$$")) for word in words)


def _quoted(word: str) -> str:
    """Quote a word, in which `%` would mean something too (systemd.syntax(7), systemd.unit(5))."""
    for sign, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("\n", "\\n")):
        word = word.replace(sign, written)
    return f'"{word}"'


def _path(path: Path) -> str:
    """Write a path that stands alone after `=`, which takes quotes literally."""
    return str(path).replace("%", "%%")
