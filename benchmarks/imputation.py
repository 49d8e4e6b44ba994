"""Cells of real tables taken out and filled in again, by an RBM and by scikit-learn's imputers.

A fifth of the cells of each table is taken out, one by one at random, or in blocks: runs of neighbouring
columns of single rows. Each imputer learns from what is left and fills the gaps. Numbers are scored by the
root mean square of their errors, in standard deviations of their column; bits and categories by the share
that is wrong. ``score`` is the mean of the two, over the columns. Means and most frequent values are the
floor. KNNImputer and IterativeImputer get standardised numbers, bits as they are and categories as one-hot
codes, all of which are missing where the cell is, and the greatest of what they fill in is the category.
Coverage is the share of missing numbers that a 90 % interval holds; calibration, of bits and categories, the
mean probability that the imputer gives to what it fills in, beside how often that is right. Seconds are of
one thread.

    python benchmarks/imputation.py --table imputation.md
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _table import keep
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer

import harmonium as hm
from harmonium.datasets import MISSING
from harmonium.estimators import RBMImputer

SHARE = 0.2
INTERVAL = 0.9
SUBSET = {"adult": 3000, "mushroom": 2000}
"""So many rows, drawn at random, of tables that slow imputers would take hours for."""


class Table(NamedTuple):
    """A table without gaps in what is scored: numbers, and codes of bits and categories."""

    values: np.ndarray
    """Shape (rows, columns), NaN where the table itself lacks a cell."""
    levels: list[int]
    """How many levels a column has; 0 of numbers."""


def numbers(loader: Callable[..., Any]) -> Table:
    values = loader().data.astype(float)
    return Table(values, [0] * values.shape[1])


def raw(name: str) -> Table:
    """Return a raw table, its texts as codes."""
    cells = hm.datasets.read_table(folder() / f"{name}.csv.gz")
    columns, levels = [], []
    for texts in cells.values():
        there = sorted({text for text in texts if text not in MISSING})
        numeric = all(text.lstrip("-").isdigit() for text in there) and len(there) > 2
        codes = {text: float(text) if numeric else float(i) for i, text in enumerate(there)}
        columns.append([codes.get(text, np.nan) for text in texts])
        levels.append(0 if numeric else len(there))
    return Table(np.array(columns).T, levels)


def bits(name: str) -> Table:
    values = np.load(folder() / f"{name}.npz")["x_train"].astype(float)
    return Table(values, [2] * values.shape[1])


def folder() -> Path:
    return Path(os.environ["HARMONIUM_DATA"]) / "tables"


TABLES: dict[str, Callable[[], Table]] = {
    "breast cancer": lambda: numbers(load_breast_cancer),
    "wine": lambda: numbers(load_wine),
    "digits": lambda: numbers(load_digits),
    "adult": lambda: raw("adult"),
    "mushroom": lambda: raw("mushrooms"),
    "dna": lambda: bits("dna"),
}


def opened(name: str, seed: int) -> Table:
    """Return a table without columns that never vary, cut down to a random part of its rows if it is long."""
    values, levels = TABLES[name]()
    vary = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in values.T])
    rows = np.random.default_rng(seed).permutation(len(values))[: SUBSET.get(name)]
    return Table(values[rows][:, vary], [n for n, own in zip(levels, vary, strict=True) if own])


def taken(values: np.ndarray, blocks: bool, seed: int) -> np.ndarray:
    """Return which cells are taken out, truth values of shape (rows, columns)."""
    generator = np.random.default_rng([seed, blocks])
    rows, columns = values.shape
    if not blocks:
        gone = generator.random(values.shape) < SHARE
    else:
        length = max(2, round(2 * SHARE * columns))
        first = generator.integers(0, columns, rows)
        hit = generator.random(rows) < SHARE * columns / length
        place = (np.arange(columns) - first[:, None]) % columns
        gone = (place < length) & hit[:, None]
    return gone & ~np.isnan(values)


# --- imputers -------------------------------------------------------------------------------------


class Filled(NamedTuple):
    """What an imputer makes of a table with gaps."""

    values: np.ndarray
    sure: np.ndarray | None = None
    """The probability of each bit or category that was filled in, where the imputer tells."""
    ends: tuple[np.ndarray, np.ndarray] | None = None
    """The ends of intervals, likewise."""
    seconds: float | None = None
    """Of the fit and of the filling, where more was done."""


def simple(table: Table, seed: int) -> Filled:
    """Fill numbers by their mean and all else by the most frequent value."""
    filled = table.values.copy()
    for column, levels in zip(filled.T, table.levels, strict=True):
        there = column[~np.isnan(column)]
        usual = np.bincount(there.astype(int)).argmax() if levels else there.mean()
        column[np.isnan(column)] = usual
    return Filled(filled)


def by_codes(make: Callable[[int], Any]) -> Callable[[Table, int], Filled]:
    """Return an imputer of scikit-learn's as one of tables, over standardised numbers and one-hot codes."""

    def fill(table: Table, seed: int) -> Filled:
        parts, back = [], []
        for column, levels in zip(table.values.T, table.levels, strict=True):
            if levels > 2:
                code = np.where(np.isnan(column)[:, None], np.nan, column[:, None] == np.arange(levels))
                seen = np.flatnonzero(np.nansum(code, 0) > 0)
                parts.append(code[:, seen])
                back.append(lambda part, seen=seen: seen[part.argmax(1)])
            elif levels:
                parts.append(column[:, None])
                back.append(lambda part: (part[:, 0] > 0.5).astype(float))
            else:
                mean, spread = np.nanmean(column), np.nanstd(column) or 1.0
                parts.append((column[:, None] - mean) / spread)
                back.append(lambda part, mean=mean, spread=spread: part[:, 0] * spread + mean)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = make(seed).fit_transform(np.concatenate(parts, 1))
        cuts = np.cumsum([part.shape[1] for part in parts])[:-1]
        pieces = np.split(whole, cuts, axis=1)
        filled = np.stack([own(piece) for own, piece in zip(back, pieces, strict=True)], 1)
        return Filled(np.where(np.isnan(table.values), filled, table.values))

    return fill


