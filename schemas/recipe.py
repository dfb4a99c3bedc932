"""The recipe: everything that decides what a run publishes, typed.

A recipe is read by `cuvee.schemas.parse`. Paths are kept as written, relative to the recipe's folder, so that a
recipe has one hash on every machine.
"""

import codecs
import hashlib
import json
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from cuvee.schemas.address import is_web, shown
from cuvee.schemas.base import Frozen
from cuvee.schemas.licenses import LICENCE_CLASSES, UNKNOWN, spdx

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]  # RFC 9110, section 5.6.2
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e\t]*$")]
Amount = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Origin = Literal["human", "synthetic", "unknown"]
DateFormat = Literal["iso", "epoch_s", "epoch_ms", "rfc2822"]


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Columns = str | Annotated[tuple[str, ...], Field(min_length=1)]


class Fields(Frozen):
    """Where a source's own rows hold the fields of a document: a column, a path such as doc.text, or a list of these,
    joined by a blank line.
    """

    text: Columns = Field("text", description="column with the document's text; the only one that must exist")
    messages: str | None = Field(None, description="column with a chat, whose turns are the text; null: no chats")
    id: Columns = Field("id", description="column with the source's own identifier; a newer row replaces an older one")
    url: Columns = "url"
    title: Columns = "title"
    created: Columns = Field("created", description="column with the date of the text, in the date_format")
    license: Columns = "license"
    generator: Columns = "generator"
    model: Columns = "model"


class Csv(Frozen):
    """How a table of text parts its cells."""

    delimiter: str = Field("auto", description="one character; auto: by the suffix and the first lines")
    quote: str = Field("auto", description="one character, '' for none; auto: \", and none in tab-separated text")
    header: bool = Field(True, description="whether the first line names the columns; else column_1, column_2, …")

    @model_validator(mode="after")
    def _of_one_character(self) -> "Csv":
        for name, value in (("delimiter", self.delimiter), ("quote", self.quote)):
            empty = name == "quote" and not value
            if value != "auto" and not empty and (len(value) != 1 or value in "\r\n\0"):
                raise ValueError(f"csv.{name}: {value!r} is not one character; give one such as ';', or auto")
        if self.delimiter == self.quote != "auto":
            raise ValueError("csv: delimiter and quote are the same character; one of them is another")
        return self


class Fetch(Frozen):
    """How a source's files come from the web or a bucket. These limits decide nothing of what is published."""

    # Ten times a WARC file of Common Crawl; a page that never ends does not fill the disk.
    max_mb: int = Field(10_000, ge=1, description="size of one file, MB")
    # 10 GB in an hour are 2.8 MB a second.
    timeout_s: int = Field(3600, ge=1, description="time for one file, with all attempts, seconds")
    private_addresses: bool = Field(False, description="whether a redirect may lead to a private address")


class Source(Frozen):
    """One declared input: which files, how to read them, and what is claimed of them."""

    name: Name
    uri: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    format: str = Field("auto", description="a reader's name; auto: by the suffix")
    encoding: str = Field("auto", description="of text: auto (UTF-8, or UTF-16 by its mark), or a codec's name")
    csv: Csv = Csv()
    records: Literal["file", "line", "paragraph"] = Field("file", description="what a document of a text file is")
    max_words: int | None = Field(None, ge=1, description="longer texts are cut at paragraphs, each piece a row")
    fields: Fields = Fields()
    keep: tuple[str, ...] = Field((), description="more columns, published as a JSON object in `extra`")
    origin: Origin = Field("human", description="who wrote the rows, as declared")
    origin_field: str | None = Field(None, description="column that declares the origin row by row")
    license: str | None = Field(None, description="SPDX expression, used where a row has none")
    license_map: dict[str, str] = Field({}, description="a row's own licence text → SPDX expression")
    domain: str = Field("unknown", min_length=1)
    language: str = Field("auto", description="auto, or the ISO 639 code of all rows")
    dates: Literal["claimed", "trusted"] = Field("claimed", description="whether `created` is evidence")
    date_format: DateFormat = Field("iso", description="how `created` is written, beside full ISO 8601 dates")
    robots: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        (), description="robots.txt and tdmrep.json of its sites, as files or captures, for the filter opt_out"
    )
    vanished: Literal["keep", "drop"] = Field("keep", description="rows whose source file is gone")
    near_duplicates: bool = Field(True, description="false: no row goes as a near copy of another of this source")
    fetch: Fetch = Fetch()

    @field_validator("encoding")
    @classmethod
    def _encoding_is_of_text(cls, value: str) -> str:
        return value if value == "auto" else _codec(value)

    @field_validator("license")
    @classmethod
    def _license_is_spdx(cls, value: str | None) -> str | None:
        return None if value is None else _expression(value)

    @field_validator("license_map")
    @classmethod
    def _licenses_are_spdx(cls, value: dict[str, str]) -> dict[str, str]:
        return {text: _expression(license) for text, license in value.items()}


