r"""The likelihood's gradient as a difference of moments between data and states that stand for the model.

Rules of this kind differ only in those states: chains started at the data, chains that persist, tempered
ones, or all states with their exact weights. The update is the same for all of them: expected hidden
statistics of the data, the rule's own states, one product for both, centring, the optimiser's step.

Hidden units that are coupled among each other have no closed expectation given the data. Mean field takes
the closest distribution of independent units; clamped Gibbs sampling draws from the exact one, with noise.
So it is with values that rows lack, which are integrated over as if hidden: see :mod:`._gaps`.

References:
    | A learning algorithm for Boltzmann machines (Ackley, Hinton & Sejnowski, 1985)
    | A mean field theory learning algorithm for neural networks (Peterson & Anderson, 1987)
"""

from __future__ import annotations

__all__ = ["PRESENT", "MomentRule", "named", "part"]

from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel, State, mean_field
from ..random import Stream
from ..samplers import Gibbs
from ._gaps import check_completes, complete
from ._moments import centre, follow_offsets, likelihood_gradient
from ._rule import Apply, Batch, Metrics, Rule
from ._sparsity import check_target, first_activity, pull

_OFFSET = "offset."
_ACTIVITY = "activity."

PRESENT = "present."
"""Before the name of a hidden block: which units take part in which row of the data, where not all do."""


class MomentRule(Rule):
    """Abstract rule whose gradient is a difference of moments between data and the model."""

    integrates: ClassVar[bool] = True
    centred: Annotated[
        bool | None,
        Field(description="centre the gradient; by default where all units are binary and none is frozen"),
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
    gaps: Annotated[
        Literal["gibbs", "mean-field"],
        Field(description="how missing values follow those that are known"),
    ] = "gibbs"
    gap_steps: Annotated[
        int, Field(ge=1, description="sweeps over missing values: of mean field, then of Gibbs if it is that")
    ] = 10
    sparsity_target: Annotated[
        float | None, Field(description="mean activity that hidden units are pulled to; none by default")
    ] = None
    sparsity_cost: Annotated[float, Field(ge=0, description="how strongly they are pulled")] = 0.1
    sparsity_rate: Annotated[
        float, Field(gt=0, le=1, description="how fast the running means of their activity follow")
    ] = 0.1

    def check(self, model: Model) -> None:
        if not isinstance(model, PairwiseModel):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")
        if self.centred and _frozen(model):
            raise invalid("centred", True, "False where couplings or biases are frozen: they move together")
        if self.sparsity_target is not None:
            check_target(model, self.sparsity_target)

    def check_gaps(self, model: Model, patterns: Iterable[Tensor]) -> None:
        assert isinstance(model, PairwiseModel)
        check_completes(self.name, model, self.gaps)

    @torch.no_grad()
    def init(self, model: Model, stream: Stream) -> State:
        assert isinstance(model, PairwiseModel)
        layers = {block: model.layer(block) for block in model.blocks()}
        binary = all(layer.binary for layer in layers.values()) and not _frozen(model)
        state: State = {}
        if binary if self.centred is None else self.centred:
            state = {_OFFSET + b: u.expected_statistics(u.bias.detach()) for b, u in layers.items()}
        if self.sparsity_target is not None:
            state |= named(_ACTIVITY, first_activity(model))
        return state

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

    def gradient(self, model: PairwiseModel, data: State, sample: State, shares: Tensor) -> State:
        """Set the gradients of all parameters, not centred; return the states of data and sample as one."""
        return likelihood_gradient(model, data, sample, shares)

    def data(self, model: PairwiseModel, batch: Batch, stream: Stream) -> tuple[State, State]:
        """Return what :meth:`positive` does of a batch, whose missing values are integrated over.

        Arguments:
            model: The model.
            batch: The batch.
            stream: Where the random bits come from.
        """
        values = batch.values
        if batch.known is not None:
            steps = self.gap_steps
            values = complete(model, values, batch.known, self.gaps == "gibbs", steps, stream)
        return self.positive(model, values, stream)

    def positive(self, model: PairwiseModel, values: Tensor, stream: Stream) -> tuple[State, State]:
        """Return the data's states with the hidden blocks' expected statistics, and fields.

        Arguments:
            model: The model.
            values: Visible statistics, shape (rows, width).
            stream: Where the random bits come from.
        """
        data = model.observed(values)
        if model.hidden_sums_out():
            fields = {block: model.field(block, data) for block in model.hidden_blocks()}
            return data | {b: model.layer(b).expected_statistics(f) for b, f in fields.items()}, fields
        if self.data_phase == "mean-field":
            return data | mean_field(model, data, steps=self.data_steps).means, {}
        gibbs = Gibbs()
        chain = gibbs.init(model, len(values), stream, data, clamp=data)
        chain = gibbs.run(model, chain, stream, self.data_steps)
        return {block: chain[block] for block in model.blocks()}, {}

    def drawn(self, model: PairwiseModel, block: str, expected: Tensor, stream: Stream) -> Tensor:
        """Return states of a block that the data phase left as states, or as means to draw from."""
        if self.data_phase == "gibbs":
            return expected
        layer = model.layer(block)
        return layer.sample_(layer.natural(expected), stream)

    @torch.no_grad()
    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        assert isinstance(model, PairwiseModel)
        data, fields = self.data(model, batch, stream)
        sample, kept = self.negative(model, data, fields, state, stream)
        shares = self.shares(batch, sample)
        both = self.gradient(model, data, sample, shares)
        activity = self._pull(model, data, -shares[: len(data["visible"])], part(state, _ACTIVITY))
        offsets = part(state, _OFFSET)
        if offsets:
            offsets = follow_offsets(offsets, both, shares, self.offset_rate)
            centre(model, offsets, self.rates(model))
        apply("model")
        return {**kept, **named(_OFFSET, offsets), **named(_ACTIVITY, activity)}, {}

    def _pull(self, model: PairwiseModel, data: State, weight: Tensor, activity: State) -> State:
        """Pull the hidden units to their target; return their mean activity."""
        if self.sparsity_target is None:
            return {}
        return pull(
            model,
            data,
            weight,
            activity,
            part(data, PRESENT),
            target=self.sparsity_target,
            cost=self.sparsity_cost,
            rate=self.sparsity_rate,
        )


def _frozen(model: PairwiseModel) -> bool:
    """Return whether a coupling or a bias is not to be learnt."""
    couplings = [model.get_parameter(coupling.name) for coupling in model.couplings()]
    biases = [model.layer(block).bias for block in model.blocks()]
    return not all(parameter.requires_grad for parameter in [*couplings, *biases])


def part(state: State, prefix: str) -> State:
    """Return what of a state has a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def named(prefix: str, state: State) -> State:
    """Return a state with a prefix before each name."""
    return {prefix + k: v for k, v in state.items()}
