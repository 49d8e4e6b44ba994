"""Few labels of MNIST: what pretraining on 60,000 digits without labels is worth.

The network is pretrained once and fine-tuned on 100, 1,000 and 10,000 labelled digits, as many of each class,
drawn from the 60,000 afresh in each of ``--draws`` draws. Beside it are the same networks from random
weights, of sigmoid and of ReLU units, on the same draws. All take Adam's steps and leave units out (dropout).
Nothing is chosen in a draw: the settings, the number of epochs included, are those below, and the test set is
read once for each network at the end. A validation set of 10,000 labels would be no small number of labels.

For scale: 18.3, 6.4 and 2.7 % (from random weights 24.0, 11.3 and 5.3 %) are what the README of
yell/boltzmann-machines reports for an RBM of 1,024 hidden units, fine-tuned. Needs the MNIST files (see
docs/data.md). ``--validate`` is for choosing settings: it draws other digits, and scores the last 10,000
training rows, which then lend no labels, in place of the test set.

    python benchmarks/few_labels.py --out RUN --table few.md
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import Any

import torch
from _networks import LAYERS, pretrained, wrong
from _table import keep

import harmonium as hm

PUBLISHED = {100: (18.3, 23.98), 1000: (6.35, 11.29), 10_000: (2.73, 5.27)}
"""By the number of labels: the error of a fine-tuned RBM, and that from random weights, in per cent."""

EPOCHS = {100: 100, 1000: 100, 10_000: 40}
KINDS = ("pretrained", "sigmoid", "relu")
OPTIONS: dict[str, Any] = {"lr": 1e-3, "optimizer": "Adam", "averaging": 0.1}
DROPOUT = (0.5, 0.2)
BATCH = {100: 10, 1000: 50, 10_000: 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True, help="the pretraining's run folder; used again if it exists")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--pretraining", type=int, default=50, help="epochs of each RBM")
    parser.add_argument("--sparsity", type=float, help="share of the time that its hidden units are to be on")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--epochs", type=int, help="in place of those for the number of labels")
    parser.add_argument("--lr", type=float, help="0.001")
    parser.add_argument("--optimizer", help="Adam")
    parser.add_argument(
        "--dropout", type=float, nargs=2, metavar="P", help="of hidden units and of inputs; 0.5, 0.2"
    )
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write the tables to this Markdown file and one beside it")
    args = parser.parse_args()

    network, seconds = pretrained(args.out, args.layers, args.pretraining, sparsity=args.sparsity)
    held = 10_000 if args.validate else 0
    data = hm.datasets.load("mnist", binarisation="none", with_labels=True, validation=held)
    rows = data.fixed("train")
    judged = data.validation if args.validate else data.test
    found = []
    for labels in args.labels:
        for draw in range(args.draws):
            stream = hm.Stream(args.seed, f"few labels {'validated ' if args.validate else ''}{draw}")
            own = rows[balanced(rows[:, -1].long(), labels, stream)]
            for kind in args.kinds:
                found.append(trial(args, network, kind, own, draw, judged))
                print(found[-1], flush=True)
    title = f"Few labels of MNIST, {'-'.join(map(str, args.layers))}, pretrained in {seconds:.0f} s"
    path = None if args.table is None else args.table.replace(".md", "-draws.md")
    keep(path, f"{title}: each draw", found)
    keep(args.table, title, [line(found, labels, kind) for labels in args.labels for kind in args.kinds])


def balanced(codes: torch.Tensor, labels: int, stream: hm.Stream) -> torch.Tensor:
    """Return the numbers of rows drawn without repetition, as many of each class."""
    classes = int(codes.max()) + 1
    if labels % classes:
        raise SystemExit(f"--labels: got {labels}, expected a multiple of the {classes} classes")
    order = stream.permutation(len(codes))
    first = [order[codes[order] == one][: labels // classes] for one in range(classes)]
    return torch.cat(first)


def trial(
    args: argparse.Namespace, network: hm.DBN, kind: str, rows: torch.Tensor, draw: int, judged: torch.Tensor
) -> dict[str, Any]:
    """Fine-tune one network on one draw, and return its row of the table."""
    options = OPTIONS | {"epochs": EPOCHS.get(len(rows), 60), "batch_size": BATCH.get(len(rows), 100)}
    names = ("epochs", "lr", "optimizer")
    options |= {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    dropout = dict(zip(("dropout", "input_dropout"), args.dropout or DROPOUT, strict=True))
    seed = args.seed + draw
    if kind == "pretrained":
        model = network.to_mlp(10, seed=seed, **dropout)
    else:
        model = hm.MLP(args.layers, 10, activation=kind, seed=seed, **dropout)
    began = time.monotonic()
    labelled = hm.datasets.from_array(rows[:, :-1], binarisation="none", labels=rows[:, -1].long())
    history = hm.finetune(model, labelled, seed=seed, **options)
    return {
        "labels": len(rows),
        "weights": kind,
        "draw": draw,
        "train cross-entropy": history.records[-1]["train/cross_entropy"],
        "error %": wrong(model, judged),
        "seconds": time.monotonic() - began,
    }


def line(found: list[dict[str, Any]], labels: int, kind: str) -> dict[str, Any]:
    """Return the mean error over the draws, with its standard error, and what was published."""
    own = [row for row in found if (row["labels"], row["weights"]) == (labels, kind)]
    errors = [row["error %"] for row in own]
    published = PUBLISHED.get(labels, ("", ""))[0 if kind == "pretrained" else 1]
    return {
        "labels": labels,
        "weights": kind,
        "draws": len(errors),
        "error %": statistics.mean(errors),
        "± draws": statistics.stdev(errors) / math.sqrt(len(errors)) if len(errors) > 1 else math.inf,
        "published %": published if kind != "relu" else "",
        "seconds each": statistics.mean(row["seconds"] for row in own),
    }


if __name__ == "__main__":
    main()
