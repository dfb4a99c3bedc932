"""Measure how fast main text is taken from pages, and how much of it, against pages whose main text is known.

    python benchmarks/extraction.py TEXTS.jsonl [FOLDER_OF_HTML …]

TEXTS.jsonl (also .gz): objects with `text`, from which pages are built in six layouts (article, blog with comments,
forum, documentation, news with teasers, bare). FOLDER_OF_HTML: pages of a generator that marks the main text with
<main>, role="main" or <article> (mdBook and Sphinx do); the marked element's text is the truth, and the mark is taken
off before extraction, so that nobody is told the answer. trafilatura is measured where it is installed. Speed is pages
a second of processor time, one thread.

Precision, recall and F1 are over words (runs of letters and digits, lower case, as multisets), the mean over pages.
"""

import gzip
import html
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

from resiliparse.parse.html import HTMLTree

from cuvee.tasks import readers
from cuvee.tasks.readers._page import main_text

PAGES = 240
LINKS = (
    "Home",
    "About",
    "Contact",
    "Products",
    "Services",
    "Careers",
    "Privacy",
    "Imprint",
    "Newsletter",
    "Archive",
    "Support",
    "Login",
)
COOKIES = "We and our partners use cookies to improve your experience. Accept all cookies, reject, or manage settings."
WORD = re.compile(r"\w+")

Extractor = Callable[[str], str]


def words(text: str) -> Counter[str]:
    return Counter(WORD.findall(text.lower()))


def documents(path: Path) -> Iterator[str]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in content.splitlines():
        text = json.loads(line)["text"]
        if 150 <= len(text.split()) <= 3_000:
            yield text


def menu(draw: random.Random, kind: str = "nav") -> str:
    links = "".join(f'<li><a href="/{name.lower()}">{name}</a></li>' for name in draw.sample(LINKS, 8))
    return f"<{kind}><ul>{links}</ul></{kind}>"


def related(draw: random.Random, others: list[str]) -> str:
    teasers = (" ".join(text.split()[:14]) for text in draw.sample(others, 5))
    return "".join(f'<li><a href="/{n}">{html.escape(teaser)} …</a></li>' for n, teaser in enumerate(teasers))


def remark(draw: random.Random, others: list[str]) -> str:
    return html.escape(" ".join(draw.choice(others).split()[20:60]))


def built(text: str, others: list[str], draw: random.Random) -> tuple[str, str]:
    """Put a text into one of the layouts; returns the page and the main text it has."""
    parts = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    title = " ".join(text.split()[:8])
    body = "".join(f"<p>{html.escape(part)}</p>\n" for part in parts)
    truth = f"{title}\n{text}"
    side = f'<div class="sidebar"><h3>Read also</h3><ul>{related(draw, others)}</ul></div>'
    footer = f"<footer><p>Copyright 2019 The Company. All rights reserved.</p>{menu(draw, 'div')}</footer>"
    layout = draw.choice(["article", "blog", "forum", "documentation", "news", "bare"])
    if layout == "article":
        inner = f"<article><h1>{html.escape(title)}</h1>{body}</article>{side}"
    elif layout == "blog":
        remarks = "".join(f'<li class="comment"><b>Reader {n}</b><p>{remark(draw, others)}</p></li>' for n in range(4))
        inner = f'<div class="post"><h2 class="entry-title">{html.escape(title)}</h2><div class="entry-content">{body}'
        inner += f'</div></div><div id="comments"><h3>4 comments</h3><ol>{remarks}</ol></div>{side}'
    elif layout == "forum":
        posts = [parts[n::4] for n in range(4)]
        rows = "".join(
            f'<div class="post"><div class="author">user{n} <span>Posts: {n * 37}</span></div><div class="content">'
            + "".join(f"<p>{html.escape(part)}</p>" for part in post)
            + '</div><div class="actions"><a href="#r">Reply</a> <a href="#q">Quote</a></div></div>'
            for n, post in enumerate(posts)
            if post
        )
        inner = f'<h1>{html.escape(title)}</h1><div class="thread">{rows}</div>'
    elif layout == "documentation":
        half = len(parts) // 2
        code = "def area(radius):\n    return 3.14159 * radius ** 2"
        cells = [["Option", "Default", "Meaning"], ["size", "10", "Rows of a page"], ["sort", "name", "Order of rows"]]
        table = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells)
        steps = ["Install the package", "Open the settings", "Choose a folder"]
        inner = f'<div class="toc">{menu(draw)}</div><div class="document"><h1>{html.escape(title)}</h1>'
        inner += "".join(f"<p>{html.escape(part)}</p>" for part in parts[:half])
        inner += f"<pre><code>{code}</code></pre><table>{table}</table>"
        inner += "<ul>" + "".join(f"<li>{step}</li>" for step in steps) + "</ul>"
        inner += "".join(f"<p>{html.escape(part)}</p>" for part in parts[half:]) + "</div>"
        truth += "\n" + code + "\n" + "\n".join(" ".join(row) for row in cells) + "\n" + "\n".join(steps)
    elif layout == "news":
        teasers = "".join(f'<div class="teaser"><h4>More</h4><p>{remark(draw, others)}</p></div>' for _ in range(4))
        share = '<div class="share"><a href="#">Share</a> <a href="#">Tweet</a> <a href="#">Print this page</a></div>'
        inner = (
            f'<main><h1>{html.escape(title)}</h1>{share}<div class="story">{body}</div></main><aside>{teasers}</aside>'
        )
    else:
        return f"<html><body><h1>{html.escape(title)}</h1>{body}</body></html>", truth
    head = f"<title>{html.escape(title)} | The Company</title><style>p {{margin: 0}}</style><script>var a = 1;</script>"
    cookies = f'<div id="cookie-banner" class="cookie-consent"><p>{COOKIES}</p></div>' * draw.randint(0, 1)
    page = f"<!doctype html><html><head>{head}</head><body>{cookies}<header>{menu(draw)}</header>{inner}{footer}</body>"
    return page + "</html>", truth


