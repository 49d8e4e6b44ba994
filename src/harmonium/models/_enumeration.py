r"""Sums over the states of blocks: some enumerated, the others in closed form.

.. math:: \log \sum_{x, y} e^{-E(x, y, z)} = \log \sum_x e^{-E(x, z) + \sum_y A_y(a_y(x, z))}

Given the blocks z and the states x of some others, blocks y that no coupling joins, within or among each
other, sum out by their units' log-partition functions. Which blocks are enumerated is a choice; the
cheapest is made.
"""

from __future__ import annotations

__all__ = ["CEILING", "choose_side", "configurations", "count_states", "log_sum"]

import math
from collections.abc import Collection
from itertools import combinations

import torch
from torch import Tensor

from ..errors import ArgumentError
from ._base import EnergyModel, State

CEILING = 2**40
"""The most elements of fields that are ever enumerated."""

_BLOCK = 1 << 22


def count_states(model: EnergyModel, blocks: Collection[str]) -> float:
    """Return the number of joint states of some blocks; infinite if one is not discrete."""
    return math.prod(model.layer(block).count() for block in blocks)


def choose_side(model: EnergyModel, given: Collection[str] = ()) -> tuple[tuple[str, ...], float]:
    """Return the blocks to enumerate so that all else sums out, and the elements of fields it takes.

    Arguments:
        model: The model.
        given: The blocks whose states are known.
    """
    rest = [block for block in model.blocks() if block not in given]
    joined = {frozenset((c.lower, c.upper)) for c in model.couplings()}
    best, least = tuple(rest), math.inf
    for n in range(len(rest) + 1):
        for side in combinations(rest, n):
            others = [block for block in rest if block not in side]
            if any(pair <= set(others) for pair in joined):
                continue
            widths = sum(model.layer(block).width for block in others or side)
            cost = count_states(model, side) * max(widths, 1)
            if cost < least or (cost == least and len(side) < len(best)):
                best, least = side, cost
    return best, least


def log_sum(model: EnergyModel, state: State, side: tuple[str, ...]) -> Tensor:
    """Return the log of the sum of exp(-E) over all blocks that are not in ``state``.

    Arguments:
        model: The model.
        state: The blocks whose states are given; none for the partition function of shape (1).
        side: The blocks to enumerate; the others sum out.

    Raises:
        ArgumentError: There are too many states.
    """
    others = [block for block in model.blocks() if block not in state and block not in side]
    if not side:
        return _log_weight(model, state, others)
    states = count_states(model, side)
    rows = len(next(iter(state.values()))) if state else 1
    _check_count(model, side, rows)
    widest = max(model.layer(block).width for block in model.blocks())
    step = max(1, _BLOCK // (widest * rows))
    parts = []
    for first in range(0, int(states), step):
        x = configurations(model, side, first, min(int(states), first + step))
        n = len(next(iter(x.values())))
        joint = {b: s.repeat_interleave(n, 0) for b, s in state.items()}
        joint |= {b: s.repeat(rows, 1) for b, s in x.items()}
        parts.append(_log_weight(model, joint, others).view(rows, n).logsumexp(1))
    return torch.stack(parts).logsumexp(0)


def _check_count(model: EnergyModel, side: tuple[str, ...], rows: int = 1) -> None:
    """Check that blocks can be enumerated, for each of some rows.

    Raises:
        ArgumentError: There are too many states, or infinitely many.
    """
    states = count_states(model, side)
    widest = max(model.layer(block).width for block in model.blocks())
    if rows * states * widest > CEILING:
        times = f" for each of {rows:,} rows" if rows > 1 else ""
        raise ArgumentError(
            f"model: got {states:.3g} states of {' and '.join(side)} units to sum over{times}, expected at "
            f"most {CEILING / widest / rows:.0e}; uncouple them, or use fewer"
        )


def configurations(model: EnergyModel, side: tuple[str, ...], first: int, last: int) -> State:
    """Return joint states number ``first`` to ``last - 1`` of some blocks, in the model's precision."""
    number = torch.arange(first, last, device=model.device)
    states = {}
    for block in side:
        layer = model.layer(block)
        n = int(layer.count())
        states[block] = layer.numbered(number % n).to(model.dtype)
        number = number // n
    return states


def _log_weight(model: EnergyModel, state: State, others: list[str]) -> Tensor:
    """Return -E of the given blocks plus what the others sum to."""
    fields = {block: model.field(block, state) for block in others}
    total = sum(model.layer(block).log_partition(field) for block, field in fields.items())
    return total - model.energy(state) if state else torch.as_tensor(total)
