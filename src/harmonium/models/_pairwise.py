r"""Layers of units that are coupled in pairs: Boltzmann machines of every shape.

.. math:: E(x) = \sum_a E_a(x_a) - \sum_{(a, b)} s(x_a)^\top W_{ab}\, s(x_b)

where :math:`E_a` is the energy of layer a's own units, and a coupling joins two layers, or the units of
one layer (each pair once). What a unit feels of the others is a field, its bias plus the sum of its
neighbours' statistics times the couplings; and layers that no coupling joins sum out one by one, whatever
their units are. Restricted and deep Boltzmann machines differ in which layers are joined, and in nothing
else.
"""

from __future__ import annotations

__all__ = ["PairwiseModel"]

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .. import kernels
from ..errors import DataError
from ..units import as_rows
from ._base import Coupling, EnergyModel, State
from ._enumeration import choose_side, log_sum


class PairwiseModel(EnergyModel):
    """Abstract model of layers that are coupled in pairs.

    What takes rows, such as :meth:`free_energy`, checks them; what takes states is for inner loops, and
    checks nothing: :meth:`log_sum` in its place.
    """

    def mask(self, coupling: Coupling) -> Tensor | None:
        """Return where a coupling may differ from zero, in its parameter's shape; None for everywhere."""
        return None

    def matrix(self, coupling: Coupling) -> Tensor:
        """Return a coupling's matrix; within a block it holds each pair once, above the diagonal."""
        weight = self.get_parameter(coupling.name)
        mask = self.mask(coupling)
        return weight if mask is None else weight * mask

    def tied(self) -> bool:
        """Return whether there is a parameter that several couplings or blocks share."""
        names = [*(coupling.name for coupling in self.couplings()), *map(self.place, self.blocks())]
        return len({*names}) < len(names)

    def incoming(self) -> dict[str, int]:
        return {coupling.name: 0 for coupling in self.couplings() if coupling.lower != coupling.upper}

    def project(self) -> None:
        """Bring couplings back to their masks."""
        for coupling in self.couplings():
            mask = self.mask(coupling)
            if mask is not None:
                self.get_parameter(coupling.name).detach().mul_(mask)

    def lateral(self, block: str) -> Tensor | None:
        for coupling in self.couplings():
            if coupling.lower == coupling.upper == block:
                matrix = self.matrix(coupling)
                return matrix + matrix.T
        return None

    def field(
        self, block: str, state: State, beta: Tensor | None = None, start: Tensor | None = None
    ) -> Tensor:
        bias = self.layer(block).bias
        field = start
        for other, matrix in self._neighbours(block):
            if other in state:
                x = state[other]
                field = kernels.affine(bias, x, matrix) if field is None else torch.addmm(field, x, matrix)
        if field is None:
            rows = len(next(iter(state.values()))) if state else 1
            field = bias.repeat(rows, 1)
        return field if beta is None else field * beta.to(field)[:, None]

    def energy(self, state: State) -> Tensor:
        """Return E of the blocks in ``state`` and of the couplings between them, float64, nats."""
        energy = sum(self.layer(block).energy(state[block]) for block in self.blocks() if block in state)
        assert isinstance(energy, Tensor)
        for coupling in self.couplings():
            if coupling.lower in state and coupling.upper in state:
                inputs = state[coupling.lower] @ self.matrix(coupling)
                energy = energy - (inputs * state[coupling.upper]).sum(-1, dtype=torch.float64)
        return energy

    def log_sum(self, state: State) -> Tensor:
        r"""Return :math:`\log \sum e^{-E}` over the blocks that are not in ``state``, float64, nats.

        Raises:
            ArgumentError: Blocks would have to be enumerated that have too many states.
        """
        return log_sum(self, state, choose_side(self, state)[0])

    def free_energy(self, v: Any) -> Tensor:
        return -self.log_sum(self.given(v))

    def given(self, v: Any) -> State:
        """Return the observed states of rows that :meth:`free_energy` is given, checked."""
        rows = as_rows("v", v)
        if not rows.requires_grad:
            self.validate(rows, means=True, name="v")
        else:
            self.visible.check_shape(rows, "v")
            if not bool(rows.isfinite().all()):
                raise DataError("v: got a value that is not finite, expected numbers")
        return self.states(rows)

    def validate(self, rows: Tensor, *, means: bool = False, name: str = "data") -> None:
        """Check rows of data; see :meth:`Unit.validate`."""
        self.visible.validate(rows, means=means, name=name)

    def states(self, rows: Tensor) -> State:
        """Return what rows of data, values or statistics, tell of the blocks; nothing is checked."""
        return self.observed(self.visible.statistics(rows))

    def hidden_sums_out(self) -> bool:
        """Return whether all hidden units are independent given the visible ones."""
        hidden = self.hidden_blocks()
        return not any(a in hidden and b in hidden for a, b, _ in self.couplings())

    def moments(
        self, state: State, weight: Tensor, out: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        room = dict(out or {})
        result: dict[str, Tensor] = {}
        for coupling in self.couplings():
            x, y = state[coupling.lower], state[coupling.upper]
            moment = kernels.cross(x, y * weight[:, None], room.pop(coupling.name, None))
            mask = self.mask(coupling)
            _add(result, coupling.name, moment if mask is None else moment.mul_(mask))
        for block in self.blocks():
            prefix = f"{self.place(block)}."
            own = {k.removeprefix(prefix): room.pop(k) for k in [*room] if k.startswith(prefix)}
            for name, moment in self.layer(block).moments(state[block], weight, own).items():
                _add(result, prefix + name, moment)
        return result

    @torch.no_grad()
    def initialise(self, mean: Tensor) -> None:
        """Set the base rates, and visible biases that nobody has set, to those of data (Hinton's guide).

        Arguments:
            mean: The visible statistics' mean over the data, smoothed away from 0 and 1; shape (width).
        """
        self.base_rates.copy_(mean)
        bias = self.visible.bias
        if bias.requires_grad and not bool(bias.any()):
            bias.copy_(self.visible.natural(mean))

    def _neighbours(self, block: str) -> Iterator[tuple[str, Tensor]]:
        """Yield the blocks that one is coupled to, each with the matrix that leads from there to it."""
        for coupling in self.couplings():
            lower, upper, _ = coupling
            if lower == upper == block:
                matrix = self.matrix(coupling)
                yield block, matrix + matrix.T
            elif upper == block:
                yield lower, self.matrix(coupling)
            elif lower == block:
                yield upper, self.matrix(coupling).T


def _add(moments: dict[str, Tensor], name: str, moment: Tensor) -> None:
    """Add what a coupling or a block gives to its parameter, which others may share."""
    moments[name] = moments[name].add_(moment) if name in moments else moment
