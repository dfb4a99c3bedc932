"""What becomes of every row: keepers, provenance, currency and the accounts, on small real pools."""

import hashlib
import itertools
import json
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from plain import Candidate, Described, candidate, ingested, publish_plainly, recipe_file
from texts import documents

from cuvee.flows.hands import PlainHands
from cuvee.flows.pipeline import describe
from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.records import DraftRecord, DraftReport
from cuvee.schemas.report import STEPS
from cuvee.storage.corpus import pool_folder
from cuvee.storage.store import open_store
from cuvee.storage.tables import read_table
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.ingest import normalise
from cuvee.tasks.ingest.reading import draft_shards
from cuvee.tasks.pool import Pool
from cuvee.tasks.publish.ledger import count, step_reports

_numbers = itertools.count()
Row = dict[str, Any]


class House:
    """A folder with a recipe and source files, and a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, f"memory://resolve-{next(_numbers)}"

    def write(self, name: str, *rows: Row | str) -> None:
        lines = [json.dumps(row if isinstance(row, dict) else {"text": row}) for row in rows]
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def recipe(self, sources: str, more: str = "") -> str:
        return recipe_file(self.folder, f"corpus: c\nholdout: {{share: 0}}\nsources: [{sources}]\n{more}\n")

    def decide(self, sources: str, more: str = "", drafts: Sequence[tuple[str, str]] = ()) -> pl.DataFrame:
        return ingested(self.recipe(sources, more), self.store).decide(drafts)

    def candidate(self, sources: str, more: str = "", *overrides: str) -> Candidate:
        return candidate(self.recipe(sources, more), self.store, *overrides)

    def publish(self, sources: str, more: str = "") -> pl.DataFrame:
        """Publish, and return the ledger."""
        made = candidate(self.recipe(sources, more), self.store)
        made.publish()
        return made.ledger()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def doc_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def shingles(text: str, n: int = 5) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
    return frozenset(tuple(words[i : i + n]) for i in range(max(len(words) - n + 1, 1)))


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a | b else 1.0


def by_text(rows: pl.DataFrame, *texts: str) -> list[Row]:
    """The row of each text, in the order asked for."""
    found = {row["doc_id"]: row for row in rows.to_dicts()}
    return [found[doc_id(text)] for text in texts]


def words(count: int, seed: int) -> str:
    """So many words of real text."""
    return " ".join(" ".join(documents(4, seed=seed)).split()[:count])


# Under 80 words no model speaks, so a document of unknown origin stays unknown.
BASE = words(60, seed=1)
LONGER, LONGEST = BASE + " and more", BASE + " and again some more"
SOURCES = (
    "{name: h, uri: h.jsonl}, {name: u, uri: u.jsonl, origin: unknown}, {name: s, uri: s.jsonl, origin: synthetic}"
)


def test_of_near_copies_the_human_one_stays_then_the_unknown_one_however_short(house: House) -> None:
    house.write("h.jsonl", BASE, "Nothing like it.")
    house.write("u.jsonl", LONGER)
    house.write("s.jsonl", LONGEST)
    human, unknown, synthetic = by_text(house.decide(SOURCES), BASE, LONGER, LONGEST)
    assert (human["verdict"], unknown["verdict"], synthetic["verdict"]) == (None, "duplicate_near", "copy_of_human")
    assert unknown["keeper"] == synthetic["keeper"] == doc_id(BASE)
    assert unknown["jaccard"] == round(jaccard(BASE, LONGER), 6)
    house.write("h.jsonl", "Nothing like it.")
    fresh = House(house.folder)
    unknown, synthetic = by_text(fresh.decide(SOURCES, "provenance: {unknown_as: synthetic}"), LONGER, LONGEST)
    assert unknown["verdict"] is None
    assert (synthetic["verdict"], synthetic["keeper"]) == ("duplicate_near", doc_id(LONGER))


def test_of_exact_copies_the_human_one_stays(house: House) -> None:
    house.write("h.jsonl", BASE)
    house.write("u.jsonl", BASE)
    house.write("s.jsonl", BASE, BASE)
    # No other order, not even that of the names, may speak for the human copy.
    named = SOURCES.replace("name: h", "name: z").replace("name: s", "name: a")
    rows = house.decide(named)
    assert rows.filter(pl.col("verdict").is_null())["source"].to_list() == ["z"]
    copies = rows.filter(pl.col("verdict").is_not_null())
    assert sorted(copies["verdict"]) == ["copy_of_human", "copy_of_human", "duplicate_exact"]
    assert set(copies["keeper"]) == {doc_id(BASE)}
    assert set(copies["jaccard"]) == {1.0}


def test_what_came_first_stays_then_the_longer_text_then_the_smaller_id(house: House) -> None:
    one_source = "{name: h, uri: '*.jsonl'}"
    twins = [BASE + end for end in (" finally", " at last.", " in time.")]
    house.write("a.jsonl", *twins)
    rows = house.decide(one_source)
    # All have 9 characters more than BASE, in other words.
    assert rows.filter(pl.col("verdict").is_null())["doc_id"].to_list() == [min(map(doc_id, twins))]
    fresh = House(house.folder)
    house.write("a.jsonl", BASE, LONGER)
    assert fresh.publish(one_source).filter(outcome="kept")["doc_id"].to_list() == [doc_id(LONGER)]
    house.write("b.jsonl", LONGEST)
    longest, first = by_text(fresh.decide(one_source), LONGEST, LONGER)
    assert (longest["verdict"], longest["keeper"], first["verdict"]) == ("duplicate_near", doc_id(LONGER), None)


def test_a_chain_of_likenesses_removes_no_document_that_is_unlike_all_survivors(house: House) -> None:
    parts = words(120, seed=2).split()
    first, middle, last = (" ".join(parts[start : start + 100]) for start in (0, 8, 16))
    # In keeper order the longest comes first.
    first += " " + "indeed" * 40
    middle += " " + "indeed" * 20
    assert jaccard(first, middle) >= 0.8
    assert jaccard(middle, last) >= 0.8
    assert jaccard(first, last) < 0.8
    house.write("h.jsonl", last, middle, first)
    one, two, three = by_text(house.decide("{name: h, uri: h.jsonl}"), first, middle, last)
    assert (one["verdict"], three["verdict"]) == (None, None)
    assert (two["verdict"], two["keeper"]) == ("duplicate_near", doc_id(first))


def variants(seed: int) -> list[str]:
    """Clusters of likenesses: documents, and copies with a few words changed, cut, or in other letters."""
    draw = random.Random(seed)
    texts = []
    for number in range(12):
        text = words(draw.randint(8, 120), seed=seed * 100 + number)
        for _ in range(draw.randint(1, 5)):
            texts.append(text)
            parts = text.split()
            for _ in range(draw.randint(0, 4)):
                parts[draw.randrange(len(parts))] = draw.choice(["other", "new", "parts"])
            text = " ".join(parts[: len(parts) - draw.randint(0, 3)] or parts)
            text = draw.choice([text, text.upper(), text + " ..."])
    draw.shuffle(texts)
    return texts


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("threshold", [0.8, 0.5])
def test_survivors_are_unlike_each_other_and_every_copy_names_a_survivor_it_is_like(
    house: House, seed: int, threshold: float
) -> None:
    texts = variants(seed)
    # One band a row misses nothing, so what is asserted is exact.
    exhaustive = f"dedup: {{threshold: {threshold}, bands: [128, 1]}}\nprovenance: {{unknown_as: synthetic}}"
    third = len(texts) // 3
    for name, part in zip("hus", (texts[:third], texts[third : 2 * third], texts[2 * third :]), strict=True):
        house.write(f"{name}.jsonl", *part)
    rows = house.decide(SOURCES, exhaustive)
    text_of = {doc_id(text): text for text in texts}
    survivors = rows.filter(pl.col("verdict").is_null())["doc_id"].to_list()
    assert len(set(survivors)) == len(survivors)
    for one, other in itertools.combinations(survivors, 2):
        assert jaccard(text_of[one], text_of[other]) < threshold
    gone = rows.filter(pl.col("verdict").is_not_null())
    assert set(gone["verdict"]) <= {"duplicate_exact", "duplicate_near", "copy_of_human"}
    rank = {"human": 0, "unknown": 1, "synthetic": 2}
    provenance = dict(rows.filter(pl.col("verdict").is_null()).select("doc_id", "provenance").iter_rows())
    for row in gone.filter(step="dedup_near").to_dicts():
        assert row["keeper"] in set(survivors)
        likeness = jaccard(text_of[row["doc_id"]], text_of[row["keeper"]])
        assert row["jaccard"] == round(likeness, 6) >= threshold
        assert rank[provenance[row["keeper"]]] <= rank[row["provenance"]]
    for row in gone.filter(step="dedup_exact").to_dicts():
        assert row["keeper"] == row["doc_id"]
    assert set(rows["doc_id"]) == set(text_of)


def test_the_order_of_files_and_rows_decides_nothing(house: House) -> None:
    texts = variants(7)
    house.write("a.jsonl", *texts[:20])
    house.write("b.jsonl", *texts[20:])
    one = house.decide("{name: h, uri: '*.jsonl'}")
    fresh = House(house.folder)
    house.write("a.jsonl", *reversed(texts[9:]))
    house.write("b.jsonl", *texts[:9])
    other = fresh.decide("{name: h, uri: '*.jsonl'}")
    columns = ["doc_id", "verdict", "keeper", "jaccard", "provenance"]
    assert one.select(columns).sort(columns).equals(other.select(columns).sort(columns))


WRITER = "generate: [{name: writer, generator: ngram, allow_baseline: true, budget: {amount: 0}}]"
DRAFT = words(90, seed=3)
NEAR_DRAFT = DRAFT + " and a word"


class Drafted(NamedTuple):
    """A pool of version 1 with one draft of ours, and rows that come in with version 2."""

    rows: pl.DataFrame

    def of(self, text: str) -> Row:
        return self.rows.filter(~pl.col("generated"), doc_id=doc_id(text)).row(0, named=True)


def with_draft(house: House, source: str, accepted: int = 2, seeds: Sequence[str] = ()) -> Drafted:
    """Put DRAFT into the pool as accepted with version 1 of 2024-05-01, and decide over rows accepted as told."""
    begun = ingested(house.recipe(source, WRITER), house.store)
    store, run = open_store(house.store), begun.run.model_copy(update={"version": accepted})
    text = pl.Series([DRAFT])
    frame = pl.DataFrame({"text": text, "doc_id": normalise.doc_ids(text)}).with_columns(
        normalise.measure(text),
        file=pl.lit("writer"),
        row=pl.lit(0),
        source_id=pl.lit("request"),
        depth=pl.lit(1),
        seed_ids=pl.lit(list(seeds), pl.List(pl.String)),
    )
    files = draft_shards(store, pool_folder("c", "generate"), frame, 10**6)
    report = DraftReport(source="writer", reading=run.readings["writer"], shards=1, failed={})
    record = DraftRecord(key="draft", files=tuple(files), report=report)
    pool = Pool(entries=()).plus([record], 1).plus(begun.pool.ingested, accepted)
    pool = describe(run, store, pool, None, PlainHands())
    state = begun.state.model_copy(update={"dates": {1: "2024-05-01"}})
    drafted = begun._replace(run=run, store=store, pool=pool, state=state)
    return Drafted(drafted.decide([("writer", "request")]))


def test_a_later_copy_or_near_copy_of_our_draft_is_synthetic_whatever_it_declares(house: House) -> None:
    other = words(90, seed=4)
    house.write("h.jsonl", DRAFT, NEAR_DRAFT, other)
    house.write("u.jsonl", DRAFT)
    found = with_draft(house, "{name: h, uri: h.jsonl}, {name: u, uri: u.jsonl, origin: unknown}")
    for text in (DRAFT, NEAR_DRAFT):
        assert found.of(text)["provenance"] == "synthetic"
        assert "lineage:own_copy" in found.of(text)["evidence"]
    assert found.rows.filter(source="u")["provenance"].to_list() == ["synthetic"]
    assert found.of(other)["provenance"] == "human"
    assert found.of(NEAR_DRAFT)["verdict"] == "duplicate_near"
    assert found.of(NEAR_DRAFT)["keeper"] == doc_id(DRAFT)


def test_a_text_that_came_in_with_or_before_the_draft_stays_human(house: House) -> None:
    house.write("h.jsonl", NEAR_DRAFT)
    row = with_draft(house, "{name: h, uri: h.jsonl}", accepted=1).of(NEAR_DRAFT)
    assert (row["provenance"], row["verdict"]) == ("human", None)


def test_the_seed_of_a_draft_is_no_copy_of_it(house: House) -> None:
    house.write("h.jsonl", NEAR_DRAFT)
    row = with_draft(house, "{name: h, uri: h.jsonl}", seeds=["0" * 32, doc_id(NEAR_DRAFT)]).of(NEAR_DRAFT)
    assert (row["provenance"], row["verdict"]) == ("human", None)


@pytest.mark.parametrize(
    ("dates", "created", "provenance"),
    [
        ("trusted", "2024-04-30", "human"),
        ("trusted", "2024-05-01", "synthetic"),
        ("trusted", "2025-01-01", "synthetic"),
        ("trusted", None, "synthetic"),
        ("claimed", "2001-01-01", "synthetic"),
    ],
)
def test_only_a_trusted_date_before_the_draft_shows_a_copy_to_be_older(
    house: House, dates: str, created: str | None, provenance: str
) -> None:
    house.write("h.jsonl", {"text": NEAR_DRAFT, "created": created})
    row = with_draft(house, f"{{name: h, uri: h.jsonl, dates: {dates}}}").of(NEAR_DRAFT)
    assert row["provenance"] == provenance
    assert ("own_copy" in row["evidence"]) == (provenance == "synthetic")


def test_a_draft_that_no_generator_of_the_recipe_produces_is_not_current_but_still_known(house: House) -> None:
    house.write("h.jsonl", DRAFT)
    begun = with_draft(house, "{name: h, uri: h.jsonl}").rows
    assert begun.height == 2
    assert begun.filter("generated")["provenance"].to_list() == ["synthetic"]


PAGES = "{name: h, uri: '*.jsonl', dates: trusted}"


def test_a_newer_row_of_an_id_replaces_the_older_one_and_a_page_may_return(house: House) -> None:
    old, new, other = (words(70, seed=number) for number in (11, 12, 13))

    def night(text: str) -> dict[str, str | None]:
        house.write("page.jsonl", {"id": "page", "text": text}, {"id": "other", "text": other}, {"text": "No id here."})
        rows = house.publish(PAGES)
        named = {doc_id(old): "old", doc_id(new): "new", doc_id(other): "other"}
        kept = {named[row["doc_id"]]: row["reason"] for row in rows.filter(source_id="page").to_dicts()}
        assert rows.filter(outcome="kept").height == 3
        assert rows.filter(outcome="kept")["doc_id"].is_unique().all()
        return kept

    assert night(old) == {"old": None}
    assert night(new) == {"old": "superseded", "new": None}
    assert night(old) == {"old": None, "new": "superseded"}


def test_rows_of_one_night_with_one_id_all_stay(house: House) -> None:
    texts = [words(70, seed=number) for number in (21, 22)]
    house.write("a.jsonl", *({"id": "same", "text": text} for text in texts))
    assert house.decide(PAGES)["verdict"].to_list() == [None, None]


def test_one_id_in_two_sources_is_two_documents(house: House) -> None:
    old, new = (words(70, seed=number) for number in (31, 32))
    sources = "{name: h, uri: h.jsonl}, {name: g, uri: g.jsonl}"
    house.write("h.jsonl", {"id": "page", "text": old})
    house.write("g.jsonl", {"id": "else", "text": words(70, seed=33)})
    house.publish(sources)
    house.write("g.jsonl", {"id": "page", "text": new})
    assert [row["verdict"] for row in by_text(house.decide(sources), old, new)] == [None, None]


def test_old_and_empty_documents_are_dropped_at_ingest(house: House) -> None:
    before, after, undated = (words(70, seed=number) for number in (41, 42, 43))
    house.write(
        "a.jsonl",
        {"text": before, "created": "2004-12-31"},
        {"text": after, "created": "2005-01-01T10:00:00Z"},
        {"text": undated, "created": "last week"},
        {"text": " \n\t "},
    )
    rows = house.decide(PAGES, "ingest: {min_date: 2005-01-01}")
    assert [row["verdict"] for row in by_text(rows, before, after, undated, "")] == ["min_date", None, None, "empty"]


def test_licences_come_from_the_row_through_the_map_then_from_the_source(house: House) -> None:
    texts = [words(70, seed=number) for number in range(51, 57)]
    given = ["Ours; see the desk", "mit", "https://creativecommons.org/licenses/by-sa/4.0/", None, "", "Ask my lawyer"]
    house.write("h.jsonl", *({"text": text, "license": license} for text, license in zip(texts, given, strict=True)))
    mapped = "license_map: {Ours; see the desk: LicenseRef-Public-Domain}"
    rows = by_text(house.decide(f"{{name: h, uri: h.jsonl, license: CC0-1.0, {mapped}}}"), *texts)
    assert [row["license"] for row in rows[:5]] == [
        "LicenseRef-Public-Domain",
        "MIT",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CC0-1.0",
    ]
    assert rows[5]["license"] not in ("CC0-1.0", "MIT")
    bare = by_text(House(house.folder).decide("{name: h, uri: h.jsonl}"), *texts)
    assert [row["license"] for row in bare] == [
        "unknown",
        "MIT",
        "CC-BY-SA-4.0",
        "unknown",
        "unknown",
        "unknown",
    ]


SUSPECT = words(90, seed=61) + " As an AI language model, I cannot say more about it."


@pytest.mark.parametrize(
    ("suspects", "provenance", "verdict"),
    [
        ("auto", "synthetic", None),
        ("relabel", "synthetic", None),
        ("drop", "synthetic", "suspect"),
        ("keep", "human", None),
    ],
)
def test_suspects_are_relabelled_dropped_or_kept_as_the_recipe_says(
    house: House, suspects: str, provenance: str, verdict: str | None
) -> None:
    plain = words(90, seed=62)
    house.write("h.jsonl", SUSPECT, plain)
    rows = house.decide("{name: h, uri: h.jsonl}", f"provenance: {{suspects: {suspects}}}")
    suspect, human = by_text(rows, SUSPECT, plain)
    assert (suspect["provenance"], suspect["verdict"]) == (provenance, verdict)
    assert "phrase:self-description" in suspect["evidence"]
    assert (human["provenance"], human["verdict"]) == ("human", None)


def test_a_suspect_that_is_dropped_takes_no_human_copy_with_it(house: House) -> None:
    copy = words(90, seed=61)
    house.write("h.jsonl", SUSPECT, copy)
    assert jaccard(SUSPECT, copy) >= 0.8
    rows = house.decide("{name: h, uri: h.jsonl}", "provenance: {suspects: drop}")
    assert [row["verdict"] for row in by_text(rows, SUSPECT, copy)] == ["suspect", None]


def test_depth_follows_provenance(house: House) -> None:
    house.write("h.jsonl", words(90, seed=71))
    house.write("u.jsonl", words(60, seed=72))
    house.write("s.jsonl", words(90, seed=73))
    rows = house.decide(SOURCES, "provenance: {unknown_as: human}")
    assert dict(rows.select("source", "depth").iter_rows()) == {"h": 0, "u": 0, "s": 1}
    deep = house.decide(SOURCES, "provenance: {unknown_as: synthetic}\nmixture: {depth: {max: 0}}")
    assert dict(deep.select("source", "verdict").iter_rows()) == {"h": None, "u": "depth", "s": "depth"}


ACCOUNTS = """
ingest: {max_bad_rows: 0.9, min_date: 2000-01-01}
filters: [{kind: length, min_words: 30}]
generate: [{name: writer, generator: ngram, allow_baseline: true, budget: {amount: 900}}]
mixture: {human: {min: 0.6}, total: 2500}
"""


@pytest.fixture(scope="module")
def accounted(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    """A run in which rows end in every way."""
    house = House(tmp_path_factory.mktemp("accounts"))
    texts = documents(20, seed=81)
    house.write(
        "h.jsonl",
        *texts[:14],
        texts[0],
        texts[1] + " And a line.",
        "Too short.",
        {"text": texts[2] + " Long ago.", "created": "1999-01-01"},
        {"text": ""},
    )
    house.write("s.jsonl", *texts[14:])
    house.write("u.jsonl", words(60, seed=82), texts[15])
    for name, torn in (("h", 3), ("u", 1)):
        with (house.folder / f"{name}.jsonl").open("a") as file:
            file.write('{"text": \n' * torn)
    sources = SOURCES.replace("{name: h, uri: h.jsonl}", "{name: h, uri: h.jsonl, license: MIT}")
    return house.candidate(sources, ACCOUNTS)


def test_every_row_of_every_source_ends_in_exactly_one_account(accounted: Candidate) -> None:
    ledger = accounted.ledger()
    ends = {source: dict(part.group_by("outcome").len().iter_rows()) for (source,), part in ledger.group_by("source")}
    assert set(ends) == {"h", "u", "s", "writer"}
    assert [sum(ends[name].values()) for name in ("h", "u", "s")] == [22, 3, 6]
    assert (ends["h"]["unreadable"], ends["u"]["unreadable"]) == (3, 1)
    assert sum(ends["writer"].values()) == sum(len(entry.planned) for entry in accounted.drafts) > 0
    assert set(ledger["outcome"]) >= {"kept", "pooled", "dropped", "unreadable"}
    reasons = set(ledger["reason"].drop_nulls())
    assert reasons >= {"duplicate_exact", "duplicate_near", "min_date", "empty", "length.min_words", "unreadable"}
    assert ledger.filter(pl.col("row").is_not_null()).select("source", "file", "row").is_unique().all()
    dropped = ledger.filter(outcome="dropped")
    assert dropped["reason"].null_count() == dropped["step"].null_count() == 0
    assert ledger.filter(outcome="kept")["reason"].null_count() == ledger.filter(outcome="kept").height


def test_the_steps_pass_on_what_they_do_not_drop_and_end_with_what_is_published(accounted: Candidate) -> None:
    ledger = accounted.ledger()
    reports = step_reports(accounted.begun.run.recipe, count(ledger))
    assert list(reports) == ["ingest", "generate", *STEPS[1:]]
    for report in reports.values():
        assert report.into == report.out + sum(report.dropped.values())
    assert reports["ingest"].into == 31
    steps = [reports[name] for name in STEPS[1:]]
    assert steps[0].into == reports["ingest"].out + reports["generate"].out
    assert [step.out for step in steps[:-1]] == [step.into for step in steps[1:]]
    assert steps[-1].out == ledger.filter(outcome="kept").height
    assert reports["mixture"].dropped["pooled"] == ledger.filter(outcome="pooled").height


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.with_rows(made.rows.head(-1)),
        lambda made: made.with_rows(pl.concat([made.rows, made.rows.head(1)])),
        lambda made: made.with_rows(made.rows.filter(pl.col("source") != "s")),
        lambda made: made._replace(drafts=[]),
        lambda made: made._replace(
            drafts=[entry.model_copy(update={"planned": (*entry.planned, "lost")}) for entry in made.drafts]
        ),
        lambda made: made._replace(
            drafts=[entry.model_copy(update={"failed": {"request": "never asked"}}) for entry in made.drafts]
        ),
    ],
    ids=["a row lost", "a row twice", "a source lost", "drafts without a plan", "a request lost", "a failure too many"],
)
def test_accounts_that_do_not_balance_publish_nothing(
    accounted: Candidate, change: Callable[[Candidate], Candidate]
) -> None:
    with pytest.raises(IntegrityError, match="do not balance"):
        change(accounted).ledger()


def test_a_failed_request_is_an_account_too(accounted: Candidate) -> None:
    (entry,) = accounted.drafts
    failed = Generated(name=entry.name, planned=(*entry.planned, "lost"), failed={"lost": "timeout"}, record=None)
    row = accounted._replace(drafts=[failed]).ledger().filter(outcome="failed").row(0, named=True)
    assert (row["source"], row["source_id"], row["reason"], row["detail"]) == ("writer", "lost", "failed", "timeout")


def test_what_is_published_is_what_the_ledger_says_was_kept(accounted: Candidate) -> None:
    report = accounted.publish()
    ledger = accounted.ledger()
    store = open_store(accounted.begun.run.store)
    from cuvee.storage.corpus import load_manifest

    files = load_manifest(store, "c", report.version).files
    ids = [doc for file in files for doc in read_table(store, file, ["doc_id"])["doc_id"].to_pylist()]
    assert sorted(ids) == sorted(ledger.filter(outcome="kept")["doc_id"])
    assert report.documents == len(ids) == len(set(ids))


def test_a_second_run_decides_the_same_from_its_records(house: House) -> None:
    house.write("h.jsonl", *variants(3))
    recipe = house.recipe("{name: h, uri: h.jsonl}")
    first = publish_plainly(recipe, house.store)
    again: Described = ingested(recipe, house.store)
    assert again.run.parent == first.version
    assert again.decide().filter(pl.col("verdict").is_null()).height == first.documents
    assert not publish_plainly(recipe, house.store).published


def test_every_table_of_the_pool_matches_its_shards(accounted: Candidate) -> None:
    pool, store = accounted.begun.pool, open_store(accounted.begun.run.store)
    for records in pool.signals.values():
        for shard, record in zip(pool.shards, records, strict=True):
            ids = read_table(store, shard.file, ["doc_id"])["doc_id"].to_pylist()
            assert read_table(store, record.files[0], ["doc_id"])["doc_id"].to_pylist() == ids


def test_the_ledger_does_not_depend_on_the_order_of_the_decided_rows(accounted: Candidate) -> None:
    shuffled = accounted.rows.sample(fraction=1.0, shuffle=True, seed=1)
    assert not shuffled.equals(accounted.rows)
    assert accounted.with_rows(shuffled).ledger().equals(accounted.ledger())
