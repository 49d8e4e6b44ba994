r"""Thouless-Anderson-Palmer: the partition function from self-consistent means, without a sample.

The free energy of units with means m, expanded in their couplings to second order (Plefka), is

.. math:: F(m) = E(m) - \sum_i S(m_i) - \tfrac12 \sum_{(i, j)} W_{ij}^2\, V(m_i)\, V(m_j), \qquad
    -\log Z \approx F(m^*),

with the entropy S and the variance V of a unit of mean m. Its stationary point :math:`m^*` solves

.. math:: m_i = E\!\left[x_i \mid \text{field } b_i + \textstyle\sum_j W_{ij} m_j
    + \tfrac12 V'(m_i) \sum_j W_{ij}^2 V(m_j)\right],

where the last term, Onsager's, takes out of the neighbours' means what the unit itself has put in. As F is
stationary, its derivative by a coupling is that at fixed means, :math:`-m_i m_j - W_{ij} V(m_i) V(m_j)`. The
first two terms alone are naive mean field. There is a stationary point for each phase of the model; chains of
means that persist, as those of states do, follow several of them.

References:
    | Convergence condition of the TAP equation for the infinite-ranged Ising spin glass model (Plefka, 1982)
    | Training restricted Boltzmann machines via the Thouless-Anderson-Palmer free energy
    | (Gabrie, Tramel & Krzakala, 2015)
    | https://arxiv.org/abs/1506.02914
"""

from __future__ import annotations

__all__ = ["TAP", "tap_free_energy"]

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import kernels
from ..errors import invalid
from ..models import Model, PairwiseModel, State
from ..random import Stream
from ..units import Unit
from ._moment_rule import MomentRule, named, part
from ._rule import Batch

_MEAN = "mean."


class TAP(MomentRule):
    """Creates the rule of the second-order mean-field free energy, for binary units.

    Arguments:
        steps: Sweeps over the means in each update.
        damping: What is kept of a mean in each sweep.
        start: Where the means start: ``persistent`` (where the last update left them) or ``data``.
        chains: The number of persistent sets of means, whatever the batch size.
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.
        data_phase: How hidden units that are coupled among each other follow the data:
            ``mean-field`` or ``gibbs``.
        data_steps: Sweeps of the data phase.
        gaps: Of no effect: rows are to have all values.
        gap_steps: Of no effect.
        sparsity_target: The mean activity that hidden units are pulled to, if they are.
        sparsity_cost: How strongly they are pulled.
        sparsity_rate: How fast the running means of their activity follow those of the batches.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "tap"
    integrates: ClassVar[bool] = False
    steps: Annotated[int, Field(ge=1, description="sweeps over the means in each update")] = 5
    damping: Annotated[float, Field(ge=0, lt=1, description="what is kept of a mean in each sweep")] = 0.5
    start: Annotated[
        Literal["persistent", "data"], Field(description="where the means start in each update")
    ] = "persistent"
    chains: Annotated[int, Field(ge=1, description="persistent sets of means")] = 100

    def check(self, model: Model) -> None:
        super().check(model)
        assert isinstance(model, PairwiseModel)
        for block in model.blocks():
            layer = model.layer(block)
            if not layer.binary:
                expected = f"a rule that fits {layer.kind} units, such as 'pcd': this one needs binary units"
                raise invalid("rule", self.name, expected)

    @torch.no_grad()
    def init(self, model: Model, stream: Stream) -> State:
        assert isinstance(model, PairwiseModel)
        state = super().init(model, stream)
        if self.start == "data":
            return state
        biases = {block: model.layer(block).bias.detach() for block in model.blocks()}
        means = {b: model.layer(b).sample(bias.repeat(self.chains, 1), stream) for b, bias in biases.items()}
        return {**state, **named(_MEAN, means)}

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        persistent = self.start == "persistent"
        means = part(state, _MEAN) if persistent else dict(data)
        for _ in range(self.steps):
            for block in model.blocks():
                means[block] = torch.lerp(_consistent(model, block, means), means[block], self.damping)
        return means, named(_MEAN, means) if persistent else {}

    def shares(self, batch: Batch, sample: State) -> Tensor:
        if self.start == "persistent":
            return super().shares(batch, sample)
        return torch.cat((-batch.weights, batch.weights))

    def gradient(self, model: PairwiseModel, data: State, sample: State, shares: Tensor) -> State:
        both = super().gradient(model, data, sample, shares)
        weight = shares[-len(sample["visible"]) :]
        for coupling in model.couplings():
            lower, upper = (_variance(model.layer(b), sample[b]) for b in (coupling.lower, coupling.upper))
            gradient = model.get_parameter(coupling.name).grad
            assert gradient is not None
            gradient.addcmul_(model.matrix(coupling), kernels.cross(lower, upper * weight[:, None]))
        return both


def tap_free_energy(model: PairwiseModel, means: State) -> Tensor:
    """Return the second-order free energy of means, shape (rows), float64, nats.

    Where the means are self-consistent it is an estimate of -log Z.

    Arguments:
        model: A model of binary units.
        means: The expected statistics of all blocks, shape (rows, width).
    """
    total = model.energy(means)
    for block in model.blocks():
        total = total - _entropy(model.layer(block), means[block])
    for coupling in model.couplings():
        lower, upper = (_variance(model.layer(b), means[b]) for b in (coupling.lower, coupling.upper))
        squares = lower @ model.matrix(coupling).square()
        total = total - 0.5 * (squares * upper).sum(-1, dtype=torch.float64)
    return total


def _consistent(model: PairwiseModel, block: str, means: State) -> Tensor:
    """Return what a block's means are to be, given all means."""
    layer, field = model.layer(block), model.field(block, means)
    low, high = _values(layer)
    slope = 0.5 * (low + high) - means[block]
    for coupling in model.couplings():
        square = model.matrix(coupling).square()
        for own, other, factor in (
            (coupling.lower, coupling.upper, square.T),
            (coupling.upper, coupling.lower, square),
        ):
            if own == block:
                field = field + slope * (_variance(model.layer(other), means[other]) @ factor)
    return layer.expected_statistics(field)


def _values(layer: Unit) -> Tensor:
    """Return the lower and the higher values of binary units, shape (2, width)."""
    extreme = torch.tensor([[-torch.inf], [torch.inf]], dtype=layer.bias.dtype, device=layer.bias.device)
    return layer.expected_statistics(extreme.expand(2, layer.width))


def _variance(layer: Unit, mean: Tensor) -> Tensor:
    low, high = _values(layer)
    return (mean - low) * (high - mean)


def _entropy(layer: Unit, mean: Tensor) -> Tensor:
    low, high = _values(layer)
    p = (mean - low) / (high - low)
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).sum(-1, dtype=torch.float64)
