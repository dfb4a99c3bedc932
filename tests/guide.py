"""The example files of docs/extending.md, as they stand there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


# A heading that names a file, and the first example below it.
_EXAMPLE = re.compile(r"^## [^\n]*`(tasks/\S+\.py)`\n.*?^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def examples() -> dict[str, str]:
    """Return the text of each file by its path, as tasks/readers/lines.py."""
    return dict(_EXAMPLE.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8")))
