"""The Parzen log-likelihood that the year 2014 reported of an adversarial network on MNIST.

The networks are perceptrons, a generator of ReLU units against maxout ones with dropout, as in 2014, playing
the game whose generator does not saturate. From 10,000 samples a Gaussian window is laid about each, its
width chosen on validation rows, and the mean log-density of the test set under their mixture is reported, in
nats. The table also has the rows that show what this number is worth: real training digits, as many, in
place of samples; the centres that k-means finds in the training set; and digits of independent pixels. A
model that beats the training set has found nothing better than data. Goodfellow et al. (2014) report 225
with an error of 2. Needs the MNIST files (see docs/data.md).

    python benchmarks/parzen.py --out RUN --table parzen.md
"""

from __future__ import annotations

import argparse
from functools import partial

from _runs import played, settings_of
from _table import keep

import harmonium as hm

MEASURED = ("parzen", "parzen_error", "frechet", "precision", "recall", "coverage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True, help="the run folder; resumed if it exists")
    parser.add_argument("--loss", default="nonsaturating")
    parser.add_argument("--epochs", type=int, default=350)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--n", type=int, default=10_000, help="samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    data = hm.datasets.load("mnist", binarisation="none")
    start = partial(
        hm.fit,
        hm.GAN.of("mlp", data.shape, seed=args.seed),
        data,
        hm.Adversarial(loss=args.loss),
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        seed=args.seed,
    )
    history = played(args.out, settings_of(args, "n"), data, start)
    measured = hm.measure_samples(history.model, data, n=args.n, seed=args.seed, parzen=True, progress=print)
    names = {"floor": "training digits", "samples": "perceptrons", "ceiling": "independent pixels"}
    rows = [
        {"in place of samples": names.get(name, name), **{key: found.get(key, "") for key in MEASURED}}
        for name, found in measured.rows.items()
    ]
    seconds = history.records[-1]["seconds"]
    title = f"Parzen log-likelihood of MNIST's test set by {measured.n:,} samples each, of averaged weights"
    title += f", seed {args.seed}"
    keep(args.table, f"{title}, {seconds:.0f} s of training", rows)


if __name__ == "__main__":
    main()
