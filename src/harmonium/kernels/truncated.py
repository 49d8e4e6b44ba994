r"""The normal distribution N(z, 1) cut off below zero, in plain torch on any device.

.. math:: p(y) = \frac{\varphi(y - z)}{\Phi(z)} = \frac{e^{z y - y^2 / 2}}{e^{A(z)}}, \quad y \ge 0, \qquad
    A(z) = \tfrac12 \log 2 \pi + \log \Phi(z) + \tfrac{z^2}{2}.

Far below zero, at :math:`z = -t`, the last two terms cancel. There everything follows from Laplace's
continued fraction, all of whose terms are positive,

.. math:: E[y] = \cfrac{1}{t + \cfrac{2}{t + \cfrac{3}{t + \cdots}}}, \qquad A = -\log(t + E[y]),

so that derivatives of every order are stable as well. Functions here take float64, and are differentiable as
often as one likes, but for the quantile.

References:
    | Handbook of mathematical functions (Abramowitz & Stegun, 1964), chapters 7 and 26
"""

from __future__ import annotations

__all__ = ["log_mass", "mean", "quantile", "variance"]

import math

import torch
from torch import Tensor

_FAR = 5.0
_TERMS = 24
_STEPS = 5
_LARGEST = 1e18
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def log_mass(z: Tensor) -> Tensor:
    """Return A(z), the log of the integral of exp(z y - y^2 / 2) over y >= 0."""
    far, near, t = _parts(z)
    closed = _HALF_LOG_TAU + torch.special.log_ndtr(near) + 0.5 * near * near
    return torch.where(far, -torch.log(t + 1 / (t + _rest(t))), closed)


def mean(z: Tensor) -> Tensor:
    """Return E[y], the derivative of A(z)."""
    far, near, t = _parts(z)
    hazard = torch.exp(-0.5 * near * near - torch.special.log_ndtr(near) - _HALF_LOG_TAU)
    return torch.where(far, 1 / (t + _rest(t)), near + hazard)


def variance(z: Tensor) -> Tensor:
    """Return the variance of y, the second derivative of A(z)."""
    far, near, t = _parts(z)
    hazard = torch.exp(-0.5 * near * near - torch.special.log_ndtr(near) - _HALF_LOG_TAU)
    rest = _rest(t)
    return torch.where(far, (rest - 1 / (t + rest)) / (t + rest), 1 - hazard * (near + hazard))


def quantile(z: Tensor, u: Tensor) -> Tensor:
    """Return the y with P(Y > y) = u, by Newton's method in the logarithm where z is negative.

    Arguments:
        z: Any shape.
        u: In (0, 1), the same shape.
    """
    t = (-z).clamp(0, _LARGEST)
    depth, first, whole = -torch.log(u), mean(-t), log_mass(-t)
    y = 2 * depth / (t + first)
    y = y / (1 + torch.sqrt(1 + first * y))
    for _ in range(_STEPS):
        s = t + y
        excess = (t + 0.5 * y) * y + whole - log_mass(-s) - depth
        y = y - excess / (s + mean(-s))
    upper = z.clamp(min=0)
    normal = upper - torch.special.ndtri(u * torch.special.ndtr(upper))
    return torch.where(z < 0, y, normal).clamp(min=0)


def _parts(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where z is far below zero; z, but for those; and -z of those alone."""
    far = z < -_FAR
    return far, torch.where(far, -_FAR, z), torch.where(far, -z, _FAR)


def _rest(t: Tensor) -> Tensor:
    """Return the continued fraction 2 / (t + 3 / (t + ...)), cut where its tail hardly changes."""
    tail = 0.5 * (t + torch.sqrt(t * t + 4 * _TERMS))
    for n in range(_TERMS - 1, 2, -1):
        tail = t + n / tail
    return 2 / tail
