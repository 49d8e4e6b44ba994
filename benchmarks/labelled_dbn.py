"""A deep belief network with a label: a grid of ten classes, and a classifier that reads it.

After Hinton, Osindero & Teh (2006): the top RBM of 784-500-500-2000 sees the digit's label beside the last
layer but one. The network is trained layer by layer with persistent chains, then, with ``--up-down`` epochs,
as a whole by contrastive wake-sleep. Digits of a class are drawn with its label clamped: chains in the top
RBM, from noise, then one pass down; what is drawn are bits.

The judge is a classifier trained apart: a network of ReLU units with dropout, from random weights, on bits of
50,000 training digits drawn afresh at each presentation, so that what it is shown looks like what it learned
from. The 10,000 others choose its epoch. Its own error on the bits of the test set is stated
beside the share of drawn digits that it gives the class that they were drawn for. The picture shows the means
that the bits came from, a class in each row. Needs the MNIST files (see docs/data.md).

    python benchmarks/labelled_dbn.py --out RUN --picture digits.png --table labelled.md
"""

from __future__ import annotations

import argparse
import math
import time
from functools import partial
from typing import Any

import torch
from _networks import LAYERS, show, wrong
from _runs import gone_on
from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium.plots import save_grid

CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True, help="the run folder; the others are named after it")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS[1:], help="the hidden ones")
    parser.add_argument("--epochs", type=int, nargs="+", default=[40, 40, 60])
    parser.add_argument("--lr", type=float, nargs="+", default=[0.1, 0.05, 0.05])
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--up-down", type=int, default=0, help="epochs of contrastive wake-sleep")
    parser.add_argument("--up-down-lr", type=float, default=0.01)
    parser.add_argument("--up-down-steps", type=int, default=5)
    parser.add_argument("--judge", type=int, default=30, help="epochs of the classifier")
    parser.add_argument("--each", type=int, default=100, help="digits of each class for the classifier")
    parser.add_argument("--shown", type=int, default=12, help="digits of each class in the picture")
    parser.add_argument("--steps", type=int, default=2000, help="Gibbs steps of the top RBM")
    parser.add_argument("--replicas", type=int, default=1, help="of each chain, for parallel tempering")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", help="write the grid to this PNG")
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    data = hm.datasets.load(args.data, validation=0, with_labels=True)
    judge, judged = classifier(args)
    layered, seconds = trained(args, data)
    rows = [judged | read(args, layered, judge, "layer by layer", seconds)]
    model = layered
    if args.up_down:
        model, more = up_down(args, data, layered)
        rows.append(judged | read(args, model, judge, "and up-down", seconds + more))
    if args.picture:
        picture(args, model, data)
    keep(args.table, f"A network with a label on {args.data}: what a classifier reads in its digits", rows)


def trained(args: argparse.Namespace, data: hm.Dataset) -> tuple[hm.DBN, float]:
    """Return the network trained layer by layer, and the seconds it took."""
    names = ("data", "layers", "epochs", "lr", "chains", "seed")
    start = partial(
        hm.pretrain,
        hm.DBN([data.columns, *args.layers], classes=CLASSES, seed=args.seed),
        data,
        hm.PCD(chains=args.chains),
        epochs=args.epochs,
        lr=args.lr,
        batch_size=args.chains,
        seed=args.seed,
    )
    settings = {name: getattr(args, name) for name in names}
    return finished(gone_on(args.out, settings, data, start, show))


def up_down(args: argparse.Namespace, data: hm.Dataset, layered: hm.DBN) -> tuple[hm.DBN, float]:
    """Return the network tuned as a whole, and the seconds it took; the one given is tuned."""
    out = f"{args.out}-up-down"
    names = ("up_down", "up_down_lr", "up_down_steps", "seed")
    layered.untie()
    start = partial(
        hm.fit,
        layered,
        data,
        hm.WakeSleep(steps=args.up_down_steps),
        epochs=args.up_down,
        lr=args.up_down_lr,
        batch_size=100,
        seed=args.seed,
    )
    settings = {name: getattr(args, name) for name in names}
    return finished(gone_on(out, settings, data, start, show))


def finished(history: hm.History) -> tuple[hm.DBN, float]:
    """Return the network of a run that has ended, and its seconds."""
    assert isinstance(history.model, hm.DBN)
    ends = {record.get("layer", 1): record["seconds"] for record in history.records}
    return history.model, sum(ends.values())


def classifier(args: argparse.Namespace) -> tuple[hm.MLP, dict[str, Any]]:
    """Return the judge, and its errors."""
    data = hm.datasets.load(args.data, with_labels=True)
    out = f"{args.out}-judge"
    fresh = hm.MLP(
        [data.columns, 800, 800], CLASSES, activation="relu", dropout=0.5, input_dropout=0.2, seed=args.seed
    )
    start = partial(
        hm.finetune,
        fresh,
        data,
        epochs=args.judge,
        lr=0.05,
        max_norm=3.0,
        averaging=0.1,
        patience=args.judge,
        seed=args.seed,
    )
    settings = {"data": args.data, "epochs": args.judge, "seed": args.seed}
    judge = gone_on(out, settings, data, start, show).model
    assert isinstance(judge, hm.MLP)
    return judge, {
        "judge's validation error %": wrong(judge, data.validation),
        "judge's test error %": wrong(judge, data.test),
    }


def read(args: argparse.Namespace, model: hm.DBN, judge: hm.MLP, name: str, seconds: float) -> dict[str, Any]:
    """Draw digits of each class and let the classifier read them; return a row of the table."""
    began = time.monotonic()
    codes = torch.arange(CLASSES).repeat_interleave(args.each)
    drawn = draw(args, model, codes)
    right = (hm.predict(judge, drawn).cpu() == codes).double()
    shares = right.view(CLASSES, -1).mean(1)
    print({"recognised by class": [round(float(share), 3) for share in shares]}, flush=True)
    share = float(right.mean())
    return {
        "training": name,
        "seconds": seconds,
        "digits": len(codes),
        "recognised %": 100 * share,
        "± digits": 100 * math.sqrt(share * (1 - share) / len(codes)),
        "worst class %": 100 * float(shares.min()),
        "drawing s": time.monotonic() - began,
    }


def draw(args: argparse.Namespace, model: hm.DBN, codes: Tensor, *, means: bool = False) -> Tensor:
    """Return digits of the classes asked for, without their labels, shape (rows, pixels)."""
    pixels = model.rbms[0].visible.size
    clamp = torch.full((len(codes), pixels + 1), torch.nan)
    clamp[:, -1] = codes
    rows = hm.sample(
        model, len(codes), steps=args.steps, replicas=args.replicas, seed=args.seed, clamp=clamp, means=means
    )
    return rows[:, :pixels]


def picture(args: argparse.Namespace, model: hm.DBN, data: hm.Dataset) -> None:
    """Write a grid of the first digits of each class, a class in each row."""
    codes = torch.arange(CLASSES).repeat_interleave(args.each)
    means = draw(args, model, codes, means=True).view(CLASSES, args.each, -1)[:, : args.shown]
    save_grid(
        means.flatten(0, 1), data.shape, args.picture, columns=min(args.shown, args.each), overwrite=True
    )


if __name__ == "__main__":
    main()
