"""The recipe: how it is read, what it says when it is wrong, its defaults, and its hash."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from ruamel.yaml import YAML

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import parse_recipe
from cuvee.schemas.recipe import Recipe, canonical_sha256

DESIGN = Path(__file__).parents[2] / "shared" / "DESIGN.md"
LEAST = "corpus: library\nsources: [{name: gov, uri: a.jsonl}]\n"
WRITER = "generate: [{name: writer, generator: openai, budget: {amount: 10}}]\n"

# A recipe with every key, and every value as it stands when the key is left out.
ALL_DEFAULTS = """
corpus: library
store: null
sources:
  - name: gov
    uri: [a.jsonl]
    format: auto
    encoding: auto
    csv: {delimiter: auto, quote: auto, header: true}
    records: file
    max_words: null
    fields:
      {text: text, messages: null, id: id, url: url, title: title, created: created, license: license,
       generator: generator, model: model}
    keep: []
    origin: human
    origin_field: null
    license: null
    license_map: {}
    domain: unknown
    language: auto
    dates: claimed
    date_format: iso
    robots: []
    vanished: keep
    near_duplicates: true
    fetch: {max_mb: 10000, timeout_s: 3600, private_addresses: false}
ingest:
  mask: [email, ip, phone, card, iban]
  shard_mb: 64
  max_bad_rows: 0.01
  min_date: null
  max_row_mb: 64
  max_expansion: 1000
filters: []
holdout: {share: 0.005}
generate:
  - name: writer
    generator: openai
    base_url: null
    endpoint: null
    model: null
    api_key_env: OPENAI_API_KEY
    headers: {}
    system: message
    kinds: [encyclopedic]
    free: {topics: [], audiences: [a curious reader without special knowledge], styles: [an explanatory article],
           domain: unknown, license: unknown}
    seeds: {sources: [], max_per_seed: 2, allow_unlicensed: false}
    sampling: {temperature: 0.7, max_tokens: 512, seed: 1, extra: {}, omit: []}
    gates: {length_ratio: [0.1, 4.0], language: true, language_score: 0.65, refusal: true, preamble: true,
            repetition: 0.3, copied: 0.8, groundedness: 0.5, facts: 0.0, ungraded: keep}
    grade: {min_score: 3, judge_model: null, base_url: null, api_key_env: null, revise: 2}
    budget: {amount: 10.0, requests: null, cost_usd: null}
    prices: {prompt_per_million: null, completion_per_million: null}
    concurrency: 32
    timeout_s: 120.0
    allow_baseline: false
dedup: {ngram: 5, permutations: 128, bands: auto, threshold: 0.8, seed: 1}
decontaminate: {benchmarks: [], ngram: 13, overlap: 0.5}
provenance: {model: builtin, max_false_positive_rate: 0.005, suspects: auto, unknown_as: exclude}
mixture:
  unit: words
  tokenizer: null
  total: null
  human: {min: 0.0, max: 1.0, min_amount: null}
  groups: []
  depth: {max: 1, share_over_1: null}
  shortage: shrink
  max_epochs: 1
  seed: 7
guard: {action: warn, compare_with: latest}
review: {when: never, sample: 200}
publish: {tag: latest, shard_mb: 16, marking: metadata, notify: []}
"""


def tree(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def refused(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "library.yaml", {}, overrides)
    return str(caught.value)


def test_two_keys_are_a_whole_recipe_and_every_default_is_the_documented_one() -> None:
    assert parse_recipe(LEAST + WRITER).model_dump(mode="json") == tree(ALL_DEFAULTS)
    assert parse_recipe(ALL_DEFAULTS) == parse_recipe(LEAST + WRITER)
    assert parse_recipe(LEAST).generate == ()


def agreed(shown: Any, ours: Any) -> bool:
    """Whether a default is the design's; keys of the design that are not built yet do not count, nor what it leaves out
    ({…}).
    """
    if shown == {"…": None}:
        return True
    if isinstance(shown, dict) and isinstance(ours, dict):
        return set(ours) <= set(shown) and all(agreed(shown[key], ours[key]) for key in ours)
    return bool(shown == ours)


@pytest.mark.skipif(not DESIGN.is_file(), reason=f"{DESIGN} is absent: the recipe of the design is in it")
def test_every_default_is_that_of_the_design() -> None:
    text = DESIGN.read_text(encoding="utf-8").split("## 4. Recipe")[1]
    shown = tree(re.findall(r"```yaml\n(.*?)```", text, flags=re.S)[0])
    ours = tree(ALL_DEFAULTS)
    ours["generate"][0]["budget"]["amount"] = "auto"
    # What the design excepts: corpus, sources and the entries of lists are examples there, not defaults.
    example = {
        "corpus": ["corpus"],
        "top": ["corpus", "store", "sources", "generate", "filters"],
        "source": ["name", "uri", "license", "domain"],
        "generate": ["name", "generator", "base_url", "model", "kinds"],
    }
    for key in set(shown) - set(example["top"]):
        assert agreed(shown[key], ours[key]), key
    for entries, excepted in (("sources", example["source"]), ("generate", example["generate"])):
        for key, value in shown[entries][0].items():
            if key == "seeds":
                value = value | {"sources": []}
            if key not in excepted and key in ours[entries][0]:
                assert agreed(value, ours[entries][0][key]), f"{entries}.{key}"


def test_no_and_yes_and_on_and_off_are_words() -> None:
    recipe = parse_recipe(LEAST + "filters: [{kind: language, keep: [en, no, yes, on, off]}]\n")
    assert recipe.filters[0].model_dump() == {"kind": "language", "keep": ["en", "no", "yes", "on", "off"]}
    allowed = LEAST + "generate: [{name: w, generator: ngram, allow_baseline: %s, budget: {amount: 1}}]\n"
    assert parse_recipe(allowed % "true").generate[0].allow_baseline is True
    assert "generate.0.grade.judge_model: false: input should be a valid string" in refused(
        LEAST, "generate=[{name: w, generator: openai, budget: {amount: 1}, grade: {judge_model: false}}]"
    )


def models(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Every mapping of the recipe by its path, `0` for the first entry of a list."""
    yield path, model
    for name, field in model.model_fields.items():
        inner = get_args(field.annotation)
        entries = bool(inner) and inner[-1] is Ellipsis
        annotation = inner[0] if entries else field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from models(annotation, (*path, name, "0") if entries else (*path, name))


