r"""The Parzen-window log-likelihood, as papers of the year 2014 reported it.

The density is a mixture of Gaussians about the samples, whose width is the one that suits validation rows
best,

.. math:: \log p(x) = \log \frac1n \sum_j N(x;\ s_j,\ \sigma^2 I).

It is here because it is the one number that was published of deep belief networks, deep Boltzmann machines
and adversarial networks alike. **Do not rank models by it.** In many dimensions no affordable number of
samples makes the estimate good, and the centroids of k-means, which are no samples of anything, beat the
training set itself.

References:
    | Generative adversarial nets (Goodfellow et al., 2014)
    | A note on the evaluation of generative models (Theis, van den Oord & Bethge, 2016)
"""

from __future__ import annotations

__all__ = ["SIGMAS", "Parzen", "parzen_log_likelihood"]

from collections.abc import Sequence
from math import log, pi, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import invalid
from ._arrays import as_features, squared_distances

SIGMAS = tuple(10 ** (i / 9 - 1) for i in range(10))
"""Ten widths from 0.1 to 1, those of the paper."""


class Parzen(NamedTuple):
    """A mean log-likelihood in nats per row, its standard error over test rows, and the width."""

    mean: float
    standard_error: float
    sigma: float


def parzen_log_likelihood(
    samples: Any, validation: Any, test: Any, sigmas: Sequence[float] = SIGMAS
) -> Parzen:
    """Score test rows by a Parzen window about samples.

    Arguments:
        samples: Rows, shape (rows, columns); the papers take 10,000.
        validation: Rows that choose the width; the paper takes 1,000.
        test: Rows to score.
        sigmas: The widths to choose from.

    Raises:
        ArgumentError: A width is not positive.
        DataError: Rows do not fit each other, or are no finite numbers.
    """
    if not len(sigmas) or not all(0 < sigma < torch.inf for sigma in sigmas):
        raise invalid("sigmas", sigmas, "some positive numbers")
    centres, held_out, rows = as_features(samples=samples, validation=validation, test=test)
    means = _scores(held_out, centres, sigmas).mean(1)
    sigma = float(sigmas[int(means.argmax())])
    scores = _scores(rows, centres, [sigma])[0]
    return Parzen(float(scores.mean()), float(scores.std()) / sqrt(len(scores)), sigma)


def _scores(rows: Tensor, centres: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Return log-densities for each width, shape (sigmas, rows)."""
    n, columns = centres.shape
    out = torch.empty(len(sigmas), len(rows), dtype=torch.float64)
    for block, distances in squared_distances(rows, centres):
        for i, sigma in enumerate(sigmas):
            kernel = torch.logsumexp(distances / (-2 * sigma**2), 1)
            out[i, block] = kernel - log(n) - columns / 2 * log(2 * pi * sigma**2)
    return out
