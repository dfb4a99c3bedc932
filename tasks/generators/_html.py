"""Pages: an answer that was written as HTML becomes its text, with the marks of headings and lists."""

import html
import re

_PAGE = re.compile(r"<(?:!doctype html|html|head|body|main|div|section|p|h[1-6]|ul|ol|title)\b[^>]*>", re.IGNORECASE)
_HEADING = re.compile(r"<h([1-6])\b[^>]*>", re.IGNORECASE)
_ITEM = re.compile(r"\s*<li\b[^>]*>\s*", re.IGNORECASE)
_UNSEEN = re.compile(r"<(head|style|script)\b.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(
    r"\s*</?(?:!doctype|html|body|main|div|section|article|header|footer|p|h[1-6]|ul|ol|title|blockquote)\b[^>]*>\s*",
    re.IGNORECASE,
)
_LINE = re.compile(r"[ \t]*<br\s*/?>[ \t]*", re.IGNORECASE)
_INLINE = re.compile(r"</?(?:b|strong|i|em|span|a|u|small|li|code)\b[^>]*>", re.IGNORECASE)


def is_html(text: str) -> bool:
    """Tell whether a text is a page or a part of one: it begins as one does; tables are left as they are."""
    return bool(_PAGE.match(text)) and "<table" not in text.lower()


def with_line_ends(text: str) -> str:
    """Put line ends in the place of tags that break lines; rows of Markdown tables keep theirs."""
    if "<br" not in text.lower():
        return text
    return "\n".join(line if line.lstrip().startswith("|") else _LINE.sub("\n", line) for line in text.split("\n"))


def out_of_html(text: str) -> str:
    """Return the text of a page: a paragraph for each block, # before headings, - before items."""
    text = _HEADING.sub(lambda tag: f"\n\n{'#' * int(tag[1])} ", _UNSEEN.sub("", text))
    text = _BLOCK.sub("\n\n", _ITEM.sub("\n- ", text))
    text = _INLINE.sub("", with_line_ends(text))
    return re.sub(r"\n{3,}", "\n\n", html.unescape(text)).strip()
