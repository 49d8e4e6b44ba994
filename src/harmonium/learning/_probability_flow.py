r"""Minimum probability flow: how fast probability would leave the data on its way to the model.

.. math:: L = \sum_i \sum_k e^{\Delta_{ik} / 2}

is the rate at which rows would change single units if the rate of each change were the root of the ratio of
probabilities. Such rates lead to the model from anywhere, and leave rows that come from it as they are.
Here the states that a row can change to are those which differ from it in one unit.

A change that the model wants badly has an enormous rate. From :math:`\Delta = 40` on the exponential goes
on as its tangent, so that losses and gradients are finite whatever the parameters are; rows of the model's
own distribution get there with a probability below :math:`e^{-40}`.

References:
    | Minimum probability flow learning (Sohl-Dickstein, Battaglino & DeWeese, 2011)
    | https://arxiv.org/abs/0906.4779
"""

from __future__ import annotations

__all__ = ["ProbabilityFlow"]

from typing import ClassVar

import torch
from torch import Tensor

from ._single_site import SingleSiteRule

_BEND = 20.0


class ProbabilityFlow(SingleSiteRule):
    """Creates minimum probability flow between rows that differ in one visible unit; it has no settings.

    Its loss is the number of other values where the model is uniform.
    """

    name: ClassVar[str] = "probability-flow"

    def cost(self, odds: Tensor) -> Tensor:
        half = 0.5 * odds
        flow = torch.exp(half.clamp(max=_BEND)) * (1 + (half - _BEND).clamp(min=0))
        return flow.sum(-1)
