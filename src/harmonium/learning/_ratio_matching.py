r"""Ratio matching: the squared errors of each visible unit's prediction from all the others.

.. math:: L = \sum_i \tfrac12 \sum_k \left(p(k \mid x_{-i}) - [x_i = k]\right)^2

over all values k of a unit: half of Brier's score of the conditional probabilities. Of a binary unit both
terms are the same, which leaves the square of the probability of its other value,
:math:`\sigma(\Delta_i)^2`, as in the original; a categorical unit of two states is a binary one. The loss
of a row is bounded, however improbable the row is, so that outliers weigh less than in the
pseudolikelihood.

References:
    | Some extensions of score matching (Hyvarinen, 2007)
    | Inductive principles for restricted Boltzmann machine learning
    | (Marlin, Swersky, Chen & de Freitas, 2010)
    | Verification of forecasts expressed in terms of probability (Brier, 1950)
"""

from __future__ import annotations

__all__ = ["RatioMatching"]

from typing import ClassVar

import torch
from torch import Tensor

from ._single_site import SingleSiteRule


class RatioMatching(SingleSiteRule):
    """Creates ratio matching, for discrete visible units; it has no settings.

    Its loss is between 0 and 1 for each visible unit.
    """

    name: ClassVar[str] = "ratio-matching"

    def cost(self, odds: Tensor) -> Tensor:
        other = torch.sigmoid(odds.logsumexp(-1))
        each = torch.softmax(odds, -1) * other[..., None]
        return 0.5 * (other.square() + each.square().sum(-1))
