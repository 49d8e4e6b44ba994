r"""Mean field: the closest distribution of independent units to that of some blocks given the others.

.. math:: m_a = E[s(x_a) \mid \text{field } b_a + \textstyle\sum_b W_{ab} m_b]

is iterated block by block; within a block whose units are coupled to each other group by group. Each such
step raises the variational lower bound. Where units are coupled too densely for groups, all of a block move
half of the way at once, and by less and less of it as long as they do not settle: what they settle at is a
stationary point of the bound, but it need not rise on the way.

References:
    | A mean field theory learning algorithm for neural networks (Peterson & Anderson, 1987)
    | Deep Boltzmann machines (Salakhutdinov & Hinton, 2009)
"""

from __future__ import annotations

__all__ = ["mean_field"]

import torch
from torch import Tensor

from ..models import EnergyModel, State

_DAMPING = 0.5
_SETTLING = 0.9


@torch.no_grad()
def mean_field(model: EnergyModel, state: State, *, steps: int = 50, tolerance: float = 1e-4) -> State:
    """Return the given states and the expected statistics of the other blocks.

    Arguments:
        model: The model.
        state: The blocks that are given.
        steps: The most sweeps over the blocks.
        tolerance: No further sweep where no mean moved by more in the last one.
    """
    free = [block for block in model.blocks() if block not in state]
    means = dict(state)
    for block in free:
        means[block] = model.layer(block).expected_statistics(model.field(block, means))
    if len(free) == 1 and model.lateral(free[0]) is None:
        return means
    damping, before = _DAMPING, float("inf")
    for _ in range(steps):
        moved = max(_update(model, block, means, damping) for block in free)
        if moved <= tolerance * damping:
            break
        if moved > _SETTLING * before:
            damping /= 2
        before = moved
    return means


def _update(model: EnergyModel, block: str, means: State, damping: float) -> float:
    """Bring a block's means up to date; return by how much one moved at most."""
    old = means[block]
    if model.lateral(block) is None:
        means[block] = _expected(model, block, means)
        return float((means[block] - old).abs().max())
    groups = model.groups(block)
    if groups is None:
        means[block] = torch.lerp(old, _expected(model, block, means), damping)
    else:
        for columns in groups:
            new = means[block].clone()
            new[:, columns] = _expected(model, block, means)[:, columns]
            means[block] = new
    return float((means[block] - old).abs().max())


def _expected(model: EnergyModel, block: str, means: State) -> Tensor:
    return model.layer(block).expected_statistics(model.field(block, means))
