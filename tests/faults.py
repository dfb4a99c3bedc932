"""A proxy on loopback that does to HTTP what networks and servers do, one request at a time, as the test says.

Put it between a client and a real server, and give it rules: the first rule that matches a request and has turns left
decides what happens to it. The request passes with its own Host header, so that signatures hold.
"""

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler
from typing import Any

_PER_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}


@dataclass
class Request:
    """What came in. path: with the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Rule:
    """What happens to requests.

    when: which requests. turns: how many of them, then the rule is used up. delay_s: wait before anything else.
    status, code: answer so, as S3's XML, and pass nothing on. cut_upload: reset the connection after so many bytes of
    the body came in. cut_download: pass on, send so many bytes of the answer's body, and reset. drop_answer: pass on,
    and reset instead of answering. twice: pass on two times, and answer what came the second time. without: a header
    that is taken out of the request. query: added to the path.
    """

    when: Callable[[Request], bool] = lambda request: True
    turns: float = 1
    delay_s: float = 0.0
    status: int | None = None
    code: str = ""
    cut_upload: int | None = None
    cut_download: int | None = None
    drop_answer: bool = False
    twice: bool = False
    without: str = ""
    query: str = ""
    used: int = field(default=0, init=False)


class FaultProxy:
    """The proxy: `url` is its address, `seen` are the requests so far, `rules` may change at any time."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.removeprefix("http://")
        self.rules: list[Rule] = []
        self.seen: list[Request] = []
        self.bytes_down = 0
        self._lock = threading.Lock()
        self._server: _Server | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Listen."""
        self._server = _Server(("127.0.0.1", self._port), _Exchange)
        self._server.proxy = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and reset those that are open."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.reset_all()
            self._server = None

    @contextlib.contextmanager
    def down_for(self, seconds: float) -> Iterator[None]:
        """Be down from now on, and come up again after so many seconds, whatever the block does meanwhile."""
        self.down()
        back = threading.Timer(seconds, self.up)
        back.start()
        try:
            yield
        finally:
            back.join()

    def count(self, method: str, part: str = "") -> int:
        """Count the requests of a method whose path contains a part."""
        return sum(request.method == method and part in request.path for request in self.seen)

    def rule_for(self, request: Request) -> Rule:
        with self._lock:
            for rule in self.rules:
                if rule.used < rule.turns and rule.when(request):
                    rule.used += 1
                    return rule
        return Rule()


@contextlib.contextmanager
def faults_before(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of a server's address."""
    proxy = FaultProxy(upstream)
    proxy.up()
    try:
        yield proxy
    finally:
        proxy.down()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: FaultProxy

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def reset_all(self) -> None:
        for connection in list(self._open):
            _reset(connection)

    def handle_error(self, *_: object) -> None:
        """Connections break here by design."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _pass(self) -> None:
        proxy = self.server.proxy
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, b"")
        rule = proxy.rule_for(request)
        if self.headers.get("Expect", "").lower() == "100-continue" and rule.status is None:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        proxy.seen.append(request)
        if rule.cut_upload is not None:
            self.rfile.read(min(rule.cut_upload, length))
            return self._cut()
        if not (self.headers.get("Expect") and rule.status is not None):
            request.body = self.rfile.read(length)
        time.sleep(rule.delay_s)
        if rule.status is not None:
            return self._refuse(rule)
        connection = HTTPConnection(proxy.upstream, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != rule.without}
            if rule.twice:
                connection.request(self.command, self.path + rule.query, request.body, headers)
                connection.getresponse().read()
            connection.request(self.command, self.path + rule.query, request.body, headers)
            answer = connection.getresponse()
            if rule.drop_answer:
                answer.read()
                return self._cut()
            self._answer(answer, rule.cut_download)
        finally:
            connection.close()
        return None

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

    def _answer(self, answer: HTTPResponse, cut: int | None) -> None:
        body = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _PER_HOP and name.lower() != "content-length":
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        self.server.proxy.bytes_down += len(body)
        if cut is not None:
            self._cut()

    def _refuse(self, rule: Rule) -> None:
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{rule.code}</Code><Message>As told</Message></Error>'
        )
        content = b"" if self.command == "HEAD" else body.encode()
        self.send_response_only(rule.status or 500)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def _cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        _reset(self.connection)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _reset(connection: socket.socket) -> None:
    """End a connection by RST, not by a clean end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
