"""The mean log-likelihood of data, with what is known of its errors."""

from __future__ import annotations

__all__ = ["log_likelihood"]

import copy
import math
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import ArgumentTypeError, invalid, show
from ..models import PairwiseModel, check_count, check_model, choose_side
from ..units import as_rows
from ._log_partition import log_partition as estimate_log_partition
from ._results import LogLikelihood, LogPartition

_ROWS = 2048


@torch.no_grad()
def log_likelihood(
    model: PairwiseModel,
    data: Any,
    *,
    log_partition: LogPartition | None = None,
    means: bool = False,
    **options: Any,
) -> LogLikelihood:
    r"""Estimate the mean of :math:`\log p(v) = -F(v) - \log Z` over rows, in nats per row.

    Arguments:
        model: The model.
        data: Rows of shape (rows, size): values that the visible units can take; or a
            :class:`harmonium.datasets.Dataset`, whose test rows are taken.
        log_partition: An estimate of log Z to use; made here if not given.
        means: Accept means where states are due (binarisation ``none``; the result is then no
            log-likelihood of data that exist).
        options: Arguments of :func:`harmonium.log_partition`: ``method``, ``runs``, ``betas``, ...

    Raises:
        ArgumentTypeError: The model, the data or the estimate is none.
        DataError: A value does not fit the visible units.
        ArgumentError: An option is out of range, or comes beside ``log_partition``; or hidden units that
            are coupled have too many states to sum over.
    """
    check_model(model, PairwiseModel)
    _check_estimate(log_partition)
    if log_partition is not None and options:
        name, value = next(iter(options.items()))
        raise invalid(name, value, "no such argument beside log_partition=")
    binarisation = None
    if isinstance(data, Dataset):
        binarisation, means = data.binarisation, means or data.binarisation == "none"
        data = data.test
    rows = as_rows("data", data, "an array or a tensor of numbers, or a Dataset")
    model.visible.validate(rows, means=means)
    if not model.hidden_sums_out():
        check_count(model, choose_side(model, ("visible",))[0], len(rows))
    if log_partition is None:
        log_partition = estimate_log_partition(model, **options)
    minus_energy = _log_sums(model, rows)
    mean = float(minus_energy.mean())
    spread = float(minus_energy.std()) if len(rows) > 1 else math.inf
    return LogLikelihood(
        mean=mean - log_partition.value,
        lower=mean - log_partition.upper,
        upper=mean - log_partition.lower,
        standard_error=log_partition.standard_error,
        data_standard_error=spread / math.sqrt(len(rows)),
        rows=len(rows),
        method=log_partition.method,
        trusted=log_partition.trusted,
        reason=log_partition.reason,
        binarisation=binarisation,
        log_partition=log_partition,
    )


def _check_estimate(estimate: object) -> None:
    if not (estimate is None or isinstance(estimate, LogPartition)):
        expected = "what hm.log_partition returns"
        raise ArgumentTypeError(f"log_partition: got {show(estimate)}, expected {expected}")


def _log_sums(model: PairwiseModel, rows: Tensor) -> Tensor:
    """Return the free energies of rows with the opposite sign, computed in float64 in blocks."""
    double = copy.deepcopy(model).double()
    states = (double.visible.statistics(block.to(model.device)) for block in rows.split(_ROWS))
    return torch.cat([double.log_sum({"visible": s}) for s in states])
