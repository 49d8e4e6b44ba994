r"""Annealed importance sampling between independent units and the model, in both directions.

The path from the data's base rates to the model,

.. math:: \log f_\beta(v) = ((1 - \beta) b_0 + \beta b)^\top s(v) - e(v) + A_h(\beta (c + W^\top s(v))),

has the hidden layer summed out. A forward run starts from :math:`p_0` and multiplies the ratios
:math:`f_{\beta'} / f_\beta` at the states of a chain that follows the path; the mean weight is an
unbiased estimate of :math:`Z / Z_0`, so that its logarithm is in expectation a lower bound. A reverse
run starts from states of the model and walks back, which gives an upper bound as far as those states
are the model's. Both use one Gibbs step at each :math:`\beta`.

References:
    | Annealed importance sampling (Neal, 2001)
    | https://arxiv.org/abs/physics/9803008
    | On the quantitative analysis of deep belief networks (Salakhutdinov & Murray, 2008)
    | Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al., 2015)
    | https://arxiv.org/abs/1511.02543
"""

from __future__ import annotations

__all__ = ["SCHEDULES", "Base", "anneal", "log_mean_weight", "schedule"]

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from .. import kernels
from ..errors import ArgumentError, choose
from ..models import RBM
from ..random import Stream
from ..units import Spin

_PILOT_STEPS = 300
_PILOT_RUNS = 64


class Base:
    """Creates the start of the path: visible units with the data's base rates, uncoupled.

    Arguments:
        model: The model at the other end. Where its base rates are not set, the visible biases serve.

    Raises:
        ArgumentError: A base rate is one that no field gives, such as 0 or 1 of bits.
    """

    def __init__(self, model: RBM) -> None:
        unit = model.visible
        known = not bool(model.base_rates.isnan().any())
        self.bias = unit.natural(model.base_rates) if known else unit.bias.detach().clone()
        if not bool(self.bias.isfinite().all()):
            raise ArgumentError("base_rates: got one that no field gives, expected means between the states")
        uncoupled = model.hidden.bias.new_zeros(model.hidden.width)
        log_z = unit.log_partition(self.bias) + model.hidden.log_partition(uncoupled)
        self.log_partition = float(log_z)

    def sample(self, model: RBM, n: int, stream: Stream) -> Tensor:
        """Draw ``n`` visible states."""
        return model.visible.sample_(self.bias.repeat(n, 1), stream)


