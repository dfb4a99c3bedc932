"""Addresses of source files: which there are, what is refused of them, and how a message shows them."""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

# Environment variables whose names end so hold what lets somebody in.
SECRET_SUFFIXES = ("KEY", "TOKEN", "SECRET", "PASSWORD", "AUTH_STRING")
_WEB = ("http://", "https://")
# Parameters that let whoever has the address in: signatures of S3, Azure, Google, CloudFront; keys; sessions.
_SECRET = re.compile(
    r"(^|[-_.])(sig|sign|signature|token|key|apikey|credentials?|password|passwd|passphrase|passcode|pwd|secret|auth"
    r"|authorization|policy|jwt|sas|hmac|bearer|session|sessionid|jsessionid|phpsessid|sid|otp|ticket|assertion)"
    r"([-_.]?id)?$"
    r"|^(code|access|pass|(auth|authorization|access|oauth|device|invite)[-_.]code)$",
    re.I,
)
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")
# Times that an address is percent-encoded, one in another; those of people stay under four.
_MOST_ENCODED = 20
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")  # accessToken is access_token


def is_web(uri: str) -> bool:
    """Tell an http or https address from everything else."""
    return uri.lower().startswith(_WEB)


def is_bucket(uri: str) -> bool:
    """Tell an address in an S3 bucket from everything else."""
    return uri.startswith("s3://")


def is_remote(uri: str) -> bool:
    """Tell an address from a path on this machine."""
    return "://" in uri


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Split s3://bucket/key; a key may hold any character, ? and # too."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def shown(url: str) -> str:
    """Return an address as messages show it: without name, password, parameters and fragment."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    place = re.split(r"[?#]", rest, maxsplit=1)[0] if is_web(url) or _parameters(url) else rest
    host, slash, path = place.partition("/")
    path = re.sub(r";[^/]*", ";…", path) if is_web(url) else path
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" + ("?…" if "?" in rest and place != rest else "")


def secret_in(url: str) -> str | None:
    """Say what in an address lets its holder in, without repeating it; None where nothing seems to."""
    _scheme, separator, rest = url.partition("://")
    if not separator:
        return None
    if "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
        return "a name or password in an address"
    if is_web(url) and "#" in rest:
        return "what follows # in an address"
    for name, value in _parameters(url):
        if _SECRET.search(_HUMP.sub("_", name)):
            return f"the parameter {name!r}"
        if _JWT.search(value):
            return "a token in an address"
    return None


def _parameters(url: str) -> list[tuple[str, str]]:
    """List the parameters of an address, those of parts of its path too (`;jsessionid=…`)."""
    place, _, query = url.partition("#")[0].partition("?")
    of_path = re.findall(r";([^/;=]+)=([^/;]*)", place) if is_web(url) else []
    # Some servers part parameters by semicolons, and some addresses carry another address.
    found = [*of_path, *parse_qsl(query.replace(";", "&"), keep_blank_values=True)]
    return [(_decoded(name), _decoded(value)) for name, value in found]


def _decoded(text: str) -> str:
    """Undo percent-encoding, however often it was done: a server may undo it twice."""
    for _ in range(_MOST_ENCODED):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


def fault(uri: str) -> str | None:
    """Say what is wrong with a source's pattern or address and what to write instead; None if nothing is."""
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return None
    if not (is_web(uri) or is_bucket(uri)):
        return f"{scheme}:// is not known; give a path, s3://bucket/…, http:// or https://"
    return _web_fault(uri) if is_web(uri) else _bucket_fault(uri)


def _bucket_fault(uri: str) -> str | None:
    bucket, key = bucket_and_key(uri)
    if not bucket or set("*?[@:") & set(bucket):
        return "name one bucket, as s3://bucket/folder/*.jsonl"
    if not key or key.endswith("/"):
        return f"this is a folder; name its files, for example {uri.rstrip('/')}/*"
    return None


def _web_fault(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "this is not an address; look at host and port"
    if not host:
        return "the host is missing"
    secret = secret_in(uri)
    if secret:
        return (
            f"{secret} lets its holder in, and would be stored with every version; leave it out, or use s3:// instead"
        )
    if set("*[]") & set(parts.path):
        return "the web has no folders to look into; list the addresses one by one, without * and [ ]"
    return None


def names_of(urls: list[str]) -> dict[str, str]:
    """Name the files behind a source's web addresses: the last part of the path, or all of it where that is not unique.

    Returns url → id.
    """
    last = {url: unquote(urlsplit(url).path.rpartition("/")[2]) for url in urls}
    short = list(last.values())
    return {url: name if name and short.count(name) == 1 else _whole(url) for url, name in last.items()}


def _whole(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc + unquote(parts.path) + (f"?{parts.query}" if parts.query else "")
