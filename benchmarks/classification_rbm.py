"""The classification RBM on MNIST: the hybrid rule's test error.

After Larochelle & Bengio (Classification using discriminative restricted Boltzmann machines, 2008), who
report 1.28 %: an RBM over pixels and label descends -log p(y | v) and, with a small weight, -log p(v, y).
It starts as a generative model, by a few epochs of persistent chains, which count in its time. Fresh bits of
the grey values at each presentation keep it from overfitting. The last 10,000 training rows choose the epoch,
and whether to classify bits or grey values; the test set is read once. Needs the MNIST files (see
docs/data.md).

    python benchmarks/classification_rbm.py --out RUN
"""

from __future__ import annotations

import argparse
import math
from typing import Any

from _table import keep

import harmonium as hm
from harmonium.models import error_rate

NAMES = ("epoch", "seconds", "train/error", "validation/error", "weight/norm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="a new run folder")
    parser.add_argument("--hidden", type=int, default=1500)
    parser.add_argument("--rule", choices=("hybrid", "discriminative"), default="hybrid")
    parser.add_argument("--alpha", type=float, default=0.01, help="weight of the generative part")
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--generative", type=int, default=30, help="epochs of persistent chains at first")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--optimizer", default="Adam")
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--binarisation", choices=list(hm.datasets.BINARISATIONS), default="sampled")
    parser.add_argument("--minutes", type=float, default=20, help="of training, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    data = hm.datasets.load("mnist", binarisation=args.binarisation, with_labels=True)
    label = hm.Categorical(1, len(data.classes))
    model = hm.RBM(hm.Mixed(hm.Bernoulli(data.columns), label), args.hidden, seed=args.seed)
    seconds = 0.0
    if args.generative:
        first = hm.fit(
            model,
            data,
            hm.PCD(chains=200),
            out=f"{args.out}-generative",
            epochs=args.generative,
            batch_size=200,
            lr=0.1,
            seed=args.seed,
            callback=lambda record: print({name: record.get(name) for name in NAMES}, flush=True),
        )
        seconds = first.records[-1]["seconds"]
    rule = hm.Hybrid(alpha=args.alpha, chains=args.chains) if args.rule == "hybrid" else hm.Discriminative()

    def show(record: dict[str, Any]) -> bool:
        """Print an epoch; return whether the time is up."""
        print({name: record.get(name) for name in NAMES}, flush=True)
        return seconds + record["seconds"] + 2 * record["epoch_seconds"] > 60 * args.minutes

    history = hm.fit(
        model,
        data,
        rule,
        out=args.out,
        epochs=args.epochs,
        batch_size=args.batch_size,
        optimizer=args.optimizer,
        lr=args.lr,
        seed=args.seed,
        probe=len(data.validation),
        score="validation/accuracy",
        patience=args.epochs,
        callback=show,
    )
    means = hm.datasets.load("mnist", binarisation="none", with_labels=True)
    errors = {"bits": error_rate(model, data.validation), "grey": error_rate(model, means.validation)}
    chosen = min(errors, key=errors.__getitem__)
    test = error_rate(model, (data if chosen == "bits" else means).test)
    row = {
        "rule": args.rule,
        "hidden": args.hidden,
        "binarisation": args.binarisation,
        "epochs": history.records[-1]["epoch"],
        "training s": seconds + history.records[-1]["seconds"],
        "validation % (bits)": 100 * errors["bits"],
        "validation % (grey)": 100 * errors["grey"],
        "classified": chosen,
        "test error %": 100 * test,
        "± rows": 100 * math.sqrt(test * (1 - test) / len(means.test)),
    }
    keep(args.table, "Classification RBM on MNIST, the epoch chosen on the last 10,000 training rows", [row])


if __name__ == "__main__":
    main()