LEVELS = {".".join(path): model for path, model in models(Recipe) if model.model_config.get("extra") == "forbid"}


def test_the_levels_of_the_recipe_are_all_found() -> None:
    assert {"", "sources.0", "sources.0.fields", "mixture.human", "mixture.groups.0", "generate.0.budget"} <= set(
        LEVELS
    )
    assert len(LEVELS) == 25


@pytest.mark.parametrize("level", LEVELS)
def test_an_unknown_key_is_refused_with_the_nearest_known_one_at_every_level(level: str) -> None:
    whole = tree(ALL_DEFAULTS)
    whole["mixture"]["groups"] = [{"where": {"domain": "news"}}]
    node = whole
    for key in level.split(".") if level else []:
        node = node[int(key)] if key.isdigit() else node[key]
    wrong = {known + "x": known for known in LEVELS[level].model_fields}
    node |= dict.fromkeys(wrong, 1)
    assert refused(json.dumps(whole)).splitlines() == [
        f"library.yaml: {f'{level}.{key}'.lstrip('.')}: unknown key; did you mean {known!r}?"
        for key, known in wrong.items()
    ]


def test_a_key_that_is_like_none_lists_what_is_known() -> None:
    assert refused(LEAST + "holdout: {zzzzzz: 1}\n") == "library.yaml: holdout.zzzzzz: unknown key; known here: share"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("mixture: {human: {min: 1.2}}", "mixture.human.min: 1.2: input should be less than or equal to 1"),
        ("mixture: {human: {min: 70%}}", "mixture.human.min: '70%': input should be a valid number"),
        ("mixture: {human: {min: 0.8, max: 0.5}}", "mixture.human: min 0.8 is above max 0.5"),
        ("mixture: {total: .inf}", "mixture.total: inf: input should be a finite number"),
        ("mixture: {total: .nan}", "mixture.total: nan: "),
        ("mixture: {total: 0}", "mixture.total: 0: input should be greater than 0"),
        ("mixture: {human: {min_amount: .inf}}", "mixture.human.min_amount: inf: input should be a finite number"),
        ("mixture:", "mixture: null: a mapping of keys belongs here"),
        ("filters:", "filters: null: a list belongs here"),
        ("filters: [language]", "filters.0: 'language': a mapping of keys belongs here"),
        ("filters: [{keep: [en]}]", "filters.0.kind: required, and not given"),
        ("dedup: {threshold: 0}", "dedup.threshold: 0: input should be greater than 0"),
        ("dedup: {bands: [5]}", "dedup.bands.1: required, and not given"),
        ("ingest: {mask: [emial]}", "ingest.mask.0: 'emial': input should be 'email'"),
        ("ingest: {min_date: 2020-13-01}", "month must be in 1..12"),
        ("publish: {tag: v0007}", "publish.tag: 'v0007': this is the form of a version"),
        ("publish: {tag: New One}", "publish.tag: 'New One': "),
        ("holdout: {share: 0.6}", "holdout.share: 0.6: input should be less than or equal to 0.5"),
        ("generate: [{name: gov, generator: openai, budget: {amount: 1}}]", "the name 'gov' is used twice"),
        ("generate: [{name: w, generator: openai}]", "generate.0.budget.amount: auto needs mixture.human.min"),
        (
            "generate: [{name: w, generator: openai, budget: {amount: 1}, seeds: {sources: [gvo]}}]",
            "generate.0.seeds.sources: no source is named 'gvo'; did you mean 'gov'?",
        ),
        (
            "generate: [{name: w, generator: openai, budget: {amount: 1, cost_usd: 5}}]",
            "budget.cost_usd: a cost cannot be known without prices",
        ),
        (
            "generate: [{name: w, generator: openai, budget: {amount: 1}, kinds: free}]",
            "kinds: free needs something to write about; give free.topics",
        ),
        (
            "generate: [{name: w, generator: openai, budget: {amount: 1}, gates: {length_ratio: [2, 1]}}]",
            "length_ratio: [2.0, 1.0] is no range",
        ),
        ("corpus: other", "line 3, column 1: not YAML: found duplicate key"),
        ("ingest: {mask: [email}", "line 3, column 22: not YAML: "),
        ("---\na: b", "line 3, column 1: not YAML: but found another document"),
        ("guard: &g {action: *g}", "the alias *g stands inside its own anchor"),
    ],
)
def test_an_error_names_file_key_and_value(more: str, told: str) -> None:
    message = refused(LEAST + more)
    assert message.startswith("library.yaml: ")
    assert told in message


