r"""Diagnostics of Markov chains: have they mixed, and how much are their draws worth?

All take draws of a scalar, shape (draws, chains), as a tensor or an array. The chains are split in halves, so
that a drift within a chain counts as a difference between chains. Autocovariances are pooled over chains as
in Vehtari et al., and summed over Geyer's initial monotone sequence.

Draws that are all the same have no autocorrelation, and so neither an autocorrelation time nor an effective
sample size: both are NaN. Their R-hat is 1, since the chains agree. All three are NaN where a draw is not
finite.

References:
    | Rank-normalization, folding, and localization: an improved R-hat (Vehtari et al., 2021)
    | https://arxiv.org/abs/1903.08008
    | Practical Markov chain Monte Carlo (Geyer, 1992)
"""

from __future__ import annotations

__all__ = ["autocorrelation_time", "effective_sample_size", "split_rhat"]

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import invalid
from ..units import as_rows


def split_rhat(draws: Any) -> float:
    r"""Return :math:`\hat R = \sqrt{\mathrm{var}^+ / W}` of the split chains; 1 when they agree.

    Chains that stand still are 1 if all stand in the same place, and infinite if not.

    Arguments:
        draws: Shape (draws, chains), at least four draws.

    Raises:
        ArgumentError: ``draws`` has another shape.
        ArgumentTypeError: ``draws`` holds no numbers.
    """
    halves = _split(as_rows("draws", draws))
    if _alike(halves):
        return 1.0
    within, total = _variances(halves)
    if within == 0:
        return math.inf
    return math.sqrt(total / within)


def effective_sample_size(draws: Any) -> float:
    """Return how many independent draws would estimate the mean as well.

    It is NaN if all draws are alike.

    Arguments:
        draws: Shape (draws, chains), at least four draws.

    Raises:
        ArgumentError: ``draws`` has another shape.
        ArgumentTypeError: ``draws`` holds no numbers.
    """
    draws = as_rows("draws", draws)
    return draws.numel() / autocorrelation_time(draws)


def autocorrelation_time(draws: Any) -> float:
    r"""Return the integrated autocorrelation time :math:`1 + 2 \sum_t \rho_t`, in draws.

    It is NaN if all draws are alike.

    Arguments:
        draws: Shape (draws, chains), at least four draws.

    Raises:
        ArgumentError: ``draws`` has another shape.
        ArgumentTypeError: ``draws`` holds no numbers.
    """
    draws = as_rows("draws", draws)
    halves = _split(draws)
    n = len(halves)
    if _alike(halves):
        return math.nan
    within, total = _variances(halves)
    rho = 1 - (within - _autocovariance(halves).mean(1) * n / (n - 1)) / total
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].view(-1, 2).sum(1)
    negative = (pairs < 0).nonzero()
    last = int(negative[0]) if len(negative) else len(pairs)
    monotone = torch.cummin(pairs[: max(last, 1)], 0).values
    return max(float(2 * monotone.sum() - 1), 1 / math.log10(draws.numel() + 10))


def _split(draws: Tensor) -> Tensor:
    if draws.ndim != 2 or len(draws) < 4 or not draws.shape[1]:
        raise invalid("draws", tuple(draws.shape), "shape (draws, chains) with at least 4 draws")
    half = len(draws) // 2
    return torch.cat((draws[:half], draws[-half:]), 1).double()


def _alike(halves: Tensor) -> bool:
    return bool(halves.min() == halves.max())


def _variances(halves: Tensor) -> tuple[float, float]:
    """Return the mean variance within chains, and the pooled estimate of the variance."""
    n = len(halves)
    within = float(halves.var(0).mean())
    between = float(halves.mean(0).var()) if halves.shape[1] > 1 else 0.0
    return within, within * (n - 1) / n + between


def _autocovariance(x: Tensor) -> Tensor:
    """Return each column's biased autocovariances at all lags, by the fast Fourier transform."""
    n = len(x)
    spectrum = torch.fft.rfft(x - x.mean(0), n=2 * n, dim=0)
    return torch.fft.irfft(spectrum.abs().square(), n=2 * n, dim=0)[:n] / n
