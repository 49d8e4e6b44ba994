r"""Exact maximum likelihood: the model's moments by enumeration, for machines that are small enough.

.. math:: \frac{\partial}{\partial \theta} \left(-\log p(v)\right) =
    E_{h \mid v}\!\left[\frac{\partial E}{\partial \theta}\right]
    - \sum_x p(x)\, E_{y \mid x}\!\left[\frac{\partial E}{\partial \theta}\right]

The states x of the blocks that are cheapest to list stand for the model, each with its exact probability; the
other blocks y have closed expectations given them. There is no noise but that of the batches: all other rules
can be measured by this one.

References:
    | A learning algorithm for Boltzmann machines (Ackley, Hinton & Sejnowski, 1985)
"""

from __future__ import annotations

__all__ = ["ExactLikelihood"]

from typing import ClassVar

import torch
from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel, State, choose_side, configurations, count_states
from ..random import Stream
from ..units import Gaussian, Mixed, Unit
from ._moment_rule import MomentRule
from ._rule import Batch

_MOST = 1 << 26
"""The most elements of states in an update: half a gigabyte for the model, with its copy."""

_ROWS = 100
"""The rows of a batch, as far as the check knows."""

_P = "probability"
_DATA_P = "probability of the data's"


class ExactLikelihood(MomentRule):
    """Creates exact maximum likelihood by enumeration, for small models.

    The states of the cheaper side times the number of units may be 2^26: 2^19 states beside 64 pixels.

    Arguments:
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.
        data_phase: Of no effect: hidden units that are coupled among each other are enumerated too.
        data_steps: Of no effect.
        sparsity_target: The mean activity that hidden units are pulled to, if they are.
        sparsity_cost: How strongly they are pulled.
        sparsity_rate: How fast the running means of their activity follow those of the batches.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "exact"
    ties: ClassVar[bool] = True

    def check(self, model: Model) -> None:
        super().check(model)
        assert isinstance(model, PairwiseModel)
        width = sum(model.layer(block).width for block in model.blocks())
        for given, rows in (((), 1), (model.observed_blocks(), _ROWS)):
            side, _ = choose_side(model, given)
            states, most = count_states(model, side), _MOST // (width * rows)
            if side and states > most:
                got = f"{states:.3g} states of {' and '.join(side)} to enumerate"
                where = f"{'for each row' if given else 'in each update'}, and {most} are the most"
                raise invalid(
                    "rule", self.name, f"a rule that samples, such as 'pcd': there are {got} {where}"
                )

    def positive(self, model: PairwiseModel, values: Tensor, stream: Stream) -> tuple[State, State]:
        if model.hidden_sums_out():
            return super().positive(model, values, stream)
        return _completed(model, model.observed(values)), {}

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        sample = _completed(model, {})
        if _P in data:
            sample[_DATA_P] = data[_P]
        return sample, {}

    def shares(self, batch: Batch, sample: State) -> Tensor:
        data = batch.weights
        if _DATA_P in sample:
            p = sample[_DATA_P]
            data = data.repeat_interleave(len(p) // len(data)) * p
        return torch.cat((-data, batch.weights.sum() * sample[_P]))


def _completed(model: PairwiseModel, given: State) -> State:
    """Return states of all blocks whose weighted moments are exact, and their weights.

    Each row of the given blocks is there with all states of some other blocks, and the expected statistics of
    the rest.

    Arguments:
        model: The model.
        given: States of some blocks, or of none.

    Returns:
        The states, and their probabilities given the row, shape (rows), as ``probability``.
    """
    side, _ = choose_side(model, tuple(given))
    n, rows = int(count_states(model, side)), len(given["visible"]) if given else 1
    state = {block: x.repeat_interleave(n, 0) for block, x in given.items()}
    state |= {block: x.repeat(rows, 1) for block, x in configurations(model, side, 0, n).items()}
    rest = [block for block in model.blocks() if block not in state]
    fields = {block: model.field(block, state) for block in rest}
    log_p = torch.zeros(rows * n, dtype=torch.float64, device=model.device)
    if state:
        log_p -= model.energy(state)
    for block, field in fields.items():
        log_p += model.layer(block).log_partition(field)
    p = torch.softmax(log_p.view(rows, n), 1).flatten()
    state |= {block: model.layer(block).expected_statistics(field) for block, field in fields.items()}
    return _with_squares(model, {**state, _P: p.to(model.dtype)}, rest)


def _with_squares(model: PairwiseModel, state: State, rest: list[str]) -> State:
    """Let expected values that need their second moments stand a deviation above and below themselves."""
    for block in rest:
        deviation = _deviations(model.layer(block))
        if deviation is not None:
            ends = torch.cat((state[block] + deviation, state[block] - deviation))
            state = {name: torch.cat((x, x)) for name, x in state.items()}
            state |= {_P: 0.5 * state[_P], block: ends}
    return state


def _deviations(layer: Unit) -> Tensor | None:
    """Return the deviations of units that learn their precision, zero for others, shape (width)."""
    parts = list(layer.parts) if isinstance(layer, Mixed) else [layer]
    learns = [isinstance(part, Gaussian) and part.learn_precision for part in parts]
    if not any(learns):
        return None
    found = [
        part.precision.detach().rsqrt()
        if isinstance(part, Gaussian) and own
        else part.bias.new_zeros(part.width)
        for part, own in zip(parts, learns, strict=True)
    ]
    return torch.cat(found)
