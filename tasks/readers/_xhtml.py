"""XHTML: pages written as XML, given to a parser of HTML as HTML.

To a parser of HTML `<title/>` opens a title that never ends, and the page is its text. Pages in which the two readings
differ are read by expat, event by event, and written as HTML; in one that is not well-formed, what is closed in its own
tag gets an end, and the rest is read as HTML.
"""

import re
from html import escape
from html.entities import html5
from xml.parsers import expat

_VOID = "area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr"
_IS_VOID = frozenset(_VOID.split("|"))
_RAW = frozenset(["script", "style"])
# Comments, declarations and instructions before the root.
_BEFORE = r"(?:\s|\ufeff|<!--(?:(?!-->).)*+-->|<\?[^>]*+>)*+"
# An XML declaration, a doctype of XHTML, or its namespace at the root.
_XHTML = re.compile(
    r"[\s\ufeff]*<\?xml\s"
    rf"|{_BEFORE}<!doctype\s+html\s+(?:public|system)\s[^>]*xhtml"
    rf"|{_BEFORE}(?:<!doctype\s[^>\[]*(?:\[[^\]]*\]\s*)?>)?{_BEFORE}<(?:[a-z][\w.-]*:)?html\b[^>]*\sxmlns(?:\s*=|:)",
    re.IGNORECASE | re.DOTALL,
)
_CLOSED = re.compile(
    rf"""<(?!(?:{_VOID})[\s/])([a-z][^\s<>/]*+)((?:[^<>"'/]++|"[^"<]*+"|'[^'<]*+'|/(?!>))*+)/>""", re.IGNORECASE
)
# Where reading as HTML would go wrong: an element closed in its own tag, marked sections, and names with a prefix.
_DIFFERS = re.compile(rf"{_CLOSED.pattern}|<!\[CDATA\[|<[a-z][\w.-]*:(?:html|math)[\s>]", re.IGNORECASE)
_TITLE = re.compile(r"<title\s*/>", re.IGNORECASE)
_SUBSET = re.compile(r"(<!doctype\s[^>\[]*)\[[^\]]*\]\s*>", re.IGNORECASE)
_NAMESPACE = "http://www.w3.org/1999/xhtml"
_KNOWN = ("", _NAMESPACE, "http://www.w3.org/1998/Math/MathML", "http://www.w3.org/2000/svg")
_SEPARATOR = "\n"
# With more the page is refused anyway.
_MOST_TAGS = 1_000_000


class _NoXHTMLError(Exception):
    """What makes a document one that is not read as XHTML."""


def as_html(page: str, declared: bool) -> str:
    """Write a page as HTML where it is XHTML that HTML would misread; give any other as it is.

    declared: whether its suffix or media type says that it is XHTML, as its first bytes may.
    """
    if page.count("<") > _MOST_TAGS:
        return page
    if not (declared or _XHTML.match(page)):
        # Without an end the page would be its title.
        return _TITLE.sub("<title></title>", page) if _TITLE.search(page) and "</title" not in page.lower() else page
    if _DIFFERS.search(page) is None:
        return page
    try:
        return _Writer().write(page)
    except (expat.ExpatError, _NoXHTMLError, ValueError):
        page = _SUBSET.sub(r"\1>", page, count=1)
        first, *sections = page.split("<![CDATA[")
        plain = (escape(inside, quote=False) + behind for inside, _, behind in (s.partition("]]>") for s in sections))
        return _CLOSED.sub(r"<\1\2></\1>", first + "".join(plain))


class _Writer:
    """Writes the events of a document as HTML."""

    def __init__(self) -> None:
        self._out: list[str] = ["<!DOCTYPE html>"]
        self._raw = 0
        self._parser = parser = expat.ParserCreate("utf-8", _SEPARATOR)
        parser.buffer_text = True
        # As if there were a DTD elsewhere: the names of characters, such as &nbsp;, are then told and no faults.
        parser.UseForeignDTD(True)
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.SkippedEntityHandler = self._character
        parser.EntityDeclHandler = self._entity

    def write(self, page: str) -> str:
        """Return the page as HTML; raises ExpatError or _NoXHTMLError."""
        self._parser.Parse(page.removeprefix("\ufeff").lstrip().encode(), True)
        return "".join(self._out)

    def _name(self, name: str) -> str:
        space, _, local = name.rpartition(_SEPARATOR)
        return local if space in _KNOWN else "span"

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = self._name(name)
        if len(self._out) == 1 and tag != "html":
            raise _NoXHTMLError(tag)
        own = [f' {key}="{escape(value)}"' for key, value in attributes.items() if _SEPARATOR not in key]
        self._out.append(f"<{tag}{''.join(own)}>")
        self._raw += tag in _RAW

    def _end(self, name: str) -> None:
        tag = self._name(name)
        if tag not in _IS_VOID:
            self._out.append(f"</{tag}>")
        self._raw -= tag in _RAW

    def _text(self, text: str) -> None:
        self._out.append(text.replace("</", "<\\/") if self._raw else escape(text, quote=False))

    def _character(self, name: str, is_parameter: bool) -> None:
        if not is_parameter:
            self._out.append(escape(html5.get(f"{name};", f"&{name};"), quote=False))

    def _entity(self, *declaration: object) -> None:
        # Entities of a page's own may grow without end.
        raise _NoXHTMLError(str(declaration[0]))
