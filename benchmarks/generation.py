"""Measure the generation client: its rate against a bare loop, its memory, slow and faulty servers, and kills.

    python benchmarks/generation.py rate   [--rounds 5] [--answer-s 0.02] [--concurrency 32] [--requests N]
    python benchmarks/generation.py memory [--requests 50000]
    python benchmarks/generation.py slow   [--requests 500] [--answer-s 4]
    python benchmarks/generation.py faults [--requests 2000]
    python benchmarks/generation.py kills  [--requests 2000] [--kills 10]

Everything runs on loopback. The server is a process of its own. rate: our client (journal, fsync, keys, policy) and a
bare asyncio loop over the same SDK take turns; by default at 20 ms and 2 s an answer, concurrency 32 and 256, with 20
requests for each place, but at least 2,000 quick ones. memory: the peak of a process that plans and asks. slow: a
server answers one request at a time, and the client has the defaults of a recipe. faults: 10% 429 with Retry-After, 5%
500, 2% never answer, 2% truncated JSON, 1% empty, decided by request and attempt. kills: a run is killed at random
moments until it is through; its journal and rows are compared with those of an undisturbed one.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
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
LATENCIES, CONCURRENCIES = (0.02, 2.0), (32, 256)
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


def written_seeds_of(count: int) -> tuple[pl.DataFrame, "Written"]:
    written = Written()
    words = []
    for number in range(count):
        text = text_of(number)
        written[hashlib.sha256(text.encode()).hexdigest()[:32]] = number
        words.append(len(text.split()))
    table = pl.DataFrame({"doc_id": list(written), "words": words})
    return table.with_columns(pl.lit("x").alias(name) for name in ("domain", "license", "language", "source")), written


class Written(dict[str, int]):
    """Texts by doc_id that are written when they are read, as those of a store are: they are no memory of a client."""

    def __getitem__(self, doc_id: str) -> Any:
        return text_of(super().__getitem__(doc_id))


def entry_of(base_url: str, requests: int, concurrency: int = CONCURRENCY) -> Generate:
    return Generate(
        name="bench",
        generator="openai",
        base_url=base_url,
        model="stub",
        concurrency=concurrency,
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


async def serve(port: int, faulty: bool, log: Path | None, answer_s: float, slots: int) -> None:
    """Answer as a function of the request; a fault also of the attempt. Log a line a request.

    answer_s: how long an answer takes; slots: how many are under way at a time, the others wait.
    """
    free = asyncio.Semaphore(slots)
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
        async with free:
            await asyncio.sleep(answer_s)
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

    server = await asyncio.start_server(connection, "127.0.0.1", port, backlog=2048, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(
    faulty: bool = False, log: Path | None = None, port: int = 0, answer_s: float = ANSWER_S, slots: int = 10**6
) -> Iterator[str]:
    options = ["serve", "--port", str(port), *(["--faulty"] if faulty else []), *(["--log", str(log)] if log else [])]
    options += ["--answer-s", str(answer_s), "--slots", str(slots)]
    child = subprocess.Popen([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
    finally:
        child.kill()
        child.wait()


# The clients


def ours(
    entry: Generate,
    plan: pl.DataFrame,
    seeds: pl.DataFrame,
    stored: Mapping[str, Any],
    path: Path,
    policy: Policy | None = POLICY,
) -> Any:
    def texts(doc_ids: Any) -> pl.DataFrame:
        return pl.DataFrame({"doc_id": list(doc_ids), "text": [stored[doc_id] for doc_id in doc_ids]})

    with Journal(path) as journal:
        return openai.run(entry, seeds, plan, texts, journal, policy=policy)


async def bare(entry: Generate, asked: list[list[dict[str, str]]]) -> int:
    """Ask as a script would: the SDK's client, a semaphore, and a list of answers."""
    slots = asyncio.Semaphore(entry.concurrency)
    async with sdk.AsyncOpenAI(base_url=entry.base_url, api_key="unused", max_retries=0, timeout=600.0) as client:
        create: Any = client.chat.completions.create

        async def one(messages: list[dict[str, str]]) -> str:
            async with slots:
                answer = await create(model="stub", messages=messages, temperature=0.7, max_tokens=64, seed=1)
            return str(answer.choices[0].message.content)

        return len(await asyncio.gather(*(one(messages) for messages in asked)))


