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

__all__ = ["CD", "PCD"]

from abc import abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..errors import invalid
from ..models import RBM, EnergyModel, State
from ..random import Stream
from ..samplers import Gibbs
from ._moments import centre, follow_offsets, likelihood_gradient
from ._rule import Apply, Batch, Metrics, Rule

_OFFSET = "offset."
_CHAIN = "chain."


class MomentRule(Rule):
    """Abstract rule whose gradient is a difference of moments between data and chains."""

    steps: Annotated[int, Field(ge=1, description="Gibbs steps in each update")] = 1
    centred: Annotated[
        bool | None,
        Field(description="centre the gradient; by default where all units are binary"),
    ] = None
    offset_rate: Annotated[
        float, Field(gt=0, le=1, description="how fast the centring offsets follow the means")
    ] = 0.01

    def check(self, model: EnergyModel) -> None:
        if not isinstance(model, RBM):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")

    @torch.no_grad()
    def init(self, model: EnergyModel, stream: Stream) -> State:
        assert isinstance(model, RBM)
        binary = all(model.layer(block).binary for block in model.blocks())
        if not (binary if self.centred is None else self.centred):
            return {}
        visible = model.visible.expected_statistics(model.visible.bias.detach())
        hidden = model.hidden.expected_statistics(model.hidden.bias.detach())
        return {_OFFSET + "visible": visible, _OFFSET + "hidden": hidden}

    @abstractmethod
    def negative(
        self, model: RBM, data: State, field: Tensor, state: State, stream: Stream
    ) -> tuple[State, State]:
        """Return the states that stand for the model, and what of them to keep.

        Arguments:
            model: The model.
            data: The data's states; of the hidden block, expected statistics.
            field: The hidden fields given the data; may be overwritten.
            state: The rule's state.
            stream: Where the random bits come from.
        """

    def shares(self, batch: Batch, sample: State) -> Tensor:
        """Return the signed weights of the rows of data and of the sample, which sum to zero."""
        n = len(sample["visible"])
        return torch.cat((-batch.weights, (batch.weights.sum() / n).expand(n)))

    @torch.no_grad()
    def update(
        self, model: EnergyModel, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        assert isinstance(model, RBM)
        field = model.field("hidden", {"visible": batch.values})
        data = {"visible": batch.values, "hidden": model.hidden.expected_statistics(field)}
        sample, kept = self.negative(model, data, field, state, stream)
        shares = self.shares(batch, sample)
        both = likelihood_gradient(model, data, sample, shares)
        offsets = _part(state, _OFFSET)
        if offsets:
            offsets = follow_offsets(offsets, both, shares, self.offset_rate)
            centre(model, offsets)
        apply("model")
        return {**kept, **_named(_OFFSET, offsets)}, {}


class CD(MomentRule):
    """Creates contrastive divergence with ``steps`` Gibbs steps from the data (CD-k).

    Arguments:
        steps: Gibbs steps in each update.
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "cd"

    def negative(
        self, model: RBM, data: State, field: Tensor, state: State, stream: Stream
    ) -> tuple[State, State]:
        gibbs = Gibbs(means=True)
        sample: State = {"hidden": model.hidden.sample_(field, stream)}
        info: State = {}
        for _ in range(self.steps):
            sample, info = gibbs.step(model, sample, stream)
        return {"visible": sample["visible"], "hidden": info["mean"]}, {}

    def shares(self, batch: Batch, sample: State) -> Tensor:
        return torch.cat((-batch.weights, batch.weights))


class PCD(MomentRule):
    """Creates persistent contrastive divergence, or stochastic maximum likelihood (PCD-k).

    Arguments:
        steps: Gibbs steps in each update.
        chains: The number of persistent chains, whatever the batch size.
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.

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
        return {**super().init(model, stream), **_named(_CHAIN, chain)}

    def negative(
        self, model: RBM, data: State, field: Tensor, state: State, stream: Stream
    ) -> tuple[State, State]:
        gibbs = Gibbs(means=True)
        chain = _part(state, _CHAIN)
        info: State = {}
        for _ in range(self.steps):
            chain, info = gibbs.step(model, chain, stream)
        return {"visible": chain["visible"], "hidden": info["mean"]}, _named(_CHAIN, chain)


def _part(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _named(prefix: str, state: State) -> State:
    return {prefix + k: v for k, v in state.items()}
