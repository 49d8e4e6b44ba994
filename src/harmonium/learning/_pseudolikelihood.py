r"""Pseudolikelihood: each visible unit predicted from all the others.

.. math:: L = -\sum_i \log p(x_i \mid x_{-i}) = \sum_i \log \left(1 + \sum_k e^{\Delta_{ik}}\right)

The conditional probabilities of single units need no Z. With enough rows the minimum is at the model that
the rows come from, as that of the likelihood is, if with a somewhat larger error. Without hidden units the
loss is convex, a logistic regression for each unit: the standard of inverse Ising and Potts problems.

References:
    | Statistical analysis of non-lattice data (Besag, 1975)
    | Consistency of pseudolikelihood estimation of fully visible Boltzmann machines (Hyvarinen, 2006)
    | Inductive principles for restricted Boltzmann machine learning
    | (Marlin, Swersky, Chen & de Freitas, 2010)
"""

from __future__ import annotations

__all__ = ["Pseudolikelihood"]

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from ._single_site import SingleSiteRule

_EXACT = 40.0


class Pseudolikelihood(SingleSiteRule):
    """Creates the pseudolikelihood rule, for discrete visible units; it has no settings.

    Its loss is in nats per row, summed over visible units.
    """

    name: ClassVar[str] = "pseudolikelihood"

    def cost(self, odds: Tensor) -> Tensor:
        return softplus(odds.logsumexp(-1), threshold=_EXACT)
