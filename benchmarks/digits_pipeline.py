"""Digits through a pipeline: RBM features for logistic regression, scikit-learn's and ours, in one run.

The task is that of scikit-learn's own example of its BernoulliRBM: the 1,797 digits of 8 x 8 pixels, each
also shifted by one pixel to the left, the right, up and down, a fifth of all rows held out; 100 features, and
a logistic regression on them whose penalty is next to nothing. As in the example, the shifted copies of a
digit can be on both sides of the split, so that the accuracy says little of new digits; ``--apart`` splits
the digits first. Seconds are those of the fit of the features, and of the whole pipeline; in each of
``--seeds`` seeds both have the same rows.

    python benchmarks/digits_pipeline.py --table pipeline.md
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _table import keep
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM as Theirs

from harmonium.estimators import BernoulliRBM

SHIFTS = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument(
        "--epochs", type=int, default=10, help="of scikit-learn's machine; its example has 10"
    )
    parser.add_argument("--own-epochs", type=int, default=20)
    parser.add_argument("--own-batch", type=int, default=50)
    parser.add_argument("--own-lr", type=float, default=0.3)
    parser.add_argument("--strength", type=float, default=6000.0, help="C of the logistic regression")
    parser.add_argument("--digits", type=int, default=1797, help="how many of the digits are taken")
    parser.add_argument(
        "--apart", action="store_true", help="copies of a digit stay on one side of the split"
    )
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    kinds: dict[str, Callable[[int], Any]] = {
        "scikit-learn": lambda seed: Theirs(
            args.features, learning_rate=0.06, n_iter=args.epochs, random_state=seed
        ),
        "harmonium": lambda seed: BernoulliRBM(
            args.features,
            learning_rate=args.own_lr,
            batch_size=args.own_batch,
            n_iter=args.own_epochs,
            random_state=seed,
        ),
    }
    BernoulliRBM(4, n_iter=1).fit(np.zeros((20, 64)))
    found = []
    for seed in range(args.seeds):
        rows = split(args.digits, seed, apart=args.apart)
        for kind, make in kinds.items():
            found.append({"features": kind, "seed": seed, **trial(make(seed), rows, args.strength)})
            print(found[-1], flush=True)
        found.append({"features": "pixels", "seed": seed, **trial(None, rows, args.strength)})
    keep(args.table, "Digits, shifted: features for logistic regression", summary(found))


def split(digits: int, seed: int, *, apart: bool) -> list[np.ndarray]:
    """Return rows and labels to learn from and to be scored: train, test, and their labels."""
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:digits].reshape(-1, 8, 8) / 16, labels[:digits]
    if not apart:
        x, y = shifted(images), np.tile(labels, len(SHIFTS))
        return list(train_test_split(x, y, test_size=0.2, random_state=seed))
    train, test, own, other = train_test_split(images, labels, test_size=0.2, random_state=seed)
    return [shifted(train), shifted(test), np.tile(own, len(SHIFTS)), np.tile(other, len(SHIFTS))]


def shifted(images: np.ndarray) -> np.ndarray:
    """Return images as they are, and shifted by one pixel in four directions, as rows; zeros come in."""
    copies = []
    for down, right in SHIFTS:
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
        copies.append(padded[:, 1 - down : 9 - down, 1 - right : 9 - right])
    return np.concatenate(copies).reshape(-1, 64)


def trial(machine: Any, rows: list[np.ndarray], strength: float) -> dict[str, float]:
    """Fit a pipeline, and return its accuracy and its seconds."""
    train, test, own, other = rows
    began = time.perf_counter()
    if machine is not None:
        machine.fit(train)
    fitted = time.perf_counter() - began
    features = [train, test] if machine is None else [machine.transform(train), machine.transform(test)]
    regression = LogisticRegression(C=strength, max_iter=1000).fit(features[0], own)
    whole = time.perf_counter() - began
    return {
        "accuracy": float(regression.score(features[1], other)),
        "seconds of the machine": fitted,
        "seconds in all": whole,
    }


def summary(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over the seeds, with the spread of the accuracy."""
    table = []
    for kind in dict.fromkeys(row["features"] for row in found):
        own = [row for row in found if row["features"] == kind]
        accuracies = [row["accuracy"] for row in own]
        line: dict[str, Any] = {"features": kind, "seeds": len(own), "accuracy": statistics.mean(accuracies)}
        line["± seeds"] = statistics.stdev(accuracies) / len(own) ** 0.5 if len(own) > 1 else float("nan")
        for name in ("seconds of the machine", "seconds in all"):
            line[name] = statistics.mean(row[name] for row in own)
        table.append(line)
    return table


if __name__ == "__main__":
    main()
