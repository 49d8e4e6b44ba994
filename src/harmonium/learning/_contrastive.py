r"""Contrastive divergence, and persistent chains (stochastic maximum likelihood).

Both follow the gradient of the log-likelihood with a few steps of a Markov chain in place of the model.
CD starts the chain at the data in each update: it is biased, quick, and learns good features. PCD keeps
its chains from one update to the next; as long as the parameters move slowly, the chains follow the
model, and the gradient is that of the likelihood.

References:
    | Training products of experts by minimizing contrastive divergence (Hinton, 2002)
    | Parametric inference for imperfectly observed Gibbsian fields (Younes, 1989)
    | Training restricted Boltzmann machines using approximations to the likelihood gradient
    | (Tieleman, 2008)
"""

from __future__ import annotations

__all__ = ["CD", "PCD", "ChainRule"]

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..models import EnergyModel, PairwiseModel, State
from ..random import Stream
from ..samplers import Gibbs
from ._moment_rule import MomentRule, named, part
from ._rule import Batch

_CHAIN = "chain."


class ChainRule(MomentRule):
    """Abstract moment rule whose states for the model come from a few Gibbs steps."""

    steps: Annotated[int, Field(ge=1, description="Gibbs steps in each update")] = 1

    def walk(self, model: PairwiseModel, chain: State, stream: Stream) -> tuple[State, State]:
        """Take the steps; return the states that stand for the model, and the chains.

        Of a hidden block that is drawn last at once, expected statistics stand for its states.
        """
        gibbs = Gibbs(means=True)
        for _ in range(self.steps):
            chain, info = gibbs.step(model, chain, stream)
        *_, last = model.blocks()
        sample = {block: chain[block] for block in model.blocks()}
        if last != "visible" and "mean" in info:
            sample[last] = info["mean"]
        return sample, chain


class CD(ChainRule):
    """Creates contrastive divergence with ``steps`` Gibbs steps from the data (CD-k).

    Arguments:
        steps: Gibbs steps in each update.
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.
        data_phase: How hidden units that are coupled among each other follow the data:
            ``mean-field`` or ``gibbs``.
        data_steps: Sweeps of the data phase.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "cd"

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        values = data["visible"]
        start = {block: model.layer(block).sample_(field, stream) for block, field in fields.items()}
        chain = Gibbs().init(model, len(values), stream, {"visible": values, **start})
        sample, _ = self.walk(model, chain, stream)
        return sample, {}

    def shares(self, batch: Batch, sample: State) -> Tensor:
        return torch.cat((-batch.weights, batch.weights))


class PCD(ChainRule):
    """Creates persistent contrastive divergence, or stochastic maximum likelihood (PCD-k).

    Arguments:
        steps: Gibbs steps in each update.
        chains: The number of persistent chains, whatever the batch size.
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.
        data_phase: How hidden units that are coupled among each other follow the data:
            ``mean-field`` or ``gibbs``.
        data_steps: Sweeps of the data phase.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "pcd"
    chains: Annotated[int, Field(ge=1, description="persistent chains")] = 100

    @torch.no_grad()
    def init(self, model: EnergyModel, stream: Stream) -> State:
        unit = model.visible
        start = unit.sample_(unit.bias.detach().repeat(self.chains, 1), stream)
        chain = Gibbs().init(model, self.chains, stream, {"visible": start})
        return {**super().init(model, stream), **named(_CHAIN, chain)}

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        sample, chain = self.walk(model, part(state, _CHAIN), stream)
        return sample, named(_CHAIN, chain)
