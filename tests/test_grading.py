"""Grading: gates, groundedness, judgements in every wrong shape, and revisions that keep the best round."""

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_endpoint import Reply, between, completion, stub
from test_generators import QUICK, SEEDS, TEXTS, prose

from cuvee.schemas.recipe import Gates, Generate, Grade
from cuvee.tasks import phrases
from cuvee.tasks.generate import grade, judge
from cuvee.tasks.generate.groundedness import compare, ground, sentence_spans
from cuvee.tasks.generators import openai
from cuvee.tasks.generators._ask import desk
from cuvee.tasks.generators._journal import Journal

SEED = (
    "In 1912 Clara Nyberg opened the library of Westhaven with 1,250 books. The town paid twenty-five thousand crowns "
    "for the building, which stands beside the harbour. After the flood of March 1953 the readers' room was closed for "
    "two years, and the council moved the collection to the school. Today about 3.5 million pages are scanned every "
    "year. Dr. Holm, who leads the house, says that visitors from Norway come most often."
)


def spans(draft: str, seed: str = SEED) -> list[tuple[str, str]]:
    return [(draft[offence.start : offence.stop], offence.kind) for offence in ground(draft, seed).offences]


# Groundedness


def test_an_extract_has_no_offence_and_a_full_score() -> None:
    found = ground(SEED, SEED)
    assert (found.score, found.facts, found.offences) == (1.0, 1.0, ())
    assert found.sentences == found.grounded == 5


@pytest.mark.parametrize(
    ("draft", "offence"),
    [
        ("The library opened in 1913.", ("1913", "number")),
        ("The library has 1,260 books.", ("1,260", "number")),
        ("The room was closed for three years.", ("three", "number")),
        ("The library was opened by Clara Lindqvist.", ("Clara Lindqvist", "person")),
        ("Visitors from Denmark come most often.", ("Denmark", "name")),
        ("Every year 4.5 million pages are scanned.", ("4.5", "number")),
    ],
)
def test_a_changed_number_or_name_is_named_with_its_place(draft: str, offence: tuple[str, str]) -> None:
    assert spans(draft) == [offence]
    assert ground(draft, SEED).facts < 1.0  # type: ignore[operator]


@pytest.mark.parametrize(
    "draft",
    [
        "Clara Nyberg opened Westhaven's library in 1912; it had 1250 books.",
        "The building cost 25,000 crowns.",
        "The readers’ room stayed closed for 2 years after the flood.",
        "Norwegian and other visitors come, says Holm.",
        "Some 3,500,000 pages are scanned each year.",
        "# The Library of Westhaven\n- It was opened in 1912.\n- It stands beside the harbour.",
    ],
)
def test_other_spellings_of_what_the_seed_says_are_no_offences(draft: str) -> None:
    assert [span for span in spans(draft) if span[0] != "Norwegian"] == []


def test_a_foreign_sentence_is_an_offence_and_a_foreign_text_has_a_low_score() -> None:
    foreign = "Glaciers carve valleys while volcanic islands slowly sink beneath tropical lagoons."
    assert spans(f"The town paid for the building. {foreign}") == [(foreign, "sentence")]
    assert ground(foreign, SEED).score < 0.2  # type: ignore[operator]


def test_a_text_with_nothing_to_look_for_has_no_score() -> None:
    assert ground("It is what it is, and so on.", SEED)[:3] == (None, None, 0)


def test_german_nouns_are_no_names_and_chinese_is_compared_by_pairs() -> None:
    german = "Die Stadt baute 1912 ein Haus am Hafen. Der Rat und die Bürger zahlten dafür viel Geld an den Bau."
    assert [kind for _, kind in spans("Im Jahr 1912 baute die Stadt das Haus für den Rat.", german)] == []
    chinese = "图书馆在1912年开放，保存了九张地图。每年的报告都很长。"
    assert ground("图书馆保存了地图。", chinese).score > 0.7  # type: ignore[operator]
    assert ground("天气预报说明天有大雨。", chinese).score < 0.3  # type: ignore[operator]


def test_sentences_end_where_readers_end_them() -> None:
    text = 'Dr. Holm paid 3.5 million. "Why?" he asked.\n- A list\nThe U.S. house. 河水流过。图书馆开放。'
    cut = [text[start:stop] for start, stop in sentence_spans(text)]
    assert cut[:4] == ["Dr. Holm paid 3.5 million.", '"Why?"', "he asked.", "- A list"]
    assert cut[4:] == ["The U.S. house.", "河水流过。", "图书馆开放。"]


PEOPLE_SEED = "The council met in Berlin. Dr. Gomez, the chair, told John Miller of it. Ana de la Cruz wrote it down."


