r"""The likelihood of some visible units given the others.

.. math:: \log p(x_A \mid x_B) = \log \sum_h e^{-E(x_A, x_B, h)} - \log \sum_{x_A', h} e^{-E(x_A', x_B, h)}

(an integral over real units). The second sum is a partition function of each row's own, and one of two sums
can be a closed form: over the hidden units given the states of the units A, which are enumerated where they
are discrete and few, or at nodes where some are real (see ``_grid``); or, where visible units are not coupled
to each other, over the units A, whatever they are, given the states of the hidden ones,

.. math:: \log \sum_h e^{-E(h) + a_B(h)^\top s(x_B) - e(x_B) + A_A(a_A(h))},

where :math:`a_A, a_B` are the fields of the visible units and :math:`A_A` is the log-partition function of
those of A. The cheaper of the two is taken. Else the second sum is annealed, with the units B held, from
independent units A at the data's base rates. The mean weight of a row's runs is an unbiased estimate of its
sum; its logarithm is low by about half its variance, which is corrected for, and counts as an error. The
result as it is without the correction is, in expectation, an upper bound.

References:
    | Annealed importance sampling (Neal, 2001)
"""

from __future__ import annotations

__all__ = ["Split", "anneal_rows", "cheapest", "conditional_log_likelihood", "start_sum"]

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import ArgumentError, DataError, choose, invalid
from ..models import (
    PairwiseModel,
    check_model,
    check_transform,
    choose_side,
    configurations,
    count_states,
)
from ..random import Stream
from ..units import Unit, as_rows
from ._ais import SCHEDULES, Base, anneal, log_mean_weight
from ._ais import schedule as make_schedule
from ._grid import Grid
from ._results import LogLikelihood

METHODS = ("auto", "exact", "ais")

_LIMIT = 2**31
_CEILING = 2**36
_BLOCK = 1 << 22
_ESS_LIMIT = 0.1
_ESS_LEAST = 10
_CHAINS = 10_000


class Split(NamedTuple):
    """The visible units, some of which are given; see :meth:`of`."""

    known: Tensor
    """Which columns of the visible statistics are given, shape (width)."""
    free: Unit
    """The units that are not, as a layer of their own."""
    held: Unit | None
    """Those that are, likewise."""

    @classmethod
    def of(cls, unit: Unit, given: Tensor) -> Split:
        """Return the visible units by whether they are given, truth values of shape (size), not all true."""
        held = unit.subset(given) if bool(given.any()) else None
        return cls(unit.expand(given), unit.subset(~given), held)

    def own_energy(self, s: Tensor) -> Tensor:
        """Return e(x) of the units that are given, of visible statistics of shape (rows, width)."""
        x = s[:, self.known]
        return x.new_zeros(len(x)) if self.held is None else self.held.own_energy(x)


_Sum: TypeAlias = Callable[[PairwiseModel, Tensor, Split], Tensor]
"""Returns each row's log of the sum over the hidden and the free visible units, shape (rows), float64."""


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

    With real units in A it is a density, of rows as they come: transformed ones, where there is a transform.

    Arguments:
        model: A model whose hidden units sum out, with visible units of any types.
        data: Rows of shape (rows, size), with the label of a model that has one; or a
            :class:`harmonium.datasets.Dataset`, whose test rows are taken.
        given: Which units are given (B): truth values of shape (size).
        method: ``exact`` enumerates the states of the other units (A), if they are discrete, or those of the
            hidden units; ``ais`` anneals; ``auto`` is ``exact`` where that takes about a minute at most.
        runs: Annealing runs of each row, at least two.
        betas: Steps of each run.
        schedule: How the steps are laid: see :func:`harmonium.log_partition`.
        seed: The seed of all runs.

    Returns:
        A result without a lower end where it was annealed.

    Raises:
        ArgumentError: An option is out of range, the hidden units are coupled to each other, or there are
            too many states.
        ArgumentTypeError: The model or the data are none.
        DataError: A value does not fit the visible units, or rows were transformed in another way than those
            that the model was trained on.
    """
    check_model(model, PairwiseModel)
    choose("method", method, METHODS)
    choose("schedule", schedule, SCHEDULES)
    for name, value, least in (("runs", runs, 2), ("betas", betas, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise invalid(name, value, f"an integer of at least {least}")
    if not model.hidden_sums_out():
        raise ArgumentError("model: got hidden units that are coupled, expected ones that sum out")
    check_transform(model, data)
    rows = data.test if isinstance(data, Dataset) else data
    rows = as_rows("data", rows, "an array or a tensor of numbers, or a Dataset")
    model.visible.validate(rows)
    double = copy.deepcopy(model).double()
    s, split = double.visible.statistics(rows.to(model.device)), _split(double, given)
    cost, log_sum = cheapest(double, split, len(s))
    exact = method == "exact" or (method == "auto" and cost <= _LIMIT)
    if exact:
        _check_cost(double, split, cost)
        log_z, errors, worst = log_sum(double, s, split), torch.zeros(len(s)), float(runs)
    else:
        base, above, errors, worst = anneal_rows(model, s, split.known, (runs, betas, schedule, seed))
        log_z = start_sum(model, base, s, split) + above
    values = double.log_sum(double.observed(s)) - log_z
    mean, bias = float(values.mean()), float(errors.square().mean()) / 2
    error = math.hypot(float(errors.square().sum().sqrt()) / len(s), 0.0 if exact else bias)
    reasons = []
    if not exact and not worst >= max(_ESS_LIMIT * runs, _ESS_LEAST):
        reasons.append(f"{worst:.1f} of {runs} runs carry the weight of a row; use more betas and runs")
    if split.free.discrete and not mean <= 4 * error:
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


def _split(model: PairwiseModel, given: Any) -> Split:
    """Return the visible units by whether they are given.

    Raises:
        ArgumentTypeError: ``given`` holds no truth values.
        DataError: It has another shape, or gives all units.
    """
    unit = model.visible
    mask = as_rows("given", given, f"truth values of shape ({unit.size},)")
    if mask.shape != (unit.size,) or mask.dtype != torch.bool:
        got = f"{tuple(mask.shape)} of {mask.dtype}"
        raise DataError(f"given: got shape {got}, expected truth values of shape ({unit.size},)")
    if bool(mask.all()):
        raise DataError("given: got all units, expected at least one that is not")
    return Split.of(unit, mask.to(model.device))


def cheapest(model: PairwiseModel, split: Split, rows: int) -> tuple[float, _Sum]:
    """Return the elements of fields that the cheaper of two sums takes, and that sum."""
    widest = max(model.layer(block).width for block in model.blocks())
    over_free = Grid.of(model, split.known, split.free).total * rows * widest
    over_hidden = _hidden_states(model) * (rows + widest)
    return (over_free, _over_free) if over_free <= over_hidden else (over_hidden, _over_hidden)


def _hidden_states(model: PairwiseModel) -> float:
    """Return the number of the hidden units' states; infinite if the visible units do not sum out."""
    hidden = model.hidden_blocks()
    return count_states(model, hidden) if choose_side(model, hidden)[0] == () else math.inf


