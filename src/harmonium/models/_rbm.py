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
from ._layers import as_layer, as_mask, check_pair, initial_weight, warn_of_idle
from ._pairwise import PairwiseModel


class RBM(PairwiseModel):
    """Creates a restricted Boltzmann machine.

    Arguments:
        visible: The visible layer; a number makes Bernoulli units.
        hidden: The hidden layer; a number makes Bernoulli units.
        weight_mask: Which visible unit may be coupled to which hidden one, truth values of shape
            (visible units, hidden units); all if not given.
        seed: Draws the initial weights, N(0, 0.01^2).

    Raises:
        ArgumentError: Both layers have real units (their joint need not be normalisable), the visible
            one ReLU units, or the hidden layer would learn its precision (which only rescales the weights);
            the mask has another shape; or there are more weights than memory holds.
    """

    kind = "rbm"
    hidden: Unit

    def __init__(
        self,
        visible: int | Unit,
        hidden: int | Unit,
        *,
        weight_mask: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.visible = as_layer("visible", visible)
        self.hidden = as_layer("hidden", hidden)
        check_pair(self.visible, self.hidden)
        self.weight = initial_weight(self.visible, self.hidden, seed)
        self.register_buffer("base_rates", torch.full((self.visible.width,), torch.nan))
        self.weight_mask: Tensor | None
        self.register_buffer("weight_mask", None)
        if weight_mask is not None:
            self.weight_mask = as_mask(weight_mask, self.visible, self.hidden)
            self.weight.data *= self.weight_mask
            mask = self.weight_mask.bool()
            warn_of_idle("weight_mask", ("visible", "hidden"), self.visible, mask.any(1))
            warn_of_idle("weight_mask", ("hidden", "visible"), self.hidden, mask.any(0))

    def config(self) -> dict[str, Any]:
        own = {"visible": self.visible.config(), "hidden": self.hidden.config()}
        return own if self.weight_mask is None else {**own, "masked": True}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        visible, hidden = unit_from_config(config["visible"]), unit_from_config(config["hidden"])
        mask = torch.ones(visible.size, hidden.size) if config.get("masked", False) else None
        return cls(visible, hidden, weight_mask=mask)

    def blocks(self) -> tuple[str, ...]:
        return ("visible", "hidden")

    def layer(self, block: str) -> Unit:
        return self.visible if block == "visible" else self.hidden

    def couplings(self) -> tuple[Coupling, ...]:
        return (Coupling("visible", "hidden", "weight"),)

    def mask(self, coupling: Coupling) -> Tensor | None:
        return self.weight_mask

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
