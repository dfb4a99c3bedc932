"""Addresses of source files: which there are, what is refused of them, and how a message shows them."""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

_WEB = ("http://", "https://")
# Parameters that let whoever has the address in: signatures of S3, Azure, Google, CloudFront, and keys of services.
_SECRET = re.compile(
    r"(^|[-_])(sig|signature|token|key|apikey|credential|password|passwd|pwd|secret|auth|policy)$", re.I
)
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
    """Return an address as messages show it: without name, password, query and fragment."""
    if not is_web(url):
        return url
    scheme, _, rest = url.partition("://")
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" + ("?…" if "?" in rest else "")


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
    if "@" in parts.netloc:
        return "a name or password in an address would be stored with every version; offer the file without, or on S3"
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.search(_HUMP.sub("_", name))]
    if names:
        return (
            f"the parameter {names[0]!r} lets its holder in, and would be stored with every version; use s3:// instead"
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
