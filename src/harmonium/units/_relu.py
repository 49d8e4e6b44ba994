r"""Rectified linear units: real values that cannot be negative.

.. math:: p(x) = e^{a x - \beta x^2 / 2 - A(a)}, \quad x \ge 0

is a normal density cut off at zero. With :math:`z = a / \sqrt{\beta}` and the normal distribution function
:math:`\Phi`,

.. math:: A(a) = \tfrac12 \log \tfrac{2 \pi}{\beta} + \log \Phi(z) + \tfrac{z^2}{2}, \qquad
    E[x] = \frac{1}{\sqrt{\beta}} \Big(z + \frac{\varphi(z)}{\Phi(z)}\Big),

which is nearly :math:`a / \beta` in a large positive field and :math:`-1 / a` in a large negative one: a
smooth rectifier. (The rectified units of Nair & Hinton, max(0, a + noise), belong to no energy.)

References:
    | Rectified linear units improve restricted Boltzmann machines (Nair & Hinton, 2010)
    | Learning compositional representations of interacting systems with restricted Boltzmann machines:
    | comparative study of lattice proteins (Tubiana, Cocco & Monasson, 2019)
    | https://arxiv.org/abs/1902.06495
"""

from __future__ import annotations

__all__ = ["ReLU"]

import math
from typing import Any

import torch
from torch import Tensor

from .. import kernels
from ..errors import invalid
from ..kernels import truncated
from ..random import Stream
from ._unit import Unit

_HALVINGS = 100


class ReLU(Unit):
    r"""Creates a hidden layer of non-negative units, :math:`e(x) = \beta x^\top x / 2` on :math:`x \ge 0`.

    The visible layer must be discrete, or the joint need not be normalisable.

    Arguments:
        size: The number of units.
        precision: The precision :math:`\beta` of all units, which is fixed: to learn it would only rescale
            the weights.

    Raises:
        ArgumentError: ``precision`` is not a positive number.
    """

    kind = "relu"
    discrete = False
    hidden_only = True

    def __init__(self, size: int, precision: float = 1.0) -> None:
        super().__init__(size)
        if not (isinstance(precision, int | float) and 0 < precision < math.inf):
            raise invalid("precision", precision, "a positive number")
        self.precision = float(precision)

    def own_energy(self, x: Tensor) -> Tensor:
        return 0.5 * self.precision * (x * x).sum(-1, dtype=torch.float64)

    def log_partition(self, field: Tensor) -> Tensor:
        z = field.double() / math.sqrt(self.precision)
        return (truncated.log_mass(z) - 0.5 * math.log(self.precision)).sum(-1)

    def neutral(self) -> Tensor:
        value = 0.5 * math.log(math.pi / (2 * self.precision))
        return torch.full((self.size,), value, dtype=torch.float64, device=self.bias.device)

    def expected_statistics(self, field: Tensor) -> Tensor:
        root = math.sqrt(self.precision)
        return (truncated.mean(field.double() / root) / root).to(field.dtype)

    def variance(self, mean: Tensor, weight: Tensor) -> Tensor:
        z = self.natural(mean).double() / math.sqrt(self.precision)
        return (truncated.variance(z) / self.precision).to(mean.dtype) @ weight.square().T

    def mean(self, field: Tensor, beta: Tensor | None = None) -> Tensor:
        if beta is None:
            return self.expected_statistics(field)
        root = beta.to(field)[..., None].sqrt()
        return self.expected_statistics(field / root) / root

    def entropy(self, field: Tensor) -> Tensor:
        z = field.double() / math.sqrt(self.precision)
        surprise = 0.5 * (1 - z * truncated.mean(z)).sum(-1)
        return self.log_partition(field) + surprise

    def sample_(
        self,
        field: Tensor,
        stream: Stream,
        mean: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> Tensor:
        root = None if beta is None else beta.to(field)[:, None].sqrt()
        if root is not None:
            field /= root
        kernels.relu(field, stream.draw(), self.precision, field, mean)
        if root is not None:
            field /= root
            if mean is not None:
                mean /= root
        return field

    def accepts(self, x: Tensor, means: bool) -> Tensor:
        return torch.isfinite(x) & (x >= 0)

    def expected(self, means: bool) -> str:
        return "a finite number that is not negative"

    def natural(self, mean: Tensor) -> Tensor:
        """Return the field by bisection between bounds that the mean has at every field, in float64."""
        root = math.sqrt(self.precision)
        wanted = mean.detach().double() * root
        low, high = -1 / wanted, wanted
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            above = truncated.mean(middle) > wanted
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        field = torch.where(wanted < 0, torch.nan, 0.5 * (low + high) * root)
        return field.to(mean.dtype)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "precision": self.precision}

    def extra_repr(self) -> str:
        return f"{self.size}, precision={self.precision:g}"
