"""What a joint update of a deep Boltzmann machine costs, against the matrix products that it needs.

The machine is 784-500-1000, with batches of 100 rows, 100 chains, 5 Gibbs steps and 10 sweeps of mean field,
none of which is left out: the tolerance is next to nothing, and weights are five times what they usually
begin with, so that mean field still moves at the end. The yardstick does the float32 products of such
an update and nothing else, on tensors of the same shapes: one up from the data to the first layer, one more
to the second, two in each sweep, four in each Gibbs step, and two for the gradient of each layer's weights.
An epoch of ``hm.fit`` has besides what any training has: batches of fresh bits, random numbers, sigmoids,
centring, momentum, the step and the average.

Figures are wall-clock seconds of an epoch, medians of rounds in which both take their turn, and the ratio is
the median of each round's. Rows are random bits of MNIST's density: the time depends on no value.

    python benchmarks/dbm.py --table dbm.md
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _table import keep

import harmonium as hm

LAYERS = (784, 500, 1000)
BATCH = CHAINS = 100
DENSITY = 0.13


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="of an epoch")
    parser.add_argument("--steps", type=int, default=5, help="Gibbs steps of an update")
    parser.add_argument("--sweeps", type=int, default=10, help="of mean field")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    grey = (255 * (torch.rand(args.rows, LAYERS[0]) < DENSITY)).byte()
    data = hm.datasets.from_array(grey.numpy(), binarisation="sampled")
    rule = hm.VariationalPCD(
        chains=CHAINS, steps=args.steps, data_steps=args.sweeps, tolerance=1e-30, burn_in=0, unsettled="go-on"
    )
    runs: dict[str, Callable[[], float]] = {
        "matrix products": products(args),
        "harmonium, plain SGD": epoch(data, rule, momentum=0.0, averaging=0.0),
        "harmonium, defaults": epoch(data, rule),
    }
    rounds = [{name: run() for name, run in runs.items()} for _ in range(args.rounds + 1)][1:]
    table = []
    for name in runs:
        own = [one[name] for one in rounds]
        ratio = statistics.median(one[name] / one["matrix products"] for one in rounds)
        found = {"seconds": statistics.median(own), "fastest": min(own), "slowest": max(own)}
        table.append({"what": name, **found, "times the products": ratio})
    title = f"Joint updates of a DBM 784-500-1000: {args.rows // BATCH} of {args.steps} Gibbs steps"
    keep(args.table, f"{title} and {args.sweeps} sweeps of mean field", table)


def epoch(data: hm.Dataset, rule: Any, **options: Any) -> Callable[[], float]:
    """Return a function that trains for an epoch and returns its seconds."""

    def run() -> float:
        model = hm.DBM(LAYERS)
        for weight in model.weights:
            weight.data *= 5
        settings = {"epochs": 1, "batch_size": BATCH, "lr": 0.001, "schedule": "constant", **options}
        record = hm.fit(model, data, rule, **settings).records[0]
        assert record["rule/sweeps"] == rule.data_steps, record
        return record["seconds"]

    return run


def products(args: argparse.Namespace) -> Callable[[], float]:
    """Return a function that does the products of an epoch and returns its seconds."""
    low, middle, high = LAYERS
    w1, w2 = torch.randn(low, middle), torch.randn(middle, high)
    v, h1, h2 = (torch.rand(BATCH, width) for width in LAYERS)
    into1, more1, into2, into0 = (torch.empty(BATCH, width) for width in (middle, middle, high, low))
    d1, d2 = torch.empty_like(w1), torch.empty_like(w2)

    def update() -> None:
        torch.mm(v, w1, out=into1)
        torch.mm(h1, w2, out=into2)
        for _ in range(args.sweeps):
            torch.mm(h1, w2, out=into2)
            torch.mm(h2, w2.T, out=more1)
        for _ in range(args.steps):
            torch.mm(v, w1, out=into1)
            torch.mm(h2, w2.T, out=more1)
            torch.mm(h1, w1.T, out=into0)
            torch.mm(h1, w2, out=into2)
        for _ in ("data", "model"):
            torch.mm(v.T, h1, out=d1)
            torch.mm(h1.T, h2, out=d2)

    def run() -> float:
        began = time.perf_counter()
        for _ in range(-(-args.rows // BATCH)):
            update()
        return time.perf_counter() - began

    return run


if __name__ == "__main__":
    main()
