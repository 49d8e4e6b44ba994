"""The mean log-likelihood of data, with what is known of its errors."""

from __future__ import annotations

__all__ = ["log_likelihood"]

import copy
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..datasets import Dataset, Schema, Transform
from ..errors import ArgumentTypeError, invalid, show
from ..models import DBN, GenerativeModel, PairwiseModel, check_transform, choose_side
from ..random import Stream
from ..units import as_rows, first_gap
from ._exact import LIMIT
from ._gaps import known_log_sums
from ._log_partition import log_partition as estimate_log_partition
from ._network import weigh_paths
from ._paths import Paths
from ._posterior import weigh_posterior
from ._results import LogLikelihood, LogPartition

_ROWS = 2048
_SAMPLES = 100
_LOW = 0.1
_RUNS, _BETAS = 100, 1000
_ESS_LIMIT = 0.1
_ESS_LEAST = 10


@torch.no_grad()
def log_likelihood(
    model: GenerativeModel,
    data: Any,
    *,
    log_partition: LogPartition | None = None,
    means: bool = False,
    samples: int | None = None,
    seed: int = 0,
    **options: Any,
) -> LogLikelihood:
    r"""Estimate the mean of :math:`\log p(v) = -F(v) - \log Z` over rows, in nats per row.

    Where hidden units do not sum out, as in a deep model, and cannot be enumerated either, it is the mean
    over rows of the logarithm of an importance-sampled mean, low by about half its variance; beside it stands
    the variational bound.

    Rows may lack values (NaN), if the hidden units sum out. Then it is the mean of the log-likelihood of what
    is known of each: exact, up to log Z, where the states of what is missing or of the hidden units are few;
    else annealed for each row, which leaves no upper end.

    Arguments:
        model: The model.
        data: Rows of shape (rows, size): values that the visible units can take, or NaN; or a
            :class:`harmonium.datasets.Dataset`, whose test rows are taken.
        log_partition: An estimate of log Z to use; made here if not given.
        means: Accept means where states are due (binarisation ``none``; the result is then no
            log-likelihood of data that exist).
        samples: Of hidden layers that do not sum out, for each row; 100 if not given, or none where they
            are few enough to be enumerated.
        seed: The seed of all that is drawn.
        options: Arguments of :func:`harmonium.log_partition`: ``method``, ``runs``, ``betas``, ... Rows that
            lack values are annealed by the same ``runs`` (or 100), ``betas`` (or 1000) and ``schedule``.

    Raises:
        ArgumentTypeError: The model, the data or the estimate is none.
        DataError: A value does not fit the visible units.
        ArgumentError: An option is out of range, or comes beside ``log_partition``.
    """
    if not isinstance(model, (DBN, PairwiseModel)):
        raise ArgumentTypeError(f"model: got {show(model)}, expected a model such as an RBM or a DBN")
    _check_estimate(log_partition)
    if log_partition is not None and options:
        name, value = next(iter(options.items()))
        raise invalid(name, value, "no such argument beside log_partition=")
    check_transform(model, data)
    own: Dataset | GenerativeModel = data if isinstance(data, Dataset) else model
    transform, schema = own.transform, own.schema
    binarisation = None
    if isinstance(data, Dataset):
        binarisation, means = data.binarisation, means or data.binarisation == "none"
        data = data.test
    if samples is not None:
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise invalid("samples", samples, "a positive number")
        if isinstance(model, PairwiseModel) and model.hidden_sums_out():
            raise invalid("samples", samples, f"None, as the hidden units of this {model.kind} sum out")
    rows = as_rows("data", data, "an array or a tensor of numbers, or a Dataset")
    _check_rows(model, rows, means)
    if log_partition is None:
        log_partition = estimate_log_partition(model, seed=seed, **options)
    result = LogLikelihood(
        mean=0.0,
        lower=0.0,
        upper=0.0,
        standard_error=log_partition.standard_error,
        data_standard_error=0.0,
        rows=len(rows),
        method=log_partition.method,
        trusted=log_partition.trusted,
        reason=log_partition.reason,
        binarisation=binarisation,
        log_partition=log_partition,
        log_determinant=_to_own_units(transform, schema, rows),
    )
    if isinstance(model, PairwiseModel) and model.hidden_sums_out():
        if not _lacks(model, rows):
            return _around(result, _log_sums(model, rows))
        return _around_known(result, model, rows, seed, options)
    paths = _paths(model, rows, samples, Stream(seed, "importance"))
    n = len(rows)
    bias, doubt = _shortfall(paths.effective, samples or _SAMPLES)
    return replace(
        _around(result, paths.estimate),
        trusted=result.trusted and not doubt,
        reason="; ".join(filter(None, (result.reason, doubt))),
        standard_error=math.hypot(result.standard_error, float(paths.estimate_error.norm()) / n),
        bound=float(paths.bound.mean()) - log_partition.upper,
        bound_standard_error=float(paths.bound_error.norm()) / n,
        importance_samples=(samples or _SAMPLES) if bool(paths.effective.isfinite().all()) else 0,
        importance_ess=float(paths.effective.mean()),
        importance_bias=bias,
    )


