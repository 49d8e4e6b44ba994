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

__all__ = ["CD", "PCD", "ChainRule", "GibbsRule", "chain_rows", "seen_by_chains"]

from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel, State
from ..random import Stream
from ..samplers import Gibbs, base_biases
from ._dropout import absent, check_dropout, draw_present
from ._moment_rule import PRESENT, MomentRule, named, part
from ._rule import Batch

_CHAIN = "chain."


def chain_rows(model: PairwiseModel, state: State, prefix: str = _CHAIN) -> Tensor | None:
    """Return the persistent chains of a rule's state as rows of data, shape (chains, size), or None."""
    chain = part(state, prefix)
    return model.visible.values(model.shown(chain)) if chain else None


def seen_by_chains(model: PairwiseModel, state: State) -> State:
    """Return the observed blocks of a rule's persistent chains; none if it has no chains."""
    chain = part(state, _CHAIN)
    return {block: chain[block] for block in model.observed_blocks()} if chain else {}


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


class GibbsRule(ChainRule):
    """Abstract rule of Gibbs steps from which hidden units can be left out; see :class:`CD` for how."""

    dropout: Annotated[
        float, Field(ge=0, lt=1, description="probability that a hidden unit is absent from an update")
    ] = 0.0

    def check(self, model: Model) -> None:
        super().check(model)
        assert isinstance(model, PairwiseModel)
        if self.dropout:
            check_dropout(model, self.dropout)

    def check_gaps(self, model: Model, patterns: Iterable[Tensor]) -> None:
        super().check_gaps(model, patterns)
        if self.dropout:
            raise invalid("dropout", self.dropout, "0, as values of the data are missing")

    def positive(self, model: PairwiseModel, values: Tensor, stream: Stream) -> tuple[State, State]:
        data, fields = super().positive(model, values, stream)
        present = self.present(model, len(values), stream)
        data |= {block: data[block] * there for block, there in present.items()}
        return {**data, **named(PRESENT, present)}, fields

    def present(self, model: PairwiseModel, rows: int, stream: Stream) -> State:
        """Draw which hidden units take part, 1 or 0, shape (rows, width); nothing where all do."""
        return draw_present(model, rows, self.dropout, stream) if self.dropout else {}


class CD(GibbsRule):
    """Creates contrastive divergence with ``steps`` Gibbs steps from the data (CD-k).

    With dropout each row has a mask of its own, which leaves hidden units out of the row's gradient and of
    its chain. It makes for robust features, and not for good densities.

    Arguments:
        steps: Gibbs steps in each update.
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

    name: ClassVar[str] = "cd"
    ties: ClassVar[bool] = True

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        start = {block: data[block] for block in model.observed_blocks()}
        start |= {block: model.layer(block).sample_(field, stream) for block, field in fields.items()}
        for block in model.hidden_blocks():
            if block not in start:
                start[block] = self.drawn(model, block, data[block], stream)
        clamp = absent(part(data, PRESENT))
        chain = Gibbs().init(model, len(data["visible"]), stream, start, clamp) if clamp else start
        sample, _ = self.walk(model, chain, stream)
        return sample, {}

    def shares(self, batch: Batch, sample: State) -> Tensor:
        return torch.cat((-batch.weights, batch.weights))


class PCD(GibbsRule):
    """Creates persistent contrastive divergence, or stochastic maximum likelihood (PCD-k).

    With dropout each row and each chain has a mask of its own, which leaves hidden units out of an update;
    a chain takes its steps without them and goes on with another mask, so that more steps pay. It makes for
    robust features, and not for good densities.

    Arguments:
        steps: Gibbs steps in each update.
        chains: The number of persistent chains, whatever the batch size.
        burn_in: Gibbs steps that the chains take before the first update, which matter where training begins
            with a model that has been trained.
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

    name: ClassVar[str] = "pcd"
    ties: ClassVar[bool] = True
    chains: Annotated[int, Field(ge=1, description="persistent chains")] = 100
    burn_in: Annotated[int, Field(ge=0, description="Gibbs steps of the chains before the first update")] = 0

    @torch.no_grad()
    def init(self, model: Model, stream: Stream) -> State:
        assert isinstance(model, PairwiseModel)
        start = model.layer("visible").sample_(base_biases(model)["visible"].repeat(self.chains, 1), stream)
        chain = Gibbs().init(model, self.chains, stream, {"visible": start})
        for _ in range(self.burn_in):
            chain, _ = Gibbs().step(model, chain, stream)
        return {**super().init(model, stream), **named(_CHAIN, chain)}

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        chain = part(state, _CHAIN)
        if self.dropout:
            seen = {block: chain[block] for block in model.observed_blocks()}
            clamp = absent(self.present(model, self.chains, stream))
            chain = Gibbs().init(model, self.chains, stream, seen, clamp)
        sample, chain = self.walk(model, chain, stream)
        return sample, named(_CHAIN, {block: chain[block] for block in model.blocks()})
