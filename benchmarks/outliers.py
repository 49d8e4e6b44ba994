"""Outliers: one class of digits held out as the anomaly, ten times; and poisonous mushrooms among edible
ones.

All detectors learn from a half of the normal rows and are scored on the other half and as many anomalies as
there are: the area under the ROC curve of their scores. No detector sees an anomaly before, and all see the
same rows: of digits the 64 grey values from 0 to 1, of mushrooms the one-hot codes of all columns.
Harmonium's density takes what each row is: digits as bits (a pixel is on from half of the scale; ``--digits
grey`` takes all 17 levels), and mushrooms as one categorical unit for each column. Log Z is the same for all
rows, so that it is not estimated with care here. The others have scikit-learn's defaults, but for the
neighbours of LocalOutlierFactor, whose ``novelty`` is on, and the bandwidth of KernelDensity, which is the
best of ``BANDWIDTHS`` by the likelihood of rows that it has not seen, in a cross-validation on the normal
ones.

    python benchmarks/outliers.py --table outliers.md

The mushrooms are the file ``tables/mushrooms.csv.gz`` below ``HARMONIUM_DATA``, with the column ``class``,
``e`` or ``p``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _table import keep
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor

import harmonium as hm
from harmonium.estimators import RBMDensity

BANDWIDTHS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--tasks", nargs="+", choices=["digits", "mushrooms"], default=["digits", "mushrooms"]
    )
    parser.add_argument(
        "--classes", type=int, nargs="+", default=list(range(10)), help="of digits, to hold out"
    )
    parser.add_argument("--digits", choices=["bits", "grey"], default="bits", help="what our density takes")
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mushrooms", type=Path, help="the file, if it is not below HARMONIUM_DATA")
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    found = []
    if "digits" in args.tasks:
        for own in args.classes:
            found += trials(args, "digits", f"digit {own}", *digits(args, own))
    if "mushrooms" in args.tasks:
        found += trials(args, "mushrooms", "poisonous", *mushrooms(args))
    keep(args.table, "Outliers: areas under the ROC curve", summary(found))


def detectors(args: argparse.Namespace, visible: Any) -> dict[str, Callable[[], Any]]:
    """Return what is compared, by name."""
    folds = GridSearchCV(KernelDensity(), {"bandwidth": BANDWIDTHS}, cv=5)
    return {
        "RBMDensity": lambda: RBMDensity(
            args.hidden,
            visible=visible,
            n_iter=args.epochs,
            steps=args.steps,
            learning_rate=args.lr,
            likelihood={"runs": 10, "betas": 100, "equilibrate": 0},
            random_state=args.seed,
        ),
        "IsolationForest": lambda: IsolationForest(random_state=args.seed),
        "LocalOutlierFactor": lambda: LocalOutlierFactor(novelty=True),
        "KernelDensity": lambda: folds,
    }


def trials(
    args: argparse.Namespace,
    task: str,
    anomaly: str,
    ours: tuple[Any, np.ndarray],
    theirs: np.ndarray,
    odd: np.ndarray,
) -> list[dict[str, Any]]:
    """Let all detectors learn from a half of the normal rows, and score the others.

    Arguments:
        args: The arguments.
        task: What the rows are.
        anomaly: What the anomalies are.
        ours: The visible units, and the rows as they take them.
        theirs: The rows as the others take them.
        odd: Which rows are anomalies, truth values.
    """
    visible, own = ours
    order = np.random.default_rng(args.seed).permutation(np.flatnonzero(~odd))
    train, test = order[: len(order) // 2], np.concatenate((order[len(order) // 2 :], np.flatnonzero(odd)))
    found = []
    for name, make in detectors(args, visible).items():
        rows, began = own if name == "RBMDensity" else theirs, time.perf_counter()
        scores = (
            make().fit(rows[train]).score_samples if name != "KernelDensity" else best(make(), rows[train])
        )
        area = roc_auc_score(~odd[test], scores(rows[test]))
        seconds = time.perf_counter() - began
        found.append({"task": task, "anomaly": anomaly, "detector": name, "area": area, "seconds": seconds})
        print(found[-1], flush=True)
    return found


def best(search: GridSearchCV, rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the scores of the best density of a search."""
    return search.fit(rows).best_estimator_.score_samples


def digits(args: argparse.Namespace, odd: int) -> tuple[tuple[Any, np.ndarray], np.ndarray, np.ndarray]:
    """Return the digits as our density takes them, as the others do, and which of them are the odd ones."""
    images, labels = load_digits(return_X_y=True)
    own = ("bernoulli", (images >= 8).astype(np.uint8))
    if args.digits == "grey":
        own = (hm.Categorical(64, 17), images.astype(np.uint8))
    return own, images / 16, labels == odd


def mushrooms(args: argparse.Namespace) -> tuple[tuple[Any, np.ndarray], np.ndarray, np.ndarray]:
    """Return the mushrooms as our density takes them, as the others do, and which of them are poisonous."""
    path = args.mushrooms or Path(os.environ["HARMONIUM_DATA"], "tables", "mushrooms.csv.gz")
    with gzip.open(path, "rt", newline="") as file:
        head, *lines = list(csv.reader(file))
    table = np.array(lines)
    place = head.index("class")
    poisonous = table[:, place] == "p"
    columns = np.delete(table, place, 1).T
    coded = [np.unique(column, return_inverse=True) for column in columns]
    coded = [(levels, codes) for levels, codes in coded if len(levels) > 1]
    visible = hm.Mixed(*(hm.Categorical(1, len(levels)) for levels, _ in coded))
    codes = np.stack([codes for _, codes in coded], 1).astype(np.uint8)
    one_hot = np.concatenate([np.eye(len(levels))[codes] for levels, codes in coded], 1)
    return (visible, codes), one_hot, poisonous


def summary(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean area of each detector on each task, and the mean over the tasks."""
    tasks = list(dict.fromkeys(row["task"] for row in found))
    table = []
    for detector in dict.fromkeys(row["detector"] for row in found):
        own = [row for row in found if row["detector"] == detector]
        line: dict[str, Any] = {"detector": detector}
        for task in tasks:
            line[task] = statistics.mean(row["area"] for row in own if row["task"] == task)
        line["mean"] = statistics.mean(line[task] for task in tasks)
        line["seconds"] = sum(row["seconds"] for row in own)
        table.append(line)
    return table


if __name__ == "__main__":
    main()
