"""Prevalence: how far the estimated machine-written share is from the true one, on mixtures of held-out documents.

    python benchmarks/prevalence.py ../shared/provenance/provenance_dev.parquet [--model FOLDER] [--documents 1000]

For true shares of 0, 5, 20 and 50%, draws 200 mixtures each of documents that were not in training (slice …valid),
and prints per estimator the mean absolute error and how often the 95% interval holds the truth. The same seed, so
the same figures.
"""

import argparse

import numpy as np
import polars as pl

from cuvee.tasks.provenance.model import load
from cuvee.tasks.provenance.prevalence import Estimate, prevalence
from cuvee.tasks.provenance.train import prepare

SHARES = (0.0, 0.05, 0.2, 0.5)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelled", help="Parquet with text, label, slice, generator_kind")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--documents", type=int, default=1_000, help="documents in a mixture")
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--audit", type=int, default=200, help="documents whose label a person tells, in each mixture")
    options = parser.parse_args()
    model = load(options.model)
    texts = prepare(pl.read_parquet(options.labelled)).filter(pl.col("slice").str.ends_with("valid"))
    texts = texts.filter(pl.col("generator_kind") != "base_lm")
    texts = texts.with_columns(p=pl.Series(model.score(texts["text"])).fill_nan(None)).drop_nulls("p")
    human, synthetic = (texts.filter(pl.col("label") == name)["p"].to_numpy() for name in ("human", "synthetic"))
    print(f"{human.size} human and {synthetic.size} synthetic held-out documents, {options.documents} in a mixture")
    print("true share  estimator          mean |error|   interval holds   mean width")
    random = np.random.default_rng(7)
    for share in SHARES:
        results: dict[str, list[Estimate]] = {"adjusted count": [], "emq": [], f"audit of {options.audit}": []}
        for _ in range(options.resamples):
            machines = round(share * options.documents)
            p = np.concatenate([random.choice(human, options.documents - machines), random.choice(synthetic, machines)])
            truth = np.repeat(["human", "synthetic"], [options.documents - machines, machines])
            asked = np.isin(np.arange(p.size), random.choice(p.size, options.audit, replace=False))
            label = pl.select(pl.when(pl.Series(asked)).then(pl.Series(truth))).to_series()
            found = prevalence(pl.Series(p), model, label=label)
            for name, estimate in zip(results, (found.adjusted_count, found.emq, found.audited), strict=True):
                assert estimate is not None
                results[name].append(estimate)
        for name, estimates in results.items():
            error = np.mean([abs(e.share - share) for e in estimates])
            held = np.mean([e.low <= share <= e.high for e in estimates])
            width = np.mean([e.high - e.low for e in estimates])
            print(f"{share:10.0%}  {name:<17}  {100 * error:12.2f}     {held:14.1%}   {100 * width:10.2f}")


if __name__ == "__main__":
    main()
