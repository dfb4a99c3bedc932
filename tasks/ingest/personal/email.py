"""E-mail: mailboxes with a local part and a domain in any script, as a reader of the text would take them.

What only looks like one stays: files (`logo@2x.png`), systemd's units, versions of packages, `git@`, a copy's place
(`jane@host.example:/tmp`), user and host of a server (`ssh://jane@host.example/`), ids of messages, names of SSH.
"""

import re
import unicodedata
from collections.abc import Iterator

from cuvee.tasks.ingest.personal import Chains, _tops

TOKEN = "<EMAIL>"
CANDIDATES: Chains = ((r"@[\pL\pN][\pL\pM\pN-]*\.[\pL\pN]",),)


def _class_of_marks() -> str:
    """Write all combining marks, and the joiners that stand between them, as the inside of a regex class."""
    codes = [code for code in range(0x300, 0x20000) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    starts = [code for place, code in enumerate(codes) if place == 0 or codes[place - 1] != code - 1]
    ends = [code for place, code in enumerate(codes) if place == len(codes) - 1 or codes[place + 1] != code + 1]
    ranges = zip(starts, ends, strict=True)
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in ranges) + "\u200c\u200d"


# To `re` vowel signs and viramas are no word characters.
_MARKS = _class_of_marks()
_DOMAIN = re.compile(rf"@((?:[^\W_]|[{_MARKS}-])+(?:\.(?:[^\W_]|[{_MARKS}-])+)+)")
_GOES_ON = re.compile(r"_+[^\W_]")  # a name in code, as symbol@lib.so_1
_LABEL = re.compile(r"(?!-).{1,63}(?<!-)")
# RFC 5321 allows 64 characters before the @; lists and message ids take more, and no mailbox more than 254.
_LONGEST = 254
_LOCAL = re.compile(rf"(?:[\w.%+'’-]|[{_MARKS}]){{1,{_LONGEST + 1}}}")

_ASCII_TOP = re.compile(r"[a-z]{2,63}(?![0-9a-zß-ɏ])", re.IGNORECASE)
_PUNYCODE_TOP = re.compile(r"xn--[a-z0-9-]{1,59}", re.IGNORECASE)
_UNSPACED_TOP = re.compile("|".join(_tops.UNSPACED))
_OTHER_TOP = re.compile(rf"(?=.*[^\x00-\x7f])(?:[^\W\d_]|[{_MARKS}]){{2,63}}(?!\d)")
# Their letters before an address in another script are the sentence's: 写信给jane@example.org
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_AFTER_UNSPACED = re.compile(rf"[^{_UNSPACED}]+\Z")
# What an address of the web writes for the marks around a mailbox: mailto%3Ajane@example.org
_ESCAPED = re.compile(r".*%(?:2[0-9a-c]|3[a-f]|5[bd]|7[bd])", re.IGNORECASE)

# What systemd's units end in, and versions of packages; of pictures for fine screens: logo@2x.zip
_UNIT = ".target"
_VERSION = re.compile(r"v?\d+\.\d|\dx\.", re.IGNORECASE)
# The place of a remote copy, as scp, rsync and git write it.
_COPY = re.compile(r":(?:[/~]|[\w.-]+/)")
# User and password of a server: postgres://jane:secret@db.example.org/
_LOGIN = re.compile(
    r"(?<![\w+.-])(?!mailto:|sips?:|xmpp:)[a-z][a-z0-9+.-]{1,14}://[^\s/@<>\"']{0,100}\Z", re.IGNORECASE
)
# Ids of messages have a mailbox's form: told by the word before, or by a time or a random number in them.
_ID_WORD = re.compile(
    r"\b(?:message-id|in-reply-to|references|mid)\b:?[\s<]*(?:[^\s<>@]+@[^\s<>]+>\s*<?)?\Z", re.IGNORECASE
)
_ID = re.compile(
    r"(?:19|20)\d{6,12}\.|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|^[0-9A-F]{8}\.\d{5,8}\Z|\d{10}[.-]\d+[.-]"
    r"|^CA[\w+=-]{30,}\Z"
)
# An option and a host: lsof -i@host.example
_OPTION = re.compile(r"(?:\A|\s)-\Z")
# Names of algorithms and extensions that the protocol of SSH writes so (RFC 4251, 6).
_SSH_NAME = re.compile(
    r"(?!openssh@)[^@]+@openssh\.com|[a-z0-9.]+-[a-z0-9-]+@(?:libssh\.org|tinyssh\.org|lysator\.liu\.se|ssh\.com)"
)
_BEFORE = 120


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each mailbox, in order."""
    for match in _DOMAIN.finditer(text):
        at = match.start()
        # Perl's documentation writes <jane@example.org> as E<lt>jane@example.orgE<gt>.
        found = match[1].removesuffix("E") if text.startswith("<gt>", match.end()) else match[1]
        end = at + 1 + _domain_length(found)
        if end == at + 1 or _GOES_ON.match(text, end) or _COPY.match(text, end):
            continue
        local = _local(text[max(0, at - _LONGEST - 1) : at], text[end : end + 1])
        start = at - len(local)
        if local and not _is_other(local, text[at + 1 : end].lower(), text[max(0, start - _BEFORE) : start]):
            yield start, end


def _domain_length(found: str) -> int:
    """Return how much of what follows an @ is a domain: the most labels of which the last is a top-level domain."""
    labels = found.split(".")
    place = next((place for place, label in enumerate(labels) if not _LABEL.fullmatch(label)), len(labels))
    for last in range(min(place, len(labels) - 1), 0, -1):
        if top := _top_length(labels[last]):
            return len(".".join(labels[:last])) + 1 + top
    return 0


def _top_length(label: str) -> int:
    """Return how much of a label is a top-level domain; it may run on into the text: example.org-wide, 例子.公司的"""
    top = _PUNYCODE_TOP.match(label)
    if top is None and (top := _ASCII_TOP.match(label)):
        name = top[0].lower()
        return top.end() if name in _tops.ROOT or name in _tops.OUTSIDE else 0
    top = top or _UNSPACED_TOP.match(label) or _OTHER_TOP.match(label)
    return top.end() if top else 0


def _is_other(local: str, domain: str, before: str) -> bool:
    """Tell what has a mailbox's form, and is none. before: what stands before it."""
    return (
        local == "git"
        or domain.endswith(_UNIT)
        or _VERSION.match(domain) is not None
        or _SSH_NAME.fullmatch(f"{local}@{domain}") is not None
        or (len(local) == 1 and _OPTION.search(before) is not None)
        or _ID.search(local) is not None
        or _ID_WORD.search(before) is not None
        or _LOGIN.search(before) is not None
    )


def _local(before: str, behind: str) -> str:
    """Return the local part at the end of `before`, without what the text put around it; behind: what follows."""
    found = _LOCAL.match(before[::-1])
    local = found[0][::-1] if found else ""
    if len(local) > _LONGEST:
        return ""
    local = local.rpartition("...")[2]  # leader dots; two dots in a row are some Japanese carriers' addresses
    if behind in ("'", "’") and behind in local:  # a quote, with a prefix as in r'jane@example.org'
        local = local.rpartition(behind)[2]
    if escaped := _ESCAPED.match(local):
        local = local[escaped.end() :]
    if after := _AFTER_UNSPACED.search(local):
        local = after[0]
    # One underscore may begin a name; emphasis comes in pairs, and a line to write on in rows.
    is_emphasis = local.startswith("__") or behind == "_"
    return local.lstrip(".%+'’-_" if is_emphasis else ".%+'’-")
