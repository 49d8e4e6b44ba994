r"""A first guess of the couplings: the principal components of the training rows.

While couplings are small, learning makes them grow along the principal components of the data, the leading
one first. Each component in turn grows to a critical size, beyond which the model has separate modes along
it; near that size chains move slowly, and chains that are then on one side of clustered data stay there. So
the leading components are given to the model before its chains begin. With base rates m, data of variance
:math:`\lambda_k` along the component :math:`u_k`, independent visible units of variance :math:`\sigma_k^2`
along it, and a hidden unit of mean :math:`\rho_k` and variance :math:`\delta_k^2` in no field, hidden unit
k gets

.. math:: w_k = \sqrt{1 - \sigma_k^2 / \lambda_k}\; \frac{u_k}{\sigma_k \delta_k}, \qquad
    c_k = -m^\top w_k, \qquad b \gets b - \sum_k \rho_k w_k

which is the most probable model if all units are normal, and just below the critical size :math:`1 /
\sigma_k \delta_k`: the model is as wide as the data along each component, its chains still cross from side
to side, and its means are those of the data. Components that noise alone could make, :math:`\lambda_k \le
\sigma_k^2 (1 + \sqrt{D / n})^2` for n rows of D columns, are left out.

References:
    | Spectral dynamics of learning in restricted Boltzmann machines (Decelle, Fissore & Furtlehner, 2017)
    | https://arxiv.org/abs/1708.02917
    | Learning a restricted Boltzmann machine using biased Monte Carlo sampling
    | (Bereux, Decelle, Furtlehner & Seoane, 2023)
    | https://arxiv.org/abs/2206.01310
    | Fast training and sampling of restricted Boltzmann machines
    | (Bereux, Decelle, Furtlehner, Rosset & Seoane, 2025)
    | https://arxiv.org/abs/2405.15376
    | Finding structure with randomness (Halko, Martinsson & Tropp, 2011), on the components
"""

from __future__ import annotations

__all__ = ["principal_components", "start_from_components"]

import math

import torch
from torch import Tensor

from ..models import PairwiseModel
from ..random import Stream
from ._source import Source

_MOST = 10
_SPARE = 10
_SWEEPS = 10


@torch.no_grad()
def start_from_components(model: PairwiseModel, source: Source, stream: Stream) -> int:
    """Give the leading components to as many hidden units; return how many that are, at most ten.

    Arguments:
        model: A model with hidden units, whose base rates and visible biases are those of the data.
        source: The training rows.
        stream: Where the components' search starts.
    """
    coupling = next(c for c in model.couplings() if c.lower == "visible" != c.upper)
    visible, hidden, mean = model.visible, model.layer(coupling.upper), model.base_rates
    vectors, spread = principal_components(source, mean, min(_MOST, hidden.size), stream)
    own = visible.variance(mean, vectors.T)
    found = spread > own * (1 + math.sqrt(visible.width / source.rows.shape[0])) ** 2
    k = int(found.long().cumprod(0).sum())
    columns = _first_columns(hidden.expand(torch.arange(hidden.size, device=model.device)))[:k]
    rest = hidden.expected_statistics(torch.zeros_like(hidden.bias))
    scale = (
        (1 - own / spread)[:k] / own[:k] / hidden.variance(rest, torch.eye(hidden.width).to(rest)[columns])
    )
    weight = model.get_parameter(coupling.name)
    weight[:, columns] = vectors[:, :k] * scale.sqrt()
    model.project()
    weights = weight[:, columns]
    hidden.bias[columns] = -mean @ weights
    visible.bias.sub_(weights @ rest[columns])
    return k


@torch.no_grad()
def principal_components(source: Source, mean: Tensor, count: int, stream: Stream) -> tuple[Tensor, Tensor]:
    """Return the leading principal components of training rows, and the variances along them.

    They are found by subspace iteration, in a few passes over blocks of rows; the largest entry is positive.

    Arguments:
        source: The rows.
        mean: Their mean statistics, shape (width).
        count: How many components, at most as many as columns.
        stream: Where the search starts.

    Returns:
        Shapes (width, count) and (count), the largest variance first.
    """
    width = len(mean)
    count = min(count, width)
    start = stream.normal(width, min(count + _SPARE, width), torch.float64, mean.device)
    basis = torch.linalg.qr(start).Q
    for _ in range(_SWEEPS):
        basis = torch.linalg.qr(_times_covariance(source, mean, basis)).Q
    variances, rotation = torch.linalg.eigh(basis.T @ _times_covariance(source, mean, basis))
    vectors = (basis @ rotation).flip(1)[:, :count]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return (vectors * largest.sign()).to(mean), variances.flip(0)[:count].to(mean)


def _times_covariance(source: Source, mean: Tensor, basis: Tensor) -> Tensor:
    """Return the rows' covariance matrix times a basis, shape (width, columns), float64."""
    total = torch.zeros_like(basis)
    small = basis.to(mean)
    for values, weights in source.blocks():
        z = values - mean
        total += z.T @ ((z @ small) * weights[:, None])
    return total / len(source.rows)


def _first_columns(owner: Tensor) -> Tensor:
    """Return the first column of each unit, given the unit of each column."""
    return torch.searchsorted(owner, owner.unique())
