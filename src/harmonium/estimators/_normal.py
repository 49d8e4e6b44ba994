r"""The normal distribution of rows that lack values, by expectation maximisation.

The expected rows and squares given what is known of each make the next mean and covariance; the covariance is
shrunk towards the columns' own variances as if so many more rows without correlations had been seen,

.. math:: \Sigma \gets \frac{n \hat\Sigma + r\, \mathrm{diag}(s^2)}{n + r}.

References:
    | Maximum likelihood from incomplete data via the EM algorithm (Dempster, Laird & Rubin, 1977)
    | Analysis of incomplete multivariate data (Schafer, 1997), on the ridge prior
"""

from __future__ import annotations

__all__ = ["fit_normal"]

import torch
from torch import Tensor

_CLOSE = 1e-4


def fit_normal(rows: Tensor, shrinkage: float, sweeps: int = 50) -> tuple[Tensor, Tensor]:
    """Return the mean, shape (columns), and the covariance, shape (columns, columns), of float64.

    Arguments:
        rows: Shape (rows, columns), NaN where a value is missing; each column has two different values.
        shrinkage: The number of rows without correlations.
        sweeps: At most.
    """
    rows = rows.double()
    known = ~rows.isnan()
    values, gone = rows.nan_to_num(), (~known).double()
    count = known.sum(0)
    mean = values.sum(0) / count
    spread = ((values - mean).square() * known).sum(0) / count
    covariance = torch.diag(spread)
    both = gone[:, :, None] * gone[:, None, :]
    for _ in range(sweeps):
        precision = torch.linalg.inv(covariance)
        own = torch.linalg.inv(precision * both + torch.diag_embed(1 - gone)) * both
        off = (values - mean) * known
        off = off - torch.matmul(own, ((off @ precision) * gone)[:, :, None])[:, :, 0]
        shift = off.mean(0)
        found = (off.T @ off + own.sum(0)) / len(rows) - torch.outer(shift, shift)
        found = (len(rows) * found + shrinkage * torch.diag(spread)) / (len(rows) + shrinkage)
        moved = float((found - covariance).abs().max())
        mean, covariance = mean + shift, found
        if moved < _CLOSE * float(spread.max()):
            break
    return mean, covariance
