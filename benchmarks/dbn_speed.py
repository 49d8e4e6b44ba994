"""What training a deep network costs: pretraining against an RBM's epochs, fine-tuning against plain PyTorch.

Pretraining: an epoch of the first RBM, 784-500, through ``hm.pretrain`` against one of the same RBM through
``hm.fit``; the upper RBMs, which are shown states drawn up through the layers below, against the same RBM in
proportion to the weights that a batch meets: five products with an RBM's own, and one with those of each
layer below it.

Fine-tuning: an epoch of the classifier 784-500-500-2000-10 through ``hm.finetune`` against the loop that
PyTorch's users write for the same network: same batch size, optimiser, dropout and number of updates, and the
data in memory as float32. The loop scores nothing; ``hm.finetune`` scores 1,000 training rows at the end of
the epoch, as it always does, and that is in its time.

Figures are wall-clock seconds, the median of rounds in which all runs take their turn, and the ratios are
medians of each round's. Needs the MNIST files (see docs/data.md), else random rows of their density stand in.

    python benchmarks/dbn_speed.py --table speed.md
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from _networks import LAYERS
from _table import keep
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import harmonium as hm

BATCH = 100
Runs = dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--only", choices=("pretraining", "fine-tuning"))
    parser.add_argument("--table", help="write the tables to this Markdown file and one beside it")
    args = parser.parse_args()

    if args.only != "fine-tuning":
        compare_pretraining(args)
    if args.only != "pretraining":
        path = None if args.table is None else args.table.replace(".md", "-fine-tuning.md")
        compare_fine_tuning(args, path)


def compare_pretraining(args: argparse.Namespace) -> None:
    """Time an epoch of an RBM, and one of each RBM of a network."""
    bits = hm.datasets.from_array((255 * mnist(args.rows)[0]).byte(), binarisation="sampled")
    rule = hm.PCD(chains=BATCH)
    options: dict[str, Any] = {"epochs": 1, "batch_size": BATCH, "lr": 0.05}
    rbm = "hm.fit, RBM"

    def whole() -> dict[str, float]:
        """Train a network; return the seconds of each layer's epoch."""
        history = hm.pretrain(hm.DBN(args.layers), bits, rule, **options)
        return {f"hm.pretrain, layer {r['layer']}": r["seconds"] for r in history.records}

    def single() -> dict[str, float]:
        """Train the first RBM by itself; return the seconds of its epoch."""
        history = hm.fit(hm.RBM(*args.layers[:2]), bits, rule, **options)
        return {rbm: history.records[0]["seconds"]}

    single(), whole()
    rounds = [single() | whole() for _ in range(args.rounds)]
    work = products(args.layers)
    share = {rbm: 1.0} | {f"hm.pretrain, layer {n}": w / work[0] for n, w in enumerate(work, 1)}
    keep(args.table, f"An epoch of {args.rows:,} rows, PCD-1, batch {BATCH}", ratios(rounds, rbm, share))


def products(layers: list[int]) -> list[int]:
    """Return how many weights a row meets in an update of each RBM."""
    own = [a * b for a, b in pairwise(layers)]
    return [5 * size + sum(own[:number]) for number, size in enumerate(own)]


def compare_fine_tuning(args: argparse.Namespace, path: str | None) -> None:
    """Time an epoch of a classifier, with dropout and without, by this library and by a plain loop."""
    grey, labels = mnist(args.rows)
    data = torch.cat(((255 * grey).round(), labels[:, None]), 1).byte()
    codes = {"train": labels.numpy()}
    rows = hm.datasets.from_array(data[:, :-1], binarisation="none", labels=codes).with_labels()
    rounds: list[dict[str, float]] = []
    for number in range(args.rounds + 1):
        found: dict[str, float] = {}
        for name, dropout in (("", {}), (", dropout", {"dropout": 0.5, "input_dropout": 0.2})):
            model = hm.MLP(args.layers, 10, **dropout)
            found[f"plain PyTorch{name}"] = seconds(lambda m=model: plain(m, grey, labels))
            model = hm.MLP(args.layers, 10, **dropout)
            found[f"hm.finetune{name}"] = seconds(
                lambda m=model: hm.finetune(m, rows, epochs=1, batch_size=BATCH, lr=0.1, schedule="constant")
            )
        rounds += [found] if number else []
    title = f"An epoch of fine-tuning, {args.rows:,} rows, batch {BATCH}, SGD with momentum"
    table = ratios(rounds, "plain PyTorch", {})
    for row in table:
        name = row["what"].replace("hm.finetune", "plain PyTorch")
        row["times plain PyTorch"] = statistics.median(one[row["what"]] / one[name] for one in rounds)
    keep(path, title, table)


def plain(model: hm.MLP, rows: Tensor, labels: Tensor) -> None:
    """Train a network for an epoch as PyTorch's users do."""
    network: nn.Sequential = model.network
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for index in torch.randperm(len(rows)).split(BATCH):
        optimiser.zero_grad()
        loss = cross_entropy(network(rows[index]), labels[index])
        loss.backward()
        optimiser.step()


def seconds(run: Callable[[], object]) -> float:
    """Return how long a run takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def ratios(rounds: list[dict[str, float]], first: str, share: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row for each run: its median, and its ratio to the first, also in proportion to its work."""
    rows = []
    for name in rounds[0]:
        own = [one[name] for one in rounds]
        ratio = statistics.median(one[name] / one[first] for one in rounds)
        row = {"what": name, "seconds": statistics.median(own), "fastest": min(own), "slowest": max(own)}
        row[f"times {first}"] = ratio
        if share:
            row |= {"work": share[name], "times its share": ratio / share[name]}
        rows.append(row)
    return rows


def mnist(rows: int) -> tuple[Tensor, Tensor]:
    """Return grey levels from 0 to 1 and labels, of MNIST or at random in its place."""
    try:
        data = hm.datasets.load("mnist", binarisation="none", validation=0, with_labels=True)
    except hm.HarmoniumError:
        print("MNIST is not there: random rows of its density in its place")
        return (torch.rand(rows, 784) < 0.13).float(), torch.randint(10, (rows,))
    values = data.fixed("train", rows)
    return values[:, :-1].contiguous(), values[:, -1].long()


if __name__ == "__main__":
    main()