def _check_cost(model: PairwiseModel, split: Split, cost: float) -> None:
    if cost > _CEILING:
        hidden, have = _hidden_states(model), f"the free units have {split.free.count():.3g}"
        have += f", the hidden ones {hidden:.3g}" if hidden < math.inf else ""
        raise invalid("method", "exact", f"fewer states, or 'ais'; {have}")


def _over_free(model: PairwiseModel, s: Tensor, split: Split) -> Tensor:
    """Enumerate the free units, real ones at their nodes; see :data:`_Sum`."""
    grid = Grid.of(model, split.known, split.free)
    states, widest = int(grid.total), max(model.layer(block).width for block in model.blocks())
    step = max(1, _BLOCK // (len(s) * widest))
    parts = []
    for first in range(0, states, step):
        own = grid.states(first, min(first + step, states))
        x = s[:, None].repeat(1, len(own), 1)
        x[:, :, ~split.known] = own
        log_f = model.log_sum(model.observed(x.flatten(0, 1)))
        parts.append(log_f.view(len(s), -1).logsumexp(1))
    return torch.stack(parts).logsumexp(0) + grid.log_cell


def _over_hidden(model: PairwiseModel, s: Tensor, split: Split) -> Tensor:
    """Enumerate the hidden units; see :data:`_Sum`."""
    hidden, known = model.hidden_blocks(), split.known
    states = int(count_states(model, hidden))
    step = max(1, _BLOCK // sum(s.shape))
    parts = []
    for first in range(0, states, step):
        h = configurations(model, hidden, first, min(first + step, states))
        field = model.shown({block: model.field(block, h) for block in model.observed_blocks()})
        own = split.free.log_partition(field[:, ~known])
        if h:
            own = own - model.energy(h)
        parts.append((s[:, known] @ field[:, known].T + own).logsumexp(1))
    return torch.stack(parts).logsumexp(0) - split.own_energy(s)


def anneal_rows(
    model: PairwiseModel, s: Tensor, known: Tensor, settings: tuple[int, int, str, int]
) -> tuple[Base, Tensor, Tensor, float]:
    """Anneal each row's sum over what is not known from that of independent units.

    Arguments:
        model: The model.
        s: Visible statistics, shape (rows, width).
        known: Which of them are known, shape (width) or (rows, width).
        settings: Runs, steps, the schedule's name and the seed.

    Returns:
        Where the runs start; by how much each row's log-sum is above :func:`start_sum`, shape (rows); its
        error; and the worst effective sample size.
    """
    runs, steps, name, seed = settings
    stream = Stream(seed, "conditional")
    base = Base(model, clamped=True)
    betas = make_schedule(name, steps, model, base, stream.child("schedule"))
    rows = max(1, _CHAINS // runs)
    parts = zip(s.to(model.dtype).split(rows), known.expand(s.shape).split(rows), strict=True)
    weights = [
        _weights(model, base, betas, part, there, runs, stream.child(f"part {number}"))
        for number, (part, there) in enumerate(parts)
    ]
    found = [log_mean_weight(row) for row in torch.cat(weights)]
    values, errors, sizes = zip(*found, strict=True)
    above = torch.tensor(values, dtype=torch.float64, device=s.device)
    return base, above, torch.tensor(errors), min(sizes)


def start_sum(model: PairwiseModel, base: Base, s: Tensor, split: Split) -> Tensor:
    """Return each row's log-sum where all units are independent, shape (rows), float64."""
    bias, known = model.shown(base.biases).double(), split.known
    total = split.free.log_partition(bias[~known]) + s[:, known] @ bias[known] - split.own_energy(s)
    for block in model.hidden_blocks():
        total = total + model.layer(block).log_partition(base.biases[block])
    return total


def _weights(
    model: PairwiseModel, base: Base, betas: Tensor, s: Tensor, known: Tensor, runs: int, stream: Stream
) -> Tensor:
    """Return the log-weights of the rows' runs, shape (rows, runs)."""
    clamp = model.observed(torch.where(known, s, torch.nan).repeat_interleave(runs, 0))
    start = base.sample(model, len(s) * runs, stream)
    for block, values in clamp.items():
        start[block] = torch.where(values.isnan(), start[block], values)
    log_weight, _ = anneal(model, base, betas, start, stream, clamp=clamp)
    return log_weight.view(len(s), runs)