def marked(folder: Path) -> Iterator[tuple[str, str]]:
    """Give the pages of a folder without the mark on their main text, and that text."""
    for path in sorted(folder.rglob("*.html"))[:PAGES]:
        page = path.read_text("utf-8", "replace")
        found = HTMLTree.parse(page).body.query_selector("main, [role=main], article")
        if found is None or len(found.text.split()) < 100:
            continue
        truth = found.text
        page = re.sub(r"<(/?)(main|article)\b", r"<\1div", page)
        yield re.sub(r'\brole="main"', "", page), truth


def extractors() -> dict[str, Extractor]:
    found: dict[str, Extractor] = {
        "resiliparse, as cuvee calls it": lambda page: main_text(HTMLTree.parse(page)),
    }
    try:
        from trafilatura import bare_extraction
    except ImportError:
        return found

    def trafilatura(page: str, **options: bool) -> str:
        result = bare_extraction(page, include_comments=False, include_tables=True, **options)
        return "" if result is None else result.text or ""

    return found | {
        "trafilatura": lambda page: trafilatura(page),
        "trafilatura, fast": lambda page: trafilatura(page, fast=True),
        "trafilatura, with metadata": lambda page: trafilatura(page, with_metadata=True),
    }


def measure(name: str, extract: Extractor, pages: list[tuple[str, str]]) -> None:
    precision = recall = f1 = 0.0
    started = time.process_time()
    texts = [extract(page) for page, _ in pages]
    seconds = time.process_time() - started
    for text, (_, truth) in zip(texts, pages, strict=True):
        found, wanted = words(text), words(truth)
        common = (found & wanted).total()
        p, r = common / max(found.total(), 1), common / max(wanted.total(), 1)
        precision, recall, f1 = precision + p, recall + r, f1 + (2 * p * r / (p + r) if common else 0.0)
    n = len(pages)
    print(f"  {name:32}{n / seconds:9,.0f} pages/s   P {precision / n:.3f}  R {recall / n:.3f}  F1 {f1 / n:.3f}")


def archived(pages: list[tuple[str, str]]) -> bytes:
    """Put pages into a WARC, a gzip member each."""
    members = []
    for number, (page, _) in enumerate(pages):
        block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page.encode()
        head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.example/{number}\r\n"
        head += "WARC-Date: 2020-01-01T00:00:00Z\r\nContent-Type: application/http; msgtype=response\r\n"
        members.append(gzip.compress(f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"))
    return b"".join(members)


def measure_archive(pages: list[tuple[str, str]]) -> None:
    content = archived(pages)
    started = time.process_time()
    rows = sum(batch.rows.height for batch in readers.read("x.warc.gz", BytesIO(content), "warc", "gzip", {}))
    print(f"  {'a whole WARC, as rows':32}{rows / (time.process_time() - started):9,.0f} pages/s")


def main(texts: Path, folders: list[Path]) -> None:
    draw = random.Random(1)
    every = list(documents(texts))
    sets = {f"built from {texts.name}": [built(draw.choice(every), every, draw) for _ in range(PAGES)]}
    sets |= {folder.name: list(marked(folder)) for folder in folders}
    for name, pages in sets.items():
        size = sum(len(page) for page, _ in pages) / len(pages) / 1000
        print(f"{name}: {len(pages)} pages of {size:.0f} kB")
        for extractor, extract in extractors().items():
            measure(extractor, extract, pages)
        measure_archive(pages)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
