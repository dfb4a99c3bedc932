"""A stand-in of the Hugging Face Hub on loopback: what an upload of a folder asks for, kept in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """One dataset repository. files: by branch and path; refuse: the status of every answer but 0."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, dict[str, bytes]] = {}
        self.stored: dict[str, bytes] = {}
        self.made: list[dict[str, object]] = []
        self.tokens: set[str] = set()
        self.commits: list[str] = []
        self.refuse = 0


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if self._is_refused():
            return
        if "/tree/" in path:
            held = self.server.files.get(path.partition("/tree/")[2], {})
            self._answer([{"type": "file", "path": name, "size": len(held[name]), "oid": "0"} for name in held])
        elif "/revision/" in path:
            self._answer({"id": "org/name", "sha": "1" * 40, "siblings": []})
        else:
            self._answer({"error": path}, 404)

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        if self._is_refused():
            return
        if path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            self._answer({"url": f"{self.server.address}/datasets/org/name"})
        elif "/branch/" in path:
            self.server.files.setdefault(path.rpartition("/branch/")[2], {})
            self._answer({})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = ["lfs" if file["path"].endswith(".parquet") else "regular" for file in files]
            told = zip(files, modes, strict=True)
            self._answer({"files": [{"path": f["path"], "uploadMode": m, "shouldIgnore": False} for f, m in told]})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**asked, "actions": {"upload": {"href": f"{self.server.address}/stored/{asked['oid']}", "header": {}}}}
                for asked in json.loads(body)["objects"]
            ]
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self._commit(body, path.rpartition("/commit/")[2])
            url = f"{self.server.address}/datasets/org/name/commit/{'2' * 40}"
            self._answer({"success": True, "commitOid": "2" * 40, "commitUrl": url, "hookOutput": ""})
        else:
            self._answer({"error": path}, 404)

    def do_PUT(self) -> None:
        body, oid = self._body(), self.path.rpartition("/")[2]
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.stored[oid] = body
        self._answer({})

    def _commit(self, body: bytes, branch: str) -> None:
        held = self.server.files.setdefault(branch, {})
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.server.commits.append(value["summary"])
            elif line["key"] == "file":
                held[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                held[value["path"]] = self.server.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del held[value["path"]]

    def _is_refused(self) -> bool:
        self.server.tokens.add(self.headers.get("Authorization", ""))
        if self.server.refuse:
            self._answer({"error": "refused"}, self.server.refuse)
        return bool(self.server.refuse)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, tree: object, status: int = 200) -> None:
        content = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def hub() -> Iterator[Hub]:
    """Run the stand-in."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