def trees(seed: int) -> IterativeImputer:
    forest = ExtraTreesRegressor(20, random_state=seed, n_jobs=1)
    return IterativeImputer(forest, max_iter=3, random_state=seed)


def machine(table: Table, seed: int) -> Filled:
    """Fill a table by an RBM with the defaults of RBMImputer."""
    kinds = {i: "categorical" for i, levels in enumerate(table.levels) if levels > 2}
    began = time.perf_counter()
    imputer = RBMImputer(kinds=kinds, random_state=seed).fit(table.values)
    values = imputer.transform(table.values)
    seconds = time.perf_counter() - began
    ends = imputer.intervals(table.values, INTERVAL)
    return Filled(values, imputer.certainty(table.values), ends, seconds)


IMPUTERS: dict[str, Callable[[Table, int], Filled]] = {
    "mean, mode": simple,
    "KNN": by_codes(lambda seed: KNNImputer()),
    "BayesianRidge": by_codes(lambda seed: IterativeImputer(random_state=seed)),
    "ExtraTrees": by_codes(trees),
    "RBM": machine,
}


# --- scores ---------------------------------------------------------------------------------------


def scored(table: Table, gone: np.ndarray, found: Filled) -> dict[str, Any]:
    """Return the scores of what was filled in where cells were taken out."""
    real = np.array(table.levels) == 0
    scale = np.where(real, np.nanstd(table.values, 0), 1.0)
    row: dict[str, Any] = dict.fromkeys(("RMSE", "wrong", "coverage", "width", "sure"), "")
    errors, weights = [], []
    for kind, columns in (("RMSE", real), ("wrong", ~real)):
        cells = gone & columns
        if not cells.any():
            continue
        off = ((found.values - table.values) / scale)[cells]
        error = np.sqrt((off**2).mean()) if kind == "RMSE" else (off != 0).mean()
        row[kind] = float(error)
        errors.append(error)
        weights.append(columns.sum())
    row["score"] = float(np.average(errors, weights=weights))
    if found.ends is not None and (gone & real).any():
        low, high = found.ends  # none of what the imputer took for bits
        own = gone & real & ~np.isnan(low)
        row["coverage"] = float(((table.values >= low) & (table.values <= high))[own].mean())
        row["width"] = float(((high - low) / scale)[own].mean())
    if found.sure is not None and (gone & ~real).any():
        row["sure"] = f"{found.sure[gone & ~real].mean():.3f} / {1 - row['wrong']:.3f}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--imputers", nargs="+", choices=list(IMPUTERS), default=list(IMPUTERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    torch.set_num_threads(1)
    rows = []
    for name in args.sets:
        table = opened(name, args.seed)
        for way in ("random", "blocks"):
            gone = taken(table.values, way == "blocks", args.seed)
            holed = Table(np.where(gone, np.nan, table.values), table.levels)
            for imputer in args.imputers:
                began = time.perf_counter()
                found = IMPUTERS[imputer](holed, args.seed)
                seconds = time.perf_counter() - began if found.seconds is None else found.seconds
                row = {"set": name, "rows": len(gone), "gaps": way, "imputer": imputer}
                rows.append({**row, **scored(table, gone, found), "seconds": seconds})
                print(rows[-1], flush=True)
    keep(args.table, "Cells filled in", rows)


if __name__ == "__main__":
    main()
