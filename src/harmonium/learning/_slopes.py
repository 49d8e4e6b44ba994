r"""What a discriminator pays for slopes: penalties on the gradient of its score with respect to the row.

Zero-centred penalties keep the score flat where rows are, data for R1 and made rows for R2,

.. math:: \tfrac{\gamma}{2} E\big[\|\nabla d(x)\|^2\big],

and let the game come to rest where both are alike. Both need one gradient, that of the sum of the scores of
all rows, as the score of a row depends on that row alone (which normalisation over a batch would break).
Without second derivatives they come from a small step in a random direction,

.. math:: E_\varepsilon\Big[\frac{(d(x + s \varepsilon) - d(x))^2}{s^2}\Big]
    = \|\nabla d(x)\|^2 + O(s^2), \qquad \varepsilon \sim N(0, 1).

The penalty of the Wasserstein game wants slopes of 1 between a row of data and a made one,

.. math:: \lambda\, E\big[(\|\nabla d(u x + (1 - u) g(z))\| - 1)^2\big], \qquad u \sim U(0, 1).

References:
    | Which training methods for GANs do actually converge? (Mescheder, Geiger & Nowozin, 2018)
    | Improved training of Wasserstein GANs (Gulrajani et al., 2017)
    | Diffusion adversarial post-training for one-step video generation (Lin et al., 2025), on small steps
"""

from __future__ import annotations

__all__ = ["Judge", "between", "change_squared", "slope", "slope_squared"]

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from ..random import Stream

Judge: TypeAlias = Callable[[Tensor], Tensor]
"""From rows, shape (rows, ...), to their scores, shape (rows)."""


def slope_squared(judge: Judge, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores of rows and their squared gradients, shape (rows) each."""
    x = x.detach().requires_grad_()
    scores = judge(x)
    return scores, _gradients(scores, x).square().sum(1)


def change_squared(judge: Judge, x: Tensor, step: float, stream: Stream) -> tuple[Tensor, Tensor]:
    """Return the scores of rows, and estimate their squared gradients from one small random step each.

    Rows and their neighbours are judged together, by the same weights: spectral norms move between passes.

    Arguments:
        judge: The discriminator.
        x: The rows, shape (rows, ...).
        step: The size s of the step.
        stream: Draws the directions.
    """
    noise = stream.normal(len(x), x[0].numel(), x.dtype, x.device).view_as(x)
    scores, near = judge(torch.cat((x, x + step * noise))).chunk(2)
    return scores, ((near - scores) / step).square()


def slope(judge: Judge, x: Tensor) -> Tensor:
    """Return the norms of the gradients of the scores at rows, shape (rows)."""
    x = x.detach().requires_grad_()
    return torch.linalg.vector_norm(_gradients(judge(x), x), dim=1)


def between(x: Tensor, made: Tensor, stream: Stream) -> Tensor:
    """Draw a row on the line between each row of data and a made one, shape (rows, ...)."""
    u = stream.uniform(len(x), 1, x.dtype, x.device).view(-1, *[1] * (x.ndim - 1))
    return u * x + (1 - u) * made


def _gradients(scores: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of each row's score, shape (rows, numbers); of it there can be gradients again."""
    (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return gradient.flatten(1)
