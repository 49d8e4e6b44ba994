"""The missing half of test digits, filled in by a DBM, an RBM and the nearest training digits.

A pixel that is missing gets the probability that the rows given leave it: of a machine the mean of
p(pixel given the layers around it) over clamped Gibbs chains, which begin with noise; of the nearest training
digits (by the pixels that are given) the share of those that have it, smoothed by the pixel's base rate;
and, at the floor, the base rate alone. The weight of the base rate, and how many neighbours where it is not
the nearest one alone, is what does best on training digits that are left out of the search. The table has
the mean log-probability of the true bits for each missing pixel, one pixel at a time, in nats; errors are
over digits. Test bits are the fixed sample of the data set. Takes the run folders of mnist_rbm.py and
mnist_dbm.py, or saved models. Needs the MNIST files (see docs/data.md).

    python benchmarks/inpainting.py --models RBM_RUN DBM_RUN --table inpainting.md --picture inpainting.png
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import torch
from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium import plots

SIDE = 28
NEIGHBOURS = (1, 3, 10, 30, 100)
SMOOTHING = (0.3, 1.0, 3.0)
HELD_OUT = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, help="run folders or saved models")
    parser.add_argument("--given", nargs="+", choices=list(HALVES), default=list(HALVES))
    parser.add_argument("--rows", type=int, default=1000, help="test digits")
    parser.add_argument("--chains", type=int, default=4, help="of each digit")
    parser.add_argument("--burn", type=int, default=200, help="Gibbs steps that do not count")
    parser.add_argument("--steps", type=int, default=300, help="Gibbs steps that do")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shown", type=int, default=12, help="digits in the picture")
    parser.add_argument(
        "--picture",
        help="write digits to this PNG, filled in by the nearest one, then by models",
    )
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    data = hm.datasets.load("mnist", validation=0)
    truth, train = data.test[: args.rows].float(), data.fixed("train").float()
    machines = {name_of(model): model for model in map(loaded, args.models)}
    if len(machines) < len(args.models):
        parser.error("--models: two have the same layers, and so the same name in the table")
    rows, filled = [], {}
    for given in args.given:
        known = HALVES[given](hm.Stream(args.seed, "pixels"))
        began = time.monotonic()
        rates = train.mean(0).clamp(1 / len(train), 1 - 1 / len(train)).expand(len(truth), -1)
        guesses = {
            "base rates": rates,
            "nearest digit": nearest(train, truth, known, rates[0], (1,)),
            "nearest digits": nearest(train, truth, known, rates[0], NEIGHBOURS),
        }
        for name, model in machines.items():
            guesses[name] = completed(model, truth, known, args)
        for name, p in guesses.items():
            rows.append({"given": given, "by": name, **score(p[:, ~known], truth[:, ~known])})
            filled[given, name] = p
            print(rows[-1], flush=True)
        print(f"{given}: {time.monotonic() - began:.0f} s", flush=True)
    if args.picture:
        draw(args, truth, filled, [*machines])
    keep(args.table, f"The missing half of {len(truth):,} test digits: nats for each missing pixel", rows)


def half(rows: int, columns: int) -> Tensor:
    """Return which pixels lie above a row and left of a column, shape (pixels)."""
    seen = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    seen[:rows, :columns] = True
    return seen.flatten()


HALVES = {
    "left": lambda stream: half(SIDE, SIDE // 2),
    "top": lambda stream: half(SIDE // 2, SIDE),
    "random": lambda stream: stream.permutation(SIDE * SIDE) < SIDE * SIDE // 2,
}


def loaded(path: str) -> Any:
    """Return the model of a run folder or a file."""
    found = [Path(path) / name for name in ("joint/model.safetensors", "model.safetensors")]
    return hm.load(next((own for own in found if own.is_file()), Path(path)))


def name_of(model: Any) -> str:
    """Return what a model is called in the table: its kind, and its layers from the pixels up."""
    layers = model.layers if isinstance(model, hm.DBM) else (model.visible, model.hidden)
    return " ".join((model.kind.upper(), "-".join(str(layer.size) for layer in layers)))


@torch.no_grad()
def completed(model: Any, truth: Tensor, known: Tensor, args: argparse.Namespace) -> Tensor:
    """Return the probabilities of all pixels by clamped chains, shape (rows, pixels)."""
    gibbs, stream = hm.Gibbs(), hm.Stream(args.seed, "inpainting")
    clamp = truth.masked_fill(~known, math.nan).repeat(args.chains, 1)
    state = gibbs.init(model, len(clamp), stream, None, {"visible": clamp})
    state = gibbs.run(model, state, stream, args.burn)
    total = torch.zeros_like(clamp, dtype=torch.float64)
    for _ in range(args.steps):
        state, _ = gibbs.step(model, state, stream)
        total += model.visible.mean(model.field("visible", state).double())
    p: Tensor = (total / args.steps).view(args.chains, len(truth), -1).mean(0)
    return p


def nearest(train: Tensor, truth: Tensor, known: Tensor, rates: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Return the probabilities by the nearest training digits, so many of them, shape (rows, pixels)."""
    kept, held_out = train[:-HELD_OUT], train[-HELD_OUT:]
    order = neighbours(kept, held_out, known)
    settings = [(k, weight) for k in counts for weight in SMOOTHING]

    def quality(setting: tuple[int, float]) -> float:
        p = votes(kept, order, rates, *setting)
        return score(p[:, ~known], held_out[:, ~known])["nats"]

    best = max(settings, key=quality)
    print(f"nearest: {best[0]} of them, base rate counts for {best[1]}", flush=True)
    return votes(train, neighbours(train, truth, known), rates, *best)


def neighbours(train: Tensor, rows: Tensor, known: Tensor) -> Tensor:
    """Return the numbers of the nearest training rows by the pixels that are given, the nearest first."""
    seen, own = train[:, known], rows[:, known]
    distance = own.sum(1, keepdim=True) + seen.sum(1) - 2 * own @ seen.T
    return distance.topk(max(NEIGHBOURS), largest=False).indices


def votes(train: Tensor, order: Tensor, rates: Tensor, k: int, weight: float) -> Tensor:
    """Return the shares of neighbours that have a pixel, as if base rates were ``weight`` more of them."""
    return (train[order[:, :k]].sum(1) + weight * rates) / (k + weight)


def score(p: Tensor, truth: Tensor) -> dict[str, float]:
    """Return the log-probability for each pixel with its error, and how many pixels are taken wrongly."""
    log_p = torch.where(truth > 0.5, p.double(), 1 - p.double()).log().mean(1)
    wrong = ((p > 0.5) != (truth > 0.5)).double().mean(1)
    return {
        "nats": float(log_p.mean()),
        "± digits": float(log_p.std()) / math.sqrt(len(log_p)),
        "wrong pixels %": 100 * float(wrong.mean()),
    }


def draw(
    args: argparse.Namespace, truth: Tensor, filled: dict[tuple[str, str], Tensor], machines: list[str]
) -> None:
    """Write the digits, and under them what is filled in: a row for each way."""
    given = args.given[0]
    known = HALVES[given](hm.Stream(args.seed, "pixels"))
    some = truth[: args.shown]
    ways = torch.stack([filled[given, name][: args.shown] for name in ("nearest digit", *machines)])
    ways = torch.where(known, some, ways)
    axes = plots.inpainting(some, known, ways, (SIDE, SIDE), truth=some, limits=(0.0, 1.0))
    axes.figure.savefig(args.picture)


if __name__ == "__main__":
    main()