# Codecs of Python that are no encodings of files.
_NO_FILES = ("idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined", "mbcs", "oem")


def _codec(name: str) -> str:
    try:
        found = codecs.lookup(name).name
        b"".decode(found)  # raises for codecs that make no text, such as base64
    except (LookupError, ValueError):
        found = ""
    if not found or found.replace("-", "_") in _NO_FILES:
        raise ValueError("no encoding of text has this name; give one such as cp1252, latin-1 or shift_jis, or auto")
    return name


def _expression(text: str) -> str:
    found = spdx(text)
    if found == UNKNOWN and text != UNKNOWN:
        raise ValueError(f"not an SPDX expression; write one such as CC-BY-4.0, or {UNKNOWN}")
    return found


class Ingest(Frozen):
    """How source files become shards."""

    mask: tuple[Literal["email", "ip", "phone", "card", "iban"], ...] = ("email", "ip", "phone", "card", "iban")
    shard_mb: int = Field(64, ge=1, le=1024, description="text a shard holds at most, MB")
    max_bad_rows: Share = Field(0.01, description="share of unreadable rows in a source that stops the run")
    min_date: date | None = Field(None, description="documents with an older date are dropped")
    # A record is held in memory a few times over: a worker stays under 1 GB.
    max_row_mb: int = Field(64, ge=1, le=1024, description="size of one record, MB; a longer one is unreadable")
    # gzip makes at most 1,032 of one; text ten.
    max_expansion: int = Field(1000, ge=1, description="decoded / stored bytes of a file, judged past 256 MB")


