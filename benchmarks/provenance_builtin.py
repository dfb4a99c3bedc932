"""Make the built-in provenance model again: gather its texts, train, measure, and write it with its card.

    python benchmarks/provenance_builtin.py ../shared --out FOLDER [--texts FILE] [--leave-out]

Texts: the labelled development set (shared/provenance); passages of the known-human corpora (shared/corpora), whole
source documents on one side: of each second document they train, of the others they measure; and passages of human
software texts that a Debian 12 machine with CMake and Python has: documentation, change logs and licences. The last
depend on the machine; the card says what was taken. On the same machine the same bytes come out.
"""

import argparse
import ast
import gzip
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data import topics

import polars as pl

from cuvee.tasks import readers
from cuvee.tasks.provenance.product import make

PASSAGES = 4
MOST_READ = 400_000
MOST_OF_A_KIND = 600

# Source → domain of its texts in the corpora's index; nothing else of the index is needed but licence and commit.
FREE = "free, as each package's copyright file says"
SOFTWARE = [
    ("software_docs", "CMake 3.25 Help", "BSD-3-Clause", "/usr/share/cmake-3.25/Help", "**/*.rst"),
    ("software_docs", "Perl 5.36 pods", "Artistic-1.0-Perl OR GPL-1.0-or-later", "/usr/share/perl/5.36.0", "**/*.pod"),
    ("software_docs", "Debian 12 info pages", FREE, "/usr/share/info", "*.gz"),
    ("software_docs", "Debian 12 READMEs", FREE, "/usr/share/doc", "**/README*"),
    ("changelog", "Debian 12 change logs", FREE, "/usr/share/doc", "**/changelog*.gz"),
    ("changelog", "Debian 12 news", FREE, "/usr/share/doc", "**/NEWS*.gz"),
    ("legal", "Debian 12 copyright files", FREE, "/usr/share/doc", "*/copyright"),
    ("legal", "Debian 12 common licences", "the licences themselves", "/usr/share/common-licenses", "*"),
]


def main() -> None:
    """Train on everything and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--texts", type=Path, default=Path("builtin-texts.parquet"), help="where to write the texts")
    parser.add_argument("--leave-out", action="store_true")
    options = parser.parse_args()
    labelled = pl.read_parquet(options.shared / "provenance" / "provenance_dev.parquet")
    frames = [labelled.drop("raw_text", "date"), passages(corpora(options.shared / "corpora")), passages(software())]
    pl.concat(frames, how="diagonal_relaxed").write_parquet(options.texts)
    made = make([str(options.texts)], options.out, "builtin", options.leave_out, None, told)
    sys.stdout.write(f"{made.report.human} human and {made.report.synthetic} synthetic texts: {made.report.sha256}\n")


def told(step: str, share: float) -> None:
    """Say how far the training is."""
    sys.stderr.write(f"{share:4.0%} {step}\n")


def corpora(folder: Path) -> pl.DataFrame:
    """Return the documents of the corpora that are declared human, half of them for evaluation."""
    index = pl.read_csv(folder / "index.csv", infer_schema_length=0).filter(pl.col("declared_provenance") == "human")
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("README.md", "index.csv"):
            with path.open("rb") as stream:
                for batch in readers.read(str(path), stream, *readers.detect(str(path)), {"text": "text"}):
                    named = batch.rows.with_columns(id=pl.col("id").fill_null(path.stem.rsplit("_", 1)[-1]))
                    texts.append(named.select("id", "text"))
    rows = pl.concat(texts).join(short_ids(index), on="id", how="inner")
    document = pl.concat_str("source", pl.lit(" "), "path")
    half = pl.Series([hashlib.sha256(name.encode()).digest()[0] % 2 for name in rows.select(document).to_series()])
    return rows.select(
        "text",
        "domain",
        "license",
        group=document,
        source_repo="source",
        source_commit="commit",
        slice=pl.when(half == 0).then(pl.lit("corpora_train")).otherwise(pl.lit("corpora_valid")),
    )


def short_ids(index: pl.DataFrame) -> pl.DataFrame:
    """Return the index under its ids, and once more under the six digits that end the names of text files."""
    wanted = index.select("id", "source", "path", "domain", "license", "commit")
    return pl.concat([wanted, wanted.with_columns(pl.col("id").str.slice(0, 6))]).unique("id", keep="none")


def software() -> pl.DataFrame:
    """Return human software texts of this machine."""
    rows = [(text, *about) for *about, text in (*_files(), *_python())]
    frame = pl.DataFrame(rows, schema=["text", "domain", "source_repo", "license", "group"], orient="row")
    frame = frame.unique("text", keep="first", maintain_order=True)
    return frame.with_columns(slice=pl.lit("software_train"), source_commit=pl.lit(""))


def _files() -> Iterator[tuple[str, str, str, str, str]]:
    for domain, name, license, folder, pattern in SOFTWARE:
        paths = [path for path in Path(folder).glob(pattern) if path.is_file()]
        # By hash: a few of every package, whatever is installed beside.
        paths.sort(key=lambda path: hashlib.sha256(str(path).encode()).digest())
        for path in paths[:MOST_OF_A_KIND]:
            content = path.read_bytes()
            text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode(errors="replace")
            yield domain, name, license, str(path), text[:MOST_READ]


def _python() -> Iterator[tuple[str, str, str, str, str]]:
    about = "software_docs", f"Python {sys.version.split()[0]} reference and docstrings", "PSF-2.0"
    for topic, text in sorted(topics.topics.items()):
        yield *about, f"topic {topic}", text
    for path in sorted(Path(ast.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_bytes())
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        yield *about, path.name, "\n\n".join(filter(None, map(ast.get_docstring, nodes)))


def passages(documents: pl.DataFrame) -> pl.DataFrame:
    """Cut each document into at most four passages of 90 to 320 words, by a hash of its text; human every one."""
    rows = []
    for document in documents.iter_rows(named=True):
        words = list(re.finditer(r"\S+", document["text"][:MOST_READ]))
        draw = hashlib.sha256(document["text"].encode()).digest()
        for number in range(min(PASSAGES, len(words) // 150)):
            size = min(len(words), 90 + int.from_bytes(draw[4 * number : 4 * number + 2], "big") % 230)
            first = int.from_bytes(draw[4 * number + 2 : 4 * number + 4], "big") % (len(words) - size + 1)
            text = document["text"][words[first].start() : words[first + size - 1].end()]
            rows.append({**document, "text": text})
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(
        label=pl.lit("human"), generator=pl.lit("human"), generator_kind=pl.lit("human"), attack=pl.lit("none")
    )


if __name__ == "__main__":
    main()
