"""Anomalies: one class held out of digits, each in turn, and poisonous mushrooms among edible ones.

A detector learns from a part of the normal rows; the area under the ROC curve is that of its scores on the
other normal rows and on the anomalies. Digits are cut at half of the grey levels for the RBM, and grey for
all others; mushrooms are one-hot bits for all. The bandwidth of the kernel density is chosen by
cross-validation on the normal rows alone. Nothing of the anomalies is seen before they are scored.

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
from sklearn.neighbors import KernelDensity, LocalOutlierFactor

import harmonium as hm
from harmonium.estimators import RBMDensity

TRAINED = 0.75
QUICK = {"runs": 10, "betas": 100, "equilibrate": 10}
"""Of log Z, which moves all scores alike, and no area."""
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


def density(train: np.ndarray, seed: int) -> Any:
    search = GridSearchCV(KernelDensity(), BANDWIDTHS, cv=3)
    return search.fit(train).best_estimator_


DETECTORS = {
    "RBMDensity": lambda x, seed: RBMDensity(n_iter=60, likelihood=QUICK, random_state=seed).fit(x),
    "IsolationForest": lambda x, seed: IsolationForest(random_state=seed, n_jobs=1).fit(x),
    "LocalOutlierFactor": lambda x, seed: LocalOutlierFactor(novelty=True).fit(x),
    "KernelDensity": density,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    torch.set_num_threads(1)
    rows = []
    for task in tasks():
        own = np.random.default_rng(args.seed).permutation(np.flatnonzero(task.normal))
        train, test = np.split(own, [round(TRAINED * len(own))])
        scored = np.concatenate((test, np.flatnonzero(~task.normal)))
        row: dict[str, Any] = {"anomaly": task.name}
        for name, make in DETECTORS.items():
            x = task.bits if name == "RBMDensity" else task.grey
            began = time.perf_counter()
            detector = make(x[train], args.seed)
            scores = detector.score_samples(x[scored])
            row[name] = float(roc_auc_score(task.normal[scored], scores))
            row[f"{name} s"] = time.perf_counter() - began
        rows.append(row)
        print(row, flush=True)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "anomaly"}
    keep(args.table, "Area under the ROC curve of anomalies", [*rows, {"anomaly": "mean", **mean}])


if __name__ == "__main__":
    main()
