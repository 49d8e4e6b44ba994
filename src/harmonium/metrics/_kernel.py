r"""The kernel distance: a squared maximum mean discrepancy, without bias.

With the kernel :math:`k(x, y) = (x^\top y / d + 1)^3` of d features it compares the first three moments,

.. math:: E\,k(x, x') + E\,k(y, y') - 2 E\,k(x, y),

over pairs of different rows, so that it is zero on average where there is no difference, and may be negative.
Rows are cut into subsets that share none, so that the spread of their values is an honest error.

References:
    | Demystifying MMD GANs (Binkowski, Sutherland, Arbel & Gretton, 2018)
"""

from __future__ import annotations

__all__ = ["Estimate", "kernel_distance"]

from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import invalid
from ..random import Stream
from ._arrays import as_features

LARGEST, FEWEST = 1000, 10


class Estimate(NamedTuple):
    """A mean over subsets, and its standard error."""

    value: float
    standard_error: float


def kernel_distance(real: Any, fake: Any, subset: int | None = None, seed: int = 0) -> Estimate:
    """Return the squared kernel distance between the features of real and of generated rows.

    Arguments:
        real: Features, shape (rows, columns).
        fake: Likewise.
        subset: How many rows of either there are in a subset, at most half of them; by default a tenth, and
            no more than 1,000.
        seed: Which rows go together.

    Raises:
        ArgumentError: Subsets are too small or too large.
        DataError: Features do not fit each other, or are no finite numbers.
    """
    x, y = as_features(real=real, fake=fake)
    n = min(len(x), len(y))
    size = min(LARGEST, max(2, n // FEWEST)) if subset is None else subset
    if isinstance(size, bool) or not isinstance(size, int) or not 2 <= size <= n // 2:
        raise invalid("subset", size, f"at least 2 rows, and at most half of {n}")
    stream = Stream(seed).child("subsets")
    firsts, seconds = (rows[stream.permutation(len(rows))].split(size) for rows in (x, y))
    count = n // size
    pairs = zip(firsts[:count], seconds[:count], strict=True)
    values = torch.tensor([_discrepancy(*pair) for pair in pairs], dtype=torch.float64)
    return Estimate(float(values.mean()), float(values.std()) / sqrt(count))


def _discrepancy(x: Tensor, y: Tensor) -> float:
    n = len(x)
    own = sum(float(k.sum() - k.trace()) for k in (_kernel(x, x), _kernel(y, y)))
    return own / (n * (n - 1)) - 2 * float(_kernel(x, y).mean())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
