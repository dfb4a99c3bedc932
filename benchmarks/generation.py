"""Measure the generation client: the rate against a bare loop, a server full of faults, and kills at random moments.

    python benchmarks/generation.py rate   [--requests 2000] [--rounds 5]
    python benchmarks/generation.py faults [--requests 2000]
    python benchmarks/generation.py kills  [--requests 400] [--kills 10]

Everything runs on loopback. The server is a process of its own. rate: it answers in 20 ms, concurrency 32; our client
(journal, fsync, keys, policy) and a bare asyncio loop over the same SDK take turns. faults: 10% 429 with Retry-After,
5% 500, 2% never answer, 2% truncated JSON, 1% empty, decided by request and attempt. kills: a run is killed at random
moments until it is through; its journal and rows are compared with those of an undisturbed one.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai as sdk
import polars as pl

from cuvee.schemas.recipe import Budget, Generate, Sampling, Seeds
from cuvee.tasks.generators import openai
from cuvee.tasks.generators._journal import Journal
from cuvee.tasks.generators._pace import Policy

CONCURRENCY = 32
ANSWER_S = 0.02
# A hanging request costs this much; a run with 2% of them still ends soon.
POLICY = Policy(timeout_s=2.0, first_wait_s=0.05, longest_wait_s=0.5)
WORDS = [
    "river",
    "harbour",
    "library",
    "council",
    "bridge",
    "garden",
    "letter",
    "morning",
    "engine",
    "market",
    "island",
]


def text_of(number: int) -> str:
    draw = random.Random(number)
    return " ".join(" ".join(draw.choices(WORDS, k=11)).capitalize() + f" {number}." for _ in range(25))


def seeds_of(count: int) -> tuple[pl.DataFrame, dict[str, str]]:
    stored = {hashlib.sha256(text.encode()).hexdigest()[:32]: text for text in map(text_of, range(count))}
    table = pl.DataFrame({"doc_id": list(stored), "words": [len(text.split()) for text in stored.values()]})
    return table.with_columns(pl.lit("x").alias(name) for name in ("domain", "license", "language", "source")), stored


def entry_of(base_url: str, requests: int) -> Generate:
    return Generate(
        name="bench",
        generator="openai",
        base_url=base_url,
        model="stub",
        concurrency=CONCURRENCY,
        sampling=Sampling(max_tokens=64),
        seeds=Seeds(max_per_seed=1),
        budget=Budget(amount=1, requests=requests),
    )


# The server


def body_of(text: str | None) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 0, "model": "stub-1", "choices": [choice]}
    ).encode()


async def serve(port: int, faulty: bool, log: Path | None) -> None:
    """Answer as a function of the request; a fault also of the attempt. Log a line a request."""
    attempts: Counter[str] = Counter()
    sink = log.open("a") if log else None

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                content = await reader.readexactly(int(lengths[0].split(b":")[1]))
                name = hashlib.sha256(content).hexdigest()
                attempts[name] += 1
                if sink:
                    print(name, file=sink, flush=True)
                status, extra, body = await respond(name, attempts[name])
                lines = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}"
                writer.write(f"{lines}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def respond(name: str, attempt: int) -> tuple[int, str, bytes]:
        await asyncio.sleep(ANSWER_S)
        whole = body_of(f"An answer to {name}.")
        draw = int(hashlib.sha256(f"{name} {attempt}".encode()).hexdigest()[:8], 16) % 100 if faulty else 99
        if draw < 10:
            return 429, "retry-after: 0.1\r\n", b"{}"
        if draw < 15:
            return 500, "", b"oops"
        if draw < 17:
            await asyncio.sleep(3600)
        if draw < 19:
            return 200, "", whole[: len(whole) // 2]
        return 200, "", body_of("") if draw == 19 else whole

    server = await asyncio.start_server(connection, "127.0.0.1", port, backlog=512, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(faulty: bool = False, log: Path | None = None, port: int = 0) -> Iterator[str]:
    options = ["serve", "--port", str(port), *(["--faulty"] if faulty else []), *(["--log", str(log)] if log else [])]
    child = subprocess.Popen([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
    finally:
        child.kill()
        child.wait()


# The clients


def ours(entry: Generate, plan: pl.DataFrame, seeds: pl.DataFrame, stored: dict[str, str], path: Path) -> Any:
    def texts(doc_ids: Any) -> pl.DataFrame:
        return pl.DataFrame({"doc_id": list(doc_ids), "text": [stored[doc_id] for doc_id in doc_ids]})

    with Journal(path) as journal:
        return openai.run(entry, seeds, plan, texts, journal, policy=POLICY)


async def bare(entry: Generate, asked: list[list[dict[str, str]]]) -> int:
    """Ask as a script would: the SDK's client, a semaphore, and a list of answers."""
    slots = asyncio.Semaphore(CONCURRENCY)
    async with sdk.AsyncOpenAI(base_url=entry.base_url, api_key="unused", max_retries=0) as client:
        create: Any = client.chat.completions.create

        async def one(messages: list[dict[str, str]]) -> str:
            async with slots:
                answer = await create(model="stub", messages=messages, temperature=0.7, max_tokens=64, seed=1)
            return str(answer.choices[0].message.content)

        return len(await asyncio.gather(*(one(messages) for messages in asked)))


