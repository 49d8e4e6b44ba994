r"""Restricted Boltzmann machines: two layers, each independent given the other.

.. math:: E(v, h) = E_v(v) + E_h(h) - s(v)^\top W s(h)

where :math:`E_v, E_h` are the energies of the layers' own units. Given one layer, the other's units are
independent with fields :math:`a_h = c + W^\top s(v)` and :math:`a_v = b + W s(h)`; and the hidden layer
sums out, which leaves the free energy :math:`F(v) = E_v(v) - A_h(c + W^\top s(v))`.

References:
    | Information processing in dynamical systems: foundations of harmony theory (Smolensky, 1986)
    | Exponential family harmoniums (Welling, Rosen-Zvi & Hinton, 2004)
    | A practical guide to training restricted Boltzmann machines (Hinton, 2012)
"""

from __future__ import annotations

__all__ = ["RBM"]

from typing import Any

import torch
from torch import Tensor, nn

from .. import kernels
from ..errors import ArgumentTypeError, invalid
from ..random import Stream
from ..units import Bernoulli, Gaussian, Unit, unit_from_config
from ._base import EnergyModel, State

INITIAL_SCALE = 0.01


class RBM(EnergyModel):
    """Creates a restricted Boltzmann machine.

    Arguments:
        visible: The visible layer; a number makes Bernoulli units.
        hidden: The hidden layer; a number makes Bernoulli units.
        seed: Draws the initial weights, N(0, 0.01^2).

    Raises:
        ArgumentError: Both layers are Gaussian (their joint need not be normalisable), or the hidden
            layer would learn its precision (which only rescales the weights).
    """

    kind = "rbm"

    def __init__(self, visible: int | Unit, hidden: int | Unit, *, seed: int = 0) -> None:
        super().__init__()
        self.visible = _layer("visible", visible)
        self.hidden = _layer("hidden", hidden)
        if isinstance(self.hidden, Gaussian):
            if isinstance(self.visible, Gaussian):
                expected = "at most one Gaussian layer, or their joint need not be normalisable"
                raise invalid("hidden", self.hidden, expected)
            if self.hidden.learn_precision:
                expected = "a fixed precision, since learning it would only rescale the weights"
                raise invalid("hidden", self.hidden, expected)
        noise = Stream(seed, "weight").normal(self.visible.width, self.hidden.width)
        self.weight = nn.Parameter(INITIAL_SCALE * noise)
        self.register_buffer("base_rates", torch.full((self.visible.width,), torch.nan))

    def config(self) -> dict[str, Any]:
        return {"visible": self.visible.config(), "hidden": self.hidden.config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RBM:
        """Make the model that :meth:`config` describes, with fresh parameters."""
        return cls(unit_from_config(config["visible"]), unit_from_config(config["hidden"]))

    def blocks(self) -> tuple[str, ...]:
        return ("visible", "hidden")

    def layer(self, block: str) -> Unit:
        return self.visible if block == "visible" else self.hidden

    def field(self, block: str, state: State, beta: Tensor | None = None) -> Tensor:
        if block == "visible":
            field = kernels.affine(self.visible.bias, state["hidden"], self.weight.T)
        else:
            field = kernels.affine(self.hidden.bias, state["visible"], self.weight)
        return field if beta is None else field * beta.to(field)[:, None]

    def energy(self, state: State) -> Tensor:
        v, h = state["visible"], state["hidden"]
        coupling = ((v @ self.weight) * h).sum(-1, dtype=torch.float64)
        return self.visible.energy(v) + self.hidden.energy(h) - coupling

    def free_energy(self, v: Tensor) -> Tensor:
        s = self.visible.statistics(torch.as_tensor(v))
        return self.visible.energy(s) - self.hidden.log_partition(self.field("hidden", {"visible": s}))

    def moments(
        self, state: State, weight: Tensor, out: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        v, h = state["visible"], state["hidden"]
        place = None if out is None else out.get("weight")
        result = {"weight": kernels.cross(v, h * weight[:, None], place)}
        for block, unit, x in (("visible", self.visible, v), ("hidden", self.hidden, h)):
            prefix = f"{block}."
            own = {k.removeprefix(prefix): t for k, t in (out or {}).items() if k.startswith(prefix)}
            for name, moment in unit.moments(x, weight, own).items():
                result[prefix + name] = moment
        return result

    def encode(self, v: Tensor) -> Tensor:
        """Return the expected hidden statistics given rows of data, shape (rows, hidden width)."""
        s = self.visible.statistics(torch.as_tensor(v))
        return self.hidden.expected_statistics(self.field("hidden", {"visible": s}))

    def reconstruct(self, v: Tensor) -> Tensor:
        """Return the visible means given :meth:`encode`'s hidden means, shape (rows, width)."""
        return self.visible.mean(self.field("visible", {"hidden": self.encode(v)}))

    @torch.no_grad()
    def initialise(self, mean: Tensor) -> None:
        """Set the base rates and the visible biases to those of data, as Hinton's guide has it.

        Arguments:
            mean: The visible statistics' mean over the data, smoothed away from 0 and 1; shape (width).
        """
        self.base_rates.copy_(mean)
        self.visible.bias.copy_(self.visible.natural(mean))


def _layer(name: str, units: int | Unit) -> Unit:
    if isinstance(units, Unit):
        return units
    if isinstance(units, bool) or not isinstance(units, int):
        raise ArgumentTypeError(f"{name}: got {units!r}, expected a number of units or a layer")
    if units < 1:
        raise invalid(name, units, "a positive number of units, or a layer")
    return Bernoulli(units)
