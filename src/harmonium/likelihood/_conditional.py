r"""The likelihood of some visible units given the others.

.. math:: \log p(x_A \mid x_B) = \log \sum_h e^{-E(x_A, x_B, h)} - \log \sum_{x_A', h} e^{-E(x_A', x_B, h)}

The second sum is a partition function of each row's own. It is enumerated over the states of the units A
where they are few; else it is annealed, with the units B held, from independent units A at the data's base
rates. The mean weight of a row's runs is an unbiased estimate of its sum; its logarithm is low by about half
its variance, which is corrected for, and counts as an error. The result as it is without the correction is,
in expectation, an upper bound.

References:
    | Annealed importance sampling (Neal, 2001)
"""

from __future__ import annotations

__all__ = ["conditional_log_likelihood"]

import copy
import math
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import ArgumentError, DataError, choose, invalid
from ..models import PairwiseModel, check_model
from ..random import Stream
from ..units import as_rows
from ._ais import SCHEDULES, Base, anneal, log_mean_weight
from ._ais import schedule as make_schedule
from ._results import LogLikelihood

METHODS = ("auto", "exact", "ais")

_LIMIT = 2**31
_CEILING = 2**36
_BLOCK = 1 << 22
_ESS_LIMIT = 0.1
_ESS_LEAST = 10
_CHAINS = 10_000


