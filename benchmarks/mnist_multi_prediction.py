"""A deep Boltzmann machine 784-500-1000 that classifies MNIST, trained by multi-prediction alone.

One machine, from random weights, without a layer that is trained first: each update predicts a random
part of the rows, pixels and label, from the rest, and back-propagates through mean field. The machine
learns from all 60,000 rows for a number of epochs that is set beforehand, and the test set is read once,
at the end: by mean field, by multi-inference, and with half of its pixels missing, at random.
``--validate`` is for choosing settings: it leaves the last 10,000 rows out of training and reads them in
place of the test set. ``--dbm`` begins with the machine of such a run, so that a second one can be its
fine-tuning: with more pixels given, and a label that never is. A network of the same layers from random
weights, ReLU units with dropout on inputs and hidden units, is beside it; where pixels are missing it is
given what dropout gave it, zeros among pixels that count twice, and a second such network has learnt with
half of its pixels left out. After Goodfellow, Mirza, Courville & Bengio (2013), who report 0.88 % for
larger layers. Needs the MNIST files (see docs/data.md).

    python benchmarks/mnist_multi_prediction.py --out RUN --epochs 70 --network 40
    python benchmarks/mnist_multi_prediction.py --out FINE --dbm RUN --epochs 20 --lr 0.01 --known 0.8 \\
        --label-known 0 --label-cost 20
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import Any

import torch
from _networks import machine as before
from _networks import wrong
from _runs import gone_on, seconds_before, seconds_of, settings_of
from _table import keep
from torch import Tensor

import harmonium as hm

LAYERS = [784, 500, 1000]
CLASSES = 10
SCALE = 0.01
"""The deviation of a new machine's weights; with a larger one its layers tell of each other sooner."""
NETWORK: dict[str, Any] = {"lr": 0.02, "momentum": 0.9, "max_norm": 3.0, "averaging": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True, help="the run folder; resumed if it exists")
    parser.add_argument("--dbm", help="the run folder of a machine to begin with")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--lr", type=float, default=0.03)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--max-norm", type=float, default=3.0, help="of the weights into a hidden unit")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--sweeps", type=int, default=6, help="of mean field, in training and after it")
    parser.add_argument("--known", type=float, default=0.5, help="probability that a unit is given")
    parser.add_argument("--label-known", type=float, help="that of the label; as a unit by default")
    parser.add_argument("--label-cost", type=float, default=5.0, help="factor of the label's loss")
    parser.add_argument("--initial", type=float, default=0.05, help="deviation of the first weights")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--averaging", type=float, default=0.1)
    parser.add_argument("--validate", action="store_true", help="judge by the last training rows")
    parser.add_argument("--network", type=int, default=40, help="epochs of the network beside it; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, help="use the first so many training rows only, to try it out")
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    held = 10_000 if args.validate else 0
    data = hm.datasets.load("mnist", binarisation="none", with_labels=True, validation=held)
    if args.rows is not None:
        data = dataclasses.replace(data, train=data.train[: args.rows])
    judged = data.validation if args.validate else data.test
    data = dataclasses.replace(data, validation=data.validation[:0])
    gaps = lacking(judged, args.seed)
    rows = [machine(args, data, judged, gaps)]
    if args.network:
        rows += [network(args, data, judged, gaps, share) for share in (0.2, 0.5)]
    what = "the last training rows" if args.validate else "the test set"
    keep(args.table, f"Classifiers 784-500-1000 of MNIST without pretraining, errors on {what}", rows)


def machine(args: argparse.Namespace, data: hm.Dataset, judged: Tensor, gaps: Tensor) -> dict[str, Any]:
    """Train the machine, or go on with it, and return its row of the table."""
    names = ("sweeps", "known", "label_known", "label_cost")
    rule = hm.MultiPrediction(**{name: getattr(args, name) for name in names})
    names = ("epochs", "lr", "momentum", "max_norm", "weight_decay", "batch_size", "averaging", "seed")
    options = {name: getattr(args, name) for name in names}

    def start(**how: Any) -> hm.History:
        return hm.fit(first(args), data, rule, **options, **how)

    history = gone_on(args.out, settings_of(args, "network"), data, start, show)
    model, multi = history.model, {"inference": "multi-inference"}
    return row(
        "DBM, multi-prediction",
        inferred(model, judged, args.sweeps, **multi),
        inferred(model, gaps, args.sweeps, **multi),
        judged,
        {
            "by mean field %": inferred(model, judged, args.sweeps),
            "half, by mean field %": inferred(model, gaps, args.sweeps),
            "epochs": history.records[-1]["epoch"],
            "training s": seconds_before(args.out) + seconds_of(args.out),
        },
    )


def first(args: argparse.Namespace) -> hm.DBM:
    """Return the machine before the run's training."""
    if args.dbm is not None:
        return before(args.dbm)[0]
    model = hm.DBM(LAYERS, classes=CLASSES, seed=args.seed)
    with torch.no_grad():
        for weight in (*model.weights, model.label_weight):
            weight *= args.initial / SCALE
    return model


def network(
    args: argparse.Namespace, data: hm.Dataset, judged: Tensor, gaps: Tensor, left_out: float
) -> dict[str, Any]:
    """Train a network with a share of its inputs left out, and return its row of the table."""
    model = hm.MLP(LAYERS, CLASSES, activation="relu", dropout=0.5, input_dropout=left_out, seed=args.seed)
    history = hm.finetune(model, data, epochs=args.network, seed=args.seed, callback=show, **NETWORK)
    last = history.records[-1]
    own = {"by mean field %": "", "half, by mean field %": "", "epochs": args.network}
    own["training s"] = last["seconds"]
    name = f"MLP of ReLU units, {left_out:.0%} of the inputs dropped"
    with torch.no_grad():
        found = model.eval()(2 * gaps[:, : LAYERS[0]].nan_to_num(0.0)).argmax(1)
    half = 100 * float((found != gaps[:, -1].long()).double().mean())
    return row(name, wrong(model, judged), half, judged, own)


def row(name: str, whole: float, half: float, judged: Tensor, rest: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the table."""
    error = 100 * math.sqrt(whole / 100 * (1 - whole / 100) / len(judged))
    return {"model": name, "error %": whole, "± rows": error, "half the pixels %": half, **rest}


def lacking(rows: Tensor, seed: int) -> Tensor:
    """Return rows without half of their pixels, as NaN, others in each row; their labels stay."""
    gone = hm.Stream(seed, "pixels").uniform(len(rows), LAYERS[0]) < 0.5
    pixels = rows[:, : LAYERS[0]].float().masked_fill(gone, math.nan)
    return torch.cat((pixels, rows[:, LAYERS[0] :].float()), 1)


def inferred(model: Any, rows: Tensor, sweeps: int, **how: str) -> float:
    """Return the share of rows that a machine gets wrong, in per cent."""
    codes = hm.predict(model, rows[:, : LAYERS[0]], sweeps=sweeps, **how)
    return 100 * float((codes != rows[:, -1].long()).double().mean())


def show(record: dict[str, Any]) -> None:
    """Print an epoch."""
    names = ("epoch", "seconds", "train/loss", "train/error", "train/cross_entropy", "weight/norm")
    print({name: record[name] for name in names if record.get(name) is not None}, flush=True)


if __name__ == "__main__":
    main()
