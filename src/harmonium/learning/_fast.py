r"""Fast persistent chains: weights that only the chains see drive them away from where they are.

Persistent chains mix because learning lowers the probability of where they stay. Fast weights
:math:`\theta_F` keep doing so when the learning rate :math:`\eta` has become small: the chains are those of a
model with parameters :math:`\theta + \theta_F`, and

.. math:: \theta \gets \theta - \eta\, g, \qquad \theta_F \gets \lambda\, \theta_F - \eta_F\, g

with the same gradient g, of the negative log-likelihood; by the decay :math:`\lambda` they forget.

References:
    | Using fast weights to improve persistent contrastive divergence (Tieleman & Hinton, 2009)
"""

from __future__ import annotations

__all__ = ["FastPCD"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from ..models import Model, PairwiseModel, State
from ..random import Stream
from ._contrastive import PCD
from ._moment_rule import named, part
from ._rule import Apply, Batch, Metrics

_FAST = "fast."


class FastPCD(PCD):
    """Creates fast persistent contrastive divergence (FPCD).

    Couplings and biases have fast weights; a learned precision has none.

    Arguments:
        steps: Gibbs steps in each update.
        chains: The number of persistent chains, whatever the batch size.
        burn_in: Gibbs steps that the chains take before the first update.
        fast_rate: The learning rate of the fast weights, which no schedule lowers.
        decay: What the fast weights are multiplied by in each update.
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.
        data_phase: How hidden units that are coupled among each other follow the data:
            ``mean-field`` or ``gibbs``.
        data_steps: Sweeps of the data phase.
        gaps: How values that rows lack (NaN) are integrated over: ``gibbs``, or ``mean-field``, which is
            quicker and biased.
        gap_steps: Sweeps over them: of mean field, then of Gibbs sampling if it is that.
        sparsity_target: The mean activity that hidden units are pulled to, if they are.
        sparsity_cost: How strongly they are pulled.
        sparsity_rate: How fast the running means of their activity follow those of the batches.
        dropout: The probability that a hidden unit is absent from an update.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "fast-pcd"
    ties: ClassVar[bool] = False
    fast_rate: Annotated[float, Field(ge=0, description="learning rate of the fast weights")] = 0.05
    decay: Annotated[float, Field(ge=0, le=1, description="what an update leaves of the fast weights")] = (
        19 / 20
    )

    @torch.no_grad()
    def init(self, model: Model, stream: Stream) -> State:
        fast = {name: torch.zeros_like(p) for name, p in _slow(model).items()}
        return {**super().init(model, stream), **named(_FAST, fast)}

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        with _added(model, part(state, _FAST)):
            return super().negative(model, data, fields, state, stream)

    @torch.no_grad()
    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        kept, metrics = super().update(model, batch, state, stream, apply)
        fast = part(state, _FAST)
        for name, p in _slow(model).items():
            assert p.grad is not None
            fast[name] = torch.sub(self.decay * fast[name], p.grad, alpha=self.fast_rate)
        return {**kept, **named(_FAST, fast)}, metrics


def _slow(model: Model) -> dict[str, nn.Parameter]:
    """Return the couplings and biases that are trained, by name."""
    assert isinstance(model, PairwiseModel)
    names = [coupling.name for coupling in model.couplings()]
    names += [f"{model.place(block)}.bias" for block in model.blocks()]
    return {name: p for name in names if (p := model.get_parameter(name)).requires_grad}


@contextmanager
def _added(model: PairwiseModel, fast: State) -> Iterator[None]:
    """Add the fast weights to a model's parameters, and put the same memory back in the end."""
    own = {name: model.get_parameter(name).data for name in fast}
    try:
        for name, weights in fast.items():
            model.get_parameter(name).data = own[name] + weights
        yield
    finally:
        for name, values in own.items():
            model.get_parameter(name).data = values
