r"""Annealed importance sampling between independent units and the model, in both directions.

Some blocks, x, are the state of the chain, and the others, y, sum out. The path from independent units
with the data's base rates to the model leads each field from where it starts to where it ends,

.. math:: \log f_\beta(x) = \sum_{x} \big(b_\beta^\top s(x) - e(x)\big) + \beta \sum_{x, x'}
    s(x)^\top W s(x') + \sum_y A_y\big((1 - \beta) b_0 + \beta a_y(x)\big),
    \qquad b_\beta = (1 - \beta) b_0 + \beta b,

with base rates for the visible b_0, and zero for the hidden ones. A forward run starts from :math:`p_0` and
multiplies the ratios :math:`f_{\beta'} / f_\beta` at the states of a chain that follows the path; the mean
weight is an unbiased estimate of :math:`Z / Z_0`, so that its logarithm is in expectation a lower bound. A
reverse run starts from states of the model and walks back by the reversed kernels, which gives an upper
bound as far as those states are the model's. Both use one Gibbs step at each :math:`\beta`.

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
from itertools import combinations, pairwise

import torch
from torch import Tensor

from .. import kernels
from ..errors import choose
from ..models import PairwiseModel, State
from ..random import Stream
from ..samplers import base_biases, draw_block
from ..units import Bernoulli, Spin

_PILOT_STEPS = 300
_PILOT_RUNS = 64


class Base:
    """Creates the start of the path: visible units with the data's base rates, all units uncoupled.

    Arguments:
        model: The model at the other end. Where its base rates are not set, the visible biases serve.
        clamped: Whether some visible units will be held, so that they cannot sum out.

    Raises:
        ArgumentError: A base rate is one that no field gives, such as 0 or 1 of bits.
    """

    @torch.no_grad()
    def __init__(self, model: PairwiseModel, *, clamped: bool = False) -> None:
        layers = {block: model.layer(block) for block in model.blocks()}
        self.biases = base_biases(model)
        self.log_partition = sum(float(u.log_partition(self.biases[block])) for block, u in layers.items())
        self.kept = _kept(model, clamped)
        """The blocks that are the state of the chains; the others sum out."""

    def sample(self, model: PairwiseModel, n: int, stream: Stream) -> State:
        """Draw ``n`` states of the blocks that are kept."""
        biases = {block: self.biases[block].repeat(n, 1) for block in self.kept}
        return {block: model.layer(block).sample_(bias, stream) for block, bias in biases.items()}


def _kept(model: PairwiseModel, clamped: bool) -> tuple[str, ...]:
    """Return the fewest blocks given which the others are independent, the visible one if it serves."""
    blocks = model.blocks()
    joined = [{c.lower, c.upper} for c in model.couplings()]
    for n in range(1, len(blocks)):
        for kept in combinations(blocks, n):
            serves = not clamped or set(model.observed_blocks()) <= set(kept)
            if serves and not any(pair.isdisjoint(kept) for pair in joined):
                return kept
    return blocks


@torch.no_grad()
def anneal(
    model: PairwiseModel,
    base: Base,
    betas: Tensor,
    state: State,
    stream: Stream,
    observe: Callable[[State, State], None] | None = None,
    clamp: State | None = None,
) -> tuple[Tensor, State]:
    r"""Walk along the path and return the log-weights, shape (runs), and the last states.

    Arguments:
        model: The model.
        base: The start of the path at beta = 0.
        betas: From 0 up to 1 (forward) or from 1 down to 0 (reverse), float64.
        state: States of the kept blocks, drawn at ``betas[0]``.
        stream: Where the random bits come from.
        observe: Called at each step with the kept states and the others' fields at beta = 1.
        clamp: Statistics of kept blocks to keep, shape (runs, width), NaN where a unit is free.
    """
    held = {block: ~values.isnan() for block, values in (clamp or {}).items()}
    steps = betas.tolist()
    reverse = steps[0] > steps[-1]
    state = {block: state[block] for block in base.kept}
    others = [block for block in model.blocks() if block not in state]
    log_weight = torch.zeros(len(state[base.kept[0]]), dtype=torch.float64, device=model.device)
    for old, new in pairwise(steps):
        fields = {block: model.field(block, state) for block in others}
        if observe is not None:
            observe(state, fields)
        log_weight += (new - old) * slope(model, base, state)
        for block, field in fields.items():
            state[block] = _sum_out(model, base, block, field, (old, new), log_weight, stream)
        for block in reversed(base.kept) if reverse else base.kept:
            field = model.field(block, state)
            torch.lerp(base.biases[block].expand_as(field), field, new, out=field)
            before = state[block]
            state[block] = draw_block(
                model, block, field, state, stream, scale=new, held=held.get(block), reverse=reverse
            )
            if block in held:
                state[block] = torch.where(held[block], before, state[block])
        state = {block: state[block] for block in base.kept}
    return log_weight, state


def slope(model: PairwiseModel, base: Base, state: State) -> Tensor:
    """Return the derivative by beta of the kept blocks' own part of log f, shape (rows)."""
    biases = {block: model.layer(block).bias - base.biases[block] for block in base.kept}
    total = sum((state[block] @ bias).double() for block, bias in biases.items())
    for coupling in model.couplings():
        if coupling.lower in state and coupling.upper in state:
            inputs = state[coupling.lower] @ model.matrix(coupling)
            total = total + (inputs * state[coupling.upper]).sum(-1, dtype=torch.float64)
    return torch.as_tensor(total)


