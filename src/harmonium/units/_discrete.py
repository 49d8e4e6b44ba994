r"""Units with finitely many values: bits, spins, and states without an order.

.. math:: A(a) = \log \sum_x e^{a^\top s(x)}
"""

from __future__ import annotations

__all__ = ["Bernoulli", "Categorical", "Spin"]

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from .. import kernels
from ..errors import invalid
from ..random import Stream
from ._unit import Fault, Unit

_EXACT = 40.0
"""From where on softplus(x) is x to the last digit of float64; torch takes 20 if not told."""


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

    def accepts(self, x: Tensor, means: bool) -> Tensor:
        return (x >= 0) & (x <= 1) if means else (x == 0) | (x == 1)

    def expected(self, means: bool) -> str:
        grey = "(grey values in [0, 1] need a stated binarisation: 'sampled', 'threshold' or 'none')"
        return "a mean in [0, 1]" if means else f"0 or 1 {grey}"

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

    def accepts(self, x: Tensor, means: bool) -> Tensor:
        x = _signed(x)
        return (x >= -1) & (x <= 1) if means else (x == -1) | (x == 1)

    def expected(self, means: bool) -> str:
        return "a mean in [-1, 1]" if means else "-1 or 1 (of bits x, 2x - 1)"

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

    def accepts(self, x: Tensor, means: bool) -> Tensor:
        x = _signed(x)
        if x.shape[-1] == self.size:
            return (x >= 0) & (x < self.states) & (x == x.floor() if x.is_floating_point() else True)
        blocks = x.unflatten(-1, (self.size, self.states)).to(torch.float64)
        right = ((blocks.sum(-1) - 1).abs() < 1e-5) & (blocks >= 0).all(-1)
        return right if means else right & ((blocks == 0) | (blocks == 1)).all(-1)

    def expected(self, means: bool) -> str:
        return f"a code in 0 ... {self.states - 1}"

    def fault(self, row: Tensor, unit: int, means: bool) -> Fault:
        if len(row) == self.size:
            return super().fault(row, unit, means)
        got = row.unflatten(-1, (self.size, self.states))[unit].tolist()
        return Fault("unit", unit, str(got), "probabilities" if means else "one-hot")

    def natural(self, mean: Tensor) -> Tensor:
        return torch.log(mean)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "states": self.states}

    def extra_repr(self) -> str:
        return f"{self.size}, states={self.states}"


def _signed(x: Tensor) -> Tensor:
    """Return bytes as wider integers, since a byte compared with -1 or with 256 wraps."""
    return x.int() if x.dtype == torch.uint8 else x