@pytest.mark.parametrize(
    ("draft", "people"),
    [
        ("Maria Gomez told the council of it.", ["Maria Gomez"]),
        ("Dr. Gomez told John Miller, and Ana de la Cruz wrote John Miller's words down.", []),
        ("Professor Smith met the council.", ["Smith"]),
        ("The chair told J. K. Rowling of it, and J. Miller too.", ["J. K. Rowling"]),
        ("# Words of Anna Schmidt\n\n- Olga Petrova: The council met in Berlin.", ["Anna Schmidt", "Olga Petrova"]),
        ("Im Rat von Berlin sprach Hans von Berg.", ["Hans von Berg"]),
        ("Иван Петров там был.", ["Иван Петров"]),
        ("The council met at Port Stephen and in San Pedro.", []),
    ],
)
def test_people_whom_the_seed_does_not_name_are_told_as_such(draft: str, people: list[str]) -> None:
    assert [text for text, kind in spans(draft, PEOPLE_SEED) if kind == "person"] == people
    assert not people or ground(draft, PEOPLE_SEED).facts < 1.0  # type: ignore[operator]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_can_be_grounded_and_the_offences_lie_inside_it(draft: str, seed: str) -> None:
    found = ground(draft, seed)
    assert found == ground(draft, seed)
    assert 0 <= found.grounded <= found.sentences
    assert found.score is None or 0 <= found.score <= 1
    for offence in found.offences:
        assert 0 <= offence.start < offence.stop <= len(draft)
    own = ground(draft, draft)
    assert not [offence for offence in own.offences if offence.kind == "number"]


# Gates


GATES = Gates()


def judged(text: str, seed: str | None = SEED, expected: int = 40, gates: Gates = GATES, language: str = "en") -> Any:
    frame = pl.DataFrame(
        {"text": [text], "seed": [seed], "words_expected": [expected]}, schema_overrides={"seed": pl.String}
    ).with_columns(words=pl.lit(len(text.split())).cast(pl.Int64), chars=pl.lit(len(text)).cast(pl.Int64))
    measures = grade.measure(frame).with_columns(seed_language=pl.lit(language))
    return measures.select(grade.gate(gates).alias("gate"))["gate"][0]


GOOD = (
    "Westhaven got its library in 1912, when Clara Nyberg opened a house with 1,250 books beside the harbour. "
    "A flood in March 1953 closed the room of the readers for two years, while the school kept the collection."
)


@pytest.mark.parametrize(
    ("text", "reason", "off"),
    [
        ("", "empty", None),
        (
            "I'm sorry, but I can't help with that request about the library.",
            "refusal",
            {"refusal": False, "groundedness": 0},
        ),
        ("Sure! Here is the article:\n" + GOOD, "preamble", {"preamble": False}),
        (GOOD + "\n\nLet me know if you need anything else!", "preamble", {"preamble": False}),
        ("Clara.", "too_short", {"length_ratio": [0, 1000]}),
        (GOOD * 6, "too_long", {"length_ratio": [0, 1000], "repetition": 1}),
        (
            "Die Bibliothek von Westhaven wurde 1912 eröffnet und steht heute noch am Hafen der kleinen Stadt.",
            "wrong_language",
            {"language": False, "groundedness": 0},
        ),
        ("The library stands beside the harbour of the old town of Westhaven. " * 8, "repetition", {"repetition": 1}),
        (SEED, "copied", {"copied": 1}),
        (
            "Glaciers carve valleys, and volcanic islands sink slowly beneath lagoons of the warm southern ocean.",
            "ungrounded",
            {"groundedness": 0},
        ),
    ],
)
def test_each_gate_rejects_what_it_is_for_and_can_be_turned_off(text: str, reason: str, off: Any) -> None:
    assert judged(text) == reason
    if off is not None:
        assert judged(text, gates=Gates.model_validate(off)) is None


def test_a_good_draft_passes_and_facts_can_be_asked_for_strictly() -> None:
    assert judged(GOOD) is None
    wrong = GOOD.replace("1912", "1913")
    assert judged(wrong) is None
    assert judged(wrong, gates=Gates(facts=1.0)) == "unsupported_facts"
    assert judged(GOOD, gates=Gates(facts=1.0)) is None


def test_without_a_seed_only_the_text_is_judged() -> None:
    assert judged(GOOD, seed=None, expected=40) is None
    assert judged("Sure! Here is the article:\n" + GOOD, seed=None) == "preamble"


@pytest.mark.parametrize("number", range(20))
def test_human_text_neither_refuses_nor_talks_to_a_user(number: int) -> None:
    assert phrases.answering(pl.Series([prose(number)])).row(0) == (False, False)


