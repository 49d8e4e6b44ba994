"""What every type of unit answers."""

from __future__ import annotations

__all__ = ["Unit", "check_shape", "place"]

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import DataError, invalid
from ..random import Stream

_ROWS = 4096


class Unit(nn.Module, ABC):
    r"""Abstract layer of units of one type.

    Arguments:
        size: The number of units.
        columns: The columns of one unit's statistic.

    Raises:
        ArgumentError: ``size`` is not a positive integer.
    """

    kind: ClassVar[str]
    binary: ClassVar[bool] = False
    bias: nn.Parameter

    def __init__(self, size: int, columns: int = 1) -> None:
        super().__init__()
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise invalid("size", size, "a positive number of units")
        self.size = size
        self.width = size * columns
        self.bias = nn.Parameter(torch.zeros(self.width))

    def statistics(self, x: Tensor) -> Tensor:
        """Return the statistics of values, in the dtype and on the device of the parameters.

        Arguments:
            x: Values of shape (*, size), or statistics already, of shape (*, width).
        """
        return x.to(self.bias)

    def values(self, s: Tensor) -> Tensor:
        """Return the values, shape (*, size), whose statistics are ``s``, shape (*, width)."""
        return s

    def energy(self, x: Tensor) -> Tensor:
        r"""Return :math:`e(x) - b^\top s(x)` of states of shape (*, width); shape (*), nats."""
        return -(x * self.bias).sum(-1, dtype=torch.float64)

    @abstractmethod
    def log_partition(self, field: Tensor) -> Tensor:
        """Return A(field) of fields of shape (*, width), summed over units; float64, nats."""

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

    def mean(self, field: Tensor) -> Tensor:
        """Return the mean of the units; of categorical ones, the probabilities of their states."""
        return self.expected_statistics(field)

    def entropy(self, field: Tensor) -> Tensor:
        r"""Return the entropy :math:`A(a) - a^\top E[s] + E[e]`, summed over units; nats."""
        mean = self.expected_statistics(field)
        return self.log_partition(field) - (field * mean).sum(-1, dtype=torch.float64)

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
            stream: Where the random bits come from; takes one step.
            mean: Memory of the same shape for the expected statistics, or none.
            beta: Inverse temperatures of shape (rows), if the density is
                :math:`\exp(a^\top s(x) - \beta e(x))`; the field is already tempered.
        """

    def noise_field(self, n: int) -> Tensor:
        """Return the fields, shape (n, width), in which chains that know nothing start."""
        return torch.zeros(n, self.width, dtype=self.bias.dtype, device=self.bias.device)

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
        support = self.support()
        assert support is not None
        number = torch.arange(first, last, device=support.device)
        n = len(support)
        digits = [(number // n**i) % n for i in range(self.size)]
        return support.double()[torch.stack(digits, -1)].flatten(1)

    @abstractmethod
    def validate(self, x: Tensor, *, means: bool = False) -> None:
        """Check that every value is one that the unit can take.

        Arguments:
            x: Values of shape (rows, size).
            means: Whether expected values are accepted too.

        Raises:
            DataError: With row, column and value of the first that is not.
        """

    @abstractmethod
    def natural(self, mean: Tensor) -> Tensor:
        """Return the field in which the expected statistics are ``mean``, shape (*, width)."""

    def moments(self, x: Tensor, weight: Tensor, out: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the sum over rows of weight times -dE/dtheta, by the name of the parameter.

        Arguments:
            x: States of shape (rows, width).
            weight: Weights of shape (rows), of either sign.
            out: Memory for some of the results, by name.
        """
        return {"bias": torch.mv(x.T, weight, out=place(out, "bias"))}

    def config(self) -> dict[str, Any]:
        """Return what makes a layer like this one, as JSON values."""
        return {"kind": self.kind, "size": self.size}

    def extra_repr(self) -> str:
        return str(self.size)

    def _check(self, x: Tensor, good: Any, expected: str) -> None:
        check_shape(x, self.size)
        for first in range(0, len(x), _ROWS):
            block = x[first : first + _ROWS]
            right = good(block)
            if not bool(right.all()):
                row, column = (~right).nonzero()[0].tolist()
                value = block[row, column].item()
                where = f"row {first + row}, column {column}"
                raise DataError(f"data: got {value:g} at {where}, expected {expected}")


def place(out: dict[str, Tensor] | None, name: str) -> Tensor | None:
    """Return the memory that is given for a result, if some is."""
    return None if out is None else out.get(name)


def check_shape(x: Tensor, size: int) -> None:
    """Check that rows have as many columns, and that there are some.

    Raises:
        DataError: They have not.
    """
    if x.ndim != 2 or x.shape[1] != size:
        raise DataError(f"data: got shape {tuple(x.shape)}, expected (rows, {size})")
    if not len(x):
        raise DataError("data: got no rows, expected at least one")
