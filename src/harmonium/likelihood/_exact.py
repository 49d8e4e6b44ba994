r"""The partition function by enumeration of some layers, in float64.

.. math:: \log Z = \log \sum_x e^{-E_x(x) + A_y(a_y(x))}

sums over the states x of the layers that are cheapest to enumerate; the others, y, sum out in closed form.
"""

from __future__ import annotations

__all__ = ["LIMIT", "exact_log_partition"]

import copy

import torch

from ..errors import invalid
from ..models import CEILING, PairwiseModel, choose_side, count_states, log_sum
from ._results import LogPartition

LIMIT = 2**31
"""Up to how many elements of fields ``auto`` enumerates: about a minute on two cores."""


@torch.no_grad()
def exact_log_partition(model: PairwiseModel, side: tuple[str, ...] | None = None) -> LogPartition:
    """Return log Z by enumeration.

    Arguments:
        model: A model of which enough blocks are discrete.
        side: The blocks to enumerate; the cheapest ones if not given.

    Raises:
        ArgumentError: There are too many states.
    """
    if side is None:
        side, _ = choose_side(model)
    states = count_states(model, side)
    widest = max(model.layer(block).width for block in model.blocks())
    if states * widest > CEILING:
        raise invalid(
            "method",
            "exact",
            f"a layer of at most {CEILING / widest:.0e} states, where the {' and the '.join(side)} layer has "
            f"{states:.3g} states; use 'ais' or 'bridge'",
        )
    value = float(log_sum(copy.deepcopy(model).double(), {}, side))
    return LogPartition(value, value, value, 0.0, "exact")
