"""Measure what groundedness finds and what it takes for invented, on perturbed extracts of real documents.

    python benchmarks/groundedness.py CORPORA_FOLDER [--documents 300]

Drafts are the first third of each seed's sentences, as they are (extract) or rewritten by rule (paraphrase: synonyms,
other order, numbers written out, asides left out), and copies of the extract with one thing wrong. Found: the offence
lies on the wrong place; for a whole foreign document: the score is under the default gate. A false alarm is any offence
in a draft with nothing wrong.
"""

import argparse
import gzip
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from cuvee.schemas.recipe import Gates
from cuvee.tasks.generate.groundedness import Grounding, ground, read_token, sentence_spans, vocabulary
from cuvee.tasks.generators._prompts import cut_at_sentence

SYNONYMS = {
    "big": "large", "large": "big", "small": "little", "begin": "start", "began": "started", "start": "begin",
    "started": "began", "help": "assist", "helps": "assists", "show": "demonstrate", "shows": "demonstrates",
    "use": "employ", "used": "employed", "make": "produce", "makes": "produces", "buy": "purchase", "get": "obtain",
    "give": "provide", "gave": "provided", "people": "persons", "important": "significant", "many": "numerous",
    "need": "require", "needs": "requires", "find": "discover", "found": "discovered", "build": "construct",
    "built": "constructed", "change": "alter", "changes": "alterations", "because": "since", "however": "yet",
    "also": "too", "often": "frequently", "quickly": "rapidly", "fast": "quick", "end": "finish", "ended": "finished",
    "said": "stated", "says": "states", "ask": "request", "asked": "requested", "think": "believe", "try": "attempt",
    "tried": "attempted", "old": "ancient", "house": "dwelling", "road": "street", "car": "vehicle", "job": "task",
    "problem": "difficulty", "problems": "difficulties", "answer": "reply", "sure": "certain", "whole": "entire",
}  # fmt: skip
WRITTEN = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}
_NUMBER = re.compile(r"(?<![\w.,])\d{2,}(?![\w]|[.,]\d)")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{3,}\b")
Place = tuple[int, int]
Perturbed = tuple[str, Place | None]


