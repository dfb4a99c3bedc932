"""The loader: the order of an epoch, resuming it anywhere with any number of ranks, and what each rank gets."""

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import Files, publish

from cuvee.dataset import Dataset
from cuvee.loader.lanes import MOST_LANES, build
from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.errors import IntegrityError, RecipeError
from cuvee.storage.groups import groups_of

# Uneven strata, row groups and files, and documents that repeat.
STRATA = [
    Files("news", "human", [[500, 300, 200], [900]]),
    Files("rephrased", "synthetic", [[100] * 7], (1, 3)),
    Files("letters", "human", [[5], [3]], (2,)),
    Files("found", "unknown", [[50, 1]], (4, 1, 2)),
    Files("news", "human", [[20]], split="validation"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return publish(str(tmp_path_factory.mktemp("made") / "store"), STRATA)


def ids(batches: Any) -> list[str]:
    return [doc_id for batch in batches for doc_id in batch["doc_id"]]


def copies(dataset: Dataset) -> dict[str, int]:
    return dict(dataset.scan().select("doc_id", "epochs").collect().iter_rows())


def test_each_document_occurs_exactly_as_often_as_its_epochs_say(made: Dataset) -> None:
    loader = made.loader(batch=7)
    first, second = ids(loader), ids(loader)
    assert Counter(first) == Counter(second) == copies(made)
    assert first != second
    assert second == ids(made.loader(batch=64, epoch=1))
    assert first != ids(made.loader(batch=7, seed=1))
    assert len(ids(made.loader(split="validation"))) == 20


def test_any_number_of_ranks_goes_on_after_kills_as_if_nothing_had_happened(made: Dataset) -> None:
    undisturbed = [batch["doc_id"] for batch in made.loader(batch=16, seed=3)]
    draw = random.Random(5)
    world_sizes = [*draw.sample(range(1, 9), 8), 2]
    state, got = made.loader(batch=16, seed=3).state_dict(), []
    for world_size in world_sizes:
        assert len(got) == state["batches"]
        ranks = [made.loader(rank, world_size, batch=16) for rank in range(world_size)]
        for rank in ranks:
            rank.load_state_dict(json.loads(json.dumps(state)))
        # In the order of the numbers of their batches.
        running = [iter(ranks[(len(got) + place) % world_size]) for place in range(world_size)]
        last = world_size == world_sizes[-1] and len(got) > 100
        for _ in range(len(undisturbed) if last else draw.randint(1, 40 // world_size)):
            batches = [next(rank, None) for rank in running]
            got.extend(batch["doc_id"] for batch in batches if batch)
        state = max((rank.state_dict() for rank in ranks), key=lambda found: (found["epoch"], found["batches"]))
    assert got == undisturbed
    assert state["epoch"] == 1


def test_a_rank_that_stops_in_between_goes_on_in_the_same_process(made: Dataset) -> None:
    loader = made.loader(1, 3, batch=16, seed=2)
    whole = ids(made.loader(1, 3, batch=16, seed=2))
    running = iter(loader)
    got = ids(next(running) for _ in range(20))
    assert got + ids(loader) == whole


def test_even_ranks_get_full_batches_alike_and_what_is_left_out_is_told(made: Dataset) -> None:
    ranks = [made.loader(rank, 5, batch=50, even=True) for rank in range(5)]
    state = ranks[0].state_dict()
    given = [[batch["doc_id"] for batch in rank] for rank in ranks]
    assert len({len(batches) for batches in given}) == 1
    assert all(len(batch) == 50 for batches in given for batch in batches)
    rest = made.loader(0, 5, batch=50, even=True).left_out()
    assert 0 < len(rest) < 5 * 50
    all_given = [doc_id for batches in given for batch in batches for doc_id in batch]
    assert Counter(all_given + rest) == copies(made)
    ranks[0].load_state_dict({**state, "batches": 5})
    again = [batch["doc_id"] for batch in ranks[0]]
    assert again == given[0][1:]


def test_workers_of_a_rank_share_its_batches_and_keep_their_states(made: Dataset) -> None:
    whole = [batch["doc_id"] for batch in made.loader(1, 2, batch=9)]
    workers = [made.loader(1, 2, batch=9).for_worker(worker, 3) for worker in range(3)]
    running = [iter(worker) for worker in workers]
    got = [next(running[at % 3])["doc_id"] for at in range(20)]
    again = [made.loader(1, 2, batch=9).for_worker(worker, 3) for worker in range(3)]
    for worker, was in zip(again, workers, strict=True):
        worker.load_state_dict(was.state_dict())
    running = [iter(worker) for worker in again]
    got += [next(running[at % 3])["doc_id"] for at in range(20, len(whole))]
    assert got == whole
    with pytest.raises(RecipeError, match="worker 1 of 3"):
        made.loader(1, 2, batch=9).load_state_dict(workers[1].state_dict())
    main = made.loader(1, 2, batch=9)
    later = made.loader(0, 1, batch=9)
    later.load_state_dict(main.state_after(20))
    assert ids(later) == ids(made.loader(batch=9))[40 * 9 :]


def test_each_rank_has_the_human_share_of_the_whole(tmp_path: Path) -> None:
    strata = [
        Files(f"s{number}", "human" if number % 3 else "synthetic", [[rows]], words=4)
        for number, rows in enumerate([30000, 20000, 15000, 9000, 5000, 800, 200])
    ]
    made = publish(str(tmp_path / "store"), strata)
    for batch in (16, 50):
        read = list(made.loader(batch=batch, columns=("provenance", "tokens")))
        for world_size in (2, 8):
            shares = [_human_share(read[rank::world_size]) for rank in range(world_size)]
            assert max(abs(share - _human_share(read)) for share in shares) < 0.01


def _human_share(batches: list[dict[str, Any]]) -> float:
    amounts: Counter[str] = Counter()
    for batch in batches:
        for provenance, tokens in zip(batch["provenance"], batch["tokens"], strict=True):
            amounts[provenance] += tokens
    return amounts["human"] / amounts.total()


def test_strata_are_mixed_all_through_and_copies_lie_evenly_apart(made: Dataset) -> None:
    read = ids(made.loader())
    for start in range(0, len(read) - 500, 500):
        mixed = Counter(doc_id.partition("-")[0] for doc_id in read[start : start + 500])
        assert abs(mixed["news"] / 500 - 1900 / len(read)) < 0.06
    places: dict[str, list[int]] = {}
    for place, doc_id in enumerate(read):
        places.setdefault(doc_id, []).append(place)
    assert max(map(len, places.values())) == 4
    for found in places.values():
        gaps = np.diff(found) / len(read) * len(found)
        assert all(gaps > 0.5)


def test_many_strata_are_put_together_but_never_of_several_provenances(tmp_path: Path) -> None:
    provenances = ("human", "synthetic", "unknown")
    strata = [Files(f"s{number}", provenances[number % 3], [[3 + number]]) for number in range(50)]
    made = publish(str(tmp_path / "store"), strata)
    files = made.manifest.files
    lanes = build(files, list(groups_of(made.store, files)), ["human"], 1, lambda group: np.ones(group.rows, np.int8))
    assert len(lanes) <= MOST_LANES
    for lane in lanes:
        held = {files[piece.group.file].stratum.provenance for visit in lane.visits for piece in visit.pieces}
        assert len(held) == 1
    assert Counter(ids(made.loader())) == copies(made)


# Packing


def encode(text: str) -> list[int]:
    """Give each character a number, at least 1."""
    return [ord(character) for character in text]


def test_packed_sequences_hold_every_token_once_and_say_whose_it_is(made: Dataset, tmp_path: Path) -> None:
    texts = dict(made.scan().select("doc_id", "text").collect().iter_rows())
    plain = made.loader(batch=20)
    for batch, packed in zip(plain, made.loader(batch=20, pack=64, tokenizer=encode, end=0), strict=True):
        tokens, document = packed["tokens"], packed["document"]
        assert tokens.shape == document.shape == (len(packed["boundaries"]), 64)
        assert packed["doc_ids"] == batch["doc_id"]
        for at, doc_id in enumerate(packed["doc_ids"]):
            assert tokens[document == at].tolist() == [*encode(texts[doc_id]), 0]
        assert (document.ravel() >= 0).sum() == sum(len(texts[doc_id]) + 1 for doc_id in batch["doc_id"])
        for row, boundaries in zip(document, packed["boundaries"], strict=True):
            pieces = [row[start:end] for start, end in pairwise(boundaries)]
            assert all(len(set(piece.tolist())) == 1 for piece in pieces)
            assert sum(map(len, pieces)) == (row >= 0).sum()
            assert len(pieces) == len(set(row[row >= 0].tolist()))


def test_packing_is_the_same_after_a_resume_and_with_a_tokenizer_of_the_library(made: Dataset, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(["?", *map(str, range(1000))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    packed = list(made.loader(batch=40, pack=16, tokenizer=tokenizer))
    later = made.loader(1, 2, batch=40, pack=16, tokenizer=tmp_path / "tokenizer.json")
    later.load_state_dict({**later.state_dict(), "batches": 11})
    for was, found in zip(packed[11::2], later, strict=True):
        assert np.array_equal(was["tokens"], found["tokens"])
        assert np.array_equal(was["document"], found["document"])


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world_size": 2}, "rank=2"),
        ({"batch": 0}, "batch=0"),
        ({"seed": -1}, "seed=-1"),
        ({"columns": ("doc_id", "txet")}, "txet"),
        ({"columns": ()}, "columns"),
        ({"pack": 8}, "tokenizer"),
        ({"pack": -8, "tokenizer": encode}, "pack=-8"),
        ({"pack": 8, "tokenizer": "missing.json"}, "missing.json"),
    ],
)
def test_options_out_of_range_are_refused(made: Dataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        made.loader(**options)


def test_a_state_of_something_else_is_refused(made: Dataset, tmp_path: Path) -> None:
    state = made.loader().state_dict()
    other = publish(str(tmp_path / "store"), [Files("other", "human", [[10]])])
    with pytest.raises(RecipeError, match="manifest"):
        other.loader().load_state_dict(state)
    with pytest.raises(RecipeError, match="batch 32"):
        made.loader(batch=31).load_state_dict(state)
    with pytest.raises(RecipeError, match="split"):
        made.loader(split="validation").load_state_dict(state)


def test_a_damaged_file_is_told_and_a_split_without_files_is_empty(tmp_path: Path) -> None:
    made = publish(str(tmp_path / "store"), [Files("a", "human", [[400], [400]])])
    assert list(made.loader(split="validation")) == []
    path = Path(made.files()[1])
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=path.name):
        list(made.loader(columns=PUBLISHED.names))
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        list(made.loader())


def test_from_s3_the_order_is_the_same(made: Dataset, s3: str) -> None:
    from_s3 = publish(f"{s3}/store", STRATA)
    assert from_s3.manifest.files == made.manifest.files
    state = {**made.loader(batch=11).state_dict(), "batches": 120}
    here, there = made.loader(batch=11), from_s3.loader(batch=11)
    assert here.state_dict() == there.state_dict()
    here.load_state_dict(state)
    there.load_state_dict(state)
    assert list(here) == list(there)
