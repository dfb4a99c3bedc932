"""Real servers on loopback, each a process of its own, ended by its id."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

START_S = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def await_http(url: str, child: subprocess.Popen[bytes], seconds: float = START_S) -> None:
    """Wait until a server answers anything at all."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError as error:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{url} did not come up") from error
            time.sleep(0.1)
        else:
            return


@contextmanager
def s3_server(port: int | None = None) -> Iterator[str]:
    """Run moto's S3 server; give its address."""
    port = port or free_port()
    child = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await_http(f"http://127.0.0.1:{port}/moto-api/", child)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()
