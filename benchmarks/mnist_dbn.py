"""A deep belief network 784-500-2000 on MNIST: the bound on the test log-likelihood, and an estimate.

The second RBM starts as the first one upside down, which leaves the bound where the first RBM's likelihood
was, and is trained on fresh samples of the first hidden layer; a second table tells by how much the bound has
grown. Bits are drawn afresh at each presentation for training; the test set is one fixed
sample. The training time is that of the updates of both layers, checkpoints included. Needs the MNIST files
(see docs/data.md).

    python benchmarks/mnist_dbn.py --out RUN
"""

from __future__ import annotations

import argparse
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

from _runs import gone_on, settings_of
from _table import keep

import harmonium as hm
from harmonium.report import OpenRun, open_run

LAYERS = [784, 500, 2000]
TRAINING_ROWS = 1000
QUICK = {"method": "bridge", "runs": 100, "betas": 1000, "equilibrate": 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="the run folder; resumed if it exists")
    parser.add_argument("--epochs", type=int, nargs=2, default=[400, 80])
    parser.add_argument("--lr", type=float, nargs=2, default=[0.1, 0.05])
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--every", type=int, default=25, help="epochs between estimates on the way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=1000, help="of the hidden layers, for each test row")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--betas", type=int, default=14_500)
    parser.add_argument("--equilibrate", type=int, default=2000)
    parser.add_argument("--table", help="write the tables to this Markdown file and one beside it")
    args = parser.parse_args()

    data = hm.datasets.load("mnist", validation=0)
    start = partial(
        hm.pretrain,
        hm.DBN(LAYERS, seed=args.seed),
        data,
        hm.PCD(steps=args.steps, chains=args.chains),
        epochs=args.epochs,
        lr=args.lr,
        batch_size=200,
        likelihood_every=[0, args.every],
        likelihood=QUICK,
        seed=args.seed,
    )
    settings = settings_of(args, "samples", "runs", "betas", "equilibrate")
    history = gone_on(args.out, settings, data, start, show)
    model = history.model
    assert isinstance(model, hm.DBN)
    layers = [[r for r in history.records if r["layer"] == layer] for layer in (1, 2)]

    began = time.monotonic()
    estimate = {"runs": args.runs, "betas": args.betas, "equilibrate": args.equilibrate}
    log_z = estimated(Path(args.out) / "log_partition.json", model, history.chains, estimate)
    result = hm.log_likelihood(model, data, log_partition=log_z, samples=args.samples)
    row = {
        "epochs": "-".join(str(records[-1]["epoch"]) for records in layers),
        "training s": sum(records[-1]["seconds"] for records in layers),
        "bound": result.bound,
        "± bound": math.hypot(result.bound_standard_error, log_z.upper_standard_error),
        "estimate": result.mean,
        "lower": result.lower,
        "upper": result.upper,
        "± log Z": log_z.standard_error,
        "± rows": result.data_standard_error,
        "samples": result.importance_samples,
        "effective": result.importance_ess,
        "low by": result.importance_bias,
        "trusted": result.trusted,
        "evaluation s": time.monotonic() - began,
    }
    print(result.reason)
    keep(args.table, "DBN 784-500-2000 on MNIST, test set, nats per row", [row])
    grown = None if args.table is None else str(Path(args.table).with_stem(f"{Path(args.table).stem}-growth"))
    title = f"The bound as a layer is added, on {TRAINING_ROWS:,} training rows and on the test set"
    keep(grown, title, growth(open_run(args.out, data), estimate, log_z, result))


def estimated(path: Path, model: hm.DBN | hm.RBM, chains: Any, settings: dict[str, Any]) -> hm.LogPartition:
    """Return log Z, which is kept beside the run for another evaluation by the same settings."""
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["settings"] == settings:
            return hm.LogPartition(**kept["log_partition"])
    log_z = hm.log_partition(model, method="bridge", chains=chains, **settings)
    path.write_text(json.dumps({"settings": settings, "log_partition": log_z.to_dict()}))
    return log_z


def growth(
    run: OpenRun, settings: dict[str, Any], log_z: hm.LogPartition, result: hm.LogLikelihood
) -> list[dict[str, Any]]:
    """Return the bounds of the network cut after its first RBM, and of the whole, on training and test rows.

    The likelihood of an RBM has no gap to its bound.
    """
    model, rows = run.model, run.data.fixed("train", TRAINING_ROWS)
    assert isinstance(model, hm.DBN)
    first = model.rbms[0]
    first_z = estimated(run.folder.path / "log_partition-1.json", first, run.chains_of(1, first), settings)
    whole = hm.log_likelihood(model, rows, log_partition=log_z, samples=100)
    alone = [hm.log_likelihood(first, own, log_partition=first_z).lower for own in (rows, run.data)]
    error = math.hypot(whole.bound_standard_error, log_z.upper_standard_error)
    return [
        {
            "network": "784-500",
            "training rows": alone[0],
            "test": alone[1],
            "±": first_z.upper_standard_error,
        },
        {"network": "784-500-2000", "training rows": whole.bound, "test": result.bound, "±": error},
    ]


def show(record: dict[str, Any]) -> None:
    """Print every tenth epoch, and those in which the likelihood was estimated."""
    if record["epoch"] % 10 == 0 or record.get("train/log_likelihood") is not None:
        names = ("layer", "epoch", "seconds", "train/free_energy", "train/log_likelihood", "weight/norm")
        print({name: record.get(name) for name in names}, flush=True)


if __name__ == "__main__":
    main()
