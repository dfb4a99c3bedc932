"""Outlook: what a plan of requests would send, and what that may cost, before anything is sent."""

import polars as pl

from cuvee.schemas.generation import Outlook, SamplePrompt
from cuvee.schemas.recipe import Generate
from cuvee.storage.store import Store
from cuvee.tasks import generators
from cuvee.tasks.generate import budget
from cuvee.tasks.generate.seeds import Seeds
from cuvee.tasks.generators._ask import folder_of
from cuvee.tasks.generators._journal import answered
from cuvee.tasks.pool import Pool


def outlook(store: Store, pool: Pool, entry: Generate, seeds: pl.DataFrame, todo: pl.DataFrame) -> Outlook:
    """Say what would be sent for these requests, with a sample prompt a kind where an endpoint is asked."""
    generator = generators.find(entry.generator)
    judgements = todo.height if entry.grade.judge_model else 0
    if not isinstance(generator, generators.Asking):
        return Outlook(requests=todo.height, judgements=judgements)
    ended = answered(store, folder_of(entry), todo["request_key"])
    sent, received = budget.expected_tokens(entry, todo)
    samples = todo.unique("kind", keep="first", maintain_order=True)
    with Seeds(store, pool, seeds) as texts:
        shown = generator.messages(entry, samples, texts.fetch)
    return Outlook(
        requests=todo.height - ended,
        judgements=judgements,
        prompt_tokens=sent,
        completion_tokens=received,
        cost_usd=budget.cost_of(entry, sent, received),
        samples=tuple(
            SamplePrompt(kind=kind, prompt=prompt, messages=tuple((m["role"], m["content"]) for m in asked))
            for kind, prompt, asked in zip(samples["kind"], samples["prompt_id"], shown, strict=True)
        ),
    )