def rate(requests: int, rounds: int) -> None:
    seeds, stored = seeds_of(requests)
    ratios = []
    with serving() as base_url, tempfile.TemporaryDirectory() as folder:
        entry = entry_of(base_url, requests)
        plan = openai.plan(entry, seeds, 10**9)
        asked = openai.messages(
            entry, plan, lambda ids: pl.DataFrame({"doc_id": ids, "text": [stored[i] for i in ids]})
        )
        asyncio.run(bare(entry, asked[:200]))
        for turn in range(rounds):
            seconds, cpu = {}, {}
            for name in ("ours", "bare") if turn % 2 else ("bare", "ours"):
                begun, used = time.perf_counter(), time.process_time()
                if name == "ours":
                    found = ours(entry, plan, seeds, stored, Path(folder, f"{turn}"))
                    assert len(found.rows) == requests
                else:
                    assert asyncio.run(bare(entry, asked)) == requests
                seconds[name], cpu[name] = time.perf_counter() - begun, time.process_time() - used
            ratios.append(seconds["bare"] / seconds["ours"])
            told = ", ".join(f"{n} {requests / seconds[n]:.0f}/s ({cpu[n]:.1f} s of CPU)" for n in ("ours", "bare"))
            print(f"{told}: ratio {ratios[-1]:.2f}", flush=True)
    print(f"{requests} requests, {rounds} rounds: median ratio {sorted(ratios)[len(ratios) // 2]:.3f}")


def faults(requests: int) -> None:
    seeds, stored = seeds_of(requests)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with serving(faulty=True, log=log) as base_url:
            entry = entry_of(base_url, requests)
            plan = openai.plan(entry, seeds, 10**9)
            begun = time.perf_counter()
            drafts = ours(entry, plan, seeds, stored, Path(folder, "journal"))
            seconds = time.perf_counter() - begun
            sent = len(log.read_text().split())
            again = ours(entry, plan, seeds, stored, Path(folder, "journal"))
            more = len(log.read_text().split()) - sent
    ended = [*drafts.rows["request_key"], *drafts.failures["request_key"]]
    assert sorted(ended) == sorted(plan["request_key"])
    assert len(set(ended)) == requests
    reasons = dict(drafts.failures["reason"].value_counts().iter_rows())
    lasting = drafts.failures.filter("permanent").height
    assert again.rows.height >= drafts.rows.height
    print(
        f"{requests} requests: {len(drafts.rows)} rows, {len(drafts.failures)} failures {reasons}, {lasting} for good; "
        f"none lost, none twice; {sent} sent in {seconds:.1f} s; a second run sent {more}"
    )


def work(base_url: str, requests: int, journal: Path, out: Path) -> None:
    """Carry out one run and write its rows; the process that is killed."""
    seeds, stored = seeds_of(requests)
    entry = entry_of(base_url, requests)
    drafts = ours(entry, openai.plan(entry, seeds, 10**9), seeds, stored, journal)
    drafts.rows.write_parquet(out)


def kills(requests: int, times: int) -> None:
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving() as base_url:
            work(base_url, requests, folder / "whole.jsonl", folder / "whole.parquet")
        port = int(base_url.rsplit(":", 1)[1].split("/")[0])
        with serving(log=folder / "log", port=port) as base_url:
            journal, out = folder / "killed.jsonl", folder / "killed.parquet"
            command = [sys.executable, __file__, "work", base_url, "--requests", str(requests)]
            command += ["--journal", str(journal), "--out", str(out)]
            for moment in sorted(draw.randrange(requests) for _ in range(times)):
                running = subprocess.Popen(command)
                while count(folder / "log") < moment and running.poll() is None:
                    time.sleep(0.002)
                os.kill(running.pid, signal.SIGKILL)
                running.wait()
            subprocess.run(command, check=True)
            sent = Counter((folder / "log").read_text().split())
        same = out.read_bytes() == (folder / "whole.parquet").read_bytes()
        twice = sum(times_sent - 1 for times_sent in sent.values())
        answered = Counter(json.loads(line)["request_key"] for line in journal.read_text().splitlines())
        assert max(answered.values()) == 1
        assert len(sent) == requests
        print(
            f"{times} kills over {requests} requests: same bytes {same}; sent again {twice}, in flight at the kills at "
            f"most {times * CONCURRENCY}; answers in the journal {len(answered)}, none of them twice"
        )
        assert same


def count(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "faults", "kills", "serve", "work"])
    parser.add_argument("base_url", nargs="?", default="")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--faulty", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--journal", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "rate":
        rate(options.requests, options.rounds)
    elif options.what == "faults":
        faults(options.requests)
    elif options.what == "kills":
        kills(options.requests, options.kills)
    elif options.what == "serve":
        asyncio.run(serve(options.port, options.faulty, options.log))
    else:
        work(options.base_url, options.requests, options.journal, options.out)


if __name__ == "__main__":
    main()
