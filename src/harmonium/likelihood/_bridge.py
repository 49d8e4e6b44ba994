r"""Bennett's acceptance ratio: the best estimate from runs in both directions.

Of a path with forward log-weight w, the log-odds that it was walked in reverse are
:math:`w - \log(Z_1 / Z_0) + \log(n_R / n_F)`. The estimate maximises the likelihood of what is known:
which paths were walked which way.

References:
    | Efficient estimation of free energy differences from Monte Carlo data (Bennett, 1976)
    | Equilibrium free energies from nonequilibrium measurements using maximum-likelihood methods
    | (Shirts, Bair, Hooker & Pande, 2003)
"""

from __future__ import annotations

__all__ = ["bennett"]

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ._ais import log_mean_weight


def bennett(forward: Tensor, reverse: Tensor) -> tuple[float, float]:
    r"""Return :math:`\log(Z_1 / Z_0)` and its standard error.

    Arguments:
        forward: Log-weights of runs from 0 to 1, shape (n_F), float64.
        reverse: Log-weights of runs from 1 to 0, shape (n_R), float64.
    """
    offset = math.log(len(reverse) / len(forward))
    low = float(torch.minimum(forward.min(), (-reverse).min())) - abs(offset) - 50
    high = float(torch.maximum(forward.max(), (-reverse).max())) + abs(offset) + 50
    for _ in range(80):
        middle = 0.5 * (low + high)
        if _excess(middle, forward, reverse, offset) > 0:
            low = middle
        else:
            high = middle
    value = 0.5 * (low + high)
    mistaken = _log_mistaken(value, forward, reverse, offset)
    return value, math.hypot(*(log_mean_weight(part)[1] for part in mistaken))


def _excess(value: float, forward: Tensor, reverse: Tensor, offset: float) -> float:
    """Return what falls as ``value`` grows, and is zero where the likelihood is greatest."""
    ahead, back = _log_mistaken(value, forward, reverse, offset)
    return float(torch.logsumexp(ahead, 0) - torch.logsumexp(back, 0))


def _log_mistaken(value: float, forward: Tensor, reverse: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Return the logs of the probabilities that each path was walked the other way."""
    return logsigmoid(forward - value + offset), logsigmoid(reverse + value - offset)
