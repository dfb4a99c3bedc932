"""An OpenAI-compatible endpoint on loopback whose answers a test decides."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
Answer = Callable[[dict[str, Any], int], Reply | str | None]


def completion(text: str | None, finish_reason: str = "stop", usage: bool = True) -> bytes:
    message = {"role": "assistant", "content": text}
    body: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny-2026-01",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 700, "completion_tokens": 50, "total_tokens": 750}
    return json.dumps(body).encode()


def between(request: dict[str, Any], name: str) -> str:
    """Return what stands between the marker lines of a request, such as document, source or text; empty if nothing."""
    content = request["messages"][-1]["content"]
    found = re.search(rf"===== {name} =====\n(.*?)\n===== end of {name} =====", content, flags=re.DOTALL)
    return found.group(1) if found else ""


def rephrase(request: dict[str, Any]) -> str:
    """Answer with the seed's sentences in another order and without every fifth word: grounded, and no copy."""
    words = between(request, "document").split()
    kept = [word for place, word in enumerate(words) if place % 5 != 4]
    half = len(kept) // 2
    return " ".join([*kept[half:], *kept[:half]])


class Stub:
    """The endpoint: what was asked, how often each, with which keys, and how much at once.

    keys: the headers of authorization. answer: from a request and how many times it was asked to a reply, a text, or
    None for `rephrase`.
    """

    def __init__(self, answer: Answer, wait_s: float, port: int) -> None:
        self.sent: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.at_once = self.most_at_once = self.connections = 0
        lock, stub = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                stub.connections += 1

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                name = json.dumps(request, sort_keys=True)
                with lock:
                    stub.at_once += 1
                    stub.most_at_once = max(stub.most_at_once, stub.at_once)
                    stub.sent[name] += 1
                    stub.requests.append(request)
                    stub.keys.add(self.headers.get("authorization", ""))
                    nth = stub.sent[name]
                time.sleep(wait_s)
                reply = answer(request, nth)
                reply = rephrase(request) if reply is None else reply
                with lock:
                    stub.at_once -= 1
                status, headers, body = (200, {}, completion(reply)) if isinstance(reply, str) else reply
                try:
                    self.send_response(status)
                    for key, value in {"content-type": "application/json", **headers}.items():
                        self.send_header(key, value)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *arguments: object) -> None:
                """Say nothing of clients that hang up or are killed."""

        self.server = Server(("127.0.0.1", port), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def asked(self, marker: str) -> list[dict[str, Any]]:
        """Return the requests whose user message has this text in it."""
        return [request for request in self.requests if marker in request["messages"][-1]["content"]]


@contextmanager
def stub(answer: Answer = lambda request, nth: None, wait_s: float = 0.0, port: int = 0) -> Iterator[Stub]:
    endpoint = Stub(answer, wait_s, port)
    thread = threading.Thread(target=endpoint.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.server.shutdown()
        endpoint.server.server_close()
        thread.join()
