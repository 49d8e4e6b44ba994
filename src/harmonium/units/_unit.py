"""What every type of unit answers."""

from __future__ import annotations

__all__ = ["Fault", "Unit", "place"]

import copy
import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import DataError, check_memory, invalid
from ..random import Stream

_ROWS = 4096


class Fault(NamedTuple):
    """A value that a unit cannot take."""

    place: str
    """What is counted: a column, or a unit of several columns."""
    number: int
    got: str
    expected: str


class Unit(nn.Module, ABC):
    r"""Abstract layer of units of one type.

    Arguments:
        size: The number of units.
        columns: The columns of one unit's statistic.

    Raises:
        ArgumentError: ``size`` is not a positive integer, or more than memory holds.
    """

    kind: ClassVar[str]
    binary: bool = False
    discrete: bool = True
    """Whether the values can be counted. The joint of two layers of others need not be normalisable."""
    hidden_only: bool = False
    """Whether the units model no data, and stand in hidden layers alone."""
    bias: nn.Parameter

    def __init__(self, size: int, columns: int = 1) -> None:
        super().__init__()
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise invalid("size", size, "a positive number of units")
        self.size = size
        self.width = size * columns
        check_memory("size", size, self.width)
        self.bias = nn.Parameter(torch.zeros(self.width))

    # --- states ---------------------------------------------------------------------------------

    def statistics(self, x: Tensor) -> Tensor:
        """Return the statistics of values, in the dtype and on the device of the parameters.

        Arguments:
            x: Values of shape (*, size), or statistics already, of shape (*, width).
        """
        return x.to(self.bias)

    def values(self, s: Tensor) -> Tensor:
        """Return the values, shape (*, size), whose statistics are ``s``, shape (*, width)."""
        return s

    def expand(self, per_unit: Tensor) -> Tensor:
        """Return what is told of each unit, shape (*, size), for each column, shape (*, width)."""
        return per_unit.repeat_interleave(self.width // self.size, -1)

    def support(self) -> Tensor | None:
        """Return the statistics of one unit's values, shape (values, columns), if finite."""
        return None

    def count(self) -> float:
        """Return the number of states of the whole layer; infinite if they are not discrete."""
        support = self.support()
        if support is None or self.size * math.log2(len(support)) > 1000:
            return math.inf
        return float(len(support)) ** self.size

    def configurations(self, first: int, last: int) -> Tensor:
        """Return states number ``first`` to ``last - 1`` of the whole layer, in float64.

        State k has unit i in value (k // n^i) mod n, where n is the number of a unit's values.
        """
        return self.numbered(torch.arange(first, last, device=self.bias.device))

    def numbered(self, number: Tensor) -> Tensor:
        """Return the states of the whole layer that have these numbers, in float64."""
        support = self.support()
        assert support is not None
        n = len(support)
        digits = [(number // n**i) % n for i in range(self.size)]
        return support.double()[torch.stack(digits, -1)].flatten(1)

    def known(self, x: Tensor) -> Tensor | None:
        """Return which columns of the statistics values tell, shape (*, width); None where none is missing.

        Arguments:
            x: Values of shape (*, size), NaN where one is missing; or statistics, of which none is.
        """
        if not x.is_floating_point() or x.shape[-1] != self.size:
            return None
        gaps = x.isnan()
        return self.expand(~gaps) if bool(gaps.any()) else None

    def known_statistics(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return statistics of values, zero where one is missing, and what :meth:`known` does."""
        known = self.known(x)
        if known is None:
            return self.statistics(x), None
        s, known = self.statistics(x.masked_fill(x.isnan(), 0)), known.to(self.bias.device)
        return s.masked_fill(~known, 0), known

    def validate(self, x: Tensor, *, means: bool = False, name: str = "data", gaps: bool = False) -> None:
        """Check that every value is one that the unit can take.

        Arguments:
            x: Values of shape (rows, size), or statistics of shape (rows, width).
            means: Whether expected values are accepted too.
            name: What errors call the values.
            gaps: Whether values, not statistics, may be missing (NaN).

        Raises:
            DataError: With row, column and value of the first that is not.
        """
        self.check_shape(x, name)
        for first in range(0, len(x), _ROWS):
            block = x[first : first + _ROWS]
            right = self.accepts(block, means)
            if gaps and x.shape[1] == self.size:
                right = right | block.isnan()
            if not bool(right.all()):
                row, unit = (~right).nonzero()[0].tolist()
                fault = self.fault(block[row], unit, means)
                at = f"row {first + row}, {fault.place} {fault.number}"
                raise DataError(f"{name}: got {fault.got} at {at}, expected {fault.expected}")

    def check_shape(self, x: Tensor, name: str = "data") -> None:
        """Check that there are rows, of values or of statistics.

        Raises:
            DataError: With the shape that came.
        """
        if x.ndim != 2 or x.shape[1] not in (self.size, self.width):
            raise DataError(f"{name}: got shape {tuple(x.shape)}, expected (rows, {self.size})")
        if not len(x):
            raise DataError(f"{name}: got no rows, expected at least one")

    @abstractmethod
    def accepts(self, x: Tensor, means: bool) -> Tensor:
        """Return which units of rows that :meth:`validate` is given are right, shape (rows, size)."""

    @abstractmethod
    def expected(self, means: bool) -> str:
        """Return in words what values the unit takes."""

    def fault(self, row: Tensor, unit: int, means: bool) -> Fault:
        """Return what is wrong with a unit of a row."""
        expected = self.expected(means)
        if bool(row[unit].isnan()):
            expected += "; missing values are not taken"
        return Fault("column", unit, f"{row[unit].item():g}", expected)

    def subset(self, which: Tensor) -> Unit:
        """Return a layer of some of the units, with their parameters.

        Arguments:
            which: Truth values of shape (size), true of one unit at least.
        """
        layer, columns = copy.deepcopy(self), self.expand(which)
        layer.size, layer.width = int(which.sum()), int(columns.sum())
        layer.bias = nn.Parameter(self.bias.detach()[columns])
        for name, parameter in self.named_parameters():
            if name != "bias":
                own = nn.Parameter(parameter.detach()[which], requires_grad=parameter.requires_grad)
                setattr(layer, name, own)
        return layer

    # --- energies and expectations --------------------------------------------------------------

    def energy(self, x: Tensor) -> Tensor:
        r"""Return :math:`e(x) - b^\top s(x)` of states of shape (*, width); shape (*), nats."""
        return self.own_energy(x) - (x * self.bias).sum(-1, dtype=torch.float64)

    def own_energy(self, x: Tensor) -> Tensor:
        """Return e(x), which no neighbour changes, of states of shape (*, width); shape (*), nats."""
        return torch.zeros(x.shape[:-1], dtype=torch.float64, device=x.device)

    @abstractmethod
    def log_partition(self, field: Tensor) -> Tensor:
        """Return A(field) of fields of shape (*, width), summed over units; float64, nats."""

    def neutral(self) -> Tensor:
        """Return A of each unit where no field acts, shape (size); float64, nats."""
        support = self.support()
        assert support is not None
        return torch.full((self.size,), math.log(len(support)), dtype=torch.float64, device=self.bias.device)

    @abstractmethod
    def expected_statistics(self, field: Tensor) -> Tensor:
        """Return the gradient of the log-partition function, E[s(x)], shape (*, width)."""

    @abstractmethod
    def variance(self, mean: Tensor, weight: Tensor) -> Tensor:
        r"""Return :math:`w^\top \mathrm{Cov}(s)\, w`, the variances of sums of statistics, shape (*, sums).

        Arguments:
            mean: The expected statistics, shape (*, width).
            weight: The weights w of each sum, shape (sums, width).
        """

    def log_density(self, x: Tensor, field: Tensor) -> Tensor:
        r"""Return :math:`\log p(x) = a^\top s(x) - e(x) - A(a)` of states in fields a, shape (*); nats.

        Arguments:
            x: States of shape (*, width).
            field: Fields of the same shape.
        """
        return (field * x).sum(-1, dtype=torch.float64) - self.own_energy(x) - self.log_partition(field)

    def mean(self, field: Tensor, beta: Tensor | None = None) -> Tensor:
        """Return the mean of the units; of categorical ones, the probabilities of their states.

        Arguments:
            field: Fields of shape (*, width), already tempered.
            beta: Inverse temperatures of shape (*), as in :meth:`sample_`.
        """
        return self.expected_statistics(field)

    def entropy(self, field: Tensor) -> Tensor:
        r"""Return the entropy :math:`A(a) - a^\top E[s] + E[e]`, summed over units; nats."""
        mean = self.expected_statistics(field)
        return self.log_partition(field) - (field * mean).sum(-1, dtype=torch.float64)

    @abstractmethod
    def natural(self, mean: Tensor) -> Tensor:
        """Return the field in which the expected statistics are ``mean``, shape (*, width)."""

    def smoothed(self, total: Tensor, rows: int | Tensor) -> Tensor:
        """Return the mean statistics of rows; of discrete units, as if with two more rows without bias.

        Arguments:
            total: Their sum, shape (width).
            rows: Their number, or one for each column, shape (width).
        """
        if not self.discrete:
            return total / rows
        neutral = self.expected_statistics(self.noise_field(1))[0].detach()
        return (total + 2 * neutral.to(total)) / (rows + 2)

    def moments(self, x: Tensor, weight: Tensor, out: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the sum over rows of weight times -dE/dtheta, by the name of the parameter.

        Arguments:
            x: States of shape (rows, width).
            weight: Weights of shape (rows), of either sign.
            out: Memory for some of the results, by name.
        """
        return {"bias": torch.mv(x.T, weight, out=place(out, "bias")), **self.own_moments(x, weight, out)}

    def own_moments(
        self, x: Tensor, weight: Tensor, out: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return those of :meth:`moments` that are of the parameters of e(x)."""
        return {}

    # --- samples --------------------------------------------------------------------------------

    def sample(self, field: Tensor, stream: Stream) -> Tensor:
        """Draw states in fields of shape (rows, width)."""
        return self.sample_(field.detach().clone(), stream)

    @abstractmethod
    def sample_(
        self,
        field: Tensor,
        stream: Stream,
        mean: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> Tensor:
        r"""Overwrite contiguous fields of shape (rows, width) with states drawn in them.

        Arguments:
            field: The fields, overwritten.
            stream: Where the random bits come from; takes one step, in a mixed layer one for each part.
            mean: Memory of the same shape for the expected statistics, or none.
            beta: Inverse temperatures of shape (rows), if the density is
                :math:`\exp(a^\top s(x) - \beta e(x))`; the field is already tempered.
        """

    def noise_field(self, n: int) -> Tensor:
        """Return the fields, shape (n, width), in which chains that know nothing start."""
        if self.discrete:
            return torch.zeros(n, self.width, dtype=self.bias.dtype, device=self.bias.device)
        return self.bias.detach().repeat(n, 1)

    # --- configuration --------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return what makes a layer like this one, as JSON values."""
        return {"kind": self.kind, "size": self.size}

    def extra_repr(self) -> str:
        return str(self.size)


def place(out: dict[str, Tensor] | None, name: str) -> Tensor | None:
    """Return the memory that is given for a result, if some is."""
    return None if out is None else out.get(name)
