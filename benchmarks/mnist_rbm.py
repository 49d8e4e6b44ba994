"""An RBM with 500 hidden units on MNIST: test log-likelihood with both ends.

Bits are drawn afresh at each presentation for training; the test set is one fixed sample. Needs the MNIST
files (see docs/data.md). The training time is that of the updates, checkpoints included.

    python benchmarks/mnist_rbm.py --out RUN                 # the short run
    python benchmarks/mnist_rbm.py --out RUN --preset long   # the long one
"""

from __future__ import annotations

import argparse
import time
from functools import partial

from _runs import gone_on, settings_of
from _table import keep

import harmonium as hm

PRESETS = {
    "short": {"epochs": 122, "batch_size": 200, "chains": 200, "lr": 0.1},
    "long": {"epochs": 700, "batch_size": 200, "chains": 200, "lr": 0.1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="the run folder; resumed if it exists")
    parser.add_argument("--preset", choices=list(PRESETS), default="short")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--chains", type=int)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--momentum", type=float, default=0.5)
    parser.add_argument("--averaging", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--betas", type=int, default=14_500)
    parser.add_argument("--equilibrate", type=int, default=2000)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()
    chosen = {k: getattr(args, k) or v for k, v in PRESETS[args.preset].items()}

    data = hm.datasets.load("mnist", validation=0)
    settings = settings_of(args, "runs", "betas", "equilibrate") | chosen
    start = partial(
        hm.fit,
        hm.RBM(784, 500, seed=args.seed),
        data,
        hm.PCD(steps=args.steps, chains=chosen.pop("chains")),
        momentum=args.momentum,
        averaging=args.averaging,
        weight_decay=args.weight_decay,
        seed=args.seed,
        **chosen,
    )
    history = gone_on(args.out, settings, data, start, show)
    began = time.monotonic()
    result = hm.log_likelihood(
        history.model,
        data.test,
        method="bridge",
        chains=history.chains,
        runs=args.runs,
        betas=args.betas,
        equilibrate=args.equilibrate,
    )
    log_z = result.log_partition
    row = {
        "epochs": history.records[-1]["epoch"],
        "updates": history.records[-1]["updates"],
        "training s": history.records[-1]["seconds"],
        "lower": result.lower,
        "test nats": result.mean,
        "upper": result.upper,
        "log Z from": log_z.lower,
        "to": log_z.upper,
        "error": log_z.standard_error,
        "ESS": log_z.effective_sample_size,
        "R-hat": log_z.diagnostics.get("rhat", float("nan")),
        "trusted": result.trusted,
        "evaluation s": time.monotonic() - began,
    }
    print(result.reason)
    keep(args.table, "RBM 784-500 on MNIST, bits sampled, test set of one fixed sample", [row])


def show(record: dict[str, object]) -> None:
    if int(str(record["epoch"])) % 10 == 0:
        names = ("epoch", "seconds", "train/pseudo_likelihood", "train/free_energy", "weight/norm")
        print({name: record.get(name) for name in names}, flush=True)


if __name__ == "__main__":
    main()
