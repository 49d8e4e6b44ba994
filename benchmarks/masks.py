"""What a mask costs: an epoch of an RBM 784-500 without one and with some, beside what sparse products would.

The library keeps masked couplings as a dense matrix with zeros, beside a mask of the same size. In compressed
rows (CSR, 32-bit numbers of columns), in both directions, they would take what the mask leaves alone. The
products of an update by PCD-1 (fields of the hidden units twice, of the visible ones once, and two gradients)
are timed both ways, on 0/1 states: by the library's own functions, and by torch's sparse ones.

Figures are wall-clock times, medians of rounds in which all take their turn. Rows are random bits.

    python benchmarks/masks.py --table masks.md
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium import kernels

SHAPE, HIDDEN, BATCH = (28, 28), 500, 100
REPEATS = 50
KINDS = ("dense", "sparse")
VISIBLE = SHAPE[0] * SHAPE[1]
MASKS: dict[str, Tensor | None] = {
    "none": None,
    "random, 78 of 784": hm.random_mask(VISIBLE, HIDDEN, 78),
    "local, 7 x 7": hm.local_mask(SHAPE, HIDDEN, 7),
    "random, 8 of 784": hm.random_mask(VISIBLE, HIDDEN, 8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    warnings.filterwarnings("ignore", message="Sparse ")
    warnings.filterwarnings("ignore", message="weight_mask: visible unit")
    bits = (hm.Stream(0).uniform(args.rows, VISIBLE) < 0.13).byte()
    models = {name: hm.RBM(VISIBLE, HIDDEN, weight_mask=mask) for name, mask in MASKS.items()}
    runs: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        weight = model.weight.detach()
        runs[f"epoch {name}"] = lambda m=model: hm.fit(m, bits, hm.PCD(), epochs=1, batch_size=BATCH)
        runs[f"dense {name}"] = dense_update(weight)
        runs[f"sparse {name}"] = sparse_update(weight)
    with torch.no_grad():
        rounds = [{name: seconds(run) for name, run in runs.items()} for _ in range(args.rounds + 1)][1:]
    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        dense, sparse = (statistics.median(one[f"{kind} {name}"] for one in rounds) for kind in KINDS)
        mask = MASKS[name]
        kept = VISIBLE * HIDDEN if mask is None else int(mask.sum())
        held = model.weight.nbytes + (0 if model.weight_mask is None else model.weight_mask.nbytes)
        rows.append(
            {
                "mask": name,
                "couplings": kept,
                "epoch s": statistics.median(one[f"epoch {name}"] for one in rounds),
                "times without": statistics.median(
                    one[f"epoch {name}"] / one["epoch none"] for one in rounds
                ),
                "held MB": held / 1e6,
                "sparse MB": (16 * kept + 4 * (VISIBLE + HIDDEN + 2)) / 1e6,
                "products ms": 1000 * dense / REPEATS,
                "sparse ms": 1000 * sparse / REPEATS,
            }
        )
    keep(args.table, f"An epoch of {args.rows:,} rows, PCD-1, batch {BATCH}, by mask", rows)


def dense_update(weight: Tensor) -> Callable[[], object]:
    """Return what does the products of some updates by the library's own functions."""
    x, h = states()
    b, c = torch.zeros(VISIBLE), torch.zeros(HIDDEN)

    def run() -> None:
        for _ in range(REPEATS):
            kernels.affine(c, x, weight)
            kernels.affine(b, h, weight.T)
            kernels.affine(c, x, weight)
            kernels.cross(x, h)
            kernels.cross(x, h)

    return run


def sparse_update(weight: Tensor) -> Callable[[], object]:
    """Return what does the same products by compressed rows."""
    x, h = (s.T.contiguous() for s in states())
    up, down = compressed(weight.T), compressed(weight)
    across = h.T.contiguous()

    def run() -> None:
        for _ in range(REPEATS):
            up @ x
            down @ h
            up @ x
            torch.sparse.sampled_addmm(down, x, across, beta=0)
            torch.sparse.sampled_addmm(down, x, across, beta=0)

    return run


def states() -> tuple[Tensor, Tensor]:
    """Return a batch of states of either layer."""
    x = hm.Stream(1).uniform(BATCH, VISIBLE) < 0.13
    h = hm.Stream(2).uniform(BATCH, HIDDEN) < 0.2
    return x.float(), h.float()


def compressed(matrix: Tensor) -> Tensor:
    """Return a matrix in compressed rows."""
    csr = matrix.contiguous().to_sparse_csr()
    return torch.sparse_csr_tensor(csr.crow_indices().int(), csr.col_indices().int(), csr.values(), csr.shape)


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
