r"""Score matching: the gradient of the log-density, in which Z has no part, fitted to that of the data.

The score of a model with Gaussian visible units of precision :math:`\beta` is

.. math:: \psi(v) = -\frac{\partial F}{\partial v} = b - \beta v + W E[s(h) \mid v],

and its expected squared distance to the score of the data is, up to a constant, the expectation of

.. math:: L(v) = \sum_i \left[\tfrac12 \psi_i^2 + \frac{\partial \psi_i}{\partial v_i}\right], \qquad
    \frac{\partial \psi_i}{\partial v_i} = -\beta_i + W_i\, \mathrm{Cov}(s(h) \mid v)\, W_i^\top,

both in closed form. Where the hidden units' covariances are not wanted, or the data are noisy anyway, noise
:math:`\varepsilon \sim N(0, 1)` gives the score of the data that it has smoothed a target,

.. math:: L(v) = \sum_i \tfrac12 \left[\psi_i(v + \sigma \varepsilon) + \varepsilon_i / \sigma\right]^2,

and the model learns the smoothed data, whose variances are larger by :math:`\sigma^2`.

References:
    | Estimation of non-normalized statistical models by score matching (Hyvarinen, 2005)
    | A connection between score matching and denoising autoencoders (Vincent, 2011)
"""

from __future__ import annotations

__all__ = ["DenoisingScoreMatching", "ScoreMatching"]

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel, State
from ..random import Stream
from ..units import Gaussian, Unit
from ._loss_rule import LossRule
from ._rule import Batch, check_sums_out


class ScoreRule(LossRule):
    """Abstract rule with a loss of the model's score, for Gaussian visible units."""

    def check(self, model: Model) -> None:
        if not isinstance(model, PairwiseModel):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")
        if not isinstance(model.visible, Gaussian):
            kind = model.visible.kind
            expected = f"a rule for {kind} visible units, such as 'pcd': only Gaussian ones have a score"
            raise invalid("rule", self.name, expected)
        check_sums_out(self.name, model)

    @abstractmethod
    def costs(self, model: PairwiseModel, v: Tensor, stream: Stream) -> Tensor:
        """Return the loss of each visible unit of each row, shape (rows, units)."""

    def loss(self, model: Model, batch: Batch, state: State, stream: Stream) -> Tensor:
        assert isinstance(model, PairwiseModel)
        costs = self.costs(model, batch.values, stream)
        return (batch.weights[:, None] * costs).sum(dtype=torch.float64)


class ScoreMatching(ScoreRule):
    """Creates score matching, for Gaussian visible units; it has no settings."""

    name: ClassVar[str] = "score-matching"

    def costs(self, model: PairwiseModel, v: Tensor, stream: Stream) -> Tensor:
        means = _hidden_means(model, v)
        slope = -_precision(model)
        for block, layer, weight in _neighbours(model):
            slope = slope + layer.variance(means[block], weight)
        return 0.5 * _score(model, v, means).square() + slope


class DenoisingScoreMatching(ScoreRule):
    """Creates denoising score matching, for Gaussian visible units.

    Arguments:
        sigma: The standard deviation of the noise; of data whose deviation is 1, a tenth to a half.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "denoising-score-matching"
    sigma: Annotated[float, Field(gt=0, description="standard deviation of the noise")] = 0.2

    def costs(self, model: PairwiseModel, v: Tensor, stream: Stream) -> Tensor:
        noise = stream.normal(len(v), v.shape[1], v.dtype, v.device)
        noisy = v + self.sigma * noise
        score = _score(model, noisy, _hidden_means(model, noisy))
        return 0.5 * (score + noise / self.sigma).square()


def _hidden_means(model: PairwiseModel, v: Tensor) -> State:
    state = {"visible": v}
    blocks = model.blocks()[1:]
    return {block: model.layer(block).expected_statistics(model.field(block, state)) for block in blocks}


def _score(model: PairwiseModel, v: Tensor, means: State) -> Tensor:
    field = model.field("visible", means) if means else model.visible.bias
    return field - _precision(model) * v


def _precision(model: PairwiseModel) -> Tensor:
    assert isinstance(model.visible, Gaussian)
    return model.visible.precision


def _neighbours(model: PairwiseModel) -> Iterator[tuple[str, Unit, Tensor]]:
    """Yield the hidden blocks, their units, and their couplings of shape (visible width, width)."""
    for coupling in model.couplings():
        matrix = model.matrix(coupling)
        block, weight = (
            (coupling.upper, matrix) if coupling.lower == "visible" else (coupling.lower, matrix.T)
        )
        yield block, model.layer(block), weight
