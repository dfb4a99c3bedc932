"""The web: one GET over http or https, through redirects that stay where they may.

The host that a recipe names is trusted, also a private one. A redirect is not: it may lead to public addresses only,
unless the recipe allows others, and the connection is made to the very address that was checked, so that a name
cannot mean one address when it is looked at and another when it is used. Proxies of the environment are not used:
what is reached behind one could not be checked.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from cuvee.schemas.address import shown
from cuvee.schemas.errors import RecipeError, RetryableError

# A connection that gives no byte for so long is broken; servers that prepare a file in silence take up to a minute.
STALL_S = 60.0
CONNECT_S = 10.0
MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# Statuses that a server gives in passing: timeout, too early, too many requests.
_PASSING = (408, 425, 429)
_PLAIN = {"User-Agent": "cuvee", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class PassingError(RetryableError):
    """A fault that may be over at the next attempt. wait_s: seconds that the server asks for, None if it does not."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the open internet: not private, loopback, link-local, multicast or reserved.

    An IPv6 address that carries an IPv4 one (mapped, 6to4, NAT64) is what it carries.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    carried = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return is_public(carried) if carried else address.is_global and address in _UNICAST


@contextmanager
def get(url: str, headers: Mapping[str, str], seconds: float, private: bool) -> Iterator[http.client.HTTPResponse]:
    """Ask for an address, follow at most five redirects, and give the answer, whose body is still to be read.

    seconds: after so many the connection is cut, whatever it is doing. private: redirects may lead anywhere.
    The answer has no status of a redirect, of a passing fault, or of a refusal other than 404, 410 and 416.
    Raises PassingError, and RecipeError for what waiting does not mend.
    """
    deadline = time.monotonic() + seconds
    place = urlsplit(url)
    for hop in range(MOST_REDIRECTS + 1):
        is_trusted = hop == 0 or private
        with _asked(place, headers, deadline, is_trusted, url) as answer:
            if answer.status not in _REDIRECTS:
                _check(answer, url)
                yield answer
                return
            target = answer.headers.get("Location", "")
        place = _next(place, target, url)
    raise RecipeError(f"{shown(url)} redirects more than {MOST_REDIRECTS} times; name the address where the file is")


@contextmanager
def _asked(
    place: SplitResult, headers: Mapping[str, str], deadline: float, is_trusted: bool, url: str
) -> Iterator[http.client.HTTPResponse]:
    """Send one request and read the head of its answer."""
    there = shown(place.geturl())
    said = there if there == shown(url) else f"{shown(url)} → {there}"
    with ExitStack() as kept:
        with _told(said):
            addresses = _resolve(place, is_trusted, said)
            connection = kept.enter_context(_connected(place, addresses, deadline))
            connection.request("GET", _target(place), headers={**_PLAIN, **headers})
            answer = kept.enter_context(connection.getresponse())
            is_endless = answer.length is None and not answer.chunked
            if answer.status == 200 and is_endless and not answer.peek(1):
                # A head that was cut off looks like one that ends: then nothing follows, not even a length.
                raise http.client.IncompleteRead(b"")
        yield answer


def read(answer: http.client.HTTPResponse, size: int, url: str) -> bytes:
    """Read at most `size` bytes of a body, as they come in; nothing at its end. Raises PassingError."""
    with _told(shown(url)):
        piece = answer.read1(size)
        if not piece and answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        return piece


