"""The mixture: bounds that hold exactly, human text first, and a choice that only its border moves."""

import hashlib
import itertools
import random
import re
from fractions import Fraction
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cuvee.schemas import amounts
from cuvee.schemas.errors import GateError, IntegrityError
from cuvee.schemas.manifest import DataFile, Stratum
from cuvee.schemas.parse import parse_recipe
from cuvee.schemas.recipe import Recipe
from cuvee.tasks.mixture.proof import prove
from cuvee.tasks.mixture.selection import plan
from cuvee.tasks.priority import held_out, priorities

LEAST = "corpus: library\nsources: [{name: gov, uri: a.jsonl}]\n"


class Document(NamedTuple):
    provenance: str
    words: int


def rows(documents: list[Document]) -> pl.DataFrame:
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(len(documents))]
    return pl.DataFrame(
        {
            "doc_id": ids,
            "provenance": [document.provenance for document in documents],
            "words": [document.words for document in documents],
            "bytes": [document.words * 6 for document in documents],
        },
        schema={"doc_id": pl.String, "provenance": pl.String, "words": pl.Int64, "bytes": pl.Int64},
    )


def recipe(**mixture: Any) -> Recipe:
    holdout, unknown = mixture.pop("holdout", 0.0), mixture.pop("unknown_as", "exclude")
    human = {key: mixture.pop(key) for key in ("min", "max", "min_amount") if key in mixture}
    tree = parse_recipe(LEAST).model_dump() | {"holdout": {"share": holdout}}
    tree["provenance"] = {"unknown_as": unknown}
    tree["mixture"] = {**mixture, "human": human}
    return Recipe.model_validate(tree)


class Taken(NamedTuple):
    """Amounts of what a plan takes for training, and for validation."""

    human: int
    synthetic: int
    validation: int

    @property
    def share(self) -> Fraction:
        return Fraction(self.human, self.human + self.synthetic)

    @property
    def share_of_all(self) -> Fraction:
        human = self.human + self.validation
        return Fraction(human, human + self.synthetic)


def taken(planned: pl.DataFrame) -> Taken:
    train = planned.filter(split="train")
    return Taken(
        int(train.filter(provenance="human")["amount"].sum()),
        int(train.filter(pl.col("provenance") != "human")["amount"].sum()),
        int(planned.filter(split="validation")["amount"].sum()),
    )


def chosen(planned: pl.DataFrame, *provenances: str) -> set[str]:
    return set(planned.filter(pl.col("provenance").is_in(provenances), split="train")["doc_id"])


def exactly(share: float) -> Fraction:
    return Fraction(str(share))


kinds = st.sampled_from(["human", "synthetic"])
corpora = st.lists(st.builds(Document, kinds, st.integers(1, 400)), min_size=1, max_size=40)
shares = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
totals = st.one_of(st.none(), st.integers(1, 9000), st.floats(0.5, 9000))
units = st.sampled_from(["words", "bytes", "documents"])
some = settings(max_examples=80, deadline=None)


@some
@given(corpora, shares, totals, units, st.sampled_from([0.0, 0.1, 0.5]))
def test_the_human_share_is_never_below_its_floor_and_the_total_never_passed(
    documents: list[Document], floor: float, total: float | None, unit: str, holdout: float
) -> None:
    try:
        planned = plan(rows(documents), recipe(min=floor, total=total, unit=unit, holdout=holdout))
    except GateError:
        return
    found = taken(planned)
    assert found.share >= exactly(floor)
    assert found.share_of_all >= exactly(floor)
    assert total is None or sum(found) <= total


@some
@given(corpora, shares, shares, totals, st.sampled_from([0.0, 0.3]))
@example([Document("human", 100)] * 10 + [Document("synthetic", 400)] * 2, 0.0, 0.5, 1000, 0.0)
@example([Document("human", 4)] * 2 + [Document("human", 3)] + [Document("synthetic", 6)] * 2, 0.4, 0.45, None, 0.0)
@example([Document("human", 60)] * 3 + [Document("synthetic", 1)] * 30, 0.0, 0.1, None, 0.5)
def test_floor_and_ceiling_hold_to_the_last_document(
    documents: list[Document], one: float, other: float, total: float | None, holdout: float
) -> None:
    floor, ceiling = sorted((one, other))
    try:
        planned = plan(rows(documents), recipe(min=floor, max=ceiling, total=total, holdout=holdout))
    except GateError:
        return
    found = taken(planned)
    assert found.share >= exactly(floor)
    assert found.share_of_all <= exactly(ceiling)


