"""Read the human text that every Python machine has, offline: package descriptions, help topics, docstrings.

Nothing is imported from the packages that are read. Rows are in order of id and hold nothing of the clock, so one
machine gives the same rows each time. Each row has the columns id, text and title; a package also has url, license
(the string it declares, not yet SPDX) and created (null: no date in an installed package is evidence).
"""

import ast
import os
import re
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

MIN_WORDS = 80
"""Shorter texts are left out: below 80 words the provenance model says nothing."""

SKIPPED_FOLDERS = {"test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo"}  # tests and programs: no prose
SKIPPED_FOLDERS |= {"ensurepip", "pydoc_data", "encodings"}  # wheels, a second copy of the topics, code pages
SKIPPED_FOLDERS |= {"site-packages", "dist-packages"}  # not the standard library

TAG = re.compile(
    r"</?(?:a|b|br|center|code|details|div|em|h[1-6]|hr|i|img|kbd|li|ol|p|picture|small|source|span|strong|sub|summary|sup"
    r"|table|tbody|td|th|thead|tr|u|ul|video)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
MARKDOWN_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^()]*\)|\[[^\]]*\])")
EMPTY_LINK = re.compile(r"\[\s*\](?:\([^()]*\)|\[[^\]]*\])")
MARKUP_LINE = re.compile(
    r"\s*(?:\.\. (?:\|[^|]*\| )?(?:image|figure)::.*"  # the image directives of reStructuredText …
    r"|:(?:target|alt|width|height|align|scale|class):.*"  # … and their options
    r"|\.\. _[^:]+:\s.*|\[[^\]]+\]:\s+\S+.*"  # link targets of reStructuredText and of Markdown
    r"|(?:\|[\w .-]+\|_{0,2}\s*)+)$"  # a row of badges by substitution
)
FENCE = re.compile(r"\s*```")  # not ~~~, which underlines a heading in reStructuredText


Row = dict[str, str | None]


def prose(markup: str) -> str:
    """Drop images, badges, link targets and HTML tags from a README; leave its words and its code blocks.

    Works on Markdown and reStructuredText alike. Lines that held only markup go, and runs of blank lines become one.
    """
    kept: list[str] = []
    fenced = False
    for line in COMMENT.sub("", markup).splitlines():
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            bare = EMPTY_LINK.sub("", MARKDOWN_IMAGE.sub("", TAG.sub("", line)))
            if MARKUP_LINE.match(bare) or (line.strip() and not bare.strip()):
                continue
            line = bare
        if line.strip() or (kept and kept[-1]):
            kept.append(line.rstrip())
    return "\n".join(kept).strip()


def declared_license(field: Callable[[str], list[str]]) -> str | None:
    """Return the licence a distribution declares: the expression, else a short `License`, else its classifiers."""
    for name in ("License-Expression", "License"):
        for value in field(name):
            # Old metadata may hold the whole licence text in `License`.
            if value.strip() and "\n" not in value.strip() and len(value) <= 80 and value != "UNKNOWN":
                return value.strip()
    named = {value.rpartition(" :: ")[2] for value in field("Classifier") if value.startswith("License :: ")}
    return " OR ".join(sorted(named)) or None


def home_page(field: Callable[[str], list[str]]) -> str | None:
    """Return the address of a distribution: its home page, else the first of its project links by label."""
    homes = [value for value in field("Home-page") if value.startswith("http")]
    links = dict(value.split(", ", 1) for value in field("Project-URL") if ", " in value)
    by_label = {label.strip().lower(): url.strip() for label, url in links.items()}
    preferred = [by_label[label] for label in ("homepage", "home", "source", "repository") if label in by_label]
    return next(iter(homes + preferred + [by_label[label] for label in sorted(by_label)]), None)


def package_row(distribution: Distribution) -> Row | None:
    """Return the row of one distribution, or null when its metadata cannot be read or its description is short."""
    try:
        metadata = distribution.metadata
    except (OSError, UnicodeDecodeError):
        return None

    def field(name: str) -> list[str]:
        return [str(value) for value in metadata.get_all(name) or []]

    name = next(iter(field("Name")), "")
    # The body of METADATA reaches `Description` too, whichever of the two places the packager chose.
    text = prose(next(iter(field("Description")), ""))
    if not name or len(text.split()) < MIN_WORDS:
        return None
    key = re.sub(r"[-_.]+", "-", name).lower()
    return {
        "id": key,
        "text": text,
        "title": name,
        "url": home_page(field),
        "license": declared_license(field),
        "created": None,
    }


def packages() -> list[Row]:
    """Return one row a distribution on the path; of several with one name the first, which is the one imported."""
    rows: dict[str, Row] = {}
    for distribution in distributions():
        row = package_row(distribution)
        if row and row["id"] != "cuvee":
            rows.setdefault(str(row["id"]), row)
    return [rows[key] for key in sorted(rows)]


def language_reference() -> list[Row]:
    """Return one row a topic of Python's help(); none where the distributor split `pydoc_data` off."""
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError:
        return []
    texts = {key: str(text).strip() for key, text in topics.items()}
    return [
        {"id": key, "text": texts[key], "title": texts[key].partition("\n")[0]}
        for key in sorted(texts)
        if len(texts[key].split()) >= MIN_WORDS
    ]


def definitions(body: Iterable[ast.AST]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield classes and functions of a body in order, also those under `if` and `try`, not those inside functions."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            yield from definitions(ast.iter_child_nodes(node))


def docstrings(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> list[str]:
    """Return the docstrings of a definition and, for a class, of all it holds, each under its dotted name."""
    own = ast.get_docstring(node)
    found = [f"{name}\n\n{own}"] if own else []
    if isinstance(node, ast.ClassDef):
        for inner in definitions(node.body):
            found += docstrings(inner, f"{name}.{inner.name}")
    return found


def module_rows(name: str, source: bytes) -> list[Row]:
    """Return a row for each well-documented class of a module and one for all the rest of it.

    Raises SyntaxError or ValueError when `source` is not a module of this Python version.
    """
    tree = ast.parse(source)
    own = ast.get_docstring(tree)
    rest = [own] if own else []
    texts: dict[str, str] = {}
    for node in definitions(tree.body):
        found = docstrings(node, f"{name}.{node.name}")
        text = "\n\n".join(found)
        if isinstance(node, ast.ClassDef) and len(text.split()) >= MIN_WORDS:
            # A class defined twice, in two branches of an `if`, counts once: by its first definition.
            texts.setdefault(f"{name}.{node.name}", text)
        else:
            rest += found
    texts[name] = "\n\n".join(rest)
    return [{"id": key, "text": text, "title": key} for key, text in texts.items() if len(text.split()) >= MIN_WORDS]


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files under `folder`, without walking the folders that are skipped; in no order."""
    for parent, folders, files in os.walk(folder):
        # site-packages lies inside the standard library's folder and may hold far more files than it.
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        yield from (Path(parent, name) for name in files if name.endswith(".py"))


def standard_library(folder: Path | None = None) -> list[Row]:
    """Return the docstrings of the modules under `folder`, by default the standard library.

    Files are read, never imported; one that does not parse is left out.
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    rows: dict[str, Row] = {}
    for path in sorted(python_files(folder)):
        name = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        try:
            # A module and a package may share a name: the package sorts first, and is what Python imports.
            for row in module_rows(name, path.read_bytes()):
                rows.setdefault(str(row["id"]), row)
        except (OSError, SyntaxError, ValueError):
            continue
    return [rows[key] for key in sorted(rows)]
