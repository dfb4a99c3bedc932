"""Artifacts: a run's tables and texts, for the page of the flow run in the Prefect UI.

They are a copy for the reader: what a corpus needs is in its manifest and reports. So they never fail a run.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cuvee.schemas.visible import markdown
from cuvee.storage import secrets

_logger = logging.getLogger(__name__)


def step_table(corpus: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Show a run's steps as a table; rows of numbers, texts and None, one a step, with the same keys."""
    from prefect.artifacts import create_table_artifact

    table = [_as_text(dict(row)) for row in rows]
    _show(create_table_artifact, table, artifact_key(corpus, "steps"), f"Steps of the run of {corpus}")


def mixture_markdown(corpus: str, markdown: str) -> None:
    """Show the enforced mixture as markdown."""
    from prefect.artifacts import create_markdown_artifact

    _show(create_markdown_artifact, markdown, artifact_key(corpus, "mixture"), f"Mixture of {corpus}")


def _as_text(value: Any) -> Any:
    """Escape the strings of a cell, which the page renders as Markdown: reasons are texts of others."""
    if isinstance(value, str):
        return markdown(value)
    if isinstance(value, Mapping):
        return {markdown(str(name)): _as_text(inside) for name, inside in value.items()}
    return [_as_text(inside) for inside in value] if isinstance(value, list | tuple) else value


def artifact_key(corpus: str, name: str) -> str:
    """Make a key that Prefect accepts: lower-case letters, digits and single dashes; runs share it as a history."""
    return re.sub(r"[^a-z0-9]+", "-", f"cuvee-{corpus}-{name}".lower()).strip("-")


def _show(create: Callable[..., Any], content: Any, key: str, description: str) -> None:
    try:
        create(secrets.hide_in(content), key=key, description=description)
    except Exception as error:  # whatever the client or the server raises, the corpus is not worse for it
        _logger.warning("no artifact %s in the Prefect UI: %s", key, error)