def documents(folder: Path, most: int, draw: random.Random) -> list[str]:
    texts = [path.read_text(encoding="utf8") for path in sorted((folder / "txt").glob("*.txt"))]
    for path in sorted((folder / "gov_blog").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    texts += pl.read_csv(folder / "csv" / "blog_news.csv")["text"].to_list()
    texts = [cut_at_sentence(text) for text in texts if text and len(text.split()) >= 150]
    return draw.sample(texts, min(most, len(texts)))


def extract(seed: str) -> list[str]:
    found = [seed[start:stop] for start, stop in sentence_spans(seed)]
    return found[: max(5, len(found) // 3)]


def changed_number(sentences: list[str], draw: random.Random, others: list[str], seed: str) -> Perturbed | None:
    text = " ".join(sentences)
    matches = list(_NUMBER.finditer(text))
    if not matches:
        return None
    match = draw.choice(matches)
    number = str(int(match.group()) + draw.choice([1, 2, 7, 10, 30]))
    return text[: match.start()] + number + text[match.end() :], (match.start(), match.start() + len(number))


def swapped_name(sentences: list[str], draw: random.Random, others: list[str], seed: str) -> Perturbed | None:
    text, other = " ".join(sentences), " ".join(others)
    matches, names = list(_NAME.finditer(text)), sorted(set(_NAME.findall(other)) - set(re.findall(r"\w+", seed)))
    if not matches or not names:
        return None
    match, name = draw.choice(matches), draw.choice(names)
    return text[: match.start()] + name + text[match.end() :], (match.start(), match.start() + len(name))


def foreign_sentence(sentences: list[str], draw: random.Random, others: list[str], seed: str) -> Perturbed | None:
    long = [sentence for sentence in others if len(sentence.split()) >= 8]
    if not long:
        return None
    place, sentence = draw.randrange(len(sentences)), draw.choice(long)
    before = " ".join([*sentences[:place], ""])
    return before + " ".join([sentence, *sentences[place:]]), (len(before), len(before) + len(sentence))


def foreign_document(sentences: list[str], draw: random.Random, others: list[str], seed: str) -> Perturbed:
    return " ".join(others), None


def inserted_denial(sentences: list[str], draw: random.Random, others: list[str], seed: str) -> Perturbed | None:
    text = " ".join(sentences)
    matches = list(re.finditer(r"\b(?:is|was|are|were|can|will)\b(?= \w)", text))
    if not matches:
        return None
    match = draw.choice(matches)
    return text[: match.end()] + " not" + text[match.end() :], (match.start(), match.end() + 4)


def paraphrase(sentences: list[str], draw: random.Random) -> str:
    kept = [re.sub(r"\s*\([^()]*\)", "", sentence) for sentence in sentences]
    draw.shuffle(kept)

    def word(match: re.Match[str]) -> str:
        found = SYNONYMS.get(match.group().lower(), match.group())
        return found.capitalize() if match.group()[0].isupper() else found

    text = re.sub(r"[A-Za-z]+", word, " ".join(kept))
    return re.sub(r"(?<![\w.,])\d{1,2}(?![\w.,%])", lambda m: WRITTEN.get(int(m.group()), m.group()), text)


PERTURBATIONS: dict[str, Callable[[list[str], random.Random, list[str], str], Perturbed | None]] = {
    "changed number": changed_number,
    "swapped name": swapped_name,
    "foreign sentence": foreign_sentence,
    "foreign document": foreign_document,
    "inserted denial": inserted_denial,
}


def is_found(grounding: Grounding, place: Place | None) -> bool:
    if place is None:
        return grounding.score is not None and grounding.score < Gates().groundedness
    return any(offence.start < place[1] and place[0] < offence.stop for offence in grounding.offences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--documents", type=int, default=300)
    options = parser.parse_args()
    draw = random.Random(1)
    seeds = documents(options.corpora, options.documents, draw)
    drafts = [extract(seed) for seed in seeds]
    print(f"{len(seeds)} seeds of {sum(len(s.split()) for s in seeds) / len(seeds):.0f} words")
    for name, perturb in PERTURBATIONS.items():
        made = [
            (perturb(draft, draw, drafts[(place + 7) % len(drafts)], seed), seed)
            for place, (draft, seed) in enumerate(zip(drafts, seeds, strict=True))
        ]
        found = [is_found(ground(one[0], seed), one[1]) for one, seed in made if one]
        print(f"{name:18} found {sum(found):4} of {len(found):4}  {sum(found) / max(len(found), 1):.3f}")
    honest = {"extract": [" ".join(draft) for draft in drafts], "paraphrase": [paraphrase(d, draw) for d in drafts]}
    for name, texts in honest.items():
        judged = [ground(text, seed) for text, seed in zip(texts, seeds, strict=True)]
        alarmed = sum(bool(one.offences) for one in judged)
        sentences, wrong = sum(one.sentences for one in judged), sum(one.sentences - one.grounded for one in judged)
        scores = sorted(one.score or 0.0 for one in judged)
        print(
            f"{name:18} alarms in {alarmed:4} of {len(judged):4} drafts {alarmed / len(judged):.3f}, in {wrong:5} of "
            f"{sentences:5} sentences {wrong / sentences:.4f}; score: lowest {scores[0]:.3f}, median "
            f"{scores[len(scores) // 2]:.3f}"
        )
    texts = honest["extract"]
    for warm in (False, True):
        if not warm:
            read_token.cache_clear()
        vocabulary.cache_clear()
        begun, used = time.perf_counter(), time.process_time()
        for text, seed in zip(texts, seeds, strict=True):
            ground(text, seed)
        wall, cpu = time.perf_counter() - begun, time.process_time() - used
        state = "known words" if warm else "cold"
        print(f"{state}: {len(texts) / wall:.0f} drafts a second ({len(texts) / cpu:.0f} a second of one core)")


if __name__ == "__main__":
    main()
