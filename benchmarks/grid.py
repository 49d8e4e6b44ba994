"""A grid of 25 Gaussians: how many an adversarial network finds, and how well it hits them, loss by loss.

The rows are 50,000 points of 25 equal Gaussians, 2 apart, of standard deviation 0.05. The networks are
perceptrons with ``--depth`` hidden layers and two latent numbers. Of 10,000 samples of the averaged generator
the table has how many of the Gaussians have at least a twentieth of their share, which part of the samples
lies within three standard deviations of one, and the divergence of their shares from equal ones; the last row
is that of as many rows of the mixture itself. The density is known, so that nothing has to be learned to
measure this. All losses take the same number of updates, at a rate that falls to zero. Beside the seconds of
training stand those that all threads together were busy, which other work on the machine moves less. What is
printed on the way is of the generator that is not averaged.

    python benchmarks/grid.py --table grid.md
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import torch
from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium.datasets import TOYS

LOSSES: dict[str, dict[str, Any]] = {
    "relativistic": {"loss": "relativistic"},
    "nonsaturating, R1 and R2": {"loss": "nonsaturating"},
    "minimax, R1 and R2": {"loss": "minimax"},
    "hinge, R1 and R2": {"loss": "hinge"},
    "least-squares, R1 and R2": {"loss": "least-squares"},
    "wasserstein": {"loss": "wasserstein", "gradient_penalty": 1.0},
    "nonsaturating": {"loss": "nonsaturating", "r1": 0.0, "r2": 0.0},
}
TAKEN = ("updates", "seconds", "busy seconds")
TWENTIETH = 0.05
LOOKS = 4
GRID = TOYS["grid"]
MODES = len(GRID.centres)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--losses", nargs="+", choices=list(LOSSES), default=["relativistic"])
    parser.add_argument("--all", action="store_true", help="all losses")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=0.004, help="the generator's")
    parser.add_argument("--judge-rate", type=float, default=0.5, help="the discriminator's, as a multiple")
    parser.add_argument("--penalty", type=float, default=0.02, help="on slopes at data and at made rows")
    parser.add_argument("--width", type=int, default=256, help="hidden units in each layer of the generator")
    parser.add_argument("--judges", type=int, default=128, help="the same of the discriminator")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--half-life", type=float, default=100_000.0, help="of the average, in points shown")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    x, _ = GRID.sample(args.rows, hm.Stream(0, "rows"))
    data = hm.datasets.from_array(x.float())
    rows = [
        trial(args, name, seed, data)
        for name in (LOSSES if args.all else args.losses)
        for seed in range(args.seed, args.seed + args.seeds)
    ]
    own, _ = GRID.sample(args.samples, hm.Stream(1, "rows"))
    rows.append({"loss": "the mixture itself", "seed": "", **score(own), **dict.fromkeys(TAKEN, "")})
    keep(args.table, f"{MODES} Gaussians, {args.samples:,} samples", rows)


def trial(args: argparse.Namespace, name: str, seed: int, data: hm.Dataset) -> dict[str, Any]:
    """Train a network, and return its row of the table."""
    settings: dict[str, Any] = {"hidden": args.width, "judges": args.judges, "depth": args.depth, "pieces": 1}
    settings |= {"latent": 2, "dropout": 0.0, "input_dropout": 0.0}
    model = hm.GAN.of("mlp", (2,), visible=hm.Gaussian(2), law="normal", seed=seed, **settings)
    penalties = {} if LOSSES[name]["loss"] == "wasserstein" else {"r1": args.penalty, "r2": args.penalty}
    rule = hm.Adversarial(**{"discriminator_rate": args.judge_rate, **penalties, **LOSSES[name]})

    def show(record: dict[str, Any]) -> None:
        if record["epoch"] % LOOKS == 0:
            print(record["epoch"], score(hm.sample(model, args.samples, seed=seed)), flush=True)

    began = time.process_time()
    history = hm.fit(
        model,
        data,
        rule,
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        schedule="linear",
        half_life=args.half_life,
        seed=seed,
        callback=show,
    )
    if history.stopped == "interrupted":
        raise SystemExit(f"{name}, seed {seed}: interrupted")
    last, busy = history.records[-1], time.process_time() - began
    taken = dict(zip(TAKEN, (last["updates"], last["seconds"], busy), strict=True))
    row = {"loss": name, "seed": seed, **score(hm.sample(model, args.samples, seed=seed)), **taken}
    print(row, flush=True)
    return row


def score(points: Tensor) -> dict[str, Any]:
    """Return how many Gaussians points are of, which share of them, and how far from equal shares."""
    mode = GRID.modes(points)
    hit = mode[mode >= 0]
    counts = torch.bincount(hit, minlength=MODES).double()
    shares = counts[counts > 0] / max(len(hit), 1)
    return {
        "modes": int((counts >= TWENTIETH * len(points) / MODES).sum()),
        "within 3 sigma %": 100 * len(hit) / len(points),
        "KL": float((shares * (shares * MODES).log()).sum()) if len(hit) else math.inf,
    }


if __name__ == "__main__":
    main()