@some
@given(corpora, shares)
def test_without_a_floor_all_synthetic_text_is_published_under_any_ceiling(
    documents: list[Document], ceiling: float
) -> None:
    there = sum(document.words for document in documents if document.provenance == "synthetic")
    assume(there)
    assert taken(plan(rows(documents), recipe(max=ceiling))).synthetic == there


def test_human_documents_too_large_for_the_ceiling_are_left_out_or_stop_the_run() -> None:
    frame = rows([Document("human", 1000)] * 2 + [Document("synthetic", 100)] * 10)
    assert taken(plan(frame, recipe(max=0.3))) == (0, 1000, 0)
    with pytest.raises(
        GateError, match=r"no human text is trained on: .*mixture\.human\.max 0\.3.*nothing is published"
    ):
        plan(frame, recipe(max=0.3, shortage="fail"))
    with pytest.raises(GateError, match="no choice of whole documents has a human share between"):
        plan(frame, recipe(min=0.1, max=0.3, total=5000))


@some
@given(corpora, shares, totals)
def test_human_text_is_never_dropped_for_the_sake_of_synthetic_text(
    documents: list[Document], floor: float, total: float | None
) -> None:
    # Without a ceiling, synthetic text must make no difference to which human documents are taken.
    people = [document if document.provenance == "human" else Document("absent", 0) for document in documents]
    only_human = rows(people).filter(pl.col("provenance") != "absent")
    assume(only_human.height)
    try:
        alone = plan(only_human, recipe(min=floor, total=total))
    except GateError:
        return
    blended = plan(rows(documents), recipe(min=floor, total=total))
    assert chosen(blended, "human") == chosen(alone, "human")


@some
@given(corpora, shares)
def test_without_bounds_on_amount_all_human_text_and_all_synthetic_text_that_fits_is_taken(
    documents: list[Document], floor: float
) -> None:
    try:
        planned = plan(rows(documents), recipe(min=floor))
    except GateError:
        return
    found = taken(planned)
    assert found.human == sum(document.words for document in documents if document.provenance == "human")
    left = planned.filter(pl.col("split").is_null())["amount"]
    if floor and not left.is_empty():
        # The first synthetic document left over that would fit at all would break the floor.
        room = Fraction(found.human) * (1 - exactly(floor)) / exactly(floor) - found.synthetic
        fitting = left.filter(left <= int(found.human * (1 - exactly(floor)) / exactly(floor)))
        assert fitting.is_empty() or fitting[0] > room
    elif not floor:
        assert left.is_empty()


@some
@given(corpora, st.integers(1, 50), shares, st.integers(1, 9000), st.integers(0, 3000))
@example([Document("human", 1)] * 7 + [Document("human", 2), Document("synthetic", 1)], 1, 0.0, 2, 1)
def test_a_larger_total_keeps_what_a_smaller_one_had(
    documents: list[Document], length: int, floor: float, total: int, more: int
) -> None:
    # A document that alone is too large for a bound is passed over there, and takes its place under a larger one.
    assume(total >= max(document.words for document in documents))
    frame = rows([d if d.provenance == "human" else Document("synthetic", length) for d in documents])
    try:
        smaller, larger = (plan(frame, recipe(min=floor, total=t)) for t in (total, total + more))
    except GateError:
        return
    assert chosen(smaller, "human") <= chosen(larger, "human")
    assert chosen(smaller, "synthetic") <= chosen(larger, "synthetic")