@torch.no_grad()
def anneal(
    model: RBM,
    base: Base,
    betas: Tensor,
    v: Tensor,
    stream: Stream,
    observe: Callable[[Tensor, Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Walk along the path and return the log-weights, shape (runs), and the last states.

    Arguments:
        model: The model.
        base: The start of the path at beta = 0.
        betas: From 0 up to 1 (forward) or from 1 down to 0 (reverse), float64.
        v: Visible states drawn at ``betas[0]``, shape (runs, width).
        stream: Where the random bits come from.
        observe: Called at each step with the visible states and their hidden fields at beta = 1.
    """
    shift = model.visible.bias - base.bias
    log_weight = torch.zeros(len(v), dtype=torch.float64, device=v.device)
    steps = betas.tolist()
    for old, new in pairwise(steps):
        field = model.field("hidden", {"visible": v})
        if observe is not None:
            observe(v, field)
        log_weight += (new - old) * (v @ shift).double()
        h = _hidden_step(model, field, (old, new), log_weight, stream)
        bias = torch.lerp(base.bias, model.visible.bias, new)
        v = torch.addmm(bias, h, model.weight.T, alpha=new)
        model.visible.sample_(v, stream)
    return log_weight, v


def _hidden_step(
    model: RBM, field: Tensor, betas: tuple[float, float], log_weight: Tensor, stream: Stream
) -> Tensor:
    """Add the change of the hidden log-partition to the weights, and draw at the new beta."""
    old, new = betas
    unit = model.hidden
    if unit.binary:
        kernels.anneal_binary(field, stream.draw(), isinstance(unit, Spin), betas, log_weight, field)
        return field
    log_weight += unit.log_partition(new * field) - unit.log_partition(old * field)
    return unit.sample_(field.mul_(new), stream)


def log_mean_weight(log_weight: Tensor) -> tuple[float, float, float]:
    """Return the log of the mean weight, its standard error, and the effective sample size.

    The error of a single weight is infinite: nothing is known of it.
    """
    n = len(log_weight)
    ess = float(torch.exp(2 * torch.logsumexp(log_weight, 0) - torch.logsumexp(2 * log_weight, 0)))
    error = math.sqrt(max(1 / ess - 1 / n, 0.0) * n / (n - 1)) if n > 1 else math.inf
    return float(torch.logsumexp(log_weight, 0)) - math.log(n), error, ess


def schedule(name: str, n: int, model: RBM, base: Base, stream: Stream) -> Tensor:
    """Return ``n + 1`` inverse temperatures from 0 to 1, float64.

    Raises:
        ArgumentError: The schedule is unknown.
    """
    make: Callable[[int, RBM, Base, Stream], Tensor] = choose("schedule", name, SCHEDULES)
    return make(n, model, base, stream)


def _bands(n: int, model: RBM, base: Base, stream: Stream) -> Tensor:
    """Salakhutdinov and Murray's three bands: steps of 1e-3, 1e-4 and 1e-5 when n is 14,500."""
    knots = torch.tensor([0, 500, 4_500, 14_500], dtype=torch.float64)
    betas = torch.tensor([0, 0.5, 0.9, 1], dtype=torch.float64)
    return _interpolate(torch.linspace(0, 14_500, n + 1, dtype=torch.float64), knots, betas)


def _linear(n: int, model: RBM, base: Base, stream: Stream) -> Tensor:
    return torch.linspace(0, 1, n + 1, dtype=torch.float64)


def _adaptive(n: int, model: RBM, base: Base, stream: Stream) -> Tensor:
    r"""Steps of equal length in the metric of the path, measured by a short pilot run.

    The metric is the variance of :math:`\partial_\beta \log f_\beta` over the runs; a walk of constant
    speed in its root minimises the weights' variance (Gelman & Meng, 1998). A tenth of the steps is
    spread evenly, for what the pilot did not see.
    """
    shift = model.visible.bias.detach() - base.bias
    grid = torch.linspace(0, 1, _PILOT_STEPS + 1, dtype=torch.float64)
    spread: list[Tensor] = []

    def observe(v: Tensor, field: Tensor) -> None:
        beta = float(grid[len(spread)])
        mean = model.hidden.expected_statistics(beta * field)
        slope = (v @ shift).double() + (field * mean).sum(-1, dtype=torch.float64)
        spread.append(slope.std())

    stream = stream.child("pilot")
    anneal(model, base, grid, base.sample(model, _PILOT_RUNS, stream), stream, observe)
    speed = torch.stack(spread).cpu()
    speed = 0.9 * speed / speed.sum().clamp(min=1e-300) + 0.1 / len(speed)
    length = torch.cat((torch.zeros(1, dtype=torch.float64), speed.cumsum(0)))
    return _interpolate(torch.linspace(0, float(length[-1]), n + 1, dtype=torch.float64), length, grid)


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    right = torch.searchsorted(xs, x).clamp(1, len(xs) - 1)
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    y = ys[right - 1] + share * (ys[right] - ys[right - 1])
    y[0], y[-1] = ys[0], ys[-1]
    return y.clamp(0, 1)


SCHEDULES: dict[str, Callable[[int, RBM, Base, Stream], Tensor]] = {
    "adaptive": _adaptive,
    "bands": _bands,
    "linear": _linear,
}
"""The schedules of inverse temperatures by name."""
