r"""Persistent chains by parallel tempering, for models with modes that chains do not leave by themselves.

When Gibbs sampling cannot leave a mode, persistent chains no longer have the model's distribution, and the
gradient pulls at modes that are weighted rightly. Here each chain has replicas on a path down to independent
units with the data's base rates; those that are at the model stand for it. A step costs as many Gibbs steps
as there are replicas, so that fewer chains are affordable than without.

References:
    | Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines
    | (Desjardins, Courville, Bengio, Vincent & Delalleau, 2010)
    | Parallel tempering is efficient for learning restricted Boltzmann machines (Cho, Raiko & Ilin, 2010)
    | Adaptive parallel tempering for stochastic maximum likelihood learning of RBMs
    | (Desjardins, Courville & Bengio, 2010)
    | https://arxiv.org/abs/1012.3476
"""

from __future__ import annotations

__all__ = ["TemperedPCD"]

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from ..models import Model, PairwiseModel, State
from ..random import Stream
from ..samplers import Tempering
from ._contrastive import ChainRule
from ._moment_rule import named, part
from ._rule import Apply, Batch, Metrics

_REPLICA = "replica."


class TemperedPCD(ChainRule):
    """Creates persistent contrastive divergence whose chains are parallelly tempered.

    Its metrics are the mean and the least ``swap_rate`` of neighbours since the ladder last moved, and
    ``round_trips``, how often a replica has been down the ladder and back, per chain. A least rate near zero
    asks for more replicas.

    Arguments:
        steps: Gibbs steps of each replica, each with a round of exchanges, in each update.
        chains: The number of persistent chains, whatever the batch size.
        replicas: The number of replicas of each chain, one of them at the model.
        smallest_beta: Where the ladder ends; at 0 each step is an independent draw.
        adapt: After how many updates the ladder moves, so that all neighbours are exchanged equally
            often; 0 leaves it evenly spaced.
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

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "tempered-pcd"
    ties: ClassVar[bool] = True
    chains: Annotated[int, Field(ge=1, description="persistent chains")] = 100
    replicas: Annotated[int, Field(ge=2, description="replicas of each chain")] = 10
    smallest_beta: Annotated[
        float, Field(ge=0, lt=1, description="inverse temperature at the end of the ladder")
    ] = 0.0
    adapt: Annotated[int, Field(ge=0, description="updates after which the ladder moves; 0 for never")] = 100

    @torch.no_grad()
    def init(self, model: Model, stream: Stream) -> State:
        assert isinstance(model, PairwiseModel)
        betas = torch.linspace(1, self.smallest_beta, self.replicas, dtype=torch.float64)
        state = Tempering(betas).init(model, self.chains, stream)
        return {**super().init(model, stream), **named(_REPLICA, state), **_seen(model, state)}

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        replicas = part(state, _REPLICA)
        if self.adapt and bool((replicas["swaps"] >= self.adapt * self.steps).all()):
            replicas = Tempering().adapt(replicas)
        sample, replicas = self.walk(model, replicas, stream)
        return sample, {**named(_REPLICA, replicas), **_seen(model, replicas)}

    def walk(self, model: PairwiseModel, chain: State, stream: Stream) -> tuple[State, State]:
        sampler = Tempering()
        chain = sampler.run(model, chain, stream, self.steps)
        sample = sampler.chains(model, chain)
        *_, last = model.blocks()
        if last != "visible" and model.lateral(last) is None:
            sample[last] = model.layer(last).expected_statistics(model.field(last, sample))
        return sample, chain

    @torch.no_grad()
    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        state, metrics = super().update(model, batch, state, stream, apply)
        replicas = part(state, _REPLICA)
        rates = Tempering().swap_rates(replicas)
        trips = replicas["trips"].sum() / self.chains
        own = {"swap_rate": rates.nanmean(), "least_swap_rate": rates.nan_to_num(1.0).min()}
        return state, {**metrics, **own, "round_trips": trips}


def _seen(model: PairwiseModel, replicas: State) -> State:
    """Return what rows of data would tell of the chains."""
    chains = Tempering().chains(model, replicas)
    return named("chain.", {block: chains[block] for block in model.observed_blocks()})