@some
@given(corpora, shares, totals, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(
    documents: list[Document], floor: float, total: float | None, draw: random.Random
) -> None:
    frame = rows(documents)
    order = list(range(frame.height))
    draw.shuffle(order)
    options = recipe(min=floor, total=total, holdout=0.1)
    try:
        straight = plan(frame, options)
    except GateError as error:
        with pytest.raises(GateError, match=f"^{re.escape(str(error))}$"):
            plan(frame[order], options)
        return
    assert plan(frame[order], options).equals(straight)


@some
@given(corpora, shares)
def test_the_least_human_amount_is_reached_or_nothing_is_published(documents: list[Document], share: float) -> None:
    there = sum(document.words for document in documents if document.provenance == "human")
    assume(there)
    asked = round(there * 2 * share)
    if asked <= there:
        assert taken(plan(rows(documents), recipe(min_amount=asked))).human >= asked
    else:
        with pytest.raises(GateError, match=rf"{asked:,} words .* {there:,} are there: {asked - there:,} are missing"):
            plan(rows(documents), recipe(min_amount=asked))


def mixed(human: int, synthetic: int, words: int = 100) -> pl.DataFrame:
    """So many documents of each, in turns, all of one length."""
    return rows([Document("human", words)] * human + [Document("synthetic", words)] * synthetic)


@pytest.mark.parametrize(
    ("options", "human", "synthetic"),
    [
        ({}, 10, 40),
        ({"min": 0.5}, 10, 10),
        ({"min": 0.7}, 10, 4),
        ({"min": 1.0}, 10, 0),
        ({"max": 0.1}, 4, 40),
        ({"min": 0.5, "max": 0.5}, 10, 10),
        ({"min": 0.5, "max": 0.5, "total": 1000}, 5, 5),
        ({"max": 0.5, "total": 1000}, 5, 5),
        ({"max": 0.0}, 0, 40),
        ({"total": 1000}, 10, 0),
        ({"total": 1550}, 10, 5),
        ({"total": 999}, 9, 0),
        ({"total": 15, "unit": "documents"}, 10, 5),
        ({"total": 6000, "unit": "bytes"}, 10, 0),
        ({"min": 0.8, "total": 100000}, 10, 2),
    ],
)
def test_as_much_is_taken_as_the_bounds_allow(options: dict[str, Any], human: int, synthetic: int) -> None:
    planned = plan(mixed(10, 40), recipe(**options))
    assert (len(chosen(planned, "human")), len(chosen(planned, "synthetic"))) == (human, synthetic)


def test_a_share_that_binary_fractions_miss_is_kept_exactly() -> None:
    # 0.3 and 0.7 are no binary fractions; 3 of 10 is a share of 0.3 exactly.
    assert taken(plan(mixed(3, 7, words=1), recipe(min=0.3))) == (3, 7, 0)
    assert taken(plan(mixed(7, 3, words=1), recipe(min=0.7))) == (7, 3, 0)
    assert taken(plan(mixed(1, 9, words=1), recipe(min=0.1, max=0.1))) == (1, 9, 0)


def test_documents_are_taken_by_a_priority_that_they_keep_for_ever() -> None:
    frame = mixed(40, 0)
    expected = frame.with_columns(p=pl.Series(priorities(frame["doc_id"], "mixture 7"))).sort("p")["doc_id"]
    assert chosen(plan(frame, recipe(total=1000)), "human") == set(expected[:10])
    assert chosen(plan(frame, recipe(total=1000, seed=8)), "human") != set(expected[:10])
    # A corpus that grew by a tenth keeps all but about a tenth of a sample.
    grown = plan(mixed(44, 0), recipe(total=1000))
    assert len(chosen(grown, "human") & set(expected[:10])) >= 8


def test_what_is_published_comes_in_the_order_of_priority_with_one_copy_each() -> None:
    planned = plan(mixed(10, 5), recipe(min=0.7, holdout=0.3))
    assert planned["priority"].is_sorted()
    assert planned.height == 15
    assert planned["epochs"].to_list() == [1] * 15
    assert planned.schema["epochs"] == pl.Int8
    assert planned.schema["priority"] == pl.UInt64


def test_validation_is_human_apart_from_training_and_stays_when_the_rest_changes() -> None:
    options = recipe(holdout=0.2)
    planned = plan(mixed(100, 30), options)
    validation = planned.filter(split="validation")
    assert 8 <= validation.height <= 35
    assert set(validation["provenance"]) == {"human"}
    assert set(validation["doc_id"]) == set(planned.filter(held_out(planned, options))["doc_id"])
    for other in (recipe(holdout=0.2, min=0.9), recipe(holdout=0.2, seed=1), recipe(holdout=0.2, unit="bytes")):
        assert set(plan(mixed(100, 30), other).filter(split="validation")["doc_id"]) == set(validation["doc_id"])
    smaller = plan(mixed(100, 30), recipe(holdout=0.1)).filter(split="validation")
    assert set(smaller["doc_id"]) < set(validation["doc_id"])


@some
@given(corpora, st.integers(1, 9000), st.sampled_from([0.05, 0.5]))
def test_validation_takes_at_most_its_share_of_a_total(documents: list[Document], total: int, share: float) -> None:
    try:
        found = taken(plan(rows(documents), recipe(total=total, holdout=share)))
    except GateError:
        return
    assert found.validation <= total * share


def test_unknown_documents_count_as_the_recipe_says() -> None:
    frame = rows([Document("human", 100)] * 3 + [Document("unknown", 100)] * 4 + [Document("synthetic", 100)] * 8)
    as_human = plan(frame, recipe(min=0.5, unknown_as="human"))
    assert len(chosen(as_human, "human", "unknown")) == 7
    assert len(chosen(as_human, "synthetic")) == 7
    as_synthetic = plan(frame, recipe(min=0.5, unknown_as="synthetic"))
    assert len(chosen(as_synthetic, "unknown", "synthetic")) == 3


@pytest.mark.parametrize(
    ("documents", "options", "told"),
    [
        ((0, 10), {"min": 0.1}, "mixture.human.min is 0.1, and no human text survived (1,000 words of synthetic"),
        ((0, 0), {}, "no document survived"),
        ((0, 0), {"min": 0.5}, "no document survived"),
        ((10, 0), {"max": 0.5}, "mixture.human.max is 0.5, and there is no synthetic text"),
        ((10, 10), {"total": 99}, "no document fits into mixture.total 99 words"),
        ((10, 10), {"total": 99, "min": 0.5}, "no document fits into mixture.total 99 words"),
        ((10, 0), {"min_amount": 1001}, "1,001 words of human text are asked for, 1,000 are there: 1 are missing"),
        (
            (10, 40),
            {"min": 0.5, "total": 4000, "shortage": "fail"},
            "1,000 words of human text (2,000 needed for a share of 0.5, 1,000 there) are missing",
        ),
        (
            (10, 40),
            {"min": 0.5, "shortage": "fail"},
            "1,500 words of human text (2,500 needed for a share of 0.5, 1,000 there) are missing",
        ),
        ((10, 0), {"total": 3000, "shortage": "fail"}, "2,000 words (3,000 asked for, 1,000 there) are missing"),
        (
            (1, 1),
            {"min": 0.001, "max": 0.001},
            "no choice of whole documents has a human share between mixture.human.min",
        ),
    ],
)
def test_a_gate_says_what_is_missing_and_how_much(
    documents: tuple[int, int], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(GateError) as caught:
        plan(mixed(*documents), recipe(**options))
    assert told in str(caught.value)
    assert "nothing is published" in str(caught.value)
    if options.get("shortage") == "fail":
        assert "set shortage: shrink" in str(caught.value)


def test_a_shortage_of_less_than_a_document_is_none() -> None:
    assert taken(plan(mixed(10, 0), recipe(total=1099, shortage="fail"))) == (1000, 0, 0)
    with pytest.raises(GateError, match="shortage"):
        plan(mixed(10, 0), recipe(total=1100, shortage="fail"))
    assert taken(plan(mixed(10, 4), recipe(min=0.7, shortage="fail"))) == (1000, 400, 0)
    # 0.7 of 1,450 words leaves room for 4 of the 5 documents; the fifth is one document more.
    assert taken(plan(mixed(10, 0), recipe(total=1000, shortage="fail"))) == (1000, 0, 0)


def test_with_shrink_the_same_shortages_publish_less() -> None:
    assert taken(plan(mixed(10, 40), recipe(min=0.5, total=4000))) == (1000, 1000, 0)
    assert taken(plan(mixed(10, 0), recipe(total=3000))) == (1000, 0, 0)


_numbers = itertools.count()


def published(split: Any, **amounts: int) -> DataFile:
    sha = hashlib.sha256(str(next(_numbers)).encode()).hexdigest()
    stratum = Stratum(source="gov", domain="d", language="en", provenance="human", depth=0)
    return DataFile(path=sha, sha256=sha, bytes=1, rows=1, split=split, stratum=stratum, accepted=1, amounts=amounts)


def test_the_proof_counts_the_files_and_refuses_what_breaks_a_bound() -> None:
    files = [published("train", human=60), published("train", synthetic=40), published("validation", human=20)]
    everything, splits, proof = prove(recipe(min=0.6, holdout=0.2), files)
    assert (everything.amount, everything.documents, everything.human_share) == (120, 3, 0.666667)
    assert splits["train"].human_share == proof.human_share_train == 0.6
    assert splits["validation"].by_provenance == {"human": 20}
    assert proof.counted_from == tuple(file.sha256 for file in files)
    with pytest.raises(IntegrityError, match=r"the train split: the human share is 0\.6, under the floor 0\.61"):
        prove(recipe(min=0.61, holdout=0.2), files)
    with pytest.raises(IntegrityError, match=r"120 words pass mixture\.total"):
        prove(recipe(total=119, holdout=0.2), files)
    with pytest.raises(IntegrityError, match=r"all files: the human share is 0\.666667, above the ceiling 0\.6;"):
        prove(recipe(max=0.6, holdout=0.2), files)
    with pytest.raises(IntegrityError, match=r"60 words of human text are less than mixture\.human\.min_amount 61"):
        prove(recipe(min_amount=61, holdout=0.2), files)
    for options in ({}, {"holdout": 0.1, "total": 150}):
        with pytest.raises(IntegrityError, match=r"20 words are more than holdout\.share"):
            prove(recipe(**options), files)
    with pytest.raises(IntegrityError, match="the validation split holds synthetic text"):
        prove(recipe(holdout=0.2), [*files, published("validation", synthetic=1)])
    with pytest.raises(IntegrityError, match="unknown text, which the recipe excludes"):
        prove(recipe(), [published("train", unknown=1, human=1)])
    deep = published("train", synthetic=1)
    deep = deep.model_copy(update={"stratum": deep.stratum.model_copy(update={"depth": 2})})
    with pytest.raises(IntegrityError, match=r"depth 2 passes mixture\.depth\.max 1"):
        prove(recipe(), [*files[:2], deep])
    assert prove(recipe(total=120, holdout=0.2), files)[0].amount == 120
    unknown = [published("train", unknown=50, synthetic=50)]
    assert amounts.totals(unknown, "human").human_share == 0.5
    assert amounts.totals(unknown, "synthetic").human_share == 0.0
    assert amounts.totals([], "exclude").human_share is None


blends = st.lists(
    st.builds(Document, st.sampled_from(["human", "synthetic", "unknown"]), st.integers(1, 400)),
    min_size=1,
    max_size=40,
)
recipes = st.fixed_dictionaries(
    {
        "min": shares.map(lambda share: share / 2),
        "max": shares,
        "total": totals,
        "unit": units,
        "min_amount": st.one_of(st.none(), st.integers(0, 2000)),
        "holdout": st.sampled_from([0.0, 0.05, 0.2, 0.5]),
        "unknown_as": st.sampled_from(["human", "synthetic"]),
        "shortage": st.sampled_from(["shrink", "fail"]),
        "seed": st.integers(0, 3),
    }
)


@settings(max_examples=100, deadline=None)
@given(blends, recipes)
@example([Document("human", 1), Document("synthetic", 9)], {"min": 0.1})
def test_whatever_is_planned_can_be_proved(documents: list[Document], asked: dict[str, Any]) -> None:
    ceiling = max(asked.get("max", 1.0), asked["min"])
    options = recipe(**asked | {"max": ceiling})
    try:
        planned = plan(rows(documents), options)
    except GateError:
        return
    sums = planned.drop_nulls("split").group_by("split", "provenance").agg(pl.col("amount").sum())
    prove(options, [published(split, **{provenance: amount}) for split, provenance, amount in sums.iter_rows()])
