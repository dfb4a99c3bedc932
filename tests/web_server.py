"""A web server on loopback that does what servers do to downloads, and keeps what it was asked and what it sent."""

import email.utils
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# A day before any test: a validator by date needs a date that is clearly over.
LONG_AGO = "Sat, 03 Jan 2026 10:00:00 GMT"


@dataclass
class Page:
    """What is at an address. tricks: played in turn, one a request; then the body is sent as it should be."""

    body: bytes = b""
    etag: str | None = None
    modified: str | None = None
    media_type: str | None = None
    ranges: bool = True
    conditions: bool = True
    length: str = "told"  # told | chunked | untold
    tricks: list[Callable[["Request", "Page"], None]] = field(default_factory=list)


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "WebServer"

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self.sent = 0
        self.status = 0
        self.server.asked.append(self)
        page = self.server.pages.get(self.path)
        with suppress(OSError):
            if page is None:
                self.head(404, {"Content-Length": "0"})
            elif page.tricks:
                page.tricks.pop(0)(self, page)
            else:
                self.serve(page)
        self.close_connection = True

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, body: bytes) -> None:
        self.sent += len(body)
        self.wfile.write(body)

    def serve(self, page: Page, most: int | None = None) -> None:
        """Answer as a good server does; `most`: break off after so many bytes."""
        told = {"ETag": page.etag, "Last-Modified": page.modified, "Content-Type": page.media_type}
        headers = {name: value for name, value in told.items() if value}
        same_tag = page.etag and self.headers.get("If-None-Match") == page.etag
        since = self.headers.get("If-Modified-Since")
        # As most servers compare: a file that was replaced by an older one counts as not modified.
        not_since = page.modified and since and parsedate_to_datetime(page.modified) <= parsedate_to_datetime(since)
        if page.conditions and (same_tag or not_since):
            self.head(304, headers)
            return
        start, wanted = 0, self.headers.get("Range")
        if page.ranges and wanted and self.headers.get("If-Range", "") in ("", page.etag, page.modified):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(page.body):
                self.head(416, {"Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(page.body) - 1}/{len(page.body)}"
        body = page.body[start:]
        if page.length == "chunked":
            self.head(206 if start else 200, headers | {"Transfer-Encoding": "chunked"})
            self.wfile.write(b"%x\r\n" % len(body))
            self.send(body[:most])
            if most is None:
                self.wfile.write(b"\r\n0\r\n\r\n")
            return
        length = {"Content-Length": str(len(body))} if page.length == "told" else {"Connection": "close"}
        self.head(206 if start else 200, headers | length)
        self.send(body[:most])

    @property
    def summary(self) -> tuple[str, int]:
        return self.path, self.status


class WebServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.pages: dict[str, Page] = {}
        self.asked: list[Request] = []
        scheme, host = "http", "127.0.0.1"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            scheme, host = "https", "localhost"
        self.address = f"{scheme}://{host}:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no fault of this server."""

    @property
    def sent(self) -> int:
        """Bytes of bodies sent, to all requests."""
        return sum(request.sent for request in self.asked)

    @property
    def summaries(self) -> list[tuple[str, int]]:
        return [request.summary for request in self.asked]


@contextmanager
def web_server(certificate: Path | None = None) -> Iterator[WebServer]:
    with WebServer(certificate) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def break_off(after: int) -> Callable[[Request, Page], None]:
    return lambda request, page: request.serve(page, after)


def answer(status: int, **headers: str) -> Callable[[Request, Page], None]:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, page: request.head(status, {"Content-Length": "0"} | told)


def redirect(target: str, status: int = 302) -> Callable[[Request, Page], None]:
    return answer(status, Location=target)


def hang_up(request: Request, page: Page) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


def stall(seconds: float, after: int) -> Callable[[Request, Page], None]:
    """Send so many bytes of the body, and then nothing for a while."""

    def trick(request: Request, page: Page) -> None:
        request.serve(page, after)
        request.wfile.flush()
        time.sleep(seconds)

    return trick


def drip(seconds: float) -> Callable[[Request, Page], None]:
    """Send the body a little at a time, for as long as somebody reads."""

    def trick(request: Request, page: Page) -> None:
        request.serve(page, 0)
        for _ in range(int(seconds / 0.05)):
            request.send(b"x")
            time.sleep(0.05)

    return trick


def drip_head(seconds: float) -> Callable[[Request, Page], None]:
    """Send a header that never ends, a byte at a time."""

    def trick(request: Request, page: Page) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in range(int(seconds / 0.05)):
            request.wfile.write(b"x")
            time.sleep(0.05)

    return trick


def change_to(body: bytes, etag: str, after: int) -> Callable[[Request, Page], None]:
    """Break off, and be another file from then on."""

    def trick(request: Request, page: Page) -> None:
        request.serve(page, after)
        page.body, page.etag = body, etag

    return trick


def now() -> str:
    return email.utils.formatdate(usegmt=True)


def certificate(folder: Path) -> Path:
    """Write a key and a certificate for localhost that nobody but SSL_CERT_FILE vouches for."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
