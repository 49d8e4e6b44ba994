r"""Exact maximum likelihood: the model's moments by enumeration, for machines that are small enough.

.. math:: \frac{\partial}{\partial \theta} \left(-\log p(v)\right) =
    E_{h \mid v}\!\left[\frac{\partial E}{\partial \theta}\right]
    - \sum_x p(x)\, E_{y \mid x}\!\left[\frac{\partial E}{\partial \theta}\right]

The states x of the blocks that are cheapest to list stand for the model, each with its exact probability; the
other blocks y have closed expectations given them. So it is with values that a row lacks: their states are
listed, or those of the hidden units, whichever are fewer. There is no noise but that of the batches: all
other rules can be measured by this one.

References:
    | A learning algorithm for Boltzmann machines (Ackley, Hinton & Sejnowski, 1985)
"""

from __future__ import annotations

__all__ = ["ExactLikelihood"]

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel, State, choose_side, configurations, count_states
from ..random import Stream
from ..units import Gaussian, Mixed, Unit, by_pattern
from ._gaps import check_completes
from ._moment_rule import MomentRule
from ._rule import Batch

_MOST = 1 << 26
"""The most elements of states in an update: half a gigabyte for the model, with its copy."""

_ROWS = 100
"""The rows of a batch, as far as the check knows."""

_P = "probability"
_ROW = "row of the data"
_DATA_P = "probability of the data's"


class ExactLikelihood(MomentRule):
    """Creates exact maximum likelihood by enumeration, for small models.

    The states of the cheaper side times the number of units may be 2^26: 2^19 states beside 64 pixels.

    Arguments:
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.
        data_phase: Of no effect: hidden units that are coupled among each other are enumerated too.
        data_steps: Of no effect.
        gaps: Of no effect: values that rows lack (NaN) are summed over, or the hidden units are.
        gap_steps: Of no effect.
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

    def check_gaps(self, model: Model, patterns: Iterable[Tensor]) -> None:
        assert isinstance(model, PairwiseModel)
        check_completes(self.name, model, "gibbs")
        width = sum(model.layer(block).width for block in model.blocks())
        most = _MOST // (width * _ROWS)
        hidden = _count_hidden(model)
        if hidden <= most:
            return
        seen: set[bytes] = set()
        for known in (one for some in patterns for one in some[~some.all(1)]):
            name = bytes(known.cpu().numpy())
            states = 1.0 if name in seen else min(_count_missing(model, known.to(model.device)), hidden)
            seen.add(name)
            if states > most:
                got = f"{states:.3g} states of what a row lacks, or of the hidden units, for each row"
                raise invalid(
                    "rule",
                    self.name,
                    f"a rule that samples, such as 'pcd': there are {got}, and {most} are the most",
                )

    def data(self, model: PairwiseModel, batch: Batch, stream: Stream) -> tuple[State, State]:
        if batch.known is None:
            return super().data(model, batch, stream)
        parts = [_integrated(model, batch.values, rows, columns) for rows, columns in by_pattern(batch.known)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, {}

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
        if _ROW in data:
            sample[_ROW] = data[_ROW]
        return sample, {}

    def shares(self, batch: Batch, sample: State) -> Tensor:
        data = batch.weights
        if _DATA_P in sample:
            p = sample[_DATA_P]
            rows = data.repeat_interleave(len(p) // len(data)) if _ROW not in sample else data[sample[_ROW]]
            data = rows * p
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


def _integrated(model: PairwiseModel, values: Tensor, rows: Tensor, known: Tensor) -> State:
    """Return states of all blocks whose weighted moments are those of rows that lack the same values.

    Arguments:
        model: A model whose hidden units sum out.
        values: Visible statistics of the batch, shape (rows, width).
        rows: The numbers of the rows in it, shape (own rows).
        known: Which columns are known, shape (width).

    Returns:
        The states, their probabilities given what is known, and the numbers of their rows.
    """
    v, hidden = values[rows], model.hidden_blocks()
    free = _missing(model, known)
    over_hidden = free is not None and _count_hidden(model) < free.count()
    n = 1 if free is None else int(_count_hidden(model) if over_hidden else free.count())
    x = v.repeat_interleave(n, 0)
    if free is None or not over_hidden:
        if free is not None:
            x[:, ~known] = free.configurations(0, n).to(x).repeat(len(v), 1)
        state = model.observed(x)
        log_p = model.log_sum(state)
        state |= {b: model.layer(b).expected_statistics(model.field(b, state)) for b in hidden}
    else:
        h = configurations(model, hidden, 0, n)
        h = {block: s.repeat(len(v), 1) for block, s in h.items()}
        field = model.field("visible", h)
        log_p = free.log_partition(field[:, ~known]) - (model.energy(h) if h else 0)
        log_p = log_p + (x[:, known] * field[:, known]).sum(1, dtype=torch.float64)
        mean = torch.where(known, x, model.visible.expected_statistics(field))
        state = {**model.observed(mean), **h}
    p = torch.softmax(log_p.view(len(v), n), 1).flatten()
    state |= {_P: p.to(model.dtype), _ROW: rows.repeat_interleave(n)}
    deviation = _deviations(model.visible) if over_hidden else None
    return state if deviation is None else _spread(state, "visible", deviation * ~known)


def _missing(model: PairwiseModel, known: Tensor) -> Unit | None:
    """Return the visible units whose columns are not known as a layer of their own, if there are some."""
    unit = model.visible
    first = unit.expand(torch.arange(unit.size, device=known.device))
    which = torch.zeros(unit.size, dtype=torch.bool, device=known.device)
    which[first[~known]] = True
    return unit.subset(which) if bool(which.any()) else None


def _count_missing(model: PairwiseModel, known: Tensor) -> float:
    free = _missing(model, model.visible.expand(known))
    return 1.0 if free is None else free.count()


def _count_hidden(model: PairwiseModel) -> float:
    """Return the number of the hidden units' states; infinite if the visible units do not sum out."""
    hidden = model.hidden_blocks()
    return count_states(model, hidden) if choose_side(model, hidden)[0] == () else math.inf


def _with_squares(model: PairwiseModel, state: State, rest: list[str]) -> State:
    """Let expected values that need their second moments stand a deviation above and below themselves."""
    for block in rest:
        deviation = _deviations(model.layer(block))
        if deviation is not None:
            state = _spread(state, block, deviation)
    return state


def _spread(state: State, block: str, deviation: Tensor) -> State:
    """Let a block's values stand a deviation above and below themselves, half of the probability at each."""
    ends = torch.cat((state[block] + deviation, state[block] - deviation))
    state = {name: torch.cat((x, x)) for name, x in state.items()}
    return state | {_P: 0.5 * state[_P], block: ends}


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
