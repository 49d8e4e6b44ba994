r"""Sparse hidden units: a pull of the mean activity of each unit towards a target.

The divergence of a unit of mean :math:`\bar q` from one of mean p grows by the unit's field at the rate
:math:`\bar q - p`, whatever its type. With a cost :math:`\kappa` its gradient is added to the likelihood's,

.. math:: \nabla c_j \mathrel{+}= \kappa\, (\bar q_j - p), \qquad
    \nabla W_{\cdot j} \mathrel{+}= \kappa\, (\bar q_j - p)\, \langle s(v) \rangle, \qquad
    \bar q_j \gets (1 - r)\, \bar q_j + r\, \langle s(h_j) \rangle

with means over the batch; the running mean is kept, since those of a batch are noisy. What feeds a unit
gets its part of the pull, as the bias does: with the bias alone, weights would grow against it. (Where the
gradient is centred, the visible offsets are taken off the mean, and the biases are left with nearly all of
the pull.)

References:
    | Sparse deep belief net model for visual area V2 (Lee, Ekanadham & Ng, 2008)
    | A practical guide to training restricted Boltzmann machines (Hinton, 2012)
"""

from __future__ import annotations

__all__ = ["check_target", "first_activity", "pull"]

import torch
from torch import Tensor

from ..errors import invalid
from ..models import PairwiseModel, State


def check_target(model: PairwiseModel, target: float) -> None:
    """Check that all hidden units can have a mean.

    Raises:
        ArgumentError: There are no hidden units, some are categorical, or no field gives them the mean.
    """
    blocks = model.hidden_blocks()
    if not blocks:
        raise invalid("sparsity_target", target, "None, as the model has no hidden units")
    for block in blocks:
        layer = model.layer(block)
        if layer.width != layer.size:
            raise invalid("sparsity_target", target, f"None, as {layer.kind} units have no single mean")
        mean = torch.full((layer.size,), target, dtype=torch.float64, device=model.device)
        if not bool(layer.natural(mean).isfinite().all()):
            expected = (
                f"a mean that {layer.kind} units can have: {layer.expected(means=True)}, the ends apart"
            )
            raise invalid("sparsity_target", target, expected)


@torch.no_grad()
def first_activity(model: PairwiseModel) -> State:
    """Return the mean statistics of hidden units that nothing feeds."""
    layers = {block: model.layer(block) for block in model.hidden_blocks()}
    return {block: layer.expected_statistics(layer.bias.detach()) for block, layer in layers.items()}


@torch.no_grad()
def pull(
    model: PairwiseModel,
    data: State,
    weight: Tensor,
    activity: State,
    present: State,
    *,
    target: float,
    cost: float,
    rate: float,
) -> State:
    """Add the pull to the gradients that are there, and return the new running means.

    Arguments:
        model: The model.
        data: The data's states, with the hidden blocks' expected statistics.
        weight: The rows' weights, shape (rows).
        activity: The running means of hidden blocks, shape (width).
        present: Which hidden units took part in which row, 1 or 0, where not all did.
        target: The mean to be reached.
        cost: The weight of the penalty.
        rate: How fast the running means follow.
    """
    total, followed = weight.sum(), {}
    for block, mean in activity.items():
        count = weight @ present[block] if block in present else total.expand_as(mean)
        seen = torch.where(count > 0, (weight @ data[block]) / count, mean)
        followed[block] = torch.lerp(mean, seen, (rate * total).clamp(max=1))
        excess = cost * (followed[block] - target)
        _gradient(model, f"{model.place(block)}.bias").add_(excess * total)
        for coupling in model.couplings():
            if coupling.upper == block and coupling.lower != block:
                mask = model.mask(coupling)
                share = torch.outer(weight @ data[coupling.lower], excess)
                _gradient(model, coupling.name).add_(share if mask is None else share * mask)
    return followed


def _gradient(model: PairwiseModel, name: str) -> Tensor:
    gradient = model.get_parameter(name).grad
    assert gradient is not None
    return gradient
