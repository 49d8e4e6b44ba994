"""Arguments that hold rows of numbers, whatever they come as, turned into tensors."""

from __future__ import annotations

__all__ = ["as_rows", "by_pattern"]

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentTypeError, show


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
    patterns, index = known.unique(dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        yield (index == number).nonzero()[:, 0], pattern