def test_what_is_not_a_mapping_is_no_recipe() -> None:
    assert "this is empty" in refused("")
    assert "this is a list" in refused("- corpus: library")


def test_one_faulty_source_is_one_error() -> None:
    assert refused("corpus: library\nsources: [{name: gov, uri: a, dates: sure}]\n").splitlines() == [
        "library.yaml: sources.0.dates: 'sure': input should be 'claimed' or 'trusted'"
    ]
    assert "sources: " in refused("corpus: library\nsources: []\n")


def test_all_errors_are_told_at_once() -> None:
    message = refused("corpus: My Library\nsources: [{uri: a}]\nmixtur: {}\n")
    assert [line.split(": ")[1] for line in message.splitlines()] == ["corpus", "sources.0.name", "mixtur"]


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("mixture.human.min=0.7", "mixture.human.min", 0.7),
        ("sources.0.domain=no", "sources.0.domain", "no"),
        ("sources.0={name: gov, uri: b.jsonl}", "sources.0.uri", ["b.jsonl"]),
        ("filters=[{kind: length}]", "filters.0.kind", "length"),
        ("generate=[]", "generate", []),
        ("store=memory://x", "store", "memory://x"),
        ("decontaminate.benchmarks=[a=b.txt]", "decontaminate.benchmarks.0", "a=b.txt"),
        ("holdout.share=0", "holdout.share", 0.0),
    ],
)
def test_set_reaches_any_value_and_reads_it_as_yaml(override: str, path: str, value: object) -> None:
    node: Any = parse_recipe(LEAST + WRITER, overrides=[override]).model_dump(mode="json")
    for key in path.split("."):
        node = node[int(key)] if key.isdigit() else node[key]
    assert node == value


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("mixture.human.min", "--set mixture.human.min: write it as key.path=value"),
        ("=1", "write it as key.path=value"),
        ("sources.1.uri=x", "has 1 entries there; use an index from 0"),
        ("sources.first.uri=x", "has 1 entries there; use an index from 0"),
        ("sources.²=x", "has 1 entries there; use an index from 0"),
        ("corpus.name=x", "corpus is a text in library.yaml; it has no keys"),
        ("corpus.name.more=x", "'name' is below a text in library.yaml"),
        ("mixture.human.mni=0.7", "mixture.human.mni: unknown key; did you mean 'min'?"),
        ("filters=[", "--set filters: line 1, column 2: not YAML"),
    ],
)
def test_set_says_what_is_wrong_with_it(override: str, told: str) -> None:
    assert told in refused(LEAST, override)


def test_later_settings_win_and_build_on_earlier_ones() -> None:
    recipe = parse_recipe(
        LEAST, overrides=["mixture.human={min: 0.5}", "mixture.human.max=0.9", "mixture.human.min=0.6"]
    )
    assert (recipe.mixture.human.min, recipe.mixture.human.max) == (0.6, 0.9)


def test_environment_variables_are_replaced_in_texts_and_are_never_yaml() -> None:
    text = "corpus: ${NAME}\nsources: [{name: gov, uri: '${HERE:-texts}/${HERE:-}*.jsonl', domain: '${WORD}'}]\n"
    environment = {"NAME": "lib", "WORD": "no, [x]"}
    recipe = parse_recipe(text, environment=environment)
    assert (recipe.corpus, recipe.sources[0].uri) == ("lib", ("texts/*.jsonl",))
    assert recipe.sources[0].domain == "no, [x]"
    assert parse_recipe(text, environment=environment | {"HERE": "x"}).sources[0].uri == ("x/x*.jsonl",)
    number = parse_recipe(LEAST + "mixture: {total: '${TOTAL:-500}'}", environment={"TOTAL": ""})
    assert number.mixture.total == 500
    assert (
        parse_recipe(LEAST, environment={"D": "news"}, overrides=["sources.0.domain=${D}"]).sources[0].domain == "news"
    )