@torch.no_grad()
def conditional_log_likelihood(
    model: PairwiseModel,
    data: Any,
    given: Any,
    *,
    method: str = "auto",
    runs: int = 100,
    betas: int = 1000,
    schedule: str = "adaptive",
    seed: int = 0,
) -> LogLikelihood:
    r"""Estimate the mean of :math:`\log p(x_A \mid x_B)` over rows, in nats per row.

    Arguments:
        model: A model with visible units of one discrete type, whose hidden units sum out.
        data: Rows of shape (rows, size); or a :class:`harmonium.datasets.Dataset`, whose test rows are
            taken.
        given: Which units are given (B): truth values of shape (size).
        method: ``exact`` enumerates the other units' states (A); ``ais`` anneals; ``auto`` is ``exact`` where
            that takes about a minute at most.
        runs: Annealing runs of each row, at least two.
        betas: Steps of each run.
        schedule: How the steps are laid: see :func:`harmonium.log_partition`.
        seed: The seed of all runs.

    Returns:
        A result without a lower end where it was annealed.

    Raises:
        ArgumentError: An option is out of range, the model does not fit, or there are too many states.
        ArgumentTypeError: The model or the data are none.
        DataError: A value does not fit the visible units.
    """
    check_model(model, PairwiseModel)
    choose("method", method, METHODS)
    choose("schedule", schedule, SCHEDULES)
    for name, value, least in (("runs", runs, 2), ("betas", betas, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise invalid(name, value, f"an integer of at least {least}")
    _check_model(model)
    rows = data.test if isinstance(data, Dataset) else data
    rows = as_rows("data", rows, "an array or a tensor of numbers, or a Dataset")
    model.visible.validate(rows)
    known = _columns(model, given)
    double = copy.deepcopy(model).double()
    s = double.visible.statistics(rows.to(model.device))
    cost = _states(double, known) * len(s) * max(double.layer(b).width for b in double.blocks())
    exact = method == "exact" or (method == "auto" and cost <= _LIMIT)
    if exact:
        log_z, errors, worst = _enumerated(double, s, known, cost), torch.zeros(len(s)), float(runs)
    else:
        log_z, errors, worst = _annealed(model, s.to(model.dtype), known, (runs, betas, schedule, seed))
    values = double.log_sum({"visible": s}) - log_z
    mean, bias = float(values.mean()), float(errors.square().mean()) / 2
    error = math.hypot(float(errors.square().sum().sqrt()) / len(s), 0.0 if exact else bias)
    reasons = []
    if not exact and not worst >= max(_ESS_LIMIT * runs, _ESS_LEAST):
        reasons.append(f"{worst:.1f} of {runs} runs carry the weight of a row; use more betas and runs")
    if not mean <= 4 * error:
        reasons.append("the result is above zero, which no probability of states is; use more betas")
    return LogLikelihood(
        mean=mean - bias,
        lower=mean if exact else -math.inf,
        upper=mean,
        standard_error=error,
        data_standard_error=float(values.std()) / math.sqrt(len(s)) if len(s) > 1 else math.inf,
        rows=len(s),
        method="exact" if exact else "ais",
        trusted=not reasons,
        reason="; ".join(reasons),
        log_partition=None,
    )


def _check_model(model: PairwiseModel) -> None:
    if model.visible.support() is None:
        raise invalid("model", model.visible, "visible units of one discrete type")
    if not model.hidden_sums_out():
        raise ArgumentError("model: got hidden units that are coupled, expected ones that sum out")


def _columns(model: PairwiseModel, given: Any) -> Tensor:
    """Return which columns of the visible statistics are given, shape (width)."""
    unit = model.visible
    mask = as_rows("given", given, f"truth values of shape ({unit.size},)")
    if mask.shape != (unit.size,) or mask.dtype != torch.bool:
        got = f"{tuple(mask.shape)} of {mask.dtype}"
        raise DataError(f"given: got shape {got}, expected truth values of shape ({unit.size},)")
    if bool(mask.all()):
        raise DataError("given: got all units, expected at least one that is not")
    return mask.to(model.device).repeat_interleave(unit.width // unit.size)


def _states(model: PairwiseModel, known: Tensor) -> float:
    """Return how many states the units have that are not given."""
    support = model.visible.support()
    assert support is not None
    free = int((~known).sum()) // support.shape[1]
    return float(len(support)) ** free if free * math.log2(len(support)) < 1000 else math.inf


def _enumerated(model: PairwiseModel, s: Tensor, known: Tensor, cost: float) -> Tensor:
    """Return each row's log of the sum over the states of its free units."""
    support = model.visible.support()
    assert support is not None
    if cost > _CEILING:
        expected = "fewer states, or 'ais'"
        raise invalid("method", "exact", f"{expected}; the free units have {_states(model, known):.3g}")
    n, states = len(support), int(_states(model, known))
    free = int((~known).sum()) // support.shape[1]
    step = max(1, _BLOCK // (len(s) * s.shape[1]))
    parts = []
    for first in range(0, states, step):
        number = torch.arange(first, min(first + step, states), device=s.device)
        digits = torch.stack([(number // n**i) % n for i in range(free)], -1)
        x = s[:, None].repeat(1, len(number), 1)
        x[:, :, ~known] = support.double()[digits].flatten(1)
        log_f = model.log_sum({"visible": x.flatten(0, 1)})
        parts.append(log_f.view(len(s), -1).logsumexp(1))
    return torch.stack(parts).logsumexp(0)


def _annealed(
    model: PairwiseModel, s: Tensor, known: Tensor, settings: tuple[int, int, str, int]
) -> tuple[Tensor, Tensor, float]:
    """Return each row's estimate, its error, and the worst effective sample size."""
    runs, steps, name, seed = settings
    stream = Stream(seed, "conditional")
    base = Base(model, clamped=True)
    betas = make_schedule(name, steps, model, base, stream.child("schedule"))
    parts = s.split(max(1, _CHAINS // runs))
    weights = [
        _weights(model, base, betas, part, known, runs, stream.child(f"part {number}"))
        for number, part in enumerate(parts)
    ]
    found = [log_mean_weight(row) for row in torch.cat(weights)]
    values, errors, sizes = zip(*found, strict=True)
    unit, bias, support = model.visible, base.biases["visible"], model.visible.support()
    assert support is not None
    held = int(known.sum()) // support.shape[1]
    log_z = base.log_partition - float(unit.log_partition(bias))
    log_z += float(unit.log_partition(bias.masked_fill(known, 0))) - held * math.log(len(support))
    own = (s * known * bias).sum(1, dtype=torch.float64)
    estimate = torch.tensor(values, dtype=torch.float64, device=s.device)
    return log_z + own + estimate, torch.tensor(errors), min(sizes)


def _weights(
    model: PairwiseModel, base: Base, betas: Tensor, s: Tensor, known: Tensor, runs: int, stream: Stream
) -> Tensor:
    """Return the log-weights of the rows' runs, shape (rows, runs)."""
    clamp = torch.where(known, s, torch.nan).repeat_interleave(runs, 0)
    start = base.sample(model, len(clamp), stream)
    start["visible"] = torch.where(clamp.isnan(), start["visible"], clamp)
    log_weight, _ = anneal(model, base, betas, start, stream, clamp=clamp)
    return log_weight.view(len(s), runs)
