"""Pages: main text, title, date, address and opt-out signals of HTML.

resiliparse finds the main text: beside trafilatura its words are as right (F1 0.995 to 0.902 on built pages, 0.930 to
0.946 on a book of mdBook, 0.909 to 0.900 on Sphinx pages) at 14 to 16 times the speed; see benchmarks/extraction.py.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuvee.tasks.readers._batch import InvalidRowError
from cuvee.tasks.readers._dates import first_day
from cuvee.tasks.readers._xhtml import as_html

if TYPE_CHECKING:
    from resiliparse.parse.html import ElementNode, HTMLTree

# Finding the main text takes the square of the depth (1.2 s at 8,000), parsing that of one tag's attributes (0.5 s at
# 16,000) or of options (3 s at 20,000): pages made to stall a reader. Pages of people stay under 200, 100 and 1,000.
_MOST_DEPTH, _MOST_ATTRIBUTES, _MOST_OPTIONS = 1000, 4000, 10_000
# A parsed element takes 200 to 600 bytes. The largest pages of people have 300,000.
_MOST_ELEMENTS, _MOST_ATTRIBUTES_IN_ALL = 500_000, 2_000_000
# Attributes of a smaller page cannot be as many.
_LARGE_PAGE = 4 << 20
# A style that is not closed is opened again in each element that follows, with all its attributes (WHATWG HTML,
# "reconstruct the active formatting elements", at most three equal ones): 55 kB took 3 GB.
_STYLES = "b|big|code|em|font|i|s|small|strike|strong|tt|u"
_MOST_REOPENED = 1_000_000
_STYLE = re.compile(rf"<(?:{_STYLES})[\s/>]", re.IGNORECASE)
_IS_STYLE = frozenset(_STYLES.split("|"))
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)([^>]*)")
_ELEMENT = re.compile(r"<[a-zA-Z][^<>]*")
_MOST_METAS = 1000
# Matches what lies that deep, in 1 ms for 6,000 elements.
_TOO_DEEP = " > ".join(["*"] * _MOST_DEPTH)
_LONG_TAG = re.compile(r"<[a-zA-Z][^<>]{16000,}")
_OPTION = re.compile(r"<opt", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"[\s/]+[^\s/]")
_QUOTED = re.compile(r"""=\s*(?:"[^"]*"|'[^']*')""")
_DATES = frozenset({
    "article:published_time", "og:published_time", "date", "dc.date", "dc.date.issued", "dcterms.created",
    "dcterms.issued", "datepublished", "citation_publication_date", "publish-date", "pubdate"
})  # fmt: skip
# MathML of pages that are no XHTML, and yet give its elements a prefix.
_PREFIXED = re.compile(r"<([a-z][\w.-]*):math[\s>]", re.IGNORECASE)
# Of formulas that are drawn once more, the drawing.
_DRAWN = ".katex-mathml + .katex-html, .MathJax_Preview, .MathJax:has(math) > nobr, mjx-container:has(math) > mjx-math"
_JSON_DATE = re.compile(r'"datePublished"\s*:\s*"([^"]{1,100})"')


@dataclass(frozen=True)
class Page:
    """What a page holds. text: empty where it has no main text; date: YYYY-MM-DD, or what only looks like a date; date
    and url are as the page claims.

    metas: its meta tags, as (name, content), and its links to licences of RSL, under the name rsl-license.
    """

    text: str
    title: str | None
    date: str | None
    url: str | None
    metas: tuple[tuple[str, str], ...]


def read_page(html: str, is_xhtml: bool = False) -> Page:
    """Take a page apart; raises InvalidRowError for one that is built to stall its reader.

    is_xhtml: whether its suffix or media type says so.
    """
    html = as_html(html, is_xhtml)
    if prefixed := _PREFIXED.search(html):
        html = re.sub(rf"(</?){re.escape(prefixed[1])}:", r"\1", html, flags=re.IGNORECASE)
    tree = _parse(html)
    _write_formulas_once(tree, html)
    metas = (*_metas(tree), *_licenses(tree, html))
    named = {name.lower(): content for name, content in reversed(metas)}
    title = named.get("og:title") or tree.title
    # By name, and of one name in the order of the page.
    dates = sorted(((name.lower(), content) for name, content in metas if name.lower() in _DATES), key=lambda m: m[0])
    return Page(
        text=main_text(tree),
        title=" ".join((title or "").split()) or None,
        date=first_day([*(content for _, content in dates), *_JSON_DATE.findall(html)]),
        url=_canonical(tree),
        metas=metas,
    )


