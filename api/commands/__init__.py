"""The command line: one function a command, in modules by what they are for.

Text for people on stdout, `--json` for programs, progress and errors on stderr.
Exit: 0 done, 1 failed, 2 wrong use or recipe, 3 stopped at a gate with nothing published.
"""

import io
import sys

import click

from cuvee.commands import authorship, deploy, doctor, export, read, run, texts, tools
from cuvee.commands.shared import say
from cuvee.schemas.errors import CuveeError
from cuvee.storage import secrets


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cuvee")
def cli() -> None:
    """Blend human and machine-written text into versioned training corpora."""


for module in (run, doctor, deploy, read, export, texts, tools, authorship):
    for command in module.COMMANDS:
        cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; `arguments` defaults to the process's own."""
    secrets.guard_logs()
    try:
        code = cli.main(arguments, prog_name="cuvee", standalone_mode=False)
    except click.exceptions.Abort:
        say("cuvee: stopped; a run that was under way published nothing, and goes on when repeated", err=True)
        code = 130
    except click.ClickException as error:
        usage = io.StringIO()
        error.show(usage)
        say(secrets.hide(usage.getvalue().rstrip("\n")), err=True)
        code = error.exit_code
    except CuveeError as error:
        say(secrets.hide(f"cuvee: {error}"), err=True)
        code = error.exit_code
    except OSError as error:  # a full disk, a folder that may not be written
        told = secrets.hide(f"cuvee: {error}")
        say(f"{told}; what was done before is kept: mend that and run it again", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
