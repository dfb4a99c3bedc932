"""Faults of the store at every write, and two runs that publish at once."""

import itertools
import threading

import pytest
from plain import Candidate, candidate, publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.dataset import Dataset
from cuvee.schemas.errors import ConflictError
from cuvee.schemas.manifest import Manifest
from cuvee.storage import corpus
from cuvee.storage.memory import MemoryStore

RECIPE = """
corpus: library
sources: [{name: manual, uri: texts/*.jsonl, license: PSF-2.0}]
ingest: {max_bad_rows: 0.5}
filters: [{kind: length, min_words: 20}]
holdout: {share: 0.1}
generate: [{name: writer, generator: ngram, allow_baseline: true}]
mixture: {human: {min: 0.7}}
"""
_numbers = itertools.count()


class StoreError(Exception):
    """What a store raises whose disk is full, or whose network is gone."""


class FailingStore(MemoryStore):
    """A store in memory whose n-th write fails, and is not made; every write before it was made."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.writes, self.fails_at = 0, 0

    def put(self, key: str, content: bytes) -> None:
        self._count(key)
        super().put(key, content)

    def create(self, key: str, content: bytes) -> None:
        self._count(key)
        super().create(key, content)

    def _count(self, key: str) -> None:
        self.writes += 1
        if self.writes == self.fails_at:
            raise StoreError(key)


def new_store(content: dict[str, bytes] | None = None) -> FailingStore:
    store = FailingStore.named(f"memory://crash-{next(_numbers)}")
    assert isinstance(store, FailingStore)
    store.content.update(content or {})
    return store


def faults(store: MemoryStore) -> list[str]:
    """What is wrong with any visible version."""
    manifests = [corpus.load_manifest(store, "library", number) for number in corpus.versions(store, "library")]
    return [fault for manifest in manifests for fault in Dataset(store, manifest).verify()]


def said(manifest: Manifest) -> object:
    """All that a manifest says but when, and by which run, it came about."""
    reports = sorted(ref.path.rsplit("/", 1)[1] for ref in manifest.reports)
    sides = {"created", "run_id", "reports", "pool"}
    return manifest.model_dump(exclude=sides) | {"reports": reports, "pool": manifest.pool.sha256}


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[FailingStore]]:
    """The recipe, and the stores after none, one and two nights; the second brings one more file."""
    folder = tmp_path_factory.mktemp("crash")
    texts = documents(16)
    write_jsonl(folder / "texts/a.jsonl", [*texts[:8], texts[0], texts[1] + " One more line."])
    recipe = recipe_file(folder, RECIPE)
    stores = [new_store(), new_store()]
    publish_plainly(recipe, stores[1].uri)
    write_jsonl(folder / "texts/b.jsonl", texts[8:])
    (folder / "texts/b.jsonl").open("a").write("{torn\n")
    stores.append(new_store(stores[1].content))
    publish_plainly(recipe, stores[2].uri)
    return recipe, stores


@pytest.mark.slow
def test_a_fault_at_a_write_leaves_whole_versions_and_the_repetition_gives_the_same_bytes(
    nights: tuple[str, list[FailingStore]],
) -> None:
    recipe, (_, before, after) = nights
    undisturbed = corpus.load_manifest(after, "library", 2)
    manifest_written = [key for key in after.content if key not in before.content].index(
        "corpora/library/manifests/v0002.json"
    )
    assert manifest_written > 20
    # Of the long way to the manifest every seventh write, and each from a little before it on.
    for fails_at in [*range(1, after.writes - 15, 7), *range(after.writes - 15, after.writes + 1)]:
        store = new_store(before.content)
        store.fails_at = fails_at
        with pytest.raises(StoreError) as fault:
            publish_plainly(recipe, store.uri)
        assert list(store.scratch().iterdir()) == []
        numbers = corpus.versions(store, "library")
        assert numbers in ([1], [1, 2])
        assert faults(store) == []
        # The tag is moved after the manifest: until then readers stay with the old version. The run's end comes last.
        assert corpus.resolve(store, "library").version == (2 if "/runs/" in str(fault.value) else 1)
        assert {key: store.content[key] for key in before.content} == before.content

        report = publish_plainly(recipe, store.uri)
        assert report.version == 2
        assert report.published == (numbers == [1])
        assert faults(store) == []
        assert corpus.resolve(store, "library").version == 2
        assert said(corpus.load_manifest(store, "library", 2)) == said(undisturbed)
        data = {key: content for key, content in after.content.items() if "/data/" in key or "/pool/" in key}
        assert {key: store.content[key] for key in store.content if "/data/" in key or "/pool/" in key} == data


def test_a_fault_in_the_first_night_leaves_no_version(nights: tuple[str, list[FailingStore]]) -> None:
    recipe, _ = nights
    whole = new_store()
    publish_plainly(recipe, whole.uri)
    last = list(whole.content).index("corpora/library/manifests/v0001.json")
    for fails_at in (1, 2, whole.writes // 3, whole.writes // 2, whole.writes - 3, whole.writes - 2):
        store = new_store()
        store.fails_at = fails_at
        with pytest.raises(StoreError):
            publish_plainly(recipe, store.uri)
        assert corpus.versions(store, "library") == []
        assert publish_plainly(recipe, store.uri).published
        assert said(corpus.load_manifest(store, "library", 1)) == said(corpus.load_manifest(whole, "library", 1))
    assert [key.split("/")[2] for key in list(whole.content)[last:]] == ["manifests", "tags", "runs"]


def test_what_the_manifest_names_stands_before_the_manifest_does(nights: tuple[str, list[FailingStore]]) -> None:
    _, stores = nights
    order = list(stores[1].content)
    manifest = corpus.load_manifest(stores[1], "library", 1)
    place = order.index("corpora/library/manifests/v0001.json")
    named = [ref.path for ref in (*manifest.files, *manifest.reports, manifest.pool)]
    state = corpus.read_state(stores[1], "library")
    named += [file.path for entry in state.entries for file in entry.record.files]
    assert all(order.index(path) < place for path in named)
    tag, end = [key for key in order[place + 1 :] if not key.startswith("work/")]
    assert tag == "corpora/library/tags/latest/000001.json"
    assert end.startswith("corpora/library/runs/")


def at_once(candidates: list[Candidate]) -> list[Exception | None]:
    gate = threading.Barrier(len(candidates))
    ends: list[Exception | None] = [None] * len(candidates)

    def publish(number: int) -> None:
        gate.wait()
        try:
            candidates[number].publish()
        except Exception as error:
            ends[number] = error

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(len(candidates))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_of_two_runs_that_began_together_one_publishes_and_the_other_is_told(
    nights: tuple[str, list[FailingStore]],
) -> None:
    recipe, _ = nights
    store = new_store()
    # Other filters: other files, other reports, the same number.
    first, second = candidate(recipe, store.uri), candidate(recipe, store.uri, "filters.0.min_words=150")
    assert first.begun.run.version == second.begun.run.version == 1
    first.publish()
    winner = dict(store.content)
    with pytest.raises(ConflictError, match="library@v0001 was published by another run meanwhile"):
        second.publish()
    manifest = corpus.load_manifest(store, "library", 1)
    assert manifest.run_id == first.begun.run.run_id
    for ref in (*manifest.files, *manifest.reports, manifest.pool):
        assert store.content[ref.path] == winner[ref.path]
    assert faults(store) == []
    again = publish_plainly(recipe, store.uri, "filters.0.min_words=150")
    assert (again.version, again.published) == (2, True)
    assert corpus.load_manifest(store, "library", 2).parent == 1
    assert faults(store) == []


@pytest.mark.parametrize("same", [True, False])
def test_of_many_publishes_at_once_exactly_one_wins(nights: tuple[str, list[FailingStore]], same: bool) -> None:
    recipe, _ = nights
    store = new_store()
    bounds = [20] * 4 if same else [20, 100, 150, 200]
    ends = at_once([candidate(recipe, store.uri, f"filters.0.min_words={least}") for least in bounds])
    assert ends.count(None) == 1
    assert all(isinstance(end, ConflictError) for end in ends if end is not None)
    assert corpus.versions(store, "library") == [1]
    assert faults(store) == []
    winner = bounds[ends.index(None)]
    assert corpus.resolve(store, "library").recipe["filters"] == [{"kind": "length", "min_words": winner}]
