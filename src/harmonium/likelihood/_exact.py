r"""The partition function by enumeration of one layer, in float64.

.. math:: \log Z = \log \sum_x e^{-E_x(x) + A_y(a_y(x))}

sums over the states x of one layer; the other layer y sums out in closed form.
"""

from __future__ import annotations

__all__ = ["LIMIT", "count_states", "exact_log_partition", "exact_side"]

import copy
import math

import torch

from ..errors import invalid
from ..models import EnergyModel
from ._results import LogPartition

LIMIT = 2**31
"""Up to how many elements of fields ``auto`` enumerates: about a minute on two cores."""

_CEILING = 2**40
_BLOCK = 1 << 22


def count_states(model: EnergyModel, block: str) -> float:
    """Return the number of states of a block; infinite if it is not discrete."""
    unit = model.layer(block)
    support = unit.support()
    if support is None:
        return math.inf
    exponent = unit.size * math.log2(len(support))
    return math.inf if exponent > 1000 else float(len(support)) ** unit.size


def exact_side(model: EnergyModel) -> tuple[str, float]:
    """Return the block that is cheaper to enumerate, and the elements of fields that it takes."""
    first, second = model.blocks()
    costs = {
        first: count_states(model, first) * model.layer(second).width,
        second: count_states(model, second) * model.layer(first).width,
    }
    side = min(costs, key=lambda block: costs[block])
    return side, costs[side]


@torch.no_grad()
def exact_log_partition(model: EnergyModel, side: str | None = None) -> LogPartition:
    """Return log Z by enumeration.

    Arguments:
        model: A model of two blocks, of which one is discrete.
        side: The block to enumerate; the cheaper one if not given.

    Raises:
        ArgumentError: There are too many states.
    """
    if side is None:
        side, cost = exact_side(model)
    else:
        other = next(block for block in model.blocks() if block != side)
        cost = count_states(model, side) * model.layer(other).width
    states = count_states(model, side)
    if cost > _CEILING:
        raise invalid(
            "method",
            "exact",
            f"at most {_CEILING:.0e} elements of fields, where the {side} layer has {states:.3g} "
            "states; use 'ais' or 'bridge'",
        )
    double = copy.deepcopy(model).double()
    other = next(block for block in model.blocks() if block != side)
    unit, partner = double.layer(side), double.layer(other)
    rows = max(1, _BLOCK // max(unit.width, partner.width))
    parts = []
    for first in range(0, int(states), rows):
        x = unit.configurations(first, min(int(states), first + rows))
        field = double.field(other, {side: x})
        parts.append(torch.logsumexp(partner.log_partition(field) - unit.energy(x), 0))
    value = float(torch.logsumexp(torch.stack(parts), 0))
    return LogPartition(value, value, value, 0.0, "exact")