def rate(requests: int, rounds: int, answer_s: float, concurrency: int) -> None:
    seeds, stored = seeds_of(requests)
    ratios = []
    with serving(answer_s=answer_s) as base_url, tempfile.TemporaryDirectory() as folder:
        entry = entry_of(base_url, requests, concurrency)
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
                    found = ours(entry, plan, seeds, stored, Path(folder, f"{turn}"), None)
                    assert len(found.rows) == requests
                else:
                    assert asyncio.run(bare(entry, asked)) == requests
                seconds[name], cpu[name] = time.perf_counter() - begun, time.process_time() - used
            ratios.append(seconds["bare"] / seconds["ours"])
            told = ", ".join(f"{n} {requests / seconds[n]:.0f}/s ({cpu[n]:.1f} s of CPU)" for n in ("ours", "bare"))
            print(f"{told}: ratio {ratios[-1]:.2f}", flush=True)
    print(
        f"{answer_s:g} s an answer, concurrency {concurrency}, {requests} requests, {rounds} rounds: "
        f"median ratio {sorted(ratios)[len(ratios) // 2]:.3f}",
        flush=True,
    )


def rates(options: argparse.Namespace) -> None:
    for answer_s in [options.answer_s] if options.answer_s else LATENCIES:
        for concurrency in [options.concurrency] if options.concurrency else CONCURRENCIES:
            requests = options.requests or max(20 * concurrency, 2000 if answer_s < 1 else 0)
            rate(requests, options.rounds, answer_s, concurrency)


def memory(requests: int) -> None:
    with serving() as base_url, tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "work", base_url, "--requests", str(requests)]
        command += ["--journal", str(Path(folder, "j")), "--out", str(Path(folder, "rows.parquet"))]
        begun = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - begun
        answered = pl.scan_parquet(Path(folder, "rows.parquet")).select(pl.len()).collect().item()
    assert answered == requests
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{requests} requests planned and answered in {seconds:.0f} s: {peak:.0f} MB at the most")


def slow(requests: int, answer_s: float) -> None:
    """Ask a server with one slot, as a recipe does that says nothing of concurrency and timeout_s."""
    seeds, stored = seeds_of(requests)
    with tempfile.TemporaryDirectory() as folder, serving(log=Path(folder, "log"), answer_s=answer_s, slots=1) as url:
        shipped = Generate(name="shipped", generator="openai")
        entry = entry_of(url, requests, shipped.concurrency).model_copy(update={"timeout_s": shipped.timeout_s})
        begun = time.perf_counter()
        drafts = ours(entry, openai.plan(entry, seeds, 10**9), seeds, stored, Path(folder, "journal"), None)
        seconds = time.perf_counter() - begun
        sent = Counter(Path(folder, "log").read_text().split())
    twice = sum(times - 1 for times in sent.values())
    print(
        f"{requests} requests, one at a time, {answer_s:g} s each: {len(drafts.rows)} drafts, {len(drafts.failures)} "
        f"failures, {twice} sent again, in {seconds:.0f} s of at least {requests * answer_s:.0f}"
    )
    assert len(drafts.rows) == requests
    assert twice <= requests / 20


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
    """Carry out one run and write its rows; the process that is killed, or whose memory is measured."""
    seeds, written = written_seeds_of(requests)
    entry = entry_of(base_url, requests)
    drafts = ours(entry, openai.plan(entry, seeds, 10**9), seeds, written, journal)
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
    parser.add_argument("what", choices=["rate", "memory", "slow", "faults", "kills", "serve", "work"])
    parser.add_argument("base_url", nargs="?", default="")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--answer-s", type=float)
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--slots", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--faulty", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--journal", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "rate":
        rates(options)
    elif options.what == "memory":
        memory(options.requests or 50_000)
    elif options.what == "slow":
        slow(options.requests or 500, options.answer_s or 4.0)
    elif options.what == "faults":
        faults(options.requests or 2000)
    elif options.what == "kills":
        kills(options.requests or 2000, options.kills)
    elif options.what == "serve":
        asyncio.run(serve(options.port, options.faulty, options.log, options.answer_s, options.slots))
    else:
        work(options.base_url, options.requests, options.journal, options.out)


if __name__ == "__main__":
    main()