def _sum_out(
    model: PairwiseModel,
    base: Base,
    block: str,
    field: Tensor,
    betas: tuple[float, float],
    log_weight: Tensor,
    stream: Stream,
) -> Tensor:
    """Add the change of a block's log-partition to the weights, and draw the block at the new beta."""
    old, new = betas
    unit = model.layer(block)
    if isinstance(unit, (Bernoulli, Spin)) and block != "visible":
        kernels.anneal_binary(field, stream.draw(), isinstance(unit, Spin), betas, log_weight, field)
        return field
    start = base.biases[block]
    ahead = torch.lerp(start, field, new)
    log_weight += unit.log_partition(ahead) - unit.log_partition(torch.lerp(start, field, old))
    return unit.sample_(ahead, stream)


def log_mean_weight(log_weight: Tensor) -> tuple[float, float, float]:
    """Return the log of the mean weight, its standard error, and the effective sample size.

    The error of a single weight is infinite: nothing is known of it.
    """
    n = len(log_weight)
    ess = float(torch.exp(2 * torch.logsumexp(log_weight, 0) - torch.logsumexp(2 * log_weight, 0)))
    error = math.sqrt(max(1 / ess - 1 / n, 0.0) * n / (n - 1)) if n > 1 else math.inf
    return float(torch.logsumexp(log_weight, 0)) - math.log(n), error, ess


def schedule(name: str, n: int, model: PairwiseModel, base: Base, stream: Stream) -> Tensor:
    """Return ``n + 1`` inverse temperatures from 0 to 1, float64.

    Raises:
        ArgumentError: The schedule is unknown.
    """
    make: Callable[[int, PairwiseModel, Base, Stream], Tensor] = choose("schedule", name, SCHEDULES)
    return make(n, model, base, stream)


def _bands(n: int, model: PairwiseModel, base: Base, stream: Stream) -> Tensor:
    """Salakhutdinov and Murray's three bands: steps of 1e-3, 1e-4 and 1e-5 when n is 14,500."""
    knots = torch.tensor([0, 500, 4_500, 14_500], dtype=torch.float64)
    betas = torch.tensor([0, 0.5, 0.9, 1], dtype=torch.float64)
    return _interpolate(torch.linspace(0, 14_500, n + 1, dtype=torch.float64), knots, betas)


def _linear(n: int, model: PairwiseModel, base: Base, stream: Stream) -> Tensor:
    return torch.linspace(0, 1, n + 1, dtype=torch.float64)


def _adaptive(n: int, model: PairwiseModel, base: Base, stream: Stream) -> Tensor:
    r"""Steps of equal length in the metric of the path, measured by a short pilot run.

    The metric is the variance of :math:`\partial_\beta \log f_\beta` over the runs; a walk of constant
    speed in its root minimises the weights' variance (Gelman & Meng, 1998). A tenth of the steps is
    spread evenly, for what the pilot did not see.
    """
    grid = torch.linspace(0, 1, _PILOT_STEPS + 1, dtype=torch.float64)
    spread: list[Tensor] = []

    def observe(state: State, fields: State) -> None:
        beta = float(grid[len(spread)])
        total = slope(model, base, state)
        for block, field in fields.items():
            start = base.biases[block]
            mean = model.layer(block).expected_statistics(torch.lerp(start, field, beta))
            total += ((field - start) * mean).sum(-1, dtype=torch.float64)
        spread.append(total.std())

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


SCHEDULES: dict[str, Callable[[int, PairwiseModel, Base, Stream], Tensor]] = {
    "adaptive": _adaptive,
    "bands": _bands,
    "linear": _linear,
}
"""The schedules of inverse temperatures by name."""
