r"""Mean field: the closest distribution of independent units to that of some blocks given the others.

.. math:: a_a \gets b_a + \textstyle\sum_b W_{ab} m_b, \qquad m_a = E[s(x_a) \mid \text{field } a_a]

is iterated block by block, first where the given blocks reach, then in the model's own order: of layers in a
row, all even ones and then all odd ones. Within a block whose units are coupled to each other it goes group
by group. Each such step raises the variational lower bound. Where units are coupled too densely for groups,
all fields of a block go half of the way at once, and less and less of it as long as they do not settle: what
they settle at is a stationary point of the bound, but it need not rise on the way.

Where only some units of a block are given, the others of it are inferred with the rest. Multi-inference
stands for an average over what many subsets of the given units say: towards their neighbours, given units
take a value half-way between their own and the mean that the others leave them.

References:
    | A mean field theory learning algorithm for neural networks (Peterson & Anderson, 1987)
    | Deep Boltzmann machines (Salakhutdinov & Hinton, 2009)
    | Multi-prediction deep Boltzmann machines (Goodfellow, Mirza, Courville & Bengio, 2013)
"""

from __future__ import annotations

__all__ = ["MeanField", "inferred_fields", "mean_field"]

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import invalid
from ._base import EnergyModel, State

_HALF = 0.5
_SETTLING = 0.9


class MeanField(NamedTuple):
    """Independent units that stand for some blocks given the others."""

    means: State
    """Their expected statistics, shape (rows, width), by block."""
    fields: State
    """The fields that they have, likewise."""
    sweeps: int
    """How often all blocks were brought up to date, after the first pass outward."""
    residual: float
    """By how much a mean moved at most in the last sweep; zero where nothing had to be iterated."""


@torch.no_grad()
def mean_field(
    model: EnergyModel,
    state: State,
    *,
    steps: int = 50,
    tolerance: float = 1e-4,
    damping: float = 0.0,
    start: State | None = None,
) -> MeanField:
    """Iterate the expected statistics of the blocks that are not given, until they settle.

    Arguments:
        model: The model.
        state: The blocks that are given.
        steps: The most sweeps over the other blocks.
        tolerance: No further sweep where no mean moved by more in the last one.
        damping: The share of its old field that a block keeps, from 0 to below 1.
        start: Expected statistics to start from, such as those of an earlier model; by default each block
            starts from what lies between it and the given ones.

    Raises:
        ArgumentError: ``damping`` is out of range.
    """
    if not 0 <= damping < 1:
        raise invalid("damping", damping, "a number from 0 to below 1")
    free = [block for block in model.outward(state) if block not in state]
    given = {block: model.field(block, state) for block in free}
    means, fields = dict(start or {}), {}
    for block in free:
        if start is None or block not in means:
            fields[block] = model.field(block, means, start=given[block])
            means[block] = model.layer(block).expected_statistics(fields[block])
        else:
            fields[block] = model.layer(block).natural(means[block])
    if len(free) == 1 and model.lateral(free[0]) is None:
        return MeanField(means, fields, 0, 0.0)
    iterated = [block for block in model.blocks() if block in given]
    dense = any(model.lateral(b) is not None and model.groups(b) is None for b in iterated)
    keep = max(damping, _HALF) if dense else damping
    moved, before, sweeps = 0.0, float("inf"), 0
    for _ in range(steps):
        moved = max(_update(model, block, means, fields, given[block], keep) for block in iterated)
        sweeps += 1
        if moved <= tolerance * (1 - keep):
            break
        if dense and moved > _SETTLING * before:
            keep = (1 + keep) / 2
        before = moved
    return MeanField(means, fields, sweeps, moved)


def inferred_fields(
    model: EnergyModel, data: State, known: State, sweeps: int, *, multi: bool = False
) -> State:
    """Return the fields of all blocks after some sweeps of mean field in which some units are held.

    All begin with the means of their biases; gradients go back through all sweeps.

    Arguments:
        model: A model without couplings within its blocks.
        data: Statistics of blocks some units of which are given, shape (rows, width); the others' count for
            nothing.
        known: Truth values of the same shapes: which units are given.
        sweeps: Over all blocks.
        multi: Whether to infer by multi-inference.
    """
    rows = len(next(iter(data.values())))
    fields: State = {block: model.layer(block).bias.expand(rows, -1) for block in model.blocks()}
    means: State = {}

    def follow(block: str) -> None:
        mean = model.layer(block).expected_statistics(fields[block])
        if block in known:
            shown = (data[block] + mean) / 2 if multi else data[block]
            mean = torch.where(known[block], shown, mean)
        means[block] = mean

    for block in fields:
        follow(block)
    order = [*model.outward(data)[len(data) :], *data]
    for _ in range(sweeps):
        for block in order:
            fields[block] = model.field(block, means)
            follow(block)
    return fields


def _update(model: EnergyModel, block: str, means: State, fields: State, given: Tensor, keep: float) -> float:
    """Bring a block's fields and means up to date; return by how much a mean moved at most."""
    unit, old = model.layer(block), means[block]
    groups = None if model.lateral(block) is None else model.groups(block)
    for columns in groups or (None,):
        field = model.field(block, means, start=given)
        if keep:
            field = torch.lerp(field, fields[block], keep)
        if columns is not None:
            field = fields[block].index_copy(1, columns, field[:, columns])
        fields[block], means[block] = field, unit.expected_statistics(field)
    return float((means[block] - old).abs().max())