@pytest.mark.parametrize(
    ("written", "environment", "read"),
    [
        ("a${N:-${M:-y}}b", {}, "ayb"),
        ("a${N:-${M:-y}}b", {"M": "m"}, "amb"),
        ("a${N:-${M}}b", {"N": "n"}, "anb"),
        ("${N:-x${M:-y}z}${N:-w}", {"N": ""}, "xyzw"),
        ("${N:-a}}", {"N": "${M}", "M": "m"}, "${M}}"),
        ("${N:-${M", {"N": "n"}, "${N:-${M"),
        ("${N:-${M}", {"M": "m"}, "${N:-m"),
        ("${N:-" * 2000 + "x" + "}" * 2000, {}, "x"),
    ],
)
def test_defaults_of_variables_may_hold_variables(written: str, environment: dict[str, str], read: str) -> None:
    text = f"corpus: lib\nsources: [{{name: gov, uri: a.jsonl, domain: '{written}'}}]\n"
    assert parse_recipe(text, environment=environment).sources[0].domain == read


def test_a_missing_environment_variable_is_named_with_its_key() -> None:
    message = refused("corpus: library\nsources: [{name: gov, uri: ['${ROOT}/a']}]\n")
    assert message.startswith("library.yaml: sources.0.uri.0: the environment variable ROOT is not set")


NOT_BUILT = [
    ("review.when=findings", "review.when"),
    ("review.when=always", "review.when"),
    ("review.sample=5", "review.sample"),
]


@pytest.mark.parametrize(("override", "named"), NOT_BUILT)
def test_what_is_not_built_is_refused_by_name_rather_than_ignored(override: str, named: str) -> None:
    message = refused(LEAST + WRITER, override)
    assert message.startswith(f"library.yaml: {named}")
    assert ": not built yet; " in message


def test_a_password_in_an_address_is_refused_before_it_is_stored_and_is_not_repeated() -> None:
    message = refused(LEAST + WRITER, "generate.0.base_url=https://me:hunter2@example.org/v1")
    assert message.startswith("library.yaml: generate.0.base_url: ")
    assert "hunter2" not in message


def shuffled(node: Any, draw: random.Random) -> Any:
    """The same tree with the keys of every mapping in another order."""
    if isinstance(node, list):
        return [shuffled(entry, draw) for entry in node]
    if not isinstance(node, dict):
        return node
    keys = list(node)
    draw.shuffle(keys)
    return {key: shuffled(node[key], draw) for key in keys}


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_hash_knows_neither_the_order_of_keys_nor_the_store(draw: random.Random) -> None:
    whole = tree(ALL_DEFAULTS)
    whole["sources"][0]["license_map"] = {"US public domain": "LicenseRef-Public-Domain", "mit": "MIT"}
    whole["filters"] = [{"kind": "length", "min_words": 5, "max_words": 10}, {"kind": "language", "keep": ["en"]}]
    expected = parse_recipe(json.dumps(whole)).sha256()
    whole["store"] = draw.choice([None, "elsewhere", "memory://x"])
    assert parse_recipe(json.dumps(shuffled(whole, draw))).sha256() == expected


@pytest.mark.parametrize(
    "override",
    ["mixture.human.min=0.1", "sources.0.domain=x", "filters=[{kind: length}]", "mixture.seed=8", "publish.tag=other"],
)
def test_the_hash_changes_with_what_decides_the_result(override: str) -> None:
    assert parse_recipe(LEAST, overrides=[override]).sha256() != parse_recipe(LEAST).sha256()


def test_numbers_written_in_two_ways_are_one_recipe() -> None:
    one = parse_recipe(LEAST + "mixture: {total: 500, human: {min: 1}}")
    other = parse_recipe(LEAST + "mixture: {human: {min: 1.0, max: 1}, total: 5e2}")
    assert one.sha256() == other.sha256()


def test_the_hash_of_json_is_pinned() -> None:
    # What is stored under such hashes must be found again by every later version.
    assert canonical_sha256({"b": [1, 0.5, None], "a": "é"}) == canonical_sha256({"a": "é", "b": [1, 0.5, None]})
    assert canonical_sha256({"b": [1, 0.5, None], "a": "é"}) == (
        "21b7842baa4c4c283070237c812afb2b9901f80d40094b10e4f234185747dd65"
    )
