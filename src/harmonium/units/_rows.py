"""Arguments that hold rows of numbers, whatever they come as, turned into tensors; and what rows lack.

Rows may be many more than memory has room for twice: they are looked at block by block.
"""

from __future__ import annotations

__all__ = ["as_rows", "by_pattern", "complete", "first_gap"]

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentTypeError, show

_ROWS = 4096


def as_rows(name: str, values: Any, expected: str = "an array or a tensor of numbers") -> Tensor:
    """Return an argument as a tensor, where possible of the same memory.

    Arguments:
        name: The argument.
        values: What came: a tensor, a NumPy array, or what NumPy takes for one.
        expected: What the argument takes, in words.

    Raises:
        ArgumentTypeError: It is no dense array of real numbers.
    """
    try:
        rows = values if isinstance(values, Tensor) else _from_array(np.asarray(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentTypeError(f"{name}: got {show(values)}, expected {expected}") from error
    if rows.is_complex():
        raise ArgumentTypeError(f"{name}: got {rows.dtype}, expected real numbers")
    if rows.layout != torch.strided:
        raise ArgumentTypeError(f"{name}: got {rows.layout}, expected a dense tensor")
    return rows


def _from_array(array: np.ndarray[Any, Any]) -> Tensor:
    """Return the array as a tensor; one that torch cannot share memory with is copied."""
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(native, requirements=["C", "W"]))


def by_pattern(known: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the numbers of the rows that lack the same values, shape (rows), and which they have."""
    patterns, index, counts = known.unique(dim=0, return_inverse=True, return_counts=True)
    yield from zip(index.argsort(stable=True).split(counts.tolist()), patterns, strict=True)


def first_gap(rows: Tensor) -> tuple[int, int] | None:
    """Return the row and the column of the first value that is missing, or None if there is none."""
    first = 0
    for block in rows.split(_ROWS) if rows.ndim == 2 and rows.is_floating_point() else ():
        gaps = block.isnan()
        if bool(gaps.any()):
            row, column = gaps.nonzero()[0].tolist()
            return first + row, column
        first += len(block)
    return None


def complete(rows: Tensor) -> Tensor:
    """Return the numbers of the rows that lack no value."""
    if first_gap(rows) is None:
        return torch.arange(len(rows), device=rows.device)
    return torch.cat([~block.isnan().any(1) for block in rows.split(_ROWS)]).nonzero()[:, 0]
