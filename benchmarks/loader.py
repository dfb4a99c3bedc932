"""The loader: documents a second beside a shuffled stream of Hugging Face datasets, and from S3 beside a disk.

    python benchmarks/loader.py [--documents 150000] [--latency 20]

Makes a version of eight uneven strata, documents of about 300 words, on disk and on an S3 server on loopback behind a
proxy that holds each request back for `--latency` milliseconds. Prints a line a reader: documents/s, CPU a document of
the reading process. The last lines pack to sequences of 2,048 tokens, as a trainer would read. The server is Python on
the same machine: where it, not the wait, is the limit, S3 is no faster without a wait.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from made import Files, publish
from servers import free_port, s3_server

from cuvee.dataset import Dataset

_SHARES = (35, 25, 17, 8, 7, 4, 3, 1)
_GROUP_ROWS = 1300
_KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


def strata(documents: int) -> list[Files]:
    found = []
    for number, share in enumerate(_SHARES):
        files = max(1, round(documents * share / 100 / (2 * _GROUP_ROWS)))
        provenance = "synthetic" if number % 2 else "human"
        found.append(Files(f"s{number}", provenance, [[_GROUP_ROWS] * 2] * files, words=300))
    return found


def measured(name: str, counts: Iterable[int]) -> float:
    """Print and return documents a second."""
    begun, cpu, documents = time.perf_counter(), time.process_time(), 0
    for count in counts:
        documents += count
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    print(
        f"{name:<44} {documents / wall:>9,.0f} documents/s   CPU {cpu / documents * 1e6:5.1f} µs a document", flush=True
    )
    return documents / wall


def batches(dataset: Dataset, **options: Any) -> Iterator[int]:
    for batch in dataset.loader(batch=64, columns=("doc_id", "text"), **options):
        yield len(batch["doc_ids" if options.get("pack") else "doc_id"])


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def beside_datasets(local: Dataset, folder: Path) -> None:
    os.environ |= {"HF_HOME": str(folder / "hub"), "HF_DATASETS_OFFLINE": "1"}
    from datasets import load_dataset

    columns = ["doc_id", "text"]
    stream = load_dataset("parquet", data_files=local.files("train"), split="train", streaming=True, columns=columns)
    own = measured("loader", batches(local))
    theirs = measured("datasets, streaming, shuffled, batches of 64", _of(stream.shuffle(seed=1, buffer_size=1000)))
    print(f"loader ÷ datasets: {own / theirs:.1f}")


def _of(stream: Any) -> Iterator[int]:
    yield from (len(batch["doc_id"]) for batch in stream.batch(64))


def beside_s3(local: Dataset, documents: int, latency_ms: float) -> None:
    with s3_server() as server, proxy(server, latency_ms) as address:
        os.environ |= {**_KEYS, "AWS_ENDPOINT_URL": server}
        import boto3

        boto3.client("s3").create_bucket(Bucket="corpus")
        publish("s3://corpus/store", strata(documents))
        os.environ["AWS_ENDPOINT_URL"] = address
        import cuvee

        remote = cuvee.open("made", store="s3://corpus/store")
        os.environ["AWS_ENDPOINT_URL"] = server
        at_once = measured("loader, S3 without a wait", batches(remote))
        os.environ["AWS_ENDPOINT_URL"] = address
        for name, options in (("", {}), (", packed", {"pack": 2048, "tokenizer": tokenizer()})):
            here = measured(f"loader, disk{name}", batches(local, **options))
            there = measured(f"loader, S3 with {latency_ms:g} ms{name}", batches(remote, **options))
            also = "" if options else f", ÷ S3 without a wait: {there / at_once:.0%}"
            print(f"S3 ÷ disk{name}: {there / here:.0%}{also}")


@contextmanager
def proxy(server: str, latency_ms: float) -> Iterator[str]:
    """Run a proxy, a process of its own, that holds back what clients send."""
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, __file__, "--proxy", server.rpartition(":")[2], str(port), str(latency_ms)]
    )
    try:
        time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


async def serve(server_port: int, port: int, latency_ms: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, sink = await asyncio.open_connection("127.0.0.1", server_port, limit=2**20)
        await asyncio.gather(_pass_on(reader, sink, latency_ms / 1000), _pass_on(upstream, writer, 0.0))

    async with await asyncio.start_server(connect, "127.0.0.1", port, limit=2**20) as running:
        await running.serve_forever()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float) -> None:
    try:
        while piece := await source.read(2**20):
            if seconds:
                await asyncio.sleep(seconds)
            sink.write(piece)
            await sink.drain()
        sink.close()
    except ConnectionError:
        sink.close()


def main() -> None:
    if sys.argv[1:2] == ["--proxy"]:
        asyncio.run(serve(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=150_000)
    parser.add_argument("--latency", type=float, default=20.0, help="Milliseconds.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cuvee-loader-") as folder:
        local = publish(f"{folder}/store", strata(options.documents))
        beside_datasets(local, Path(folder))
        beside_s3(local, options.documents, options.latency)


if __name__ == "__main__":
    main()
