"""What importance weights of samples of the hidden units tell of each row's likelihood."""

from __future__ import annotations

__all__ = ["Paths", "by_block", "weighed"]

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Paths(NamedTuple):
    """What samples of the hidden units tell of rows, up to log Z; nats, float64."""

    bound: Tensor
    """The variational bound of each row, shape (rows)."""
    bound_error: Tensor
    """Its Monte-Carlo errors."""
    estimate: Tensor
    """The logarithm of each row's mean weight, shape (rows)."""
    estimate_error: Tensor
    """Its Monte-Carlo errors, to first order."""
    effective: Tensor
    """The effective sample size of each row's weights, shape (rows)."""


def weighed(log_weight: Tensor) -> Paths:
    """Return what the logarithms of weights, shape (rows, samples), tell of the rows."""
    samples = log_weight.shape[1]
    share = log_weight.softmax(1)
    return Paths(
        bound=log_weight.mean(1),
        bound_error=_error(log_weight),
        estimate=log_weight.logsumexp(1) - math.log(samples),
        estimate_error=_error(samples * share),
        effective=1 / share.square().sum(1),
    )


def by_block(rows: int, size: int, weigh: Callable[[slice], Paths]) -> Paths:
    """Return what a function tells of a number of rows, ``size`` of them at a time.

    It is written to one place: small tensors that outlive each block would leave holes of its size in memory.
    """
    told = torch.empty(len(Paths._fields), rows, dtype=torch.float64)
    for first in range(0, rows, size):
        block = slice(first, min(first + size, rows))
        told[:, block] = torch.stack(weigh(block)).cpu()
    return Paths(*told)


def _error(x: Tensor) -> Tensor:
    """Return the standard error of the mean of each row; a single value tells nothing of it."""
    n = x.shape[1]
    return x.std(1) / math.sqrt(n) if n > 1 else torch.full_like(x[:, 0], math.inf)
