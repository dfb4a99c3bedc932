"""Character sets of web pages: what bytes say goes before what is declared, and nothing is guessed silently.

Order: byte-order mark; UTF-8 where all bytes are valid UTF-8 (text in another encoding almost never is: that mends
pages that declare Latin-1 and send UTF-8); the HTTP header; the XML declaration; the meta tag; detection. Labels mean
what browsers take them for (WHATWG Encoding: iso-8859-1 is windows-1252).
"""

import codecs
import re

from cuvee.tasks.readers._batch import InvalidRowError

# A page cut off at a length limit ends in half a character, and a few stray bytes do not make a page unreadable;
# beyond 1 in 1,000 the declaration is taken to be wrong.
MOST_REPLACED = 0.001

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([a-zA-Z0-9_:.-]{2,40})""", re.IGNORECASE)
# Browsers look for the declaration in the first 1,024 bytes; pages put it behind longer scripts all the same.
_META_WITHIN = 4096
_XML = re.compile(rb"""\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([a-zA-Z0-9_:.-]{2,40})["']""")
# Python's codecs of these names are narrower than what browsers decode.
_WIDER = {"shift_jis": "cp932", "euc_kr": "cp949", "gbk": "gb18030", "gb2312": "gb18030", "big5": "big5hkscs"}
# Encodings whose bytes look like ASCII.
_SEVEN_BIT = {"iso2022_jp", "iso-2022-jp", "utf-16-le", "utf-16-be"}


def decode_page(content: bytes, declared: str | None, is_html: bool) -> str:
    """Decode a page. declared: the charset of its HTTP header, or None; is_html: whether meta tags count.

    Raises InvalidRowError when no declared or detected encoding fits: at most 1 in 1,000 characters may be replaced.
    """
    for mark, name in _BOMS:
        if content.startswith(mark):
            return _within_limit(content[len(mark) :], name) or _fail(f"its byte-order mark says {name}")
    labels = [declared] if declared else []
    if is_html:
        stated = (_XML.match(content, 0, _META_WITHIN), _META.search(content, 0, _META_WITHIN))
        labels += [found.group(1).decode("ascii") for found in stated if found]
    names = [name for name in map(_codec, labels) if name]
    if not names or names[0] not in _SEVEN_BIT:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            pass
    for name in names:
        text = _within_limit(content, name)
        if text is not None:
            return text
    found = detected(content)
    text = _within_limit(content, found) if found else None
    return text if text is not None else _fail(f"declared: {', '.join(labels) or 'nothing'}; detected: {found}")


def charset_of(content_type: str) -> str | None:
    """Return the charset that a Content-Type header declares."""
    found = re.search(r"""charset\s*=\s*["']?\s*([\w:.-]+)""", content_type, re.IGNORECASE)
    return found.group(1) if found else None


def _codec(label: str) -> str | None:
    from resiliparse.parse.encoding import map_encoding_to_html5

    name = map_encoding_to_html5(label, fallback_utf8=False)
    return _WIDER.get(name, name) if name else None


def detected(content: bytes) -> str | None:
    """Detect the encoding of bytes that are not UTF-8; None where the detector cannot tell."""
    from resiliparse.parse.encoding import detect_encoding

    name = detect_encoding(content)
    # The detector answers UTF-8 when it does not know.
    return None if name in (None, "utf-8", "ascii") else _WIDER.get(name, name)


def _within_limit(content: bytes, name: str) -> str | None:
    try:
        text = content.decode(name, "replace")
    except LookupError:
        return None
    replaced = text.count("\ufffd") - content.count(b"\xef\xbf\xbd")
    return text if replaced <= max(1, MOST_REPLACED * len(text)) else None


def _fail(why: str) -> str:
    raise InvalidRowError(f"the character set cannot be told ({why})")
