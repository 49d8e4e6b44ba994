r"""The likelihood's gradient as a difference of moments between data and states that stand for the model.

Rules of this kind differ only in those states: chains started at the data, chains that persist, tempered
ones, or all states with their exact weights. The update is the same for all of them: expected hidden
statistics of the data, the rule's own states, one product for both, centring, the optimiser's step.

Hidden units that are coupled among each other have no closed expectation given the data. Mean field takes
the closest distribution of independent units; clamped Gibbs sampling draws from the exact one, with noise.

References:
    | A learning algorithm for Boltzmann machines (Ackley, Hinton & Sejnowski, 1985)
    | A mean field theory learning algorithm for neural networks (Peterson & Anderson, 1987)
"""

from __future__ import annotations

__all__ = ["MomentRule", "named", "part"]

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..errors import invalid
from ..models import EnergyModel, PairwiseModel, State
from ..random import Stream
from ..samplers import Gibbs, mean_field
from ._moments import centre, follow_offsets, likelihood_gradient
from ._rule import Apply, Batch, Metrics, Rule

_OFFSET = "offset."


class MomentRule(Rule):
    """Abstract rule whose gradient is a difference of moments between data and the model."""

    centred: Annotated[
        bool | None,
        Field(description="centre the gradient; by default where all units are binary"),
    ] = None
    offset_rate: Annotated[
        float, Field(gt=0, le=1, description="how fast the centring offsets follow the means")
    ] = 0.01
    data_phase: Annotated[
        Literal["mean-field", "gibbs"],
        Field(description="how hidden units that are coupled among each other follow the data"),
    ] = "mean-field"
    data_steps: Annotated[
        int, Field(ge=1, description="sweeps of the data phase: the most of mean field, or of Gibbs")
    ] = 20

    def check(self, model: EnergyModel) -> None:
        if not isinstance(model, PairwiseModel):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")

    @torch.no_grad()
    def init(self, model: EnergyModel, stream: Stream) -> State:
        layers = {block: model.layer(block) for block in model.blocks()}
        binary = all(layer.binary for layer in layers.values())
        if not (binary if self.centred is None else self.centred):
            return {}
        return {_OFFSET + b: u.expected_statistics(u.bias.detach()) for b, u in layers.items()}

    @abstractmethod
    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        """Return the states that stand for the model, and what of the rule's state to keep.

        Arguments:
            model: The model.
            data: The data's states; of hidden blocks, expected statistics.
            fields: The fields of hidden blocks whose units are independent given the data; may be
                overwritten.
            state: The rule's state.
            stream: Where the random bits come from.
        """

    def shares(self, batch: Batch, sample: State) -> Tensor:
        """Return the signed weights of the rows of data and of the sample, which sum to zero."""
        n = len(sample["visible"])
        return torch.cat((-batch.weights, (batch.weights.sum() / n).expand(n)))

    def positive(self, model: PairwiseModel, values: Tensor, stream: Stream) -> tuple[State, State]:
        """Return the data's states with the hidden blocks' expected statistics, and fields.

        Arguments:
            model: The model.
            values: Visible statistics, shape (rows, width).
            stream: Where the random bits come from.
        """
        data = {"visible": values}
        if model.hidden_sums_out():
            hidden = model.blocks()[1:]
            fields = {block: model.field(block, data) for block in hidden}
            return data | {b: model.layer(b).expected_statistics(f) for b, f in fields.items()}, fields
        if self.data_phase == "mean-field":
            return mean_field(model, data, steps=self.data_steps), {}
        gibbs = Gibbs()
        chain = gibbs.init(model, len(values), stream, data, clamp=data)
        chain = gibbs.run(model, chain, stream, self.data_steps)
        return {block: chain[block] for block in model.blocks()}, {}

    @torch.no_grad()
    def update(
        self, model: EnergyModel, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        assert isinstance(model, PairwiseModel)
        data, fields = self.positive(model, batch.values, stream)
        sample, kept = self.negative(model, data, fields, state, stream)
        shares = self.shares(batch, sample)
        both = likelihood_gradient(model, data, sample, shares)
        offsets = part(state, _OFFSET)
        if offsets:
            offsets = follow_offsets(offsets, both, shares, self.offset_rate)
            centre(model, offsets)
        apply("model")
        return {**kept, **named(_OFFSET, offsets)}, {}


def part(state: State, prefix: str) -> State:
    """Return what of a state has a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def named(prefix: str, state: State) -> State:
    """Return a state with a prefix before each name."""
    return {prefix + k: v for k, v in state.items()}
