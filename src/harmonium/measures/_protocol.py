"""The protocol: which rows are compared with which.

Each line of the table is computed from n rows, and all are held against the same n held-out rows of the data
set. Which features they are compared on depends on the data: see ``_spaces``.
"""

from __future__ import annotations

__all__ = ["measure_samples"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import ArgumentError, ArgumentTypeError, DataError, invalid
from ..features import Inception, white
from ..metrics import parzen_log_likelihood
from ..models import GenerativeModel
from ..random import Stream
from ..samplers import sample
from ..units import as_rows
from ._labelled import labelled, of_labels
from ._references import centroids, independent, some
from ._row import Against, measure_row
from ._spaces import Spaces, open_spaces
from ._table import Measures

FEWEST = 20
WINDOW = 1000
"""Validation rows that choose the width of a Parzen window."""


def measure_samples(
    samples: Any,
    data: Dataset,
    *,
    n: int = 10_000,
    seed: int = 0,
    features_seed: int = 0,
    parzen: bool = False,
    inception: Inception | None = None,
    weights: str | None = None,
    progress: Callable[[str], None] | None = None,
    **sampling: Any,
) -> Measures:
    """Measure samples against a data set, beside a floor and a ceiling.

    Samples have the values of ``data.test``: bits, means in [0, 1], bytes or reals. Where the data set is
    binarised so must they be; means of a model are held against grey values of ``binarisation="none"``. Where
    rows of data and samples end in the code of a label, what these labels are worth to a classifier of images
    is measured as well.

    Arguments:
        samples: Rows, shape (rows, columns) or (rows, *shape), or with codes of labels (rows, columns + 1);
            or a model, which :func:`harmonium.sample` draws from.
        data: The data set, with held-out rows in its test split.
        n: How many rows to compare at most, drawn where there are more; fewer where there are not so many.
        seed: Draws samples of a model, and the rows to compare.
        features_seed: That of the classifier and of the first random net. Numbers on features of different
            seeds cannot be compared.
        parzen: Whether to estimate the Parzen log-likelihood, also of k-means centroids.
        inception: The network on whose features FID is defined.
        weights: What the table tells of the weights that drew the samples: ``averaged`` or ``raw``.
        progress: Called with a line now and then.
        sampling: Arguments of :func:`harmonium.sample` for a model: ``steps``, ``means``, ...

    Raises:
        ArgumentError: ``n`` is too small, or there is an argument for a model and no model, or Inception's
            features are wanted of rows that are no images.
        ArgumentTypeError: There are no samples, or no data set.
        DataError: Samples do not fit the data set, or it has too few rows.
    """
    tell = progress or (lambda _: None)
    _check(data, n, parzen)
    n = min(n, len(data.test), len(data.train))
    if isinstance(samples, GenerativeModel):
        tell(f"drawing {n:,} samples")
        samples = sample(samples, n, seed=seed, **sampling)
    elif sampling:
        name = next(iter(sampling))
        raise ArgumentError(f"{name}: it is for a model to draw from, and samples are given")
    own = _fitted(as_rows("samples", samples, "rows, or a model to draw from"), data)
    n = min(n, len(own))
    stream = Stream(seed).child("measures")
    spaces = open_spaces(data, features_seed, inception, tell)
    own = own if len(own) == n else some(own, n, stream.child("samples"))
    seen, floor = data.fixed("train", _training_rows(len(data.train), n, stream)).split(n)
    test = some(data.test, n, stream.child("test"))
    rows = {"floor": floor, "samples": own, "ceiling": _independent(data, n, stream.child("ceiling"))}
    against = Against(
        test=spaces.see(test[:, : data.columns]),
        train=spaces.see(seen[:, : data.columns]).untrained,
        shares=spaces.shares,
        seed=seed,
    )
    table = {}
    for name, values in rows.items():
        tell(f"measuring the {name}")
        table[name] = measure_row(spaces.see(values[:, : data.columns]), against)
    if 2 * n > len(data.train):
        for measure in ("memorised", "memorised_error"):
            del table["floor"][measure]
    if parzen:
        rows["k-means"] = centroids(data.fixed("train")[:, : data.columns], n, stream.child("centroids"))
        for name, window in _windows(rows, test, data, spaces, tell).items():
            table.setdefault(name, {}).update(window)
    if own.shape[1] > data.columns and spaces.classes is not None and labelled(data):
        for name in ("floor", "samples"):
            tell(f"a classifier learns from the {name}")
            table[name] |= of_labels(data, rows[name], test, spaces.classes, features_seed)
    about: dict[str, Any] = {"data": data.name, "binarisation": data.binarisation, "seed": seed}
    given = {name: value for name, value in sampling.items() if value is not None}
    about["sampling"] = {k: v if isinstance(v, int | float) else "given" for k, v in given.items()}
    return Measures(table, n, {**about, "weights": weights, **spaces.about})


def _training_rows(rows: int, n: int, stream: Stream) -> Tensor:
    """Return the numbers of n training rows to tell copies by, and then of n that stand in for samples.

    No row is in both, unless there are fewer than 2 n.
    """
    seen = stream.child("seen").permutation(rows)[:n]
    order = stream.child("floor").permutation(rows)
    others = order[~torch.isin(order, seen)] if 2 * n <= rows else order
    return torch.cat((seen, others[:n]))


def _independent(data: Dataset, n: int, stream: Stream) -> Tensor:
    """Return n rows of independent columns, with the values of rows to be scored."""
    if data.levels is None or data.binarisation != "none":
        return independent(data.fixed("train")[:, : data.columns], n, stream)
    return independent(data.train[:, : data.columns], n, stream).float() / data.levels


def _windows(
    rows: dict[str, Tensor], test: Tensor, data: Dataset, spaces: Spaces, tell: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Return the Parzen log-likelihoods of rows, whose windows validation rows choose."""
    found = {}
    for name, values in rows.items():
        tell(f"a Parzen window about the {name}")
        parts = (part[:, : data.columns] for part in (values, data.validation[:WINDOW], test))
        centres, validation, scored = map(spaces.numbers, parts)
        window = parzen_log_likelihood(centres, validation, scored)
        found[name] = {"parzen": window.mean, "parzen_error": window.standard_error}
    return found


def _check(data: Any, n: Any, parzen: bool) -> None:
    if not isinstance(data, Dataset):
        raise ArgumentTypeError(f"data: got {type(data).__name__}, expected a Dataset")
    if isinstance(n, bool) or not isinstance(n, int) or n < FEWEST:
        raise invalid("n", n, f"a number of rows, at least {FEWEST}")
    needed = {"train": data.train, "test": data.test, **({"validation": data.validation} if parzen else {})}
    for split, rows in needed.items():
        if len(rows) < FEWEST:
            raise DataError(f"data: got {len(rows)} {split} rows in {data.name}, expected at least {FEWEST}")


def _fitted(samples: Tensor, data: Dataset) -> Tensor:
    """Return samples as rows such as the data set could have, with the codes of their labels, if any.

    Raises:
        DataError: They are not.
    """
    rows = samples.detach().cpu()
    if rows.ndim > 2 and tuple(rows.shape[1:]) == data.shape:
        rows = rows.flatten(1)
    values = rows
    if rows.ndim == 2 and data.classes is not None and rows.shape[1] == data.columns + 1:
        values, codes = rows[:, : data.columns], rows[:, -1]
        odd = ~torch.isin(codes, torch.arange(len(data.classes)).to(codes))
        if bool(odd.any()):
            got = f"{float(codes[odd][0]):g} in row {int(odd.nonzero()[0])} (from 0)"
            raise DataError(f"samples: got the code {got}, expected one of 0 ... {len(data.classes) - 1}")
    if values.ndim != 2 or values.shape[1] != data.columns or len(rows) < FEWEST:
        expected = f"(rows, {data.columns}) as in {data.name}, at least {FEWEST} rows"
        raise DataError(f"samples: got shape {tuple(samples.shape)}, expected {expected}")
    _check_values(values, data)
    return rows


def _check_values(rows: Tensor, data: Dataset) -> None:
    """Refuse values that the data set could not have."""
    low, high, bits = _limits(data)
    odd = ~((rows >= low) & (rows <= high))
    odd = odd | ((rows != low) & (rows != high)) if bits else odd
    if bool(odd.any()):
        row, column = odd.nonzero()[0].tolist()
        got = f"{float(rows[row, column]):g} in row {row}, column {column} (from 0)"
        expected = f"{low:g} or {high:g}" if bits else f"from {low:g} to {high:g}"
        raise DataError(f"samples: got {got}, expected values {expected} as in the test rows of {data.name}")
    if high > 1 and data.kind == "integers" and bool((rows != rows.round()).any()) and float(rows.max()) <= 1:
        expected = f"values up to {high:g} as in {data.name}, or data of binarisation='none'"
        raise DataError(f"samples: got none above 1, expected {expected}")


def _limits(data: Dataset) -> tuple[float, float, bool]:
    """Return the least and the largest value of a row to be scored, and whether there are no others."""
    if data.binarisation == "none":
        return 0, 1, False
    if data.levels is not None or data.kind == "bits":
        return 0, 1, True
    if data.kind == "integers":
        splits = [rows[:, : data.columns] for rows in (data.train, data.test)]
        if data.train.dtype == torch.uint8:
            return 0, white(data), False
        return min(int(rows.min()) for rows in splits), max(int(rows.max()) for rows in splits), False
    return -torch.inf, torch.inf, False
