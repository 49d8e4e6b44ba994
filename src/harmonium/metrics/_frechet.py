r"""The Frechet distance between Gaussians that are fitted to two sets of features.

Of two Gaussians it is the Wasserstein distance, squared,

.. math:: |\mu_1 - \mu_2|^2 + \operatorname{tr}\bigl(\Sigma_1 + \Sigma_2
    - 2 (\Sigma_1^{1/2} \Sigma_2 \Sigma_1^{1/2})^{1/2}\bigr),

taken here by symmetric eigenvalues alone, so that no root is ever imaginary. It is biased upward: for two
sets of n rows with d independent features of variance 1, by about d (d + 5) / 2n. Compare numbers of equally
many rows, and look at that of real rows against real rows. On the features of the Inception network of 2015,
and on no others, it is called FID.

References:
    | GANs trained by a two time-scale update rule converge to a local Nash equilibrium (Heusel et al., 2017)
"""

from __future__ import annotations

__all__ = ["frechet_between", "frechet_distance"]

from typing import Any

import torch
from torch import Tensor

from ..errors import DataError
from ._arrays import as_features


def frechet_distance(real: Any, fake: Any) -> float:
    """Return the squared Frechet distance between the features of real and of generated rows.

    Arguments:
        real: Features, shape (rows, columns).
        fake: Likewise.

    Raises:
        DataError: They do not fit each other, or are no finite numbers.
    """
    return frechet_between(
        *(m for x in as_features(real=real, fake=fake) for m in (x.mean(0), _covariance(x)))
    )


def frechet_between(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """Return the squared Frechet distance between two Gaussians.

    Arguments:
        mean: Of the first, shape (columns).
        covariance: Of the first, shape (columns, columns).
        other_mean: Of the second.
        other_covariance: Of the second.

    Raises:
        DataError: Shapes do not fit each other.
    """
    n = len(mean)
    shapes = [tuple(m.shape) for m in (mean, covariance, other_mean, other_covariance)]
    if shapes != [(n,), (n, n)] * 2:
        raise DataError(f"mean, covariance: got shapes {shapes}, expected (columns) and (columns, columns)")
    first, second = covariance.double(), other_covariance.double()
    variances, axes = torch.linalg.eigh(first)
    root = (axes * variances.clamp(min=0).sqrt()) @ axes.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    shift = (mean.double() - other_mean.double()).square().sum()
    return float(shift + first.trace() + second.trace() - 2 * cross)


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return centred.T @ centred / (len(x) - 1)