class FilterSpec(BaseModel):
    """One filter; its options are checked by the filter's own file."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str


class Holdout(Frozen):
    """Human documents that are published as split `validation` and never trained on or used as seeds."""

    share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.005


class Seeds(Frozen):
    """Which human documents a generator may start from."""

    sources: tuple[Name, ...] = Field((), description="names of sources; empty: all")
    max_per_seed: int = Field(2, ge=1, description="drafts of a generator that may share a window of a document")
    allow_unlicensed: bool = False


class Sampling(Frozen):
    """How a generator draws."""

    temperature: float = Field(0.7, ge=0.0, le=2.0)
    max_tokens: int = Field(512, ge=1)
    seed: int = Field(1, ge=0)
    extra: dict[str, Any] = Field({}, description="more fields of a request, as the endpoint knows them")
    omit: tuple[Literal["temperature", "max_tokens", "seed"], ...] = Field((), description="fields not to send")

    @field_validator("extra")
    @classmethod
    def _leaves_the_request_whole(cls, value: dict[str, Any]) -> dict[str, Any]:
        own = sorted({"model", "messages", "stream", "n"} & value.keys())
        if own:
            raise ValueError(f"extra: {own[0]} is what cuvee itself decides of a request; take it out")
        return value


class Gates(Frozen):
    """What a draft is rejected for without a model. The bounds let through what they name; what turns a gate off is
    told beside it.
    """

    length_ratio: tuple[Annotated[Amount, Field(ge=0)], Annotated[Amount, Field(gt=0)]] = Field(
        # An answer a tenth as long as its kind should be says nothing, one four times as long pads or invents.
        (0.1, 4.0),
        description="words of a draft ÷ words expected of its kind and seed; [0, 1000]: off",
    )
    language: bool = Field(True, description="reject drafts in another language than their seed's")
    # FineWeb's score of a text whose language is clear.
    language_score: Share = Field(0.65, description="how sure the language must be for that")
    refusal: bool = Field(True, description="reject answers that decline the task")
    preamble: bool = Field(True, description="reject answers that talk to the user before or after the text")
    # Gopher rejects human text from 0.10; lists and questions repeat more, loops reach 0.5 and more.
    repetition: Share = Field(0.3, description="characters in repeated 10-grams, at most; 1: off")
    copied: Share = Field(0.8, description="runs of 8 words that the seed has, at most; 1: off")
    # Text about another document reaches 0.36 on average, a true extract 1.0.
    groundedness: Share = Field(0.5, description="numbers, names and content words in the seed, at least; 0: off")
    facts: Share = Field(0.0, description="numbers and names in the seed, at least; 0: off; 1: every one")
    # A judge that cannot answer in JSON says nothing against a draft; the report counts them.
    ungraded: Literal["keep", "drop"] = Field("keep", description="drafts without a judgement that can be read")

    @model_validator(mode="after")
    def _ordered(self) -> "Gates":
        if self.length_ratio[0] >= self.length_ratio[1]:
            raise ValueError(f"length_ratio: {list(self.length_ratio)} is no range; give [least, most]")
        return self


class Grade(Frozen):
    """How drafts are judged and revised."""

    min_score: int | None = Field(3, ge=1, le=5, description="drafts with a lower grade are revised, then dropped")
    judge_model: str | None = Field(None, description="null: no judge")
    base_url: str | None = Field(None, description="the judge's endpoint; null: the generator's")
    api_key_env: str | None = Field(None, description="of the judge's endpoint; null: the generator's")
    revise: int = Field(2, ge=0, le=5, description="rounds of revision at most")


class Free(Frozen):
    """What the kind `free` writes about: every topic for every audience in every style."""

    topics: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    audiences: Annotated[tuple[str, ...], Field(min_length=1)] = ("a curious reader without special knowledge",)
    styles: Annotated[tuple[str, ...], Field(min_length=1)] = ("an explanatory article",)
    domain: str = Field("unknown", min_length=1)
    license: str = Field(UNKNOWN, description="SPDX expression; there is no seed to inherit one from")

    @field_validator("license")
    @classmethod
    def _license_is_spdx(cls, value: str) -> str:
        return _expression(value)


class Budget(Frozen):
    """The most that a generator may plan."""

    amount: Literal["auto"] | Annotated[Amount, Field(ge=0)] = Field("auto", description="in the mixture's unit")
    requests: int | None = Field(None, ge=0, description="drafts asked for; judging and revising come on top")
    cost_usd: Amount | None = Field(None, ge=0, description="needs prices; judging and revising included")


class Prices(Frozen):
    """US dollars a million tokens; null: unknown, never guessed."""

    prompt_per_million: Amount | None = Field(None, ge=0)
    completion_per_million: Amount | None = Field(None, ge=0)


class Generate(Frozen):
    """One generator of drafts."""

    name: Name
    generator: str = Field(description="openai (any compatible endpoint), ngram (offline baseline), or another file's")
    base_url: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="the server with its /v1; a list: replicas, the first of which stands for the address in keys"
    )
    # Not only a name: the address at which answers were paid for is one too.
    endpoint: str | None = Field(
        None,
        max_length=200,
        pattern=r"^(https?://)?[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[A-Za-z0-9._/-]*)?$",
        description="stands for the address in keys and journal, so that a server that moves is paid nothing again",
    )
    model: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    headers: dict[HeaderName, HeaderValue] = Field(
        {}, description="HTTP headers of every request; part of no key, and the values are stored nowhere"
    )
    system: Literal["message", "merged"] = Field(
        "message", description="merged: the system's text stands in the user's message, for models without one"
    )
    kinds: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = ("encyclopedic",)
    free: Free = Free()
    seeds: Seeds = Seeds()
    sampling: Sampling = Sampling()
    gates: Gates = Gates()
    grade: Grade = Grade()
    budget: Budget = Budget()
    prices: Prices = Prices()
    concurrency: int = Field(32, ge=1, le=1024, description="requests in flight at most, at each replica")
    # 512 tokens at 10 a second are 51 s; a server that hangs costs this much each time.
    timeout_s: float = Field(
        120.0,
        gt=0,
        allow_inf_nan=False,
        description="wait for an answer, seconds; thrice as long as others take if more",
    )
    allow_baseline: bool = Field(False, description="a baseline is refused unless true")

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The servers of its endpoint, as given; none where it asks no endpoint."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url or ()

    @model_validator(mode="after")
    def _fits_together(self) -> "Generate":
        if self.budget.cost_usd is not None and None in self.prices.model_dump().values():
            raise ValueError("budget.cost_usd: a cost cannot be known without prices; give both of prices")
        if "free" in self.kinds and not self.free.topics:
            raise ValueError("kinds: free needs something to write about; give free.topics")
        return self


class Dedup(Frozen):
    """Near-duplicates: MinHash candidates, verified on the text."""

    ngram: int = Field(5, ge=1, le=32, description="words a shingle")
    permutations: int = Field(128, ge=16, le=1024)
    bands: Literal["auto"] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        "auto", description="auto, or [bands, rows]"
    )
    threshold: float = Field(0.8, gt=0.0, le=1.0, description="Jaccard similarity from which a copy is removed")
    seed: int = Field(1, ge=0, lt=2**32)


class Decontaminate(Frozen):
    """Benchmarks whose text must not be trained on."""

    benchmarks: tuple[str, ...] = ()
    ngram: int = Field(13, ge=1, le=32)
    overlap: float = Field(0.5, gt=0.0, le=1.0)


class Provenance(Frozen):
    """How evidence becomes a conclusion, and what follows from it."""

    model: str = Field("builtin", description="builtin, the folder of a trained model, or name@v0001 of the store")
    max_false_positive_rate: float = Field(0.005, gt=0.0, le=0.5)
    suspects: Literal["auto", "relabel", "drop", "keep"] = Field(
        "auto",
        description="auto: relabel where the classifier was calibrated on the source's own text, else keep",
    )
    unknown_as: Literal["exclude", "human", "synthetic", "by_probability"] = "exclude"


class HumanShare(Frozen):
    """Bounds on human ÷ (human + synthetic)."""

    min: Share = 0.0
    max: Share = 1.0
    min_amount: Amount | None = Field(None, ge=0, description="human text at least, in the mixture's unit")

    @model_validator(mode="after")
    def _ordered(self) -> "HumanShare":
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


# What a group goes by → the values that there can be, empty for any.
_WHERE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(["source", "domain", "language"], ()),
    "provenance": ("human", "synthetic", "unknown"),
    "depth": tuple(map(str, range(101))),
    **dict.fromkeys(["generator", "kind"], ()),
    "license": LICENCE_CLASSES,
    "grade": ("1", "2", "3", "4", "5", "none"),
}


def _as_texts(value: object) -> object:
    """Read one value or a list of them as texts: 4, [4, 5], none."""
    values = value if isinstance(value, list | tuple) else [value]
    return tuple("none" if one is None else one if isinstance(one, str) else str(one) for one in values)


class Group(Frozen):
    """Bounds on the share of the documents that match every entry of `where`, of what is trained on."""

    where: Annotated[dict[str, Annotated[tuple[str, ...], BeforeValidator(_as_texts)]], Field(min_length=1)]
    min: Share = 0.0
    max: Share = 1.0
    target: Share | None = Field(None, description="share to come near to, within the bounds")
    max_epochs: int | None = Field(None, ge=1, le=100, description="stands above the mixture's own for these documents")

    @model_validator(mode="after")
    def _means_something(self) -> "Group":
        for key, values in self.where.items():
            if key not in _WHERE:
                raise ValueError(f"where: {key!r} is nothing that a group goes by; give one of {', '.join(_WHERE)}")
            known = _WHERE[key]
            wrong = sorted(set(values) - set(known)) if known else []
            if wrong or not values:
                raise ValueError(f"where.{key}: {(wrong or ['no value'])[0]!r}; give some of {', '.join(known)}")
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}; raise max or lower min")
        if self.target is not None and not self.min <= self.target <= self.max:
            raise ValueError(f"target {self.target:g} is not between min {self.min:g} and max {self.max:g}")
        return self


class Depth(Frozen):
    """How many generations from human text a document may be."""

    max: int = Field(1, ge=0, le=100)
    share_over_1: Share | None = Field(None, description="share of documents of depth 2 and more at most; null: any")


class Mixture(Frozen):
    """The enforced plan: how much of what is published."""

    unit: Literal["words", "tokens", "bytes", "documents"] = "words"
    tokenizer: str | None = None
    total: Amount | None = Field(None, gt=0, description="at most, in the unit, epochs counted")
    human: HumanShare = HumanShare()
    groups: tuple[Group, ...] = ()
    depth: Depth = Depth()
    shortage: Literal["shrink", "fail", "repeat"] = "shrink"
    max_epochs: int = Field(1, ge=1, le=100)
    seed: int = Field(7, ge=0, lt=2**64)

    @model_validator(mode="after")
    def _tokens_need_a_tokenizer(self) -> "Mixture":
        if self.unit == "tokens" and not self.tokenizer:
            raise ValueError("tokenizer: tokens are counted by a tokenizer; give the path of a tokenizer.json")
        return self


class Guard(Frozen):
    """Comparison of the candidate with its human reference and with an earlier version."""

    action: Literal["block", "warn"] = "warn"
    compare_with: str | None = "latest"


class Review(Frozen):
    """When a person must approve."""

    when: Literal["never", "findings", "always"] = "never"
    sample: int = Field(200, ge=1)


class Publish(Frozen):
    """Where readers find the version."""

    tag: Name = "latest"
    shard_mb: int = Field(16, ge=1, le=1024, description="text a published file holds, MB, about")
    marking: Literal["metadata", "none"] = Field(
        "metadata", description="whether files say in their metadata that cuvee published them, and what they hold"
    )
    notify: tuple[str, ...] = Field((), description="http(s) addresses and files that are told of each version")

    @field_validator("tag")
    @classmethod
    def _no_version(cls, tag: str) -> str:
        # `corpus@v0007` would name a version, never this tag.
        if tag[0] == "v" and tag[1:].isdecimal():
            raise ValueError("this is the form of a version; give a tag another name, such as latest")
        return tag

    @field_validator("notify")
    @classmethod
    def _reachable(cls, notify: tuple[str, ...]) -> tuple[str, ...]:
        for address in notify:
            if not address or ("://" in address and not is_web(address)):
                raise ValueError(f"{shown(address)!r} is no receiver; give an http or https address, or a file's path")
        return notify


class Recipe(Frozen):
    """The typed YAML of a run."""

    corpus: Name
    store: str | None = None
    sources: tuple[Source, ...] = Field(min_length=1)
    ingest: Ingest = Ingest()
    filters: tuple[FilterSpec, ...] = ()
    holdout: Holdout = Holdout()
    generate: tuple[Generate, ...] = ()
    dedup: Dedup = Dedup()
    decontaminate: Decontaminate = Decontaminate()
    provenance: Provenance = Provenance()
    mixture: Mixture = Mixture()
    guard: Guard = Guard()
    review: Review = Review()
    publish: Publish = Publish()

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "Recipe":
        names = [source.name for source in self.sources] + [entry.name for entry in self.generate]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is used twice among sources and generators; rename one")
        return self

    def sha256(self) -> str:
        """Hash what decides the result: all but the place of the store, how files are fetched, HTTP headers, and who is
        told.
        """
        aside: dict[str, Any] = {"sources": {"__all__": {"fetch"}}, "generate": {"__all__": {"headers"}}}
        return canonical_sha256(self.model_dump(mode="json", exclude={"store": True, "publish": {"notify"}, **aside}))

    def told(self) -> dict[str, Any]:
        """Return the recipe as a version keeps it: without the place of the store and who is told, and of HTTP headers
        the names, since values let their holder in.
        """
        tree = self.model_dump(mode="json", exclude={"store": True, "publish": {"notify"}})
        for entry in tree["generate"]:
            entry["headers"] = dict.fromkeys(entry["headers"], "…")
        return tree


def canonical_json(value: Any) -> str:
    """Render JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_sha256(value: Any) -> str:
    """Hash a JSON value, 64 lower-case hex digits, independent of key order."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
