"""Stacked MNIST: how many of a thousand modes an adversarial network finds, loss by loss.

Three digits of MNIST are the channels of an image, so that there are a thousand known modes. A classifier of
single digits, trained on MNIST's training rows alone, reads the number in each of 25,600 samples; the table
has how many numbers there are, and the divergence of their shares from those of the data, beside what a
perfect sampler of as many would have on average. Each row is a network trained from scratch for ``--minutes``
(checkpoints included); the averaged generator is what is sampled. Published: 1,000 modes and 0.078
(relativistic loss with R1 and R2, Huang et al. 2024), 0.06 (PacGAN, Lin et al. 2018), 99 modes and 3.40 of a
DCGAN (Srivastava et al. 2017). Needs the MNIST files (see docs/data.md).

    python benchmarks/stacked_mnist.py --out FOLDER --table stacked.md
    python benchmarks/stacked_mnist.py --out FOLDER --minutes 90 --losses relativistic
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from _runs import played, settings_of
from _table import keep

import harmonium as hm
from harmonium.features import classifier_for, rows_as_images
from harmonium.metrics import class_histogram
from harmonium.plots import save_grid

LOSSES: dict[str, dict[str, Any]] = {
    "nonsaturating": {},
    "nonsaturating, R1 and R2": {"loss": "nonsaturating", "r1": 1.0, "r2": 1.0},
    "hinge": {},
    "wasserstein": {},
    "relativistic": {},
    "relativistic, no penalty": {"loss": "relativistic", "r1": 0.0, "r2": 0.0},
    "relativistic, changing": {"loss": "relativistic"},
}
"""Arguments of the rule."""
EPOCHS = 1000
"""More than there is time for."""
OPTIONS: dict[str, dict[str, Any]] = {
    "relativistic, changing": {
        "betas": (0.0, 0.9),
        "final": {"betas": (0.0, 0.99), "rule.r1": 0.1, "rule.r2": 0.1},
        "final_at": 5 / EPOCHS,
    }
}
"""Options of the fit, where there are others: memory and penalties change in five epochs, as in R3GAN."""
SHOWN = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True, help="a folder of run folders; those that are there go on")
    parser.add_argument("--losses", nargs="+", choices=list(LOSSES), default=list(LOSSES))
    parser.add_argument("--network", default="dcgan")
    parser.add_argument("--width", type=int, help="the network's own by default")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, of each")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--samples", type=int, default=25_600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", help="write samples of each to PNG files in this folder")
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    data = hm.datasets.load("stacked-mnist", binarisation="none")
    reader = classifier_for(data, seed=args.seed, progress=print)
    print(f"validation accuracy of the classifier: {reader.accuracy}", flush=True)
    rows = [trial(args, name, data, reader) for name in args.losses]
    title = f"Stacked MNIST, {args.samples:,} samples of averaged weights, seed {args.seed}"
    keep(args.table, f"{title}, classifier {reader.digest}", rows)


def trial(args: argparse.Namespace, name: str, data: hm.Dataset, reader: Any) -> dict[str, Any]:
    """Train a network for its time, and return its row of the table."""
    out = Path(args.out) / name.replace(", ", "-").replace(" ", "-")
    own = {"width": args.width} if args.width else {}

    start = partial(
        hm.fit,
        hm.GAN.of(args.network, data.shape, seed=args.seed, **own),
        data,
        hm.Adversarial(**{"loss": name, **LOSSES[name]}),
        epochs=EPOCHS,
        batch_size=args.batch_size,
        lr=args.lr,
        seed=args.seed,
        **OPTIONS.get(name, {}),
    )
    settings = settings_of(args, "losses", "minutes", "samples", "pictures")
    history = played(out, settings, data, start, args.minutes)
    made = hm.sample(history.model, args.samples, seed=args.seed)
    if args.pictures:
        Path(args.pictures).mkdir(parents=True, exist_ok=True)
        path = Path(args.pictures) / f"{out.name}.png"
        save_grid(made[:SHOWN], data.shape, path, limits=(0.0, 1.0), overwrite=True)
    codes = reader.predict(rows_as_images(data, made))
    found = class_histogram(codes, data.labels["train"].bincount(minlength=1000))
    last = history.records[-1]
    return {
        "loss": name,
        "modes": found.modes,
        "KL": found.kl,
        "perfect sampler: modes": found.modes_floor,
        "perfect sampler: KL": found.kl_floor,
        "epochs": last["epoch"],
        "training s": last["seconds"],
    }


if __name__ == "__main__":
    main()
