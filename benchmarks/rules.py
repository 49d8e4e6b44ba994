"""One update by each learning rule, 784-500, batch 100, against one by CD-1.

An update sets the gradients of a batch and takes a plain step. Every figure is the median of alternating
rounds in one run; the states are MNIST digits if the files are there, else bits of the same density. The last
rows are loops over the sites, written here as one would write them down: each flipped batch through the free
energy, and autograd for the rest; and those of ebmkit, if it is installed, which has two such loops.

    pip install -c constraints.txt '.[benchmark]'
    python benchmarks/rules.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from _table import keep
from epoch import BATCH, mnist, trained
from torch import Tensor
from torch.nn.functional import softplus

import harmonium as hm
from harmonium.learning import Batch, Rule

UPDATES = 20
COSTS = {
    "pseudolikelihood": softplus,
    "ratio-matching": lambda odds: torch.sigmoid(odds).square(),
    "probability-flow": lambda odds: torch.exp(odds / 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()
    data = mnist()
    model = trained(data)
    v = data.fixed("train", BATCH).float()
    rules = {
        "CD-1": hm.CD(),
        "PCD-1": hm.PCD(chains=BATCH),
        **{name: hm.RULES[name]() for name in COSTS},
    }
    runs = {name: (UPDATES, updates(model, rule, v)) for name, rule in rules.items()}
    runs |= {f"{name}, loop over sites": (1, loop(model, cost, v)) for name, cost in COSTS.items()}
    runs |= {f"{name}, ebmkit": (1, run) for name, run in peers(model, v).items()}
    compare(runs, args.rounds, args.table)


def compare(runs: dict[str, tuple[int, Callable[[], None]]], rounds: int, path: str | None) -> None:
    """Time the runs in turn; print each one's milliseconds for an update and their ratio to the first."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, (count, run) in runs.items():
            began = time.perf_counter()
            run()
            if turn:
                spent[name].append(1000 * (time.perf_counter() - began) / count)
    first = next(iter(spent.values()))
    rows = []
    for name, values in spent.items():
        ratio = statistics.median(a / b for a, b in zip(values, first, strict=True))
        row = {"rule": name, "ms per update": statistics.median(values), "fastest": min(values)}
        rows.append({**row, "slowest": max(values), "times CD-1": ratio})
    keep(path, f"Updates, 784-500, batch {BATCH}", rows)


def copy(model: hm.RBM) -> hm.RBM:
    """Return a model that can be trained without the others."""
    other = hm.RBM(model.visible.size, model.hidden.size)
    other.load_state_dict(model.state_dict())
    return other


def updates(model: hm.RBM, rule: Rule, v: Tensor) -> Callable[[], None]:
    """Return some updates by a rule, each with a plain step."""
    model, stream = copy(model), hm.Stream(0, "benchmark")
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    batch = Batch(v, torch.full((len(v),), 1 / len(v)), torch.arange(len(v)))
    state = rule.init(model, stream)

    def run() -> None:
        nonlocal state
        for _ in range(UPDATES):
            state, _ = rule.update(model, batch, state, stream, lambda group: optimiser.step())

    return run


def loop(model: hm.RBM, cost: Callable[[Tensor], Tensor], v: Tensor) -> Callable[[], None]:
    """Return an update that flips one site after the other, as one would write it down."""
    model = copy(model)

    def free_energy(x: Tensor) -> Tensor:
        return -x @ model.visible.bias - softplus(x @ model.weight + model.hidden.bias).sum(1)

    def flipped(i: int) -> Tensor:
        x = v.clone()
        x[:, i] = 1 - x[:, i]
        return x

    def loss() -> Tensor:
        before = free_energy(v)
        odds = torch.stack([before - free_energy(flipped(i)) for i in range(v.shape[1])], 1)
        return cost(odds).sum(1).mean()

    return descent(model, loss)


def peers(model: hm.RBM, v: Tensor) -> dict[str, Callable[[], None]]:
    """Return updates of the same model by ebmkit, by rule; none where it is not installed."""
    try:
        from ebm.losses.discrete import PseudoLikelihood, RatioMatching
        from ebm.nets import RBM
    except ImportError:
        print("ebmkit is not installed: left out")
        return {}

    def update(cost: torch.nn.Module) -> Callable[[], None]:
        other = RBM(model.visible.size, model.hidden.size)
        with torch.no_grad():
            other.W.copy_(model.weight.T)
            other.b.copy_(model.visible.bias)
            other.c.copy_(model.hidden.bias)
        return descent(other, lambda: cost(other, v).loss)

    return {"pseudolikelihood": update(PseudoLikelihood()), "ratio-matching": update(RatioMatching())}


def descent(model: torch.nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """Return an update by autograd, with a plain step."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)

    def run() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return run


if __name__ == "__main__":
    main()
