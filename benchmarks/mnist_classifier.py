"""Classifiers 784-500-500-2000 of MNIST that know nothing of images: pretrained, then fine-tuned.

The network is pretrained once, on the 60,000 training images without their labels, and fine-tuned by back-
propagation, plain or with ``--dropout``. Its inputs are the grey levels: the means of the bits that it was
pretrained on; or, while it learns, such ``--bits``, drawn afresh at each presentation, where a fixed sample
of bits chooses the epoch; errors in the table are of grey levels always. The last 10,000 training rows choose
the epoch. With ``--refit`` these rows then go back to training: the same network starts anew from the
pretrained weights and learns from all 60,000 labels, with the same settings and the same falling rate, up to
the epoch that was chosen, and that network is the one that is tested. With ``--whole`` it learns from them
from the beginning, for as many epochs as are asked for: nothing is left to choose an epoch, and all of the
time is that of one training. In any case the test set is read once for each network and seed, at its end, and
chooses nothing.

``--kinds`` names more networks: those from random weights, of sigmoid and of ReLU units, by the same
protocol. ``--seeds`` repeats the fine-tuning; the first is ``--seed``. ``--minutes`` limits what one network
takes, pretraining and refit included. ``--dbm`` fine-tunes the deep Boltzmann machine of a run, which
``mnist_dbm.py`` has trained, in place of a belief network: its classifier sees mean field's means of the
second hidden layer beside the pixels. With ``--adversarial`` a share of the loss is that of pixels which a
step against the label has moved (Goodfellow et al., 2015). After Hinton & Salakhutdinov (2006), 1.2 %, and
Srivastava et al. (2014), 1.18 % plain and 0.92 % with dropout. Needs the MNIST files (see docs/data.md).

    python benchmarks/mnist_classifier.py --out RUN --refit --bits --weight-decay 3e-5 --epochs 50
    python benchmarks/mnist_classifier.py --out RUN --sparsity 0.1 --refit --dropout 0.4 0.2 --epochs 60
    python benchmarks/mnist_classifier.py --dbm RUN --whole --adversarial 0.1 0.7 --epochs 50 --minutes 150
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _networks import LAYERS, chosen, machine, pretrained, show, sizes, wrong
from _table import keep

import harmonium as hm

KINDS = ("pretrained", "sigmoid", "relu")
PLAIN: dict[str, Any] = {"epochs": 60, "lr": 0.1, "momentum": 0.9}
DROPOUT: dict[str, Any] = {"epochs": 90, "lr": 1e-3, "optimizer": "Adam"}
STEP = ("adversarial", "adversarial_share")
"""The arguments of the rule."""
LEFT_OUT = [0.5, 0.2]
"""The shares of hidden units and of inputs that dropout leaves out."""
RELU: dict[str, Any] = {"lr": 0.02}
"""Of plain back-propagation."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", help="the pretraining's run folder; used again if it exists")
    parser.add_argument("--dbm", help="the run folder of a DBM to fine-tune in place of a DBN")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--pretraining", type=int, default=50, help="epochs of each RBM")
    parser.add_argument("--sparsity", type=float, help="share of the time that its hidden units are to be on")
    parser.add_argument("--bits", action="store_true", help="learn from fresh bits of the grey levels")
    parser.add_argument(
        "--dropout",
        type=float,
        nargs="*",
        metavar="P",
        help="leave out these shares of the hidden units and of the inputs, by default 0.5 and 0.2",
    )
    parser.add_argument(
        "--adversarial",
        type=float,
        nargs="+",
        default=[0.0],
        metavar="STEP",
        help="step of pixels against the label, and the share of the loss after it, by default a half",
    )
    parser.add_argument("--epochs", type=int, help="of fine-tuning; 60, and 90 with dropout")
    parser.add_argument("--optimizer", help="sgd, and Adam with dropout")
    parser.add_argument("--lr", type=float, help="0.1, and 0.001 with dropout")
    parser.add_argument("--momentum", type=float, help="of sgd; 0.9")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--max-norm", type=float, help="of the weights into a hidden unit; none by default")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--averaging", type=float, default=0.1, help="share of the updates to average over")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--refit", action="store_true", help="then learn from all 60,000 labels")
    labels.add_argument("--whole", action="store_true", help="learn from all 60,000 labels; choose no epoch")
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS[:1], help="and random weights of these units"
    )
    parser.add_argument("--minutes", type=float, default=45, help="for one network, pretraining included")
    parser.add_argument("--seeds", type=int, default=1, help="how many fine-tunings of each network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, help="use the first so many training rows only, to try it out")
    parser.add_argument("--table", help="write the tables to this Markdown file and one beside it")
    args = parser.parse_args()

    if args.dropout is not None:
        if len(args.dropout) not in (0, 2):
            parser.error(f"--dropout: got {len(args.dropout)} numbers, expected none or two")
        args.dropout = args.dropout or LEFT_OUT
    if len(args.adversarial) > len(STEP):
        parser.error(f"--adversarial: got {len(args.adversarial)} numbers, expected one or two")
    try:
        args.rule = hm.CrossEntropy(**dict(zip(STEP, args.adversarial, strict=False)))
    except hm.errors.ArgumentError as error:
        parser.error(str(error))
    if (args.out is None) == (args.dbm is None):
        parser.error("give either --out or --dbm")
    if args.dbm is None:
        network, before = pretrained(args.out, args.layers, args.pretraining, sparsity=args.sparsity)
        print(f"norms of the pretrained weights into hidden units: {norms(network)}")
    else:
        network, before = machine(args.dbm)
        args.layers = sizes(network)
    data = hm.datasets.load("mnist", binarisation="none", with_labels=True)
    if args.rows is not None:
        data = dataclasses.replace(data, train=data.train[: args.rows])
    rows = []
    for kind in args.kinds:
        for seed in range(args.seed, args.seed + args.seeds):
            start = before if kind == "pretrained" else 0.0
            rows.append(trial(args, network, kind, data, seed, start))
            print(rows[-1], flush=True)
    how = "dropout" if args.dropout else "plain"
    names = "-".join(map(str, args.layers))
    keep(args.table, f"Classifiers {names} of MNIST, {how} back-propagation", rows)
    if args.seeds > 1:
        path = None if args.table is None else args.table.replace(".md", "-seeds.md")
        keep(path, f"The same over {args.seeds} seeds", [over_seeds(rows, kind) for kind in args.kinds])


def trial(
    args: argparse.Namespace, network: hm.DBN | hm.DBM, kind: str, data: hm.Dataset, seed: int, before: float
) -> dict[str, Any]:
    """Fine-tune one network, refit it if that is wished, and return its row of the table."""
    options = settings(args, kind) | {"seed": seed}
    began = time.monotonic()

    def seconds() -> float:
        return before + time.monotonic() - began

    share = 1 / (1 + 1.2 * args.refit)

    def late(record: dict[str, Any]) -> bool:
        """Print an epoch; return whether the time is up."""
        show(record)
        return before + (seconds() - before) / share > 60 * args.minutes

    model = fresh(args, network, kind, seed)
    shown = bits_of(data) if args.bits else data
    whole, rule = all_rows(data, shown), args.rule
    if args.whole:
        history = hm.finetune(model, whole, rule, callback=late, **options)
        epoch, rows, error = history.records[-1]["epoch"], len(whole.train), ""
    else:
        history = hm.finetune(model, shown, rule, patience=options["epochs"], callback=late, **options)
        epoch, rows, error = chosen(history), len(data.train), wrong(model, data.validation)
    if args.refit:
        model, rows = fresh(args, network, kind, seed), len(whole.train)
        hm.finetune(model, whole, rule, callback=until(epoch), **options)
    test = wrong(model, data.test)
    return {
        "weights": kind,
        "units": "relu" if kind == "relu" else "sigmoid",
        "learns from": "bits" if args.bits else "grey levels",
        "dropout": "none" if args.dropout is None else ", ".join(map(str, args.dropout)),
        "adversarial step": args.rule.adversarial,
        "its share": args.rule.adversarial_share if args.rule.adversarial else "",
        "seed": seed,
        "labels": rows,
        "epochs": options["epochs"],
        "epoch": epoch,
        "validation error %": error,
        "test error %": test,
        "± rows": 100 * math.sqrt(test / 100 * (1 - test / 100) / len(data.test)),
        "pretraining s": before,
        "fine-tuning s": seconds() - before,
    }


def until(epoch: int) -> Callable[[dict[str, Any]], bool]:
    """Return a callback that prints each epoch and ends the run after one of them."""

    def last(record: dict[str, Any]) -> bool:
        show(record)
        return bool(record["epoch"] == epoch)

    return last


def settings(args: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Return the options of fine-tuning: what was asked for, over what is usual for the network."""
    options = dict(DROPOUT if args.dropout else PLAIN)
    if kind == "relu" and not args.dropout:
        options |= RELU
    names = ("epochs", "optimizer", "lr", "momentum", "max_norm")
    options |= {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    rest = ("batch_size", "weight_decay", "averaging")
    return options | {name: getattr(args, name) for name in rest}


def fresh(args: argparse.Namespace, network: hm.DBN | hm.DBM, kind: str, seed: int) -> hm.MLP:
    """Return a classifier before fine-tuning."""
    dropout = (
        {} if args.dropout is None else dict(zip(("dropout", "input_dropout"), args.dropout, strict=True))
    )
    if kind == "pretrained":
        return network.to_mlp(10, seed=seed, **dropout)
    return hm.MLP(args.layers, 10, activation=kind, seed=seed, **dropout)


def bits_of(data: hm.Dataset) -> hm.Dataset:
    """Return the data set whose grey levels become bits, afresh for training, once for choosing."""
    drawn = hm.datasets.load("mnist", with_labels=True)
    return dataclasses.replace(drawn, train=data.train)


def all_rows(data: hm.Dataset, shown: hm.Dataset) -> hm.Dataset:
    """Return what is shown, with the validation rows, as grey levels and labels, among the training rows."""
    assert data.levels is not None
    grey = data.validation.clone()
    grey[:, : data.columns] *= data.levels
    train = torch.cat((data.train, grey.round().to(data.train.dtype)))
    return dataclasses.replace(shown, train=train, validation=data.validation[:0])


def norms(network: hm.DBN) -> str:
    """Return the mean and the largest norm of the weights into a unit, layer by layer."""
    each = [rbm.weight.detach().norm(dim=0) for rbm in network.rbms]
    return ", ".join(f"{float(norm.mean()):.2f} (at most {float(norm.max()):.2f})" for norm in each)


def over_seeds(rows: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the mean test error of a kind of network over seeds, with its standard error."""
    errors = [row["test error %"] for row in rows if row["weights"] == kind]
    return {
        "weights": kind,
        "seeds": len(errors),
        "test error %": statistics.mean(errors),
        "± seeds": statistics.stdev(errors) / math.sqrt(len(errors)),
        "least": min(errors),
        "most": max(errors),
    }


if __name__ == "__main__":
    main()