@contextmanager
def _told(said: str) -> Iterator[None]:
    """Say faults of the network in our words."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise RecipeError(
            f"{said}: its certificate is not trusted here ({error.verify_message}); "
            "correct the address, or name the authority's file in SSL_CERT_FILE"
        ) from None
    except TimeoutError:
        raise PassingError(f"{said} does not answer in time") from None
    except http.client.IncompleteRead:
        raise PassingError(f"{said} breaks off before its end") from None
    except (OSError, http.client.HTTPException) as error:
        raise PassingError(f"{said}: {str(error) or type(error).__name__}") from None


def _resolve(place: SplitResult, is_trusted: bool, said: str) -> list[str]:
    """Look up the addresses of a host; raises RecipeError when one is not public and the host is not trusted."""
    host = place.hostname or ""
    try:
        found = socket.getaddrinfo(host, _port(place), type=socket.SOCK_STREAM)
    except UnicodeError:
        raise RecipeError(f"{said}: the host {host!r} is no valid name; correct the address") from None
    except socket.gaierror as error:
        raise PassingError(
            f"{said}: the host {host} is not found ({error.strerror}); look at name and network"
        ) from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not (is_trusted or is_public(ipaddress.ip_address(address.partition("%")[0]))):
            raise RecipeError(
                f"{said}: a redirect to {address}, which is not a public address, is not followed; name the address "
                "where the file is, or set fetch: {private_addresses: true} in the source"
            )
    return addresses


@contextmanager
def _connected(place: SplitResult, addresses: list[str], deadline: float) -> Iterator[http.client.HTTPConnection]:
    """Connect to the first of the addresses that answers, and cut the connection at the deadline."""
    connection = http.client.HTTPConnection(place.hostname or "", _port(place))
    connection.default_port = 443 if place.scheme == "https" else 80  # left out of the header Host
    plain = _first(addresses, _port(place), deadline)
    # Another handle of the same connection: a reader that waits inside TLS is woken too.
    handle = plain.dup()
    cut = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, (handle,))
    cut.daemon = True
    try:
        cut.start()
        connection.sock = plain
        if place.scheme == "https":
            # The name, not the address, is what the certificate is for.
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=place.hostname)
        yield connection
    finally:
        cut.cancel()
        handle.close()
        connection.close()
        plain.close()


def _first(addresses: list[str], port: int, deadline: float) -> socket.socket:
    fault: OSError = TimeoutError()
    for address in addresses:
        left = min(CONNECT_S, deadline - time.monotonic())
        if left <= 0:
            break
        try:
            found = socket.create_connection((address, port), timeout=left)
        except OSError as error:
            fault = error
        else:
            found.settimeout(STALL_S)
            return found
    raise fault


def _shut(handle: socket.socket) -> None:
    try:
        handle.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed meanwhile


def _next(place: SplitResult, target: str, url: str) -> SplitResult:
    """Return where a redirect leads; raises RecipeError for what is not followed."""
    try:
        # http.client reads header bytes as Latin-1; servers write UTF-8.
        found = urlsplit(urljoin(place.geturl(), target.encode("latin-1").decode("utf-8", "replace")))
        host, _ = found.hostname, found.port
    except ValueError:
        host = None
    if not (target and host) or found.scheme not in ("http", "https"):
        raise RecipeError(f"{shown(url)} redirects to no web address; name the address where the file is")
    if place.scheme == "https" and found.scheme == "http":
        raise RecipeError(
            f"{shown(url)} redirects from https to {shown(found.geturl())}, which is not protected; "
            "name an address that stays with https"
        )
    return found


def _check(answer: http.client.HTTPResponse, url: str) -> None:
    """Raise what a status means that brings no file; 404, 410 and 416 are for the caller."""
    status, said = answer.status, shown(url)
    if status in _PASSING or (status >= 500 and status != 501):
        raise PassingError(f"{said} answers {status} {answer.reason}", _wait(answer.headers.get("Retry-After", "")))
    if status in (401, 403, 407):
        raise RecipeError(
            f"{said} answers {status} {answer.reason}: it is not open to everybody; "
            "allow this machine there, or copy the file to a folder or a bucket"
        )
    if status not in (200, 206, 304, 404, 410, 416):
        raise RecipeError(f"{said} answers {status} {answer.reason}; correct the address")
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    if status in (200, 206) and encoding != "identity" and not re.search(r"\.(gz|zst)$", urlsplit(url).path, re.I):
        raise RecipeError(
            f"{said} is sent as {encoding}, although the plain file was asked for; "
            "copy the file to a folder or a bucket"
        )


def _wait(written: str) -> float | None:
    """Read Retry-After: seconds, or a date."""
    if written.isdecimal():
        return float(written)
    try:
        return max(0.0, (parsedate_to_datetime(written) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # TypeError: a date without a zone
        return None


def _port(place: SplitResult) -> int:
    return place.port or (443 if place.scheme == "https" else 80)


def _target(place: SplitResult) -> str:
    """Return path and query as they go over the wire: what a browser would escape is escaped, nothing twice."""
    path = quote(place.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return f"{path}?{quote(place.query, safe='/%:@!$&()*+,;=~-._?')}" if place.query else path
