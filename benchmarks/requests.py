"""Count what a run asks of S3: requests by kind and bytes, for a first run, the same again, and a night with 1% more.

    python benchmarks/requests.py [JSONL_OR_PARQUET …] [--shard-mb 1] [--store s3://bucket/prefix]

Without files it writes texts from those that lie on this machine, as `cuvee demo` does. Without --store it starts
moto's S3 server, whose answers take no time: what a request costs elsewhere is for the reader to multiply.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

RECIPE = """
corpus: benchmark
sources: [{{name: texts, uri: "texts-*.jsonl", license: CC0-1.0}}]
ingest: {{shard_mb: {shard_mb}}}
filters:
  - {{kind: language, keep: [en], min_score: 0.3}}
  - {{kind: gopher_quality}}
publish: {{shard_mb: {shard_mb}}}
"""
# botocore's names of operations, under the words of HTTP.
KINDS = {
    "GET": ["GetObject"],
    "PUT": ["PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload"],
    "HEAD": ["HeadObject"],
    "LIST": ["ListObjectsV2"],
    "DELETE": ["DeleteObject"],
}


class Counted:
    """Requests and bytes since the last `take`."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.up = self.down = 0

    def watch(self) -> None:
        """Hook into the client that the store uses."""
        from cuvee.storage.s3 import client

        client().meta.events.register("before-send.s3", self._sent)
        client().meta.events.register("after-call.s3", self._answered)

    def take(self) -> tuple[dict[str, int], int, int]:
        """Return and forget."""
        found = {kind: sum(self.requests[name] for name in names) for kind, names in KINDS.items()}
        taken = found, self.up, self.down
        self.__init__()  # type: ignore[misc]
        return taken

    def _sent(self, request: Any, event_name: str, **_: Any) -> None:
        self.requests[event_name.rpartition(".")[2]] += 1
        self.up += int(request.headers.get("Content-Length") or 0)

    def _answered(self, parsed: Any, model: Any, **_: Any) -> None:
        if model.name == "GetObject":
            self.down += int(parsed.get("ContentLength") or 0)


def machine_texts() -> list[str]:
    """Return the paragraphs of Python's own language reference, in documents of six, each in several orders."""
    from pydoc_data.topics import topics

    parts = [part for topic in topics.values() for part in topic.split("\n\n") if len(part.split()) > 15]
    return ["\n\n".join(parts[(i * 7 + j * 13) % len(parts)] for j in range(6)) for i in range(3000)]


def texts_of(paths: list[str]) -> list[str]:
    frames = [pl.read_parquet(path) if path.endswith(".parquet") else pl.read_ndjson(path) for path in paths]
    return [text for frame in frames for text in frame["text"].drop_nulls()] or machine_texts()


def write(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def serve(stack: ExitStack) -> str:
    """Run moto's server with a bucket in it; return the store's address."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
    child = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", port], stderr=subprocess.DEVNULL)
    stack.callback(child.wait)
    stack.callback(child.kill)
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    from cuvee.storage.s3 import carry_out

    carry_out("benchmark", lambda s3: s3.create_bucket(Bucket="benchmark"))
    return "s3://benchmark/store"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--shard-mb", type=int, default=1)
    parser.add_argument("--store")
    arguments = parser.parse_args()
    os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "ERROR"}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ |= {"CUVEE_SCRATCH": str(folder / "scratch"), "PREFECT_HOME": str(folder / "prefect")}
        texts = texts_of(arguments.paths)
        store = arguments.store or serve(stack)
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE.format(shard_mb=arguments.shard_mb), encoding="utf-8")
        new = max(1, len(texts) // 100)
        # Many files, as sources have them: a batch is a shard.
        for number, start in enumerate(range(0, len(texts) - new, 200)):
            write(folder / f"texts-{number:05d}.jsonl", texts[start : min(start + 200, len(texts) - new)])

        from prefect.testing.utilities import prefect_test_harness

        from cuvee.flows.curate import curate

        counted = Counted()
        counted.watch()
        print(f"{len(texts):,} documents, {sum(map(len, texts)) / 1e6:.1f} MB, shards of {arguments.shard_mb} MB")
        print(f"{'run':<16}" + "".join(f"{kind:>8}" for kind in KINDS) + f"{'MB up':>10}{'MB down':>10}{'seconds':>10}")
        with prefect_test_harness(server_startup_timeout=120):
            for name in ("first", "the same again", "1% more"):
                if name == "1% more":
                    write(folder / "texts-new.jsonl", texts[-new:])
                counted.take()
                began = time.perf_counter()
                curate(recipe=str(recipe), store=store)
                seconds = time.perf_counter() - began
                requests, up, down = counted.take()
                figures = "".join(f"{count:>8,}" for count in requests.values())
                print(f"{name:<16}{figures}{up / 1e6:>10.1f}{down / 1e6:>10.1f}{seconds:>10.1f}")


if __name__ == "__main__":
    main()