# Judgements


FULL = {"faithful": 4, "complete": 5, "useful": 3, "safe": 5, "unsupported": ["harbour"]}


def test_the_grade_is_the_smallest_mark_and_quotes_are_looked_up_in_the_draft() -> None:
    answer = json.dumps(FULL | {"unsupported": ["beside  the\nharbour", "not in it", "", "beside the harbour"]})
    found = judge.read_judgement(answer, GOOD)
    assert found.grade == 3
    assert found.quotes == ("beside the harbour",)
    assert found.ignored == 3


WRONG = [
    "",
    "4",
    "null",
    "[]",
    "{}",
    json.dumps([FULL]),
    "Here is my judgement: " + json.dumps(FULL),
    json.dumps(FULL) + "\nI hope this helps.",
    "```json\n" + json.dumps(FULL) + "\n```",
    json.dumps(FULL)[:-5],
    json.dumps({"faithfulness": 4, "complete": 5, "useful": 3, "safe": 5, "unsupported": []}),
    json.dumps(FULL | {"faithful": "4"}),
    json.dumps(FULL | {"faithful": 4.5}),
    json.dumps(FULL | {"faithful": 4.0}),
    json.dumps(FULL | {"faithful": True}),
    json.dumps(FULL | {"faithful": None}),
    json.dumps(FULL | {"faithful": 0}),
    json.dumps(FULL | {"faithful": 6}),
    json.dumps(FULL | {"safe": [5]}),
    json.dumps(FULL | {"unsupported": "harbour"}),
    json.dumps(FULL | {"unsupported": [1]}),
    json.dumps({name: mark for name, mark in FULL.items() if name != "unsupported"}),
    '{"faithful": NaN, "complete": 5, "useful": 3, "safe": 5, "unsupported": []}',
    "[" * 100_000,
    '{"faithful": 99999999999999999999999, "complete": 5, "useful": 3, "safe": 5, "unsupported": []}',
    "9" * 5000,
]


@pytest.mark.parametrize("answer", WRONG, ids=range(len(WRONG)))
def test_a_judgement_of_a_wrong_shape_is_unknown(answer: str) -> None:
    assert judge.read_judgement(answer, GOOD) == judge.Judgement(None)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.sampled_from([*judge.MARKS, "unsupported", "x"]), c),
        max_leaves=12,
    )
)
def test_no_json_crashes_and_only_whole_marks_from_1_to_5_become_a_grade(value: Any) -> None:
    found = judge.read_judgement(json.dumps(value), GOOD)
    assert found.grade is None or 1 <= found.grade <= 5


# Judging and revising


ENTRY = Generate(
    name="rephrased",
    generator="openai",
    base_url="http://127.0.0.1:9/v1",
    model="writer",
    grade=Grade(judge_model="judge", min_score=3, revise=2),
)


# Ten drafts are fewer than the faults in a row that would end a run.
PATIENT = QUICK.model_copy(update={"faults_in_a_row": 200})


def fake_gate(rows: pl.DataFrame) -> pl.DataFrame:
    """Let pass what does not say "rejected"."""
    absent = [pl.lit(None, kind).alias(name) for name, kind in grade.MEASURES.items()]
    gate = pl.when(pl.col("text").str.contains("rejected")).then(pl.lit("refusal")).alias("gate")
    return rows.select("text", gate, *absent)


def assessed(base_url: str, folder: Path, count: int = 4, **changes: Any) -> tuple[pl.DataFrame, list[judge.Fault]]:
    entry = ENTRY.model_copy(update={"base_url": base_url, "grade": ENTRY.grade.model_copy(update=changes)})
    plan = openai.plan(entry, SEEDS, 10**6).head(count)
    texts = pl.Series([f"Draft {number} of round 0." for number in range(count)])
    drafts = plan.with_columns(
        text=texts, gate=pl.lit(None, pl.String), model_returned=pl.lit("w"), finish_reason=pl.lit("stop")
    ).with_columns(pl.lit(1, pl.Int64).alias(name) for name in ("prompt_tokens", "completion_tokens"))
    drafts = drafts.with_columns(pl.lit(None, kind).alias(name) for name, kind in grade.MEASURES.items())
    with Journal(folder / "journal") as journal:
        return judge.assess(entry, desk(entry, journal, PATIENT), TEXTS, drafts, fake_gate)


