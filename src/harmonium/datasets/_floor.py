"""The likelihood of a table's rows under columns that are independent: the floor that a model must clear."""

from __future__ import annotations

__all__ = ["floor"]

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._column import Column
from ._spare import Floats

_ROWS = 512


def floor(columns: Sequence[Column], train: Tensor, rows: Tensor) -> Tensor:
    """Return the log-likelihoods of rows under independent columns, shape (rows), float64; see the schema's.

    Arguments:
        columns: In the order of a row, numbers last.
        train: Values to fit the columns to, shape (rows, columns).
        rows: Values, shape (rows, columns).
    """
    discrete = [column for column in columns if column.kind != "gaussian"]
    logs = _log_frequencies(discrete, train)
    mean, variance = _moments(train[:, len(discrete) :])
    out = torch.empty(len(rows), dtype=torch.float64)
    for block, found in zip(rows.split(_ROWS), out.split(_ROWS), strict=True):
        values = _floats(block)
        own, numbers = values[:, : len(discrete)], values[:, len(discrete) :]
        terms = -0.5 * ((numbers - mean) ** 2 / variance + np.log(2 * math.pi * variance))
        total = np.nansum(terms, 1)
        for i, log in enumerate(logs):
            there = ~np.isnan(own[:, i])
            total[there] += log[own[there, i].astype(int)]
        found.copy_(torch.from_numpy(total))
    return out


def _log_frequencies(columns: Sequence[Column], train: Tensor) -> list[Floats]:
    """Return the logarithms of the frequencies of each column's values, with one more of each value."""
    counts = [np.ones(len(column.levels)) for column in columns]
    for block in train[:, : len(columns)].split(_ROWS):
        values = _floats(block)
        for i, count in enumerate(counts):
            own = values[:, i]
            count += np.bincount(own[~np.isnan(own)].astype(int), minlength=len(count))
    return [np.log(count / count.sum()) for count in counts]


def _moments(train: Tensor) -> tuple[Floats, Floats]:
    """Return means and variances of the numbers that are there, 0 and 1 of those that do not vary."""
    blocks = train.split(_ROWS)
    n, total, off = np.zeros((3, train.shape[1]))
    low, high = np.full_like(n, np.inf), np.full_like(n, -np.inf)
    for block in blocks:
        values = _floats(block)
        n += (~np.isnan(values)).sum(0)
        total += np.nansum(values, 0)
        low = np.fmin(low, np.fmin.reduce(values, initial=np.inf))
        high = np.fmax(high, np.fmax.reduce(values, initial=-np.inf))
    mean = total / np.maximum(n, 1)
    for block in blocks:
        off += np.nansum((_floats(block) - mean) ** 2, 0)
    varies = low < high
    return np.where(varies, mean, 0.0), np.where(varies, off / np.maximum(n, 1), 1.0)


def _floats(rows: Tensor) -> Floats:
    values: Floats = rows.detach().cpu().double().numpy()
    return values
