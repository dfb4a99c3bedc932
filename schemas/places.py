"""Places: on which line of a recipe's text a key stands."""

from collections.abc import Callable, Sequence
from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode


def lines_of(text: str) -> Callable[[Sequence[int | str]], int | None]:
    """Return what finds the line, from 1, of a path of keys and indices, or of the nearest key above it that is there.

    None where the text is no YAML, and for a path whose first key is not there.
    """
    try:
        root = YAML(typ="safe", pure=True).compose(StringIO(text))
    except (YAMLError, ValueError):
        root = None

    def line(path: Sequence[int | str]) -> int | None:
        node, found = root, None
        for key in path:
            step = _below(node, key)
            if step is None:
                break
            found, node = step
        return found

    return line


def _below(node: Node | None, key: int | str) -> tuple[int, Node] | None:
    """Return the line of a key or an entry of a list, and its value."""
    if isinstance(node, MappingNode):
        return next(((k.start_mark.line + 1, value) for k, value in node.value if k.value == str(key)), None)
    if isinstance(node, SequenceNode) and isinstance(key, int) and key < len(node.value):
        entry = node.value[key]
        return entry.start_mark.line + 1, entry
    return None