def opinion(grades: dict[int, int], quotes: list[str] | None = None) -> Any:
    """Judge by the round that a draft names; revise by naming the next one."""

    def answer(request: dict[str, Any], nth: int) -> Reply | str:
        draft = between(request, "text")
        round_ = int(draft.rstrip(".").split()[-1])
        if request["model"] == "judge":
            return json.dumps(
                {"faithful": grades[round_], "complete": 5, "useful": 5, "safe": 5, "unsupported": quotes or []}
            )
        return f"{draft.rsplit(' ', 1)[0]} {round_ + 1}."

    return answer


def test_a_low_grade_is_revised_with_the_quotes_and_the_best_round_is_kept(tmp_path: Path) -> None:
    with stub(opinion({0: 2, 1: 1, 2: 2}, ["of round", "invented"])) as endpoint:
        rounds, faults = assessed(endpoint.base_url, tmp_path)
        assert faults == []
        assert rounds.group_by("round", maintain_order=True).len().rows() == [(0, 4), (1, 4), (2, 4)]
        assert rounds.filter("chosen").select("round", "grade").unique().rows() == [(0, 2)]
        assert set(rounds["quotes_ignored"]) == {1}
        revisions = [request for request in endpoint.requests if request["model"] == "writer"]
        assert len(revisions) == 8
        assert all('"of round"' in request["messages"][1]["content"] for request in revisions)
        assert all("invented" not in request["messages"][1]["content"] for request in revisions)
        assert all(between(request, "source") for request in endpoint.requests)
        sent = len(endpoint.requests)
        again, _ = assessed(endpoint.base_url, tmp_path)
        assert again.equals(rounds)
        assert len(endpoint.requests) == sent == 20


def test_revising_ends_when_the_grade_is_reached_or_the_rounds_are_used_up(tmp_path: Path) -> None:
    with stub(opinion({0: 2, 1: 4, 2: 5})) as endpoint:
        rounds, _ = assessed(endpoint.base_url, tmp_path)
        assert rounds.filter("chosen").select("round", "grade").unique().rows() == [(1, 4)]
        assert rounds["round"].max() == 1
        none, _ = assessed(endpoint.base_url, tmp_path, revise=0)
        assert none["grade"].to_list() == [2] * 4
        off, _ = assessed(endpoint.base_url, tmp_path, judge_model=None)
        assert off["grade"].null_count() == 4


def test_a_revision_that_the_gates_reject_does_not_replace_a_draft(tmp_path: Path) -> None:
    def answer(request: dict[str, Any], nth: int) -> str:
        return opinion({0: 2})(request, nth) if request["model"] == "judge" else "This is rejected."

    with stub(answer) as endpoint:
        rounds, _ = assessed(endpoint.base_url, tmp_path)
    assert rounds.filter("chosen")["round"].to_list() == [0] * 4
    assert rounds.filter(round=1)["gate"].to_list() == ["refusal"] * 4


def test_an_unreadable_judgement_leaves_the_draft_ungraded_and_unrevised(tmp_path: Path) -> None:
    with stub(lambda request, nth: "I would give it a 4.") as endpoint:
        rounds, faults = assessed(endpoint.base_url, tmp_path)
        assert rounds["grade"].null_count() == rounds.height == 4
        assert rounds["unreadable"].all()
        assert faults == []
        assessed(endpoint.base_url, tmp_path)
        assert len(endpoint.requests) == 4


def test_what_the_judge_could_not_answer_for_the_moment_waits_for_another_run(tmp_path: Path) -> None:
    def limited(request: dict[str, Any], nth: int) -> Reply | str:
        unlucky = hashlib.sha256(between(request, "text").encode()).digest()[0] % 2
        return (429, {"retry-after": "0.01"}, b"{}") if unlucky and nth <= 6 else opinion({0: 4})(request, nth)

    with stub(limited) as endpoint:
        rounds, faults = assessed(endpoint.base_url, tmp_path, count=10)
        assert 0 < len(faults) < 10
        assert {fault.reason for fault in faults} == {"judge: http_429"}
        rounds, faults = assessed(endpoint.base_url, tmp_path, count=10)
    assert faults == []
    assert rounds["grade"].to_list() == [4] * 10


def test_a_judge_that_answers_nothing_leaves_drafts_ungraded(tmp_path: Path) -> None:
    with stub(lambda request, nth: (200, {}, completion(""))) as endpoint:
        rounds, faults = assessed(endpoint.base_url, tmp_path)
    assert faults == []
    assert rounds["unreadable"].to_list() == [True] * 4


def test_measures_are_one_row_a_draft_in_order() -> None:
    frame = compare(["In 1912.", "In 1999."], [SEED, SEED])
    assert frame["facts"].to_list() == [1.0, 0.0]
    assert frame["unsupported"].to_list()[1] == [{"start": 3, "stop": 7, "kind": "number"}]