def main_text(tree: "HTMLTree") -> str:
    """Return the main text of a parsed page, without menus, footers and comments; tables, lists and code stay."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(tree, main_content=True, alt_texts=False, comments=False).strip()


def plain_text(html: str) -> str:
    """Return all text of a piece of HTML that has no menus; raises InvalidRowError as `read_page` does."""
    from resiliparse.extract.html2text import extract_plain_text

    tree = _parse(html)
    _write_formulas_once(tree, html)
    return extract_plain_text(tree, alt_texts=False).strip()


def _write_formulas_once(tree: "HTMLTree", html: str) -> None:
    """Take out what says a formula again: of MathML the TeX stays where there is any, since it keeps what is above and
    below, else the signs; KaTeX and MathJax draw it once more. What MediaWiki hides, and shows as a picture, is shown.
    """
    document = tree.document
    if document is None or "<math" not in html.lower():
        return
    for element in document.query_selector_all(_DRAWN)[0:_MOST_ELEMENTS]:
        element.decompose()
    for element in document.query_selector_all(".mwe-math-element [style]")[0:_MOST_ELEMENTS]:
        element.delattr("style")
    # In the order of the page: what stands around a formula's part comes before the part.
    for element in document.query_selector_all("math, semantics")[0:_MOST_ELEMENTS]:
        parts = list(element.children)
        tex = [part for part in parts if part.tag == "annotation" and _is_tex(part)]
        for part in parts:
            if (tex and part != tex[0]) or (not tex and part.tag in ("annotation", "annotation-xml")):
                element.remove_child(part)


def _is_tex(annotation: "ElementNode") -> bool:
    encoding = (annotation.getattr("encoding") or "").split(";")[0].strip().lower()
    return encoding.endswith("tex") and bool((annotation.text or "").strip())


def _metas(tree: "HTMLTree") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    # A slice is a list; walking the live list takes the square of its length, 1 ms at 20 and 2 s at 800.
    for element in tree.document.query_selector_all("meta")[0:_MOST_METAS] if tree.document else ():
        if content := element.getattr("content"):
            names = (element.getattr("name"), element.getattr("property"), element.getattr("itemprop"))
            found += [(name, content) for name in dict.fromkeys(names) if name]
    return found


def _licenses(tree: "HTMLTree", html: str) -> list[tuple[str, str]]:
    """Return the page's links to licences of RSL as metas are."""
    # Compiling the selector takes 0.2 ms, and few pages have such a link.
    if not tree.document or "rsl+xml" not in html.lower():
        return []
    links = tree.document.query_selector_all("link[rel='license' i][type='application/rsl+xml' i]")[0:_MOST_METAS]
    return [("rsl-license", href) for link in links if (href := link.getattr("href"))]


def _canonical(tree: "HTMLTree") -> str | None:
    link = tree.document.query_selector("link[rel='canonical' i]") if tree.document else None
    url = (link.getattr("href") or "").strip() if link else ""
    return url if url.startswith(("http://", "https://")) else None


def _parse(html: str) -> "HTMLTree":
    # Imported here: most runs read no HTML.
    from resiliparse.parse.html import HTMLTree

    for tag in _LONG_TAG.findall(html):
        if _attributes(tag) > _MOST_ATTRIBUTES:
            raise InvalidRowError(f"a tag of the page has over {_MOST_ATTRIBUTES:,} attributes")
    marks = html.count("<")
    if marks > _MOST_ELEMENTS and sum(1 for _ in _ELEMENT.finditer(html)) > _MOST_ELEMENTS:
        raise InvalidRowError(f"the page has over {_MOST_ELEMENTS:,} elements")
    if len(html) > _LARGE_PAGE and sum(map(_attributes, _ELEMENT.findall(html))) > _MOST_ATTRIBUTES_IN_ALL:
        raise InvalidRowError(f"the page has over {_MOST_ATTRIBUTES_IN_ALL:,} attributes")
    if marks > _MOST_DEPTH and len(_STYLE.findall(html)) * marks > _MOST_REOPENED and _reopened(html) > _MOST_REOPENED:
        raise InvalidRowError(f"styles of the page that are not closed make over {_MOST_REOPENED:,} elements")
    if marks > _MOST_OPTIONS and len(_OPTION.findall(html)) > _MOST_OPTIONS:
        raise InvalidRowError(f"the page has over {_MOST_OPTIONS:,} options")
    tree = HTMLTree.parse(html)
    # Compiling the selector takes 0.2 ms, half of what a small page takes.
    deep = marks > _MOST_DEPTH and tree.document and tree.document.query_selector(_TOO_DEEP) is not None
    if deep:
        raise InvalidRowError(f"the page nests its elements {_MOST_DEPTH:,} deep or more")
    return tree


def _attributes(tag: str) -> int:
    return len(_ATTRIBUTE.findall(_QUOTED.sub("", tag)))


def _reopened(html: str) -> int:
    """Count about how many elements a parser makes to open styles again that are not closed."""
    opened: dict[str, list[str]] = {name: [] for name in _IS_STYLE}
    now = total = 0
    for closing, name, rest in _TAG.findall(html):
        name = name.lower()
        if name not in _IS_STYLE:
            total += 0 if closing else now
        elif closing and opened[name]:
            opened[name].pop()
            now -= 1
        elif not closing and opened[name][-3:].count(rest) < 3:
            opened[name].append(rest)
            now += 1
    return total
