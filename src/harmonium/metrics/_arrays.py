"""Arrays of features, checked, and the distances between their rows, block by block."""

from __future__ import annotations

__all__ = ["as_features", "check_equal", "nearest", "squared_distances", "squared_radii"]

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentTypeError, DataError, invalid

ELEMENTS = 1 << 23
"""Distances in a block, at most."""


def as_features(**arrays: Any) -> list[Tensor]:
    """Return arrays of features as float64, in the order in which they came.

    Arguments:
        arrays: Arrays or tensors of shape (rows, columns) by the name of their argument, of equal columns.

    Raises:
        ArgumentTypeError: One is neither an array nor a tensor.
        DataError: One has another shape, fewer than two rows, or a value that is not finite.
    """
    found = [_features(name, values) for name, values in arrays.items()]
    for name, values in zip(arrays, found, strict=True):
        if values.shape[1] != found[0].shape[1]:
            first = next(iter(arrays))
            raise DataError(
                f"{name}: got {values.shape[1]} columns, expected {found[0].shape[1]} as in {first}"
            )
    return found


def check_equal(**arrays: Tensor) -> None:
    """Check that arrays have equally many rows.

    Raises:
        DataError: They have not.
    """
    counts = {name: len(values) for name, values in arrays.items()}
    if len({*counts.values()}) > 1:
        told = " and ".join(f"{count:,} in {name}" for name, count in counts.items())
        raise DataError(f"{', '.join(counts)}: got {told} rows, expected equally many")


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of ``x`` and their squared distances to all rows of ``y``, shape (block, len(y))."""
    norms = y.square().sum(1)
    step = max(1, ELEMENTS // len(y))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        block = x[rows]
        products = torch.addmm(norms, block, y.T, alpha=-2)
        yield rows, products.add_(block.square().sum(1, keepdim=True)).clamp_(min=0)


def squared_radii(x: Tensor, k: int) -> Tensor:
    """Return the squared distance of each row to the k-th nearest of the others, shape (rows).

    Raises:
        ArgumentError: There are not so many others.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < len(x):
        raise invalid("k", k, f"a number of neighbours from 1 to {len(x) - 1}")
    parts = [_without_self(rows, d).kthvalue(k, 1).values for rows, d in squared_distances(x, x)]
    return torch.cat(parts)


def nearest(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared distance of each row of ``x`` to the nearest of ``y``, exactly, shape (len(x)).

    Where ``y`` is ``x`` itself, a row is not its own neighbour.
    """
    same = y is x
    parts = [(_without_self(rows, d) if same else d).argmin(1) for rows, d in squared_distances(x, y)]
    return (x - y[torch.cat(parts)]).square().sum(1)


def _without_self(rows: slice, distances: Tensor) -> Tensor:
    """Put the distance of a row to itself out of reach."""
    own = torch.arange(len(distances))
    distances[own, own + rows.start] = torch.inf
    return distances


def _features(name: str, values: Any) -> Tensor:
    if not isinstance(values, np.ndarray | Tensor):
        raise ArgumentTypeError(f"{name}: got {type(values).__name__}, expected an array or a tensor")
    tensor = torch.as_tensor(values).detach().cpu().double()
    if tensor.ndim != 2 or len(tensor) < 2 or not tensor.shape[1]:
        shape = tuple(tensor.shape)
        raise DataError(f"{name}: got shape {shape}, expected (rows, columns), at least two rows")
    if not bool(tensor.isfinite().all()):
        row, column = (~tensor.isfinite()).nonzero()[0].tolist()
        got = f"{float(tensor[row, column])} in row {row}, column {column} (from 0)"
        raise DataError(f"{name}: got {got}, expected finite numbers")
    return tensor
