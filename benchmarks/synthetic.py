"""Synthetic rows of tables: how much they are like real ones, what they are good for, and what they leak.

Three models learn from a third of the rows of breast cancer (scikit-learn) and of the raw adult table, and
draw as many new ones: an RBM over the table's columns; a Gaussian copula, in which numbers, and categories in
the order of the alphabet, are joined by the correlations of their normal scores; and independent columns,
each cell from a row of its own. The first line of each table is other real rows: the ceiling. Rows with gaps
are left out, so that all see the same.

A random forest tells new rows from real rows that no model has seen, half of which it gets right by chance
alone. Classifiers that learn the target from new rows are judged on real ones. The last columns are how often
a new row is nearer to a row that was learned from than to one that was not, a half if nothing leaks, and its
standard error; distances are of standardised numbers and one-hot codes.

    python benchmarks/synthetic.py --table synthetic.md
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _table import keep
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

import harmonium as hm
from harmonium.metrics import classifier_test, memorisation

Table = dict[str, list[Any]]


class Task(NamedTuple):
    """A table, and the column that classifiers tell from the others."""

    name: str
    rows: Table
    target: str


def tasks(most: int, rng: np.random.Generator) -> Iterator[Task]:
    """Yield tables without gaps, of at most so many rows."""
    frame = load_breast_cancer()
    columns = {str(name): x.tolist() for name, x in zip(frame.feature_names, frame.data.T, strict=True)}
    columns["diagnosis"] = frame.target_names[frame.target].tolist()
    yield Task("breast cancer", columns, "diagnosis")
    folder = os.environ.get("HARMONIUM_DATA")
    if folder is None:
        return
    table = hm.datasets.read_table(Path(folder) / "tables" / "adult.csv.gz")
    gaps = {*hm.datasets.MISSING}
    whole = [i for i, cells in enumerate(zip(*table.values(), strict=True)) if not gaps.intersection(cells)]
    yield Task("adult", taken(table, rng.permutation(whole)[:most]), "income")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=9000, help="of adult, a third of them to learn from")
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--steps", type=int, default=2000, help="Gibbs steps of each row that is drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    makers: dict[str, Callable[[Table, hm.datasets.Schema], Table]] = {
        "RBM": lambda table, schema: by_rbm(table, schema, args),
        "Gaussian copula": lambda table, schema: by_copula(table, schema, rng),
        "independent columns": lambda table, _: {
            name: taken({name: cells}, rng.permutation(len(cells)))[name] for name, cells in table.items()
        },
    }
    found = []
    for task in tasks(args.rows, rng):
        order = rng.permutation(len(task.rows[task.target]))
        size = len(order) // 3
        parts = [taken(task.rows, order[part * size : (part + 1) * size]) for part in range(3)]
        schema = hm.datasets.Schema.infer(parts[0], transforms="quantile")
        features = Features(task.rows, schema)
        for name in ("real rows", *makers):
            began = time.perf_counter()
            made = makers[name](parts[0], schema) if name in makers else parts[2]
            seconds = time.perf_counter() - began
            found.append({"table": task.name, "rows": size, "made by": name})
            found[-1] |= judged(features, task.target, made, *parts[:2]) | {"seconds": seconds}
            print(found[-1], flush=True)
    keep(args.table, "Synthetic rows of tables", found)


def by_rbm(table: Table, schema: hm.datasets.Schema, args: argparse.Namespace) -> Table:
    """Draw rows by an RBM whose real units learn their precisions."""
    layer = schema.layer
    for part in layer["parts"]:
        if part["kind"] == "gaussian":
            part |= {"precision": 2.0, "learn_precision": True}
    data = hm.datasets.from_table(table, schema=schema)
    rbm = hm.RBM(hm.units.unit_from_config(layer), args.hidden, seed=args.seed)
    rows = len(data.train)
    epochs = max(1, round(args.updates * 100 / rows))
    rule = hm.PCD(chains=500)
    hm.fit(rbm, data, rule, epochs=epochs, batch_size=100, lr=args.lr, averaging=0.1, seed=args.seed)
    return schema.decode(hm.sample(rbm, rows, steps=args.steps, seed=args.seed))


def by_copula(table: Table, schema: hm.datasets.Schema, rng: np.random.Generator) -> Table:
    """Draw rows by a Gaussian copula; equal cells share an interval of ranks, in which theirs are drawn."""
    scores, marginals = [], []
    for column in schema.columns:
        cells = table[column.name]
        if column.kind == "gaussian":
            cells = [float(cell) for cell in cells]
        ordered = sorted(cells)
        low, high = (np.searchsorted(ordered, cells, side=side) for side in ("left", "right"))
        scores.append(norm.ppf((low + (high - low) * rng.uniform(size=len(cells))) / len(cells)))
        marginals.append(ordered)
    drawn = rng.multivariate_normal(np.zeros(len(scores)), np.corrcoef(scores), size=len(scores[0]))
    ranks = (norm.cdf(drawn) * len(drawn)).astype(int).clip(0, len(drawn) - 1)
    return {
        column.name: [ordered[rank] for rank in ranks[:, i]]
        for i, (column, ordered) in enumerate(zip(schema.columns, marginals, strict=True))
    }


class Features:
    """Creates what turns rows into standardised numbers and one-hot codes, scaled by a whole table."""

    def __init__(self, table: Table, schema: hm.datasets.Schema) -> None:
        self.schema = schema
        self.numbers = {column.name for column in schema.columns if column.kind == "gaussian"}
        values = {name: np.array(table[name], dtype=float) for name in self.numbers}
        self.scale = {name: (x.mean(), x.std()) for name, x in values.items()}
        self.levels = {name: sorted({*map(str, table[name])}) for name in schema.names}

    def of(self, table: Table, but: str | None = None) -> np.ndarray:
        """Return features, shape (rows, columns)."""
        found = []
        for column in self.schema.columns:
            cells = table[column.name]
            if column.name == but:
                continue
            if column.name in self.numbers:
                mean, deviation = self.scale[column.name]
                found.append((np.array(cells, dtype=float) - mean) / deviation)
            else:
                texts = np.array(cells).astype(str)
                found += [(texts == level).astype(float) for level in self.levels[column.name]]
        return np.stack(found, 1)


def judged(features: Features, target: str, made: Table, train: Table, test: Table) -> dict[str, float]:
    """Return what new rows are worth, and what they leak."""
    told = classifier_test(features.of(test), features.of(made), "forest")
    near = memorisation(features.of(made), features.of(train), features.of(test))
    positive = sorted({*test[target]})[-1]
    classifier = HistGradientBoostingClassifier(random_state=0)
    classifier.fit(features.of(made, but=target), np.array(made[target]) == positive)
    scores = classifier.predict_proba(features.of(test, but=target))[:, 1]
    return {
        "told from real": told.accuracy,
        "AUC of a classifier": float(roc_auc_score(np.array(test[target]) == positive, scores)),
        "nearer to learned rows": near.share,
        "±": near.standard_error,
    }


def taken(table: Table, index: Any) -> Table:
    """Return rows of a table by their numbers."""
    return {name: [cells[i] for i in index] for name, cells in table.items()}


if __name__ == "__main__":
    main()
