"""The protocol: which rows are compared with which.

All rows of a table are of n rows, and are held against the same n held-out rows of the data set. Which
features they are compared on depends on the data: see ``_spaces``.
"""

from __future__ import annotations

__all__ = ["measure_samples"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import ArgumentError, ArgumentTypeError, DataError, invalid
from ..features import Inception
from ..metrics import parzen_log_likelihood
from ..models import GenerativeModel
from ..random import Stream
from ..samplers import sample
from ..units import as_rows
from ._labelled import labelled, of_labels
from ._references import centroids, independent, some
from ._row import Against, measure_row
from ._spaces import open_spaces
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
    parzen: bool = False,
    inception: Inception | None = None,
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
        n: How many rows to compare at most; fewer where there are not so many.
        seed: Chooses rows; also the seed of the classifier and of the first random net.
        parzen: Whether to estimate the Parzen log-likelihood, also of k-means centroids.
        inception: The network on whose features FID is defined.
        progress: Called with a line now and then.
        sampling: Arguments of :func:`harmonium.sample` for a model: ``steps``, ``means``, ...

    Raises:
        ArgumentError: ``n`` is too small, or there is an argument for a model and no model.
        ArgumentTypeError: There are no samples, or no data set.
        DataError: Samples do not fit the data set, or it has too few rows.
    """
    tell = progress or (lambda _: None)
    _check(data, n, parzen)
    if isinstance(samples, GenerativeModel):
        n = min(n, len(data.test), len(data.train))
        tell(f"drawing {n:,} samples")
        samples = sample(samples, n, **{"seed": seed, **sampling})
    elif sampling:
        name = next(iter(sampling))
        raise ArgumentError(f"{name}: it is for a model to draw from, and samples are given")
    own, codes = _fitted(as_rows("samples", samples, "rows, or a model to draw from"), data)
    n = min(n, len(own), len(data.test), len(data.train))
    stream, whole = Stream(seed).child("measures"), data.fixed("train")
    train = whole[:, : data.columns]
    spaces = open_spaces(data, seed, inception, tell)
    test = some(data.test[:, : data.columns], n, stream.child("test"))
    against = Against(
        test=spaces.see(test),
        train=spaces.see(some(train, n, stream.child("seen"))).untrained,
        shares=data.labels["train"].unique(return_counts=True)[1] if "train" in data.labels else None,
        seed=seed,
    )
    rows = {
        "floor": some(train, n, stream.child("floor")),
        "samples": own[:n],
        "ceiling": independent(train, n, stream.child("ceiling")),
    }
    table = {}
    for name, values in rows.items():
        tell(f"measuring the {name}")
        table[name] = measure_row(spaces.see(values), against)
    if parzen:
        rows["k-means"] = centroids(train, n, stream.child("centroids"))
        held_out = data.validation[:WINDOW, : data.columns]
        for name, values in rows.items():
            tell(f"a Parzen window about the {name}")
            centres, validation, scored = map(spaces.numbers, (values, held_out, test))
            window = parzen_log_likelihood(centres, validation, scored)
            table.setdefault(name, {}).update(parzen=window.mean, parzen_error=window.standard_error)
    if codes is not None and spaces.classes is not None and labelled(data):
        held_out = some(data.test, n, stream.child("test"))
        known = {"floor": some(whole, n, stream.child("floor")), "samples": _joined(own[:n], codes[:n])}
        for name, values in known.items():
            tell(f"a classifier learns from the {name}")
            table[name] |= of_labels(data, values, held_out, spaces.classes, seed)
    about = {"data": data.name, "binarisation": data.binarisation, "seed": seed, **spaces.about}
    return Measures(table, n, about)


def _check(data: Any, n: Any, parzen: bool) -> None:
    if not isinstance(data, Dataset):
        raise ArgumentTypeError(f"data: got {type(data).__name__}, expected a Dataset")
    if isinstance(n, bool) or not isinstance(n, int) or n < FEWEST:
        raise invalid("n", n, f"a number of rows, at least {FEWEST}")
    needed = {"train": data.train, "test": data.test, **({"validation": data.validation} if parzen else {})}
    for split, rows in needed.items():
        if len(rows) < FEWEST:
            raise DataError(f"data: got {len(rows)} {split} rows in {data.name}, expected at least {FEWEST}")


def _joined(rows: Tensor, codes: Tensor) -> Tensor:
    return torch.cat((rows, codes[:, None].to(rows)), 1)


def _fitted(samples: Tensor, data: Dataset) -> tuple[Tensor, Tensor | None]:
    """Return samples as rows, if they are such as the data set could have, and the codes of their labels.

    Raises:
        DataError: They are not.
    """
    rows = samples.detach().cpu()
    if rows.ndim > 2 and tuple(rows.shape[1:]) == data.shape:
        rows = rows.flatten(1)
    codes = None
    if rows.ndim == 2 and data.classes is not None and rows.shape[1] == data.columns + 1:
        rows, codes = rows[:, : data.columns], rows[:, -1]
        odd = ~torch.isin(codes, torch.arange(len(data.classes)).to(codes))
        if bool(odd.any()):
            got = f"{float(codes[odd][0]):g} in row {int(odd.nonzero()[0])} (from 0)"
            raise DataError(f"samples: got the code {got}, expected one of 0 ... {len(data.classes) - 1}")
    if rows.ndim != 2 or rows.shape[1] != data.columns or len(rows) < FEWEST:
        expected = f"(rows, {data.columns}) as in {data.name}, at least {FEWEST} rows"
        raise DataError(f"samples: got shape {tuple(samples.shape)}, expected {expected}")
    low, high, bits = _limits(data)
    odd = ~((rows >= low) & (rows <= high))
    odd = odd | ((rows != low) & (rows != high)) if bits else odd
    if bool(odd.any()):
        row, column = odd.nonzero()[0].tolist()
        got = f"{float(rows[row, column]):g} in row {row}, column {column} (from 0)"
        expected = f"{low:g} or {high:g}" if bits else f"from {low:g} to {high:g}"
        raise DataError(f"samples: got {got}, expected values {expected} as in the test rows of {data.name}")
    return rows, codes


def _limits(data: Dataset) -> tuple[float, float, bool]:
    """Return the least and the largest value of a row to be scored, and whether there are no others."""
    if data.binarisation == "none":
        return 0, 1, False
    if data.levels is not None or data.kind == "bits":
        return 0, 1, True
    if data.kind == "integers":
        return 0, 255, False
    return -torch.inf, torch.inf, False
