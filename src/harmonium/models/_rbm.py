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

from typing import Any, Self

import torch
from torch import Tensor

from ..units import Unit, unit_from_config
from ._base import Coupling
from ._layers import as_layer, check_pair, initial_weight
from ._pairwise import PairwiseModel


class RBM(PairwiseModel):
    """Creates a restricted Boltzmann machine.

    Arguments:
        visible: The visible layer; a number makes Bernoulli units.
        hidden: The hidden layer; a number makes Bernoulli units.
        seed: Draws the initial weights, N(0, 0.01^2).

    Raises:
        ArgumentError: Both layers have real units (their joint need not be normalisable), the visible
            one ReLU units, or the hidden layer would learn its precision (which only rescales the weights);
            or there are more weights than memory holds.
    """

    kind = "rbm"
    hidden: Unit

    def __init__(self, visible: int | Unit, hidden: int | Unit, *, seed: int = 0) -> None:
        super().__init__()
        self.visible = as_layer("visible", visible)
        self.hidden = as_layer("hidden", hidden)
        check_pair(self.visible, self.hidden)
        self.weight = initial_weight(self.visible, self.hidden, seed)
        self.register_buffer("base_rates", torch.full((self.visible.width,), torch.nan))

    def config(self) -> dict[str, Any]:
        return {"visible": self.visible.config(), "hidden": self.hidden.config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(unit_from_config(config["visible"]), unit_from_config(config["hidden"]))

    def blocks(self) -> tuple[str, ...]:
        return ("visible", "hidden")

    def layer(self, block: str) -> Unit:
        return self.visible if block == "visible" else self.hidden

    def couplings(self) -> tuple[Coupling, ...]:
        return (Coupling("visible", "hidden", "weight"),)

    def encode(self, v: Any) -> Tensor:
        """Return the expected hidden statistics given rows of data, shape (rows, hidden width).

        Arguments:
            v: The rows, as :meth:`free_energy` takes them.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """
        return self.hidden.expected_statistics(self.field("hidden", self.given(v)))

    def reconstruct(self, v: Any) -> Tensor:
        """Return the visible means given :meth:`encode`'s hidden means, shape (rows, width).

        Arguments:
            v: The rows, as :meth:`free_energy` takes them.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """
        return self.visible.mean(self.field("visible", {"hidden": self.encode(v)}))
