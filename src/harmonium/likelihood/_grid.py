r"""The states over which free visible units are summed: all of discrete ones, and nodes of real ones.

Given the hidden units, a real unit is normal with the variance :math:`1 / \beta`, so that a row's density
in it is a mixture of such bells, whose means lie in a range that the weights tell. The trapezium rule at
steps of :math:`h = 0.6 / \sqrt\beta` is off by :math:`e^{-2 \pi^2 / 0.36}` of each bell, and nine standard
deviations beyond the range leave out as little: sums over the nodes are exact but for the last digits.

References:
    | The exponentially convergent trapezoidal rule (Trefethen & Weideman, 2014)
"""

from __future__ import annotations

__all__ = ["Grid"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..models import PairwiseModel
from ..units import Gaussian, Mixed, Unit

_STEP = 0.6
_BEYOND = 9.0


class Grid(NamedTuple):
    """The states of units that are free, each of which stands for a cell of the same size."""

    discrete: Unit | None
    """The discrete ones among the units, as a layer of their own."""
    columns: Tensor
    """Which columns of the free units' statistics are of real ones, shape (width)."""
    axes: tuple[Tensor, ...]
    """The nodes of each real unit."""
    total: float
    """How many states there are; infinite where real units cannot be summed over."""

    @classmethod
    def of(cls, model: PairwiseModel, known: Tensor, free: Unit) -> Grid:
        """Return the grid of the visible units that are not known.

        Arguments:
            model: The model.
            known: Which columns of the visible statistics are known, shape (width).
            free: The other units, as a layer of their own.
        """
        parts = list(free.parts) if isinstance(free, Mixed) else [free]
        real = torch.cat([torch.full((part.size,), not part.discrete) for part in parts])
        columns = free.expand(real.to(known.device))
        discrete = free.subset(~real.to(known.device)) if not bool(real.all()) else None
        states = 1.0 if discrete is None else discrete.count()
        if not bool(real.any()):
            return cls(discrete, columns, (), states)
        if any(not part.discrete and not isinstance(part, Gaussian) for part in parts):
            return cls(discrete, columns, (), math.inf)
        bounds = _bounds(model)
        if bounds is None:
            return cls(discrete, columns, (), math.inf)
        precision = torch.cat([part.precision for part in parts if isinstance(part, Gaussian)]).detach()
        low, high = (end[~known][columns] / precision for end in bounds)
        width = precision.rsqrt()
        sizes = ((high - low) / width + 2 * _BEYOND).div(_STEP).ceil().long() + 1
        axes = tuple(
            a + w * (_STEP * torch.arange(n, device=a.device, dtype=a.dtype) - _BEYOND)
            for a, w, n in zip(low, width, sizes.tolist(), strict=True)
        )
        return cls(discrete, columns, axes, states * math.prod(float(len(axis)) for axis in axes))

    @property
    def log_cell(self) -> float:
        """The logarithm of the size of each state's cell."""
        return sum(math.log(float(axis[1] - axis[0])) for axis in self.axes)

    def states(self, first: int, last: int) -> Tensor:
        """Return states number ``first`` to ``last - 1``, shape (states, width), in float64."""
        number = torch.arange(first, last, device=self.columns.device)
        x = torch.empty(len(number), len(self.columns), dtype=torch.float64, device=number.device)
        values = []
        for axis in self.axes:
            values.append(axis.double()[number % len(axis)])
            number = number // len(axis)
        if values:
            x[:, self.columns] = torch.stack(values, 1)
        if self.discrete is not None:
            x[:, ~self.columns] = self.discrete.numbered(number)
        return x


def _bounds(model: PairwiseModel) -> tuple[Tensor, Tensor] | None:
    """Return the least and the largest field of each visible column; None where they have no bounds."""
    if model.observed_blocks() != ("visible",):
        return None
    low = model.visible.bias.detach().clone()
    high = low.clone()
    for coupling in model.couplings():
        if "visible" not in (coupling.lower, coupling.upper) or coupling.lower == coupling.upper:
            continue
        matrix = model.matrix(coupling).detach()
        other = coupling.upper
        if coupling.lower != "visible":
            matrix, other = matrix.T, coupling.lower
        unit = model.layer(other)
        ends = _ends(unit, matrix)
        if ends is None:
            return None
        low, high = low + ends[0], high + ends[1]
    return low, high


def _ends(unit: Unit, matrix: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the least and the largest field that units make by a matrix, shape (columns, width)."""
    parts = list(unit.parts) if isinstance(unit, Mixed) else [unit]
    low = high = torch.zeros_like(matrix[:, 0])
    for part, own in zip(parts, matrix.split([part.width for part in parts], 1), strict=True):
        support = part.support()
        if support is None:
            return None
        terms = own.unflatten(1, (part.size, support.shape[1])) @ support.to(own).T
        low, high = low + terms.amin(2).sum(1), high + terms.amax(2).sum(1)
    return low, high
