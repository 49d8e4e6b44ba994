r"""Trajectory tempering: chains that climb to the model by way of the models that it has been.

A temperature flattens all of a model at once, and may meet a transition on the way at which no replicas are
exchanged. Learning came to the model through others that differ little, its modes splitting one at a time. So
past parameters are kept as a ladder, each rung with chains of its own, from independent units with the data's
base rates to the last one, whose states are exchanged with those of the model. When they hardly are any more,
the model becomes a rung itself.

The probability of an exchange also measures how far a step leads in distribution: it is predicted for the
new parameters from the present chains, reweighted. A step that would take it below a floor is halved until
it does not. And the ratios of partition functions add up along the ladder, so that log Z is known in each
update, with its error.

References:
    | Fast training and sampling of restricted Boltzmann machines
    | (Bereux, Decelle, Furtlehner, Rosset & Seoane, 2025)
    | https://arxiv.org/abs/2405.15376
"""

from __future__ import annotations

__all__ = ["TrajectoryTempering"]

from typing import Annotated, ClassVar

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel, State
from ..random import Stream
from ._ladder import (
    Contrast,
    append,
    build,
    climb,
    compare,
    exchange,
    predict,
    refine,
    rung,
    sweep,
    total,
    trade,
)
from ._moment_rule import MomentRule, named, part
from ._rule import Apply, Batch, Metrics, check_sums_out

_LADDER = "ladder."
_TOP = "top."
_HALVINGS = 10


class TrajectoryTempering(MomentRule):
    """Creates maximum likelihood by trajectory tempering (PTT), for models whose hidden units sum out.

    Its metrics tell of the model that an update began with: ``log_partition`` and its standard error
    ``log_partition_error``; ``swap_rate``, the mean probability that its chains are exchanged with those of
    the last rung, and ``least_swap_rate``, of all pairs; the number of ``rungs``; and the share of the
    optimiser's ``step`` that was taken. Each rung takes as much memory as the model, in checkpoints too; an
    update changes the ladder in place.

    Arguments:
        steps: Gibbs steps in each update, of the model's chains and of each rung that moves.
        chains: The number of chains of the model and of each rung, whatever the batch size.
        rungs: How many rungs move in each update, at their turns from the bottom up.
        append_below: The model becomes a rung when its swap rate with the last one is under this.
        refuse_below: A step is halved until the swap rate that is predicted after it is at least this; 0
            takes all steps.
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.
        data_phase: How hidden units that are coupled among each other would follow the data; no model that
            this rule fits has them.
        data_steps: Sweeps of that phase.
        gaps: How values that rows lack (NaN) are integrated over: ``gibbs``, or ``mean-field``, which is
            quicker and biased.
        gap_steps: Sweeps over them: of mean field, then of Gibbs sampling if it is that.
        sparsity_target: The mean activity that hidden units are pulled to, if they are.
        sparsity_cost: How strongly they are pulled.
        sparsity_rate: How fast the running means of their activity follow those of the batches.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "trajectory-tempering"
    steps: Annotated[int, Field(ge=1, description="Gibbs steps in each update")] = 1
    chains: Annotated[int, Field(ge=2, description="chains of the model and of each rung")] = 100
    rungs: Annotated[int, Field(ge=1, description="rungs that move in each update")] = 1
    append_below: Annotated[
        float, Field(gt=0, lt=1, description="swap rate under which the model becomes a rung")
    ] = 0.4
    refuse_below: Annotated[
        float, Field(ge=0, lt=1, description="swap rate under which no step may take the model")
    ] = 0.1

    @field_validator("refuse_below")
    @classmethod
    def _less(cls, value: float, info: ValidationInfo) -> float:
        if value >= info.data.get("append_below", 1.0):
            raise invalid("refuse_below", value, "less than append_below")
        return value

    def check(self, model: Model) -> None:
        super().check(model)
        assert isinstance(model, PairwiseModel)
        check_sums_out(self.name, model)

    @torch.no_grad()
    def init(self, model: Model, stream: Stream) -> State:
        assert isinstance(model, PairwiseModel)
        ladder, chain = build(model, self.chains, stream)
        contrast = compare(rung(model, ladder, -1), model, ladder["visible"][-1], chain)
        shift = refine(contrast, contrast.rise.mean())
        return {**super().init(model, stream), **_kept(ladder, chain, contrast, shift)}

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        ladder, top = part(state, _LADDER), part(state, _TOP)
        climb(model, ladder, stream, self.rungs, self.steps)
        chain = sweep(model, state["chain.visible"], stream, self.steps)
        last = ladder["visible"][-1]
        contrast = compare(rung(model, ladder, -1), model, last, chain)
        shift = refine(contrast, top["shift"])
        kept = _kept(ladder, chain, contrast, shift)
        swapped = exchange(contrast, stream)
        below, above = trade(last, chain, swapped[:, None])
        sample = {"visible": above}
        for block, field in contrast.fields.items():
            of_last, of_chain = field.chunk(2)
            now = torch.where(swapped[:, None], of_last, of_chain)
            sample[block] = model.layer(block).expected_statistics(now)
        ladder["visible"][-1], kept["chain.visible"] = below, above
        own = torch.where(swapped, contrast.upper[0], contrast.upper[1])
        kept["top.free_energy"] = torch.stack((*trade(contrast.lower[0], contrast.lower[1], swapped), own))
        if contrast.chance.mean() < self.append_below:
            append(model, ladder, above, contrast, shift)
            kept |= named(_LADDER, ladder)
            kept |= {"top.shift": torch.zeros_like(shift), "top.free_energy": torch.stack((own, own, own))}
        return sample, kept

    @torch.no_grad()
    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        assert isinstance(model, PairwiseModel)
        before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        state, metrics = super().update(model, batch, state, stream, apply)
        step = self._shorten(model, before, state) if self.refuse_below else 1.0
        top, ladder = part(state, _TOP), part(state, _LADDER)
        rates = torch.cat((ladder["chance"] / ladder["visits"], top["swap_rate"][None]))
        own = {name: top[name] for name in ("log_partition", "log_partition_error", "swap_rate")}
        own |= {"least_swap_rate": rates.min(), "rungs": torch.tensor(len(ladder["visible"]))}
        return state, {**metrics, **own, "step": torch.tensor(step)}

    def _shorten(self, model: PairwiseModel, before: State, state: State) -> float:
        """Halve the step that was taken as long as it leads too far; return the share that is left of it."""
        both = torch.cat((state["ladder.visible"][-1], state["chain.visible"]))
        last_v, last_w, old_w = state["top.free_energy"]
        after = {name: model.get_parameter(name).detach().clone() for name in before}
        for halving in range(_HALVINGS + 1):
            new_v, new_w = -model.log_sum({"visible": both}).view(2, -1)
            if predict(last_v - new_v, last_w - new_w, old_w - new_w) >= self.refuse_below:
                return 0.5**halving
            share = 0.5 ** (halving + 1) if halving < _HALVINGS else 0.0
            for name, old in before.items():
                model.get_parameter(name).copy_(torch.lerp(old, after[name], share))
        return 0.0


def _kept(ladder: State, chain: Tensor, contrast: Contrast, shift: Tensor) -> State:
    """Return what of the rule's state tells of the ladder and of the model above it."""
    value, error = total(ladder, contrast, shift)
    top = {
        "shift": shift,
        "free_energy": torch.stack((*contrast.lower, contrast.upper[1])),
        "swap_rate": contrast.chance.mean(),
        "log_partition": value,
        "log_partition_error": error,
    }
    return {**named(_LADDER, ladder), "chain.visible": chain, **named(_TOP, top)}
