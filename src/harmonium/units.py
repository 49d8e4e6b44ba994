r"""Types of units: everything about one kind of random variable, in one class.

A layer of independent units with statistics :math:`s(x)` in a field :math:`a` has the density

.. math:: p(x \mid a) = \exp(a^\top s(x) - e(x) - A(a)),

where :math:`e` is the part of the energy that no neighbour changes (zero for discrete units,
:math:`x^\top \mathrm{diag}(\beta) x / 2` for Gaussian ones) and :math:`A` the log-partition function,
whose gradient is the expected statistic. A layer's own energy is :math:`e(x) - b^\top s(x)`; the field
is its bias plus what comes from the layers it is coupled to. All that a model needs of a unit follows
from these: energies, conditionals, free energies, samples, enumeration and annealing.

Inside the library a state is the statistic: the value itself, and for categorical units one-hot blocks.
"""

from __future__ import annotations

__all__ = ["UNITS", "Bernoulli", "Categorical", "Gaussian", "Spin", "Unit", "unit_from_config"]

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from . import kernels
from .errors import DataError, choose, invalid
from .random import Stream

_ROWS = 4096
_EXACT = 40.0
"""From where on softplus(x) is x to the last digit of float64; torch takes 20 if not told."""


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
        r"""Return :math:`w^\top \mathrm{Cov}(s)\, w`, the variances of weighted sums of statistics, shape (*, sums).

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
        return {"bias": torch.mv(x.T, weight, out=_place(out, "bias"))}

    def config(self) -> dict[str, Any]:
        """Return what makes a layer like this one, as JSON values."""
        return {"kind": self.kind, "size": self.size}

    def extra_repr(self) -> str:
        return str(self.size)

    def _check(self, x: Tensor, good: Any, expected: str) -> None:
        _check_shape(x, self.size)
        for first in range(0, len(x), _ROWS):
            block = x[first : first + _ROWS]
            right = good(block)
            if not bool(right.all()):
                row, column = (~right).nonzero()[0].tolist()
                value = block[row, column].item()
                where = f"row {first + row}, column {column}"
                raise DataError(f"data: got {value:g} at {where}, expected {expected}")


class Bernoulli(Unit):
    r"""Creates a layer of units in {0, 1}: :math:`A(a) = \sum_i \log(1 + e^{a_i})`.

    Arguments:
        size: The number of units.
    """

    kind = "bernoulli"
    binary = True

    def log_partition(self, field: Tensor) -> Tensor:
        return softplus(field, threshold=_EXACT).sum(-1, dtype=torch.float64)

    def expected_statistics(self, field: Tensor) -> Tensor:
        return torch.sigmoid(field)

    def variance(self, mean: Tensor, weight: Tensor) -> Tensor:
        return (mean * (1 - mean)) @ weight.square().T

    def sample_(
        self,
        field: Tensor,
        stream: Stream,
        mean: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> Tensor:
        kernels.bernoulli(field, stream.draw(), field, mean)
        return field

    def support(self) -> Tensor:
        return torch.tensor([[0.0], [1.0]], device=self.bias.device)

    def validate(self, x: Tensor, *, means: bool = False) -> None:
        if means:
            self._check(x, lambda b: (b >= 0) & (b <= 1), "a mean in [0, 1]")
        else:
            expected = (
                "0 or 1 (grey values in [0, 1] need a stated binarisation: 'sampled', 'threshold' or 'none')"
            )
            self._check(x, lambda b: (b == 0) | (b == 1), expected)

    def natural(self, mean: Tensor) -> Tensor:
        return torch.logit(mean)


class Spin(Unit):
    r"""Creates a layer of units in {-1, +1}: :math:`A(a) = \sum_i \log(2 \cosh a_i)`.

    Arguments:
        size: The number of units.
    """

    kind = "spin"
    binary = True

    def log_partition(self, field: Tensor) -> Tensor:
        return (softplus(2 * field, threshold=_EXACT) - field).sum(-1, dtype=torch.float64)

    def expected_statistics(self, field: Tensor) -> Tensor:
        return torch.tanh(field)

    def variance(self, mean: Tensor, weight: Tensor) -> Tensor:
        return (1 - mean * mean) @ weight.square().T

    def sample_(
        self,
        field: Tensor,
        stream: Stream,
        mean: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> Tensor:
        kernels.spin(field, stream.draw(), field, mean)
        return field

    def support(self) -> Tensor:
        return torch.tensor([[-1.0], [1.0]], device=self.bias.device)

    def validate(self, x: Tensor, *, means: bool = False) -> None:
        if means:
            self._check(x, lambda b: (b >= -1) & (b <= 1), "a mean in [-1, 1]")
        else:
            self._check(x, lambda b: (b == -1) | (b == 1), "-1 or 1 (of bits x, 2x - 1)")

    def natural(self, mean: Tensor) -> Tensor:
        return torch.atanh(mean)


class Categorical(Unit):
    r"""Creates a layer of units with q states each (Potts units), coupled through one-hot blocks.

    .. math:: A(a) = \sum_i \log \sum_k e^{a_{ik}}

    Values are codes 0 ... q-1 of shape (rows, size); statistics are one-hot, (rows, size * states).

    Arguments:
        size: The number of units.
        states: The number q of states of each.

    Raises:
        ArgumentError: There are fewer than two states.
    """

    kind = "categorical"

    def __init__(self, size: int, states: int) -> None:
        if isinstance(states, bool) or not isinstance(states, int) or states < 2:
            raise invalid("states", states, "an integer of at least 2")
        super().__init__(size, states)
        self.states = states

    def statistics(self, x: Tensor) -> Tensor:
        if x.shape[-1] == self.width:
            return x.to(self.bias)
        return one_hot(x.long(), self.states).flatten(-2).to(self.bias)

    def values(self, s: Tensor) -> Tensor:
        return s.unflatten(-1, (self.size, self.states)).argmax(-1)

    def log_partition(self, field: Tensor) -> Tensor:
        blocks = field.unflatten(-1, (self.size, self.states))
        return torch.logsumexp(blocks, -1).sum(-1, dtype=torch.float64)

    def expected_statistics(self, field: Tensor) -> Tensor:
        blocks = field.unflatten(-1, (self.size, self.states))
        return torch.softmax(blocks, -1).flatten(-2)

    def variance(self, mean: Tensor, weight: Tensor) -> Tensor:
        blocks = (self.size, self.states)
        inner = torch.einsum("...uk,suk->...su", mean.unflatten(-1, blocks), weight.unflatten(-1, blocks))
        return mean @ weight.square().T - inner.square().sum(-1)

    def sample_(
        self,
        field: Tensor,
        stream: Stream,
        mean: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> Tensor:
        kernels.categorical(field, stream.draw(), self.states, field, mean)
        return field

    def support(self) -> Tensor:
        return torch.eye(self.states, device=self.bias.device)

    def validate(self, x: Tensor, *, means: bool = False) -> None:
        if x.ndim == 2 and x.shape[1] == self.width:
            self._validate_blocks(x, means)
            return

        def is_code(b: Tensor) -> Tensor:
            return (b >= 0) & (b < self.states) & (b == b.floor() if b.is_floating_point() else True)

        self._check(x, is_code, f"a code in 0 ... {self.states - 1}")

    def _validate_blocks(self, x: Tensor, means: bool) -> None:
        _check_shape(x, self.width)
        blocks = x.unflatten(-1, (self.size, self.states)).to(torch.float64)
        right = ((blocks.sum(-1) - 1).abs() < 1e-5) & (blocks >= 0).all(-1)
        if not means:
            right &= ((blocks == 0) | (blocks == 1)).all(-1)
        if not bool(right.all()):
            row, unit = (~right).nonzero()[0].tolist()
            expected = "probabilities" if means else "one-hot"
            got = blocks[row, unit].tolist()
            raise DataError(f"data: got {got} at row {row}, unit {unit}, expected {expected}")

    def natural(self, mean: Tensor) -> Tensor:
        return torch.log(mean)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "states": self.states}

    def extra_repr(self) -> str:
        return f"{self.size}, states={self.states}"


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

    def energy(self, x: Tensor) -> Tensor:
        return super().energy(x) + 0.5 * (self.precision * x * x).sum(-1, dtype=torch.float64)

    def log_partition(self, field: Tensor) -> Tensor:
        constant = 0.5 * (math.log(2 * math.pi) - self.log_precision)
        return (field * field / (2 * self.precision) + constant).sum(-1, dtype=torch.float64)

    def expected_statistics(self, field: Tensor) -> Tensor:
        return field / self.precision

    def variance(self, mean: Tensor, weight: Tensor) -> Tensor:
        return (weight.square() / self.precision).sum(-1).expand(*mean.shape[:-1], len(weight))

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
        precision = self.precision.detach()
        root = torch.ones(1, 1) if beta is None else beta[:, None].sqrt()
        root = root.to(field)
        if mean is not None:
            torch.div(field, precision * root * root, out=mean)
        if beta is not None:
            field /= root
        kernels.gaussian(field, stream.draw(), precision, field)
        if beta is not None:
            field /= root
        return field

    def noise_field(self, n: int) -> Tensor:
        return self.bias.detach().repeat(n, 1)

    def validate(self, x: Tensor, *, means: bool = False) -> None:
        self._check(x, torch.isfinite, "a finite number")

    def natural(self, mean: Tensor) -> Tensor:
        return mean * self.precision.detach()

    def moments(self, x: Tensor, weight: Tensor, out: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        own = super().moments(x, weight, out)
        if self.learn_precision:
            square = torch.mv((x * x).T, weight, out=_place(out, "log_precision"))
            own["log_precision"] = square.mul_(-0.5 * self.precision.detach())
        return own

    def config(self) -> dict[str, Any]:
        return {**super().config(), "learn_precision": self.learn_precision}


UNITS: dict[str, type[Unit]] = {unit.kind: unit for unit in (Bernoulli, Spin, Categorical, Gaussian)}
"""The types of units by name."""


def unit_from_config(config: dict[str, Any]) -> Unit:
    """Make the layer that :meth:`Unit.config` describes.

    Raises:
        ArgumentError: The kind is unknown.
    """
    arguments = dict(config)
    kind: type[Unit] = choose("kind", arguments.pop("kind", None), UNITS)
    return kind(**arguments)


def _place(out: dict[str, Tensor] | None, name: str) -> Tensor | None:
    return None if out is None else out.get(name)


def _check_shape(x: Tensor, size: int) -> None:
    if x.ndim != 2 or x.shape[1] != size:
        raise DataError(f"data: got shape {tuple(x.shape)}, expected (rows, {size})")
    if not len(x):
        raise DataError("data: got no rows, expected at least one")
