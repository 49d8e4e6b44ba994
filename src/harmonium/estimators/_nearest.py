r"""How far rows are from the nearest of known ones, as the units of an RBM tell them apart.

.. math:: J(x, x') = (a(x) - a(x'))^\top (\mu(x) - \mu(x')) + \sum_i \beta_i (x_i - x'_i)^2

in nats, of the fields a of the hidden units and their expected statistics :math:`\mu`. The first term is
:math:`\mathrm{KL}(p(h \mid x) \,\|\, p(h \mid x')) + \mathrm{KL}(p(h \mid x') \,\|\, p(h \mid x))`, Jeffreys'
divergence (1946, "An invariant form for the prior probability in estimation problems") of two members of an
exponential family, which hidden units of every type are. Real visible units of precision :math:`\beta` add
the second, that of two normal densities about the rows; of discrete ones there is none.

It depends on differences alone, so that both coordinates are taken from their means over the rows kept, and
what is left of it by rounding alone counts as nothing: rows that are alike are at 0 from each other.
"""

from __future__ import annotations

__all__ = ["Neighbours"]

import torch
from torch import Tensor

from ..models import RBM
from ..units import Unit

_CELLS = 2**23
_ROUNDING = 1e-12
"""Of the terms of a divergence, in float64."""


class Neighbours:
    """Keeps rows, and what the hidden units make of them.

    Arguments:
        model: The RBM.
        rows: The rows as it sees them, shape (rows, size).
    """

    def __init__(self, model: RBM, rows: Tensor) -> None:
        natural, mean = _coordinates(model, rows)
        self._centre = natural.mean(0), mean.mean(0)
        self._natural, self._mean = natural - self._centre[0], mean - self._centre[1]

    def divergence(self, model: RBM, rows: Tensor) -> Tensor:
        """Return the divergence of rows from the nearest one kept, shape (rows), nats.

        Arguments:
            model: The RBM.
            rows: The rows as it sees them, shape (rows, size).
        """
        nearest = []
        for block in rows.split(self._block()):
            natural, mean = _coordinates(model, block)
            nearest.append(self._to_all(natural - self._centre[0], mean - self._centre[1]).amin(1))
        return torch.cat(nearest)

    def among(self) -> Tensor:
        """Return the divergence of each row kept from the nearest other one, shape (rows), nats."""
        nearest, size = [], self._block()
        for start in range(0, len(self._natural), size):
            own = slice(start, start + size)
            divergence = self._to_all(self._natural[own], self._mean[own])
            divergence.diagonal(start).fill_(torch.inf)
            nearest.append(divergence.amin(1))
        return torch.cat(nearest)

    def _block(self) -> int:
        return max(1, _CELLS // len(self._natural))

    def _to_all(self, natural: Tensor, mean: Tensor) -> Tensor:
        """Return the divergences from all rows kept, shape (rows, rows kept)."""
        terms, kept = natural * mean, self._natural * self._mean
        own = terms.sum(1)[:, None] + kept.sum(1)
        size = terms.abs().sum(1)[:, None] + kept.abs().sum(1)
        divergence = own - natural @ self._mean.T - mean @ self._natural.T
        return divergence.masked_fill_(divergence < _ROUNDING * size, 0)


def _coordinates(model: RBM, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the natural parameters and the means whose differences make the divergence, of equal shape."""
    field = model.field("hidden", model.given(rows))
    mean = model.hidden.expected_statistics(field)
    x = model.visible.statistics(rows)
    slope = _slope(model.visible, x)
    return (field, mean) if slope is None else (torch.cat((field, slope), 1), torch.cat((mean, x), 1))


def _slope(unit: Unit, x: Tensor) -> Tensor | None:
    """Return the gradient of the units' own energy, shape (rows, width); None if no unit is real."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        energy = unit.own_energy(x).sum()
        return torch.autograd.grad(energy, x)[0] if energy.requires_grad else None