def _to_own_units(transform: Transform | None, schema: Schema | None, rows: Tensor) -> float | None:
    """Return what is added to the mean log-likelihood for the units that rows came in; None if unknown."""
    if schema is not None and rows.ndim == 2 and rows.shape[1] == len(schema.columns):
        return float(schema.log_jacobian(rows).mean()) if schema.has_density else None
    return None if transform is None else transform.log_determinant


def _shortfall(effective: Tensor, samples: int) -> tuple[float, str]:
    r"""Return by how much the logarithm of a mean weight is low, and why not to trust it, if not to.

    To first order it is half the relative variance of the mean, :math:`\frac12 (1/\mathrm{ESS} - 1/K)`. Where
    one of K samples has all the weight, that is near one half, and the truth may be much further off.

    Arguments:
        effective: The effective number of each row's samples, shape (rows); infinite where none are drawn.
        samples: Of each row.
    """
    if bool(effective.isinf().all()):
        return 0.0, ""
    bias = 0.5 * float((1 / effective - 1 / samples).clamp(min=0).mean())
    if samples == 1:
        return bias, "one sample of the hidden layers for each row does not tell how low the estimate is"
    if bias <= _LOW:
        return bias, ""
    return bias, (
        f"of {samples:,} samples of the hidden layers for each row about {float(effective.mean()):.2g} carry "
        f"the weight, so that the estimate is low by {bias:.2g} nats or more; take more samples "
        "(the bound is not concerned)"
    )


def _lacks(model: PairwiseModel, rows: Tensor) -> bool:
    """Return whether rows of values, not of statistics, lack some."""
    return rows.shape[-1] == model.visible.size and first_gap(rows) is not None


def _check_rows(model: DBN | PairwiseModel, rows: Tensor, means: bool) -> None:
    if isinstance(model, PairwiseModel):
        if model.hidden_sums_out() and _lacks(model, rows):
            model.visible.validate(rows, means=means, gaps=True)
        else:
            model.validate(rows, means=means)
        return
    below = model.visible
    if model.classes is not None and rows.ndim == 2 and rows.shape[1] == below.size - 1:
        rows = pad(rows, (0, 1))
    below.validate(rows, means=means)


def _paths(model: DBN | PairwiseModel, rows: Tensor, samples: int | None, stream: Stream) -> Paths:
    """Return what is known of rows whose hidden units do not sum out, up to log Z."""
    if isinstance(model, DBN):
        v, label = model.split(rows.to(model.device))
        return weigh_paths(model, v, label, samples or _SAMPLES, stream)
    double = copy.deepcopy(model).double()
    _, cost = choose_side(double, tuple(double.states(rows[:1].to(model.device))))
    if samples is not None or cost * len(rows) > LIMIT:
        return weigh_posterior(double, rows.to(model.device), samples or _SAMPLES, stream)
    bound = weigh_posterior(double, rows.to(model.device), 1, stream).bound
    none = torch.zeros_like(bound)
    return Paths(bound, none, _log_sums(model, rows), none, torch.full_like(bound, math.inf))


def _around(result: LogLikelihood, values: Tensor) -> LogLikelihood:
    """Put the mean of rows' log-likelihoods up to log Z, and the ends, into a result."""
    log_z = result.log_partition
    assert log_z is not None
    mean = float(values.mean())
    spread = float(values.std()) if len(values) > 1 else math.inf
    return replace(
        result,
        mean=mean - log_z.value,
        lower=mean - log_z.upper,
        upper=mean - log_z.lower,
        data_standard_error=spread / math.sqrt(len(values)),
    )


def _around_known(
    result: LogLikelihood, model: PairwiseModel, rows: Tensor, seed: int, options: dict[str, Any]
) -> LogLikelihood:
    """Put the mean of what is known of rows that lack values, and its ends, into a result."""
    steps, runs = options.get("betas", _BETAS), options.get("runs", _RUNS)
    if not isinstance(steps, int):
        steps = len(steps) - 1
    sums = known_log_sums(model, rows, (runs, steps, options.get("schedule", "adaptive"), seed))
    result = _around(result, sums.values)
    if sums.worst == math.inf:
        return result
    bias = float(sums.errors.square().mean()) / 2
    own = math.hypot(float(sums.errors.norm()) / len(rows), bias)
    doubt = ""
    if not sums.worst >= max(_ESS_LIMIT * runs, _ESS_LEAST):
        doubt = f"{sums.worst:.1f} of {runs} runs carry the weight of a row that lacks values; "
        doubt += "use more betas and runs"
    return replace(
        result,
        mean=result.mean + bias,
        upper=math.inf,
        standard_error=math.hypot(result.standard_error, own),
        trusted=result.trusted and not doubt,
        reason="; ".join(filter(None, (result.reason, doubt))),
    )


def _check_estimate(estimate: object) -> None:
    if not (estimate is None or isinstance(estimate, LogPartition)):
        expected = "what hm.log_partition returns"
        raise ArgumentTypeError(f"log_partition: got {show(estimate)}, expected {expected}")


def _log_sums(model: PairwiseModel, rows: Tensor) -> Tensor:
    """Return the free energies of rows with the opposite sign, computed in float64 in blocks."""
    double = copy.deepcopy(model).double()
    return torch.cat([double.log_sum(double.states(block.to(model.device))) for block in rows.split(_ROWS)])
