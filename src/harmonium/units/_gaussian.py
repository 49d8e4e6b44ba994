r"""Real units, whose density in a field is normal.

.. math:: A(a) = \tfrac12 \log \tfrac{2 \pi}{\beta} + \tfrac{a^2}{2 \beta}
"""

from __future__ import annotations

__all__ = ["Gaussian"]

import math
from typing import Any

import torch
from torch import Tensor, nn

from .. import kernels
from ..errors import invalid
from ..random import Stream
from ._unit import Unit, place


class Gaussian(Unit):
    r"""Creates a layer of real units in natural form, :math:`e(x) = x^\top \mathrm{diag}(\beta) x / 2`.

    In a field a, a unit is :math:`N(a / \beta, 1 / \beta)`, and
    :math:`A(a) = \sum_i a_i^2 / 2 \beta_i + \tfrac12 \log(2 \pi / \beta_i)`. With precision
    :math:`\beta = 1` this is the textbook's form, whose coupling otherwise carries the precision.

    Arguments:
        size: The number of units.
        precision: The precision that all units have, or start from.
        learn_precision: Whether each unit learns its own (visible layers only).

    Raises:
        ArgumentError: ``precision`` is not a positive number.
    """

    kind = "gaussian"
    discrete = False

    def __init__(self, size: int, precision: float = 1.0, learn_precision: bool = False) -> None:
        super().__init__(size)
        if not (isinstance(precision, int | float) and 0 < precision < math.inf):
            raise invalid("precision", precision, "a positive number")
        start = torch.full((size,), math.log(precision))
        self.learn_precision = bool(learn_precision)
        self.log_precision = nn.Parameter(start, requires_grad=self.learn_precision)

    @property
    def precision(self) -> Tensor:
        """The precisions, shape (size)."""
        return self.log_precision.exp()

    def own_energy(self, x: Tensor) -> Tensor:
        return 0.5 * (self.precision * x * x).sum(-1, dtype=torch.float64)

    def log_partition(self, field: Tensor) -> Tensor:
        constant = 0.5 * (math.log(2 * math.pi) - self.log_precision)
        return (field * field / (2 * self.precision) + constant).sum(-1, dtype=torch.float64)

    def neutral(self) -> Tensor:
        return 0.5 * (math.log(2 * math.pi) - self.log_precision.double())

    def expected_statistics(self, field: Tensor) -> Tensor:
        return field / self.precision

    def variance(self, mean: Tensor, weight: Tensor) -> Tensor:
        return (weight.square() / self.precision).sum(-1).expand(*mean.shape[:-1], len(weight))

    def mean(self, field: Tensor, beta: Tensor | None = None) -> Tensor:
        return self.expected_statistics(field if beta is None else field / beta.to(field)[..., None])

    def entropy(self, field: Tensor) -> Tensor:
        constant = 0.5 * (math.log(2 * math.pi) + 1 - self.log_precision)
        return constant.sum(dtype=torch.float64).expand(field.shape[:-1])

    def sample_(
        self,
        field: Tensor,
        stream: Stream,
        mean: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> Tensor:
        if mean is not None:
            mean.copy_(self.mean(field, beta).detach())
        root = None if beta is None else beta.to(field)[:, None].sqrt()
        if root is not None:
            field /= root
        kernels.gaussian(field, stream.draw(), self.precision.detach(), field)
        if root is not None:
            field /= root
        return field

    def accepts(self, x: Tensor, means: bool) -> Tensor:
        return torch.isfinite(x)

    def expected(self, means: bool) -> str:
        return "a finite number"

    def natural(self, mean: Tensor) -> Tensor:
        return mean * self.precision.detach()

    def own_moments(
        self, x: Tensor, weight: Tensor, out: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        if not self.learn_precision:
            return {}
        square = torch.mv((x * x).T, weight, out=place(out, "log_precision"))
        return {"log_precision": square.mul_(-0.5 * self.precision.detach())}

    def config(self) -> dict[str, Any]:
        return {**super().config(), "learn_precision": self.learn_precision}
