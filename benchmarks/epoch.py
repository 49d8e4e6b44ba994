"""One epoch of an RBM against the matrix products it needs, and against other packages.

An epoch is 600 updates of PCD-1 with 100 rows and 100 chains, 784-500. The yardstick is five float32 products
of those sizes by PyTorch and nothing else. Every figure is the median of alternating rounds in one run; the
states are MNIST digits if the files are there, else bits of the same density.

    pip install -c constraints.txt '.[benchmark]'
    python benchmarks/epoch.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from _table import keep

import harmonium as hm

ROWS, VISIBLE, HIDDEN, BATCH = 60_000, 784, 500, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--table", help="write the tables to this Markdown file")
    args = parser.parse_args()
    data = mnist()
    model = trained(data)
    epochs = {
        "five matrix products": products(data, model),
        "harmonium, plain SGD": lambda: epoch(
            data, model, hm.PCD(chains=BATCH, centred=False), momentum=0.0, averaging=0.0
        ),
        "harmonium, defaults": lambda: epoch(data, model, hm.PCD(chains=BATCH)),
        **peers(data),
    }
    sweeps = {
        "plain PyTorch": plain_sweeps(model),
        "harmonium": fused_sweeps(model),
    }
    compare("Epoch, PCD-1, 784-500, batch 100, 100 chains", epochs, args.rounds, args.table)
    compare("20 Gibbs sweeps of 500 chains, 784-500", sweeps, args.rounds, None)


def compare(title: str, runs: dict[str, Callable[[], None]], rounds: int, path: str | None) -> None:
    """Time the runs in turn and print each one's median and its ratio to the first."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    first = next(iter(seconds))
    rows = []
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds[first], strict=True)]
        row = {
            "what": name,
            "seconds": statistics.median(values),
            "fastest": min(values),
            "slowest": max(values),
            f"times {first}": statistics.median(ratios),
        }
        rows.append(row)
    keep(path, title, rows)


def mnist() -> hm.Dataset:
    """Return MNIST, or grey rows of its density."""
    try:
        return hm.datasets.load("mnist", validation=0)
    except hm.HarmoniumError:
        print("MNIST is not there: random rows of its density in its place")
        grey = (torch.rand(ROWS, VISIBLE) < 0.13).to(torch.uint8) * 255
        return hm.datasets.from_array(grey, binarisation="sampled")


def trained(data: hm.Dataset) -> hm.RBM:
    """Return a model that has seen the data for two epochs, whose states have natural densities."""
    model = hm.RBM(VISIBLE, HIDDEN)
    hm.fit(model, data, hm.PCD(chains=BATCH), epochs=2, batch_size=BATCH)
    return model


def epoch(data: hm.Dataset, model: hm.RBM, rule: hm.PCD, **options: float) -> None:
    """Train a copy of the model for one epoch."""
    copy = hm.RBM(VISIBLE, HIDDEN)
    copy.load_state_dict(model.state_dict())
    hm.fit(copy, data, rule, epochs=1, batch_size=BATCH, lr=0.05, **options)


def products(data: hm.Dataset, model: hm.RBM) -> Callable[[], None]:
    """Return 600 times the five products of an update, into memory that is there."""
    w = model.weight.detach()
    v = data.fixed("train", BATCH).float()
    h = torch.bernoulli(model.encode(v).detach())
    up, down, gradient = torch.empty(BATCH, HIDDEN), torch.empty(BATCH, VISIBLE), torch.empty_like(w)

    def run() -> None:
        for _ in range(ROWS // BATCH):
            torch.mm(v, w, out=up)
            torch.mm(h, w.T, out=down)
            torch.mm(v, w, out=up)
            torch.mm(v.T, h, out=gradient)
            torch.mm(v.T, h, out=gradient)

    return run


def plain_sweeps(model: hm.RBM, chains: int = 500, sweeps: int = 20) -> Callable[[], None]:
    """Return Gibbs sweeps as PyTorch's users write them."""
    w, b, c = model.weight.detach(), model.visible.bias.detach(), model.hidden.bias.detach()

    def run() -> None:
        v = torch.bernoulli(torch.full((chains, VISIBLE), 0.13))
        for _ in range(sweeps):
            h = torch.bernoulli(torch.sigmoid(v @ w + c))
            v = torch.bernoulli(torch.sigmoid(h @ w.T + b))

    return run


def fused_sweeps(model: hm.RBM, chains: int = 500, sweeps: int = 20) -> Callable[[], None]:
    """Return as many of ours."""
    gibbs, stream = hm.Gibbs(), hm.Stream(0, "benchmark")
    start = torch.bernoulli(torch.full((chains, VISIBLE), 0.13))

    def run() -> None:
        state = gibbs.init(model, chains, stream, {"visible": start})
        gibbs.run(model, state, stream, sweeps)

    return run


def peers(data: hm.Dataset) -> dict[str, Callable[[], None]]:
    """Return an epoch of each other package that is installed."""
    rows = data.fixed("train").float()
    found: dict[str, Callable[[], None]] = {"scikit-learn BernoulliRBM._fit": scikit_learn(rows)}
    for name, make in (("rbms", rbms), ("learnergy", learnergy)):
        try:
            found[name] = make(rows)
        except ImportError as error:
            print(f"{name} is left out: {error}")
    return found


def scikit_learn(rows: torch.Tensor) -> Callable[[], None]:
    """Return scikit-learn's updates, without its scoring."""
    import numpy as np
    from sklearn.neural_network import BernoulliRBM

    x = rows.numpy()
    model = BernoulliRBM(n_components=HIDDEN, batch_size=BATCH, n_iter=1, random_state=0)
    model.fit(x[: 2 * BATCH])
    random = np.random.RandomState(0)

    def run() -> None:
        for first in range(0, ROWS, BATCH):
            model._fit(x[first : first + BATCH], random)

    return run


def rbms(rows: torch.Tensor) -> Callable[[], None]:
    """Return the updates of the rbms package, as its training loop makes them."""
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.training.pcd import fit_batch_pcd

    model = BBRBM(
        weight_matrix=0.01 * torch.randn(VISIBLE, HIDDEN),
        vbias=torch.zeros(VISIBLE),
        hbias=torch.zeros(HIDDEN),
    )
    model.init_grad()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, maximize=True)
    weights = torch.ones(ROWS, 1)
    chains = [model.init_chains(BATCH)]

    @torch.no_grad()
    def run() -> None:
        for _ in range(ROWS // BATCH):
            index = torch.randperm(ROWS)[:BATCH]
            optimiser.zero_grad(set_to_none=False)
            chains[0], _ = fit_batch_pcd(
                batch=(rows[index], weights[index]),
                parallel_chains=chains[0],
                params=model,
                gibbs_steps=1,
                beta=1.0,
            )
            optimiser.step()

    return run


def learnergy(rows: torch.Tensor) -> Callable[[], None]:
    """Return an epoch of learnergy's CD-1."""
    from learnergy.models.bernoulli import RBM

    model = RBM(VISIBLE, HIDDEN, steps=1, learning_rate=0.05)
    dataset = torch.utils.data.TensorDataset(rows, torch.zeros(len(rows)))

    def run() -> None:
        model.fit(dataset, batch_size=BATCH, epochs=1)

    return run


if __name__ == "__main__":
    main()
